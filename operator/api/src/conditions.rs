//! Conditions and the reasons behind them: one enum for condition reasons, event reasons and metric labels alike.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Condition types. All are positive but `AtRisk` and `Contested`, which are worth an alert when true.
pub mod types {
    /// The object does what it declares; sums up the others (kstatus).
    pub const READY: &str = "Ready";
    /// Work towards the declared state is going on (kstatus).
    pub const RECONCILING: &str = "Reconciling";
    /// No progress is possible without a person (kstatus).
    pub const STALLED: &str = "Stalled";
    /// Everything the sale needs can be had in time: go or no-go.
    pub const FEASIBLE: &str = "Feasible";
    /// The prediction passes ready-by, or something that the sale needs is missing.
    pub const AT_RISK: &str = "AtRisk";
    /// Somebody else writes the field that holds the floor.
    pub const CONTESTED: &str = "Contested";
    /// The pool can give what the plan asks of it.
    pub const CAPACITY_READY: &str = "CapacityReady";
    /// The cloud said how many addresses and vCPUs are left for the pool; only informs.
    pub const LIMITS_KNOWN: &str = "LimitsKnown";
}

/// Why something is as it is, or cannot be had. Stable across releases: alerts may name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    // Lifecycle of a sale.
    /// The sale waits for its computed start.
    Scheduled,
    /// The sale opens too late to look yet at whether everything can be had.
    TooFarAhead,
    /// Nodes, then floors are on their way.
    Preparing,
    /// Everything is Ready and waits for `opensAt`, or a pool or workload is as planned.
    AllReady,
    /// The sale is open and its floors are held.
    Live,
    /// Floors fall and nodes go.
    Returning,
    /// Every field is restored and no node is held for this sale.
    Completed,
    /// The window was over when the sale was first seen: nothing was touched.
    Missed,
    /// Deleted or suspended, and returned.
    Cancelled,
    /// `mode: Plan`: computed and reported, nothing is changed.
    PlanOnly,
    /// The way back rests until an unknown state is known again.
    ReturnFrozen,
    /// An HPA still wants more than the floor: its replicas, and the nodes below them, stay until it does not.
    DemandAboveFloor,
    /// Replicas of the baseline fit on no node that exists: the rented nodes below them stay until they do. Make room on existing nodes, or lower the baseline.
    NoHome,
    /// The sale was applied or seen after its computed start, and catches up.
    LateStart,
    /// Opened before everything was Ready.
    OpenedUnready,
    // Bad wishes.
    /// `opensAt` or `timeZone` name no instant.
    InvalidTime,
    /// The stored object cannot be read.
    InvalidObject,
    /// The workload that is named does not exist.
    WorkloadNotFound,
    /// The workload's pods set no CPU or memory requests: nothing can be planned for them.
    RequestsMissing,
    /// The HPA's `maxReplicas`, or the ScaledObject's `maxReplicaCount`, is below the peak.
    MaxReplicasTooLow,
    /// A field has a value that cannot be combined with another.
    InvalidSpec,
    // What stands in the way of a replica or node.
    /// No pool is open to the namespace, is within the `placement` and has a latency figure for every dependency.
    NoPool,
    /// `placement` of the sale, or of the workload in it, leaves pools out: by their labels, tier or zone.
    OutsidePlacement,
    /// Several sales name a workload, and no pool is within the `placement` of all of them.
    PlacementsDisagree,
    /// Pools name no latency to a site that the workload depends on.
    LatencyUnknown,
    /// Every pool that would have room is farther than `maxLatency`.
    LatencyTooHigh,
    /// A pool's or namespace's node limit is reached.
    LimitReached,
    /// `maxSharePerPool` is reached.
    ShareReached,
    /// The sale's `budget` is used up.
    BudgetReached,
    /// The cloud has no capacity for the type in the zone.
    InsufficientCapacity,
    /// The account's quota is used up, or would be by what is planned.
    QuotaExhausted,
    /// The subnets have no free addresses, or too few for what is planned.
    AddressesExhausted,
    /// The cloud API throttles.
    Throttled,
    /// The cloud refuses the operator's credentials.
    Unauthorized,
    /// The cloud refuses the pool's configuration.
    InvalidConfiguration,
    /// The cloud could not be reached or failed.
    CloudUnavailable,
    /// Instances run but never became nodes in time.
    NeverJoined,
    /// Nodes lack the pool's label or taint, and were repaired.
    NodeRepaired,
    /// `terminationGracePeriodSeconds` is shorter than `sessionLength`: the way back would cut sessions. Only reported.
    GraceTooShort,
    /// Not all of a workload's `headroom` finds room within limits and budget: its HPA can grow less above the floor than was asked for. Only reported.
    HeadroomMissing,
    /// No pod fits into any node of the pools.
    PodTooLarge,
    /// The pool's pods stay unbound although there should be room.
    Unschedulable,
    /// The prediction passes ready-by.
    LeadTimeTooLong,
    /// The workload's own hard constraints (zone spread, affinity) leave no place in a pool.
    OwnConstraints,
    /// `onShortfall: Hold`: the rest waits for a person.
    Held,
    // State of the world.
    /// A watch or read has not succeeded yet: unknown is not empty.
    Unknown,
    /// Another manager wrote the floor's field.
    Contested,
    /// Somebody raised the field above the floor; respected until the sale ends.
    ForeignRaise,
    /// Pods landed where the plan did not want them.
    Misplaced,
    /// The admission policies did not stamp the workload's new pods.
    PolicyIneffective,
    /// A write to the Kubernetes API failed.
    ApiError,
    /// An eviction is refused by a PodDisruptionBudget.
    DisruptionBudget,
    /// Instances, launches or floors are being returned.
    Draining,
    /// Instances or nodes on their way.
    Launching,
    /// A launch was written and called.
    Launched,
    /// Instances were terminated.
    Terminated,
    /// A floor was written.
    FloorRaised,
    /// A floor was lowered or restored.
    FloorLowered,
    /// A pool without work: nothing is wanted of it.
    Idle,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What a condition says now, before its transition time is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// One of [`types`].
    pub type_: &'static str,
    /// `None` until observed.
    pub status: Option<bool>,
    /// Why.
    pub reason: Reason,
    /// A sentence for a person, that says what to do where something is to be done.
    pub message: String,
}

impl Verdict {
    /// The condition's status as Kubernetes writes it.
    #[must_use]
    pub const fn status(&self) -> &'static str {
        match self.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// `lastTransitionTime` moves only when `status` does, so an unchanged verdict writes nothing and wakes nobody.
#[must_use]
pub fn condition(old: &[Condition], verdict: Verdict, generation: Option<i64>, now: jiff::Timestamp) -> Condition {
    let status = verdict.status();
    let since = old
        .iter()
        .find(|c| c.type_ == verdict.type_ && c.status == status)
        .map_or_else(|| Time(crate::time::whole_seconds(now)), |c| c.last_transition_time.clone());
    Condition {
        type_: verdict.type_.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.to_string(),
        message: verdict.message,
        observed_generation: generation,
        last_transition_time: since,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: bool) -> Verdict {
        Verdict { type_: types::READY, status: Some(status), reason: Reason::Preparing, message: String::new() }
    }

    #[test]
    fn transition_time_moves_only_with_status() {
        let (t1, t2) = ("2026-12-05T10:00:00Z".parse().unwrap(), "2026-12-05T11:00:00Z".parse().unwrap());
        let first = condition(&[], verdict(false), Some(1), t1);
        let same = condition(std::slice::from_ref(&first), verdict(false), Some(2), t2);
        let flipped = condition(std::slice::from_ref(&first), verdict(true), Some(2), t2);
        assert_eq!(same.last_transition_time, Time(t1));
        assert_eq!(flipped.last_transition_time, Time(t2));
    }
}
