//! What the operator says about a sale; also the memory by which a restarted operator goes on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Phase, TargetKind};
use crate::{GoDuration, Money, Reason};

/// What the operator did, does and will do about this sale. Bounded in size.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OnSaleStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the sale is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Instant of `spec.opensAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<Time>,
    /// When everything must be Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_by: Option<Time>,
    /// When the floors begin to fall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Time>,
    /// When preparing starts: ready-by less lead times and margin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Time>,
    /// When everything will be Ready as far as is known; once it is, when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_ready_at: Option<Time>,
    /// Time left between the prediction and ready-by; a leading minus says late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<String>,
    /// Ready replicas of those wanted, as in `640/900`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// What happens next, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// When each phase was entered.
    #[serde(default)]
    pub entered: Entered,
    /// Per workload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub workloads: Vec<WorkloadProgress>,
    /// Per pool that the plan uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub pools: Vec<PoolProgress>,
    /// Cost of the rented nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// What cannot be had, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub waiting_for: Vec<WaitingFor>,
    /// `Ready`, `Reconciling`, `Stalled` (kstatus), `Feasible`, `AtRisk`, `Contested`.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// What happened, once the sale is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
}

/// When each phase was entered; also the memory by which a restarted operator goes on.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entered {
    /// Start of preparing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preparing: Option<Time>,
    /// First time that everything was Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Time>,
    /// Opening.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Time>,
    /// Start of the way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returning: Option<Time>,
    /// End of the way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Time>,
}

/// One workload of a sale.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadProgress {
    /// Kind of the workload.
    pub kind: TargetKind,
    /// Name of the workload.
    pub name: String,
    /// Replicas (or floor) when no sale is on.
    pub baseline: i32,
    /// Replicas that the operator guarantees now.
    pub floor: i32,
    /// Replicas wanted at the peak.
    pub peak: i32,
    /// Ready replicas.
    pub ready: i32,
    /// Pods that are where the plan does not want them.
    pub misplaced: i32,
    /// Mean latency of one request over the running replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<GoDuration>,
    /// The same if every replica were in the nearest pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_latency: Option<GoDuration>,
}

/// One pool that a sale's plan uses.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolProgress {
    /// Name of the CapacityPool.
    pub name: String,
    /// Replicas of this sale's workloads planned there.
    pub replicas: i32,
    /// Replicas of this sale's workloads that run there.
    pub running: i32,
    /// Nodes that the plan wants there at the peak, all sales together.
    pub nodes_planned: i32,
    /// Nodes on their way.
    pub nodes_launching: i32,
    /// Nodes Ready.
    pub nodes_ready: i32,
}

/// Cost of the rented nodes of a sale.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Per hour at the peak of the plan.
    pub hourly: Money,
    /// Estimate for the whole window: what was spent, and what the nodes of the plan cost until opensAt + duration + returnOver.
    pub window: Money,
    /// What was spent so far. Unset until preparing starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
}

/// Money spent on rented nodes. It is summed up when their price per hour changes, not from minute to minute.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spent {
    /// Spent until then.
    pub until: Time,
    /// How much.
    pub amount: Money,
    /// Price per hour since then.
    pub hourly: Money,
}

/// What cannot be had, why, and when that may change.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingFor {
    /// Why.
    pub reason: Reason,
    /// What, and what to do.
    pub message: String,
    /// When it may change by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// What happened.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Everything was Ready at ready-by.
    pub on_time: bool,
    /// Most rented nodes at once.
    pub nodes_peak: i32,
    /// Most replicas Ready at once.
    pub replicas_peak: i32,
    /// Most misplaced pods at once after everything was Ready.
    pub misplaced_peak: i32,
    /// Every field is as it was.
    pub restored: bool,
}
