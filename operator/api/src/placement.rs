//! `WorkloadPlacement`: what the operator is doing to one workload. Written by the operator only.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{GoDuration, onsale::Target};

/// Intent for one workload, stored before the first write.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "onsale.dev",
    version = "v1alpha1",
    kind = "WorkloadPlacement",
    plural = "workloadplacements",
    namespaced,
    status = "WorkloadPlacementStatus",
    derive = "PartialEq",
    shortname = "wp",
    category = "onsale-operator",
    doc = "WorkloadPlacement is what the operator is doing to one workload: its baseline, the floor now and whose it is, where its pods may go. Written by the operator only; there is one while a sale is on.",
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.target.kind"),
    printcolumn(name = "Name", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(name = "Baseline", type_ = "integer", json_path = ".spec.baseline"),
    printcolumn(name = "Floor", type_ = "integer", json_path = ".spec.intended"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.ready"),
    printcolumn(name = "Misplaced", type_ = "integer", json_path = ".status.misplaced"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".spec.revision", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadPlacementSpec {
    /// The workload.
    pub target: Target,
    /// The field that holds the floor.
    pub field: FloorField,
    /// Value of that field when no sale is on; what is put back at the end.
    pub baseline: i32,
    /// Manager that owned the field before the first write; the value is put back in its name, so that its next apply finds nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_manager: Option<String>,
    /// Value of the field before the last write.
    pub before: i32,
    /// Value of the field that is intended now: a value that is either `before` or `intended` is the operator's own, whatever crashed.
    pub intended: i32,
    /// What each sale adds to the baseline.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub claims: Vec<Claim>,
    /// Distance of each pool for this workload, frozen from the start of the window to its end.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub distances: Vec<Distance>,
    /// How many ranks, nearest first, have been released while preparing; all of them from Ready on.
    #[serde(default)]
    pub released: i32,
    /// Pools that new pods may go to now.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub permitted: Vec<String>,
    /// Number of the overlay in force; pods carry it as a stamp.
    #[serde(default)]
    pub revision: i64,
    /// Floor that the first, small batch under this revision may reach; the rest follows once a pod carries its stamp.
    #[serde(default)]
    pub trial: i32,
}

/// The field that holds a workload's floor.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FloorField {
    /// Which field.
    pub kind: FloorKind,
    /// Name of the object that has it, in the workload's namespace.
    pub name: String,
}

/// Which field holds a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum FloorKind {
    /// `spec.replicas` of the workload, through its `/scale`.
    Replicas,
    /// `spec.minReplicas` of a HorizontalPodAutoscaler.
    HpaMinReplicas,
    /// `spec.minReplicaCount` of a KEDA ScaledObject.
    ScaledObjectMinReplicaCount,
}

/// What one sale adds.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Name of the OnSale in the same namespace.
    pub sale: String,
    /// Its UID.
    pub uid: String,
    /// Replicas above the baseline.
    pub extra: i32,
}

/// Distance of one pool.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Distance {
    /// Name of the CapacityPool.
    pub pool: String,
    /// Latency of one request there.
    pub latency: GoDuration,
    /// 0 is nearest; pools within 1 ms are equally far: of these existing nodes make up one rank, and rented ones the next.
    pub rank: i32,
}

/// What was observed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadPlacementStatus {
    /// Ready pods.
    #[serde(default)]
    pub ready: i32,
    /// Pods that are where the plan does not want them.
    #[serde(default)]
    pub misplaced: i32,
    /// Pods by pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub pools: Vec<PodsInPool>,
    /// A foreign writer of the floor's field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contest: Option<Contest>,
    /// `Ready`, `Contested`.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Pods of a workload in one pool.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodsInPool {
    /// Name of the CapacityPool; empty: a node of no pool.
    pub pool: String,
    /// Replicas planned there.
    pub planned: i32,
    /// Pods bound there.
    pub bound: i32,
    /// Ready pods there.
    pub ready: i32,
}

/// A foreign writer of the floor's field.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Contest {
    /// Field manager that wrote it last, `unknown` where the API server does not say.
    pub manager: String,
    /// The value that it wrote.
    pub value: i32,
    /// How often the operator has written its own value again.
    pub count: i32,
    /// When it did last.
    pub last: Time,
}
