//! What a pool has and does: nodes, the launch ledger, what could not be had, what the cloud said; also the memory by which a restarted operator goes on.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LaunchTemplate;
use crate::Reason;

/// What the pool has and does. Bounded in size.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CapacityPoolStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Nodes by state.
    #[serde(default)]
    pub nodes: NodeCounts,
    /// The launch ledger: every launch is written here before the cloud is called, and stays until its instances are seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub launches: Vec<Launch>,
    /// Sequence of the newest launch; tokens derive from it and are never used twice.
    #[serde(default)]
    pub last_sequence: i64,
    /// What the pool could not give, by instance type or subnet; ended by the end of the last sale that uses the pool, or retried when nothing else has room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub shortfalls: Vec<Shortfall>,
    /// Free addresses of the pool's subnets, as the cloud said last while a sale that may use the pool is near. A subnet that is missing is unknown, and bounds nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub subnets: Vec<SubnetFacts>,
    /// vCPU quotas that the pool's instance types count against, as the cloud said last. A quota that is missing is unknown, and bounds nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["code"]))]
    pub quotas: Vec<QuotaFacts>,
    /// How long rented nodes of this pool really took, up to 64, those launched last. Written when nothing more is on its way, so that the slow ones count like the fast ones; together with
    /// spec.leadTime it decides when preparing starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["instance"]))]
    pub lead_times: Vec<LeadTimeSample>,
    /// `Ready`, `Reconciling`, `Stalled` (kstatus), `CapacityReady` and, for ec2, `LimitsKnown`.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What the cloud said of a subnet.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubnetFacts {
    /// ID.
    #[schemars(length(max = 32))]
    pub id: String,
    /// Zone that it is in.
    pub zone: String,
    /// IPv4 addresses that nobody has.
    pub free_addresses: i32,
    /// When the cloud was asked: what was launched from then on comes on top.
    pub at: Time,
}

/// What the cloud said of a quota.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaFacts {
    /// Code, such as L-1216C47A.
    #[schemars(length(max = 32))]
    pub code: String,
    /// Name, such as Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances.
    pub name: String,
    /// vCPUs that the account may run in the region.
    pub limit: i32,
    /// vCPUs of them that others run: every instance but those of this cluster's pools.
    pub used_by_others: i32,
    /// When the cloud was asked.
    pub at: Time,
}

/// How long one node took.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeadTimeSample {
    /// ID of its instance.
    #[schemars(length(max = 32))]
    pub instance: String,
    /// From its launch until the node was Ready, in whole seconds, 1 to 86400. Its pods come on top.
    #[schemars(range(min = 1, max = 86400))]
    pub seconds: i32,
    /// When it was launched.
    pub at: Time,
}

/// Nodes by state.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeCounts {
    /// Nodes that the plan wants at its peak.
    #[serde(default)]
    pub planned: i32,
    /// Instances that are no Ready node yet.
    #[serde(default)]
    pub launching: i32,
    /// Nodes that are Ready and take pods.
    #[serde(default)]
    pub ready: i32,
    /// Nodes that are cordoned and on their way out.
    #[serde(default)]
    pub draining: i32,
}

/// One launch: written before the cloud is called, replayed verbatim until it is resolved.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Launch {
    /// Number within the pool, rising.
    pub sequence: i64,
    /// Idempotency token of the call.
    pub token: String,
    /// Instance type.
    pub instance_type: String,
    /// Subnet.
    pub subnet: String,
    /// Launch template, name or ID as in the spec at that time.
    pub launch_template: LaunchTemplate,
    /// Instances asked for.
    pub count: i32,
    /// When the entry was written.
    pub at: Time,
    /// The call has been answered: `instances` is complete.
    #[serde(default)]
    pub resolved: bool,
    /// When it was answered: a cloud that is silent answers long after the entry was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Time>,
    /// Instances that it made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<String>,
}

impl Launch {
    /// When its instances were made, as far as it says: when it was answered, or else when it was written.
    #[must_use]
    pub fn made_at(&self) -> Timestamp {
        self.answered_at.as_ref().unwrap_or(&self.at).0
    }
}

/// What a pool could not give of one instance type, or in one subnet.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shortfall {
    /// Instance type, or `*` for all of them.
    pub instance_type: String,
    /// Subnet that it is about, such as one without free addresses. Unset: all of the pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// Why.
    pub reason: Reason,
    /// A sentence.
    pub message: String,
    /// When it was last met.
    pub at: Time,
    /// How often in a row.
    pub attempts: i32,
    /// Not tried again before.
    pub retry_at: Time,
}
