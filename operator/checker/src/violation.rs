//! Every rule there is, and what a broken one says.

use std::fmt;

/// A rule that plans or steps keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The plan speaks of every sale, workload and pool of the snapshot, in its order.
    Mirror,
    /// A pool wants no more nodes than `limits.maxNodes`, unless they exist already.
    NodeLimit,
    /// New nodes are of a type that the pool declares; pools of existing nodes want none.
    InstanceType,
    /// New nodes hold replicas of workloads that a holding sale names, not of idle or returning ones.
    NodesForHolders,
    /// Only sales of namespaces that `allowedNamespaces` admits use a pool.
    NamespaceAllowed,
    /// Only pools are used that the sale's `placement` allows to one of its workloads.
    PoolSelected,
    /// No new replica goes to a pool that a placement leaves out: the sale's, or the workload's, of any sale that names it.
    Residency,
    /// No new replica goes to a pool farther than `maxLatency`.
    MaxLatency,
    /// No pool without a figure for every dependency has a distance.
    LatencyKnown,
    /// A distance is the sum of serial calls times round trips, or what was frozen at the start of the window.
    LatencyArithmetic,
    /// Pools within 1 ms share a rank, ranks rise with latency from 0.
    Ranks,
    /// No pool gets more new replicas of a workload than `maxSharePerPool`.
    Share,
    /// What a node shall hold fits into its room, and the room is not more than it offers.
    Room,
    /// The nodes' fills add up to the workloads' replicas by pool.
    FillsAddUp,
    /// New replicas go to nodes that take pods.
    FitNode,
    /// The pods' own node terms hold where they shall go.
    OwnTerms,
    /// The pods' own hard zone spread holds where they shall go.
    ZoneSpread,
    /// New nodes keep the sale's `budget.maxNodes`.
    BudgetNodes,
    /// New nodes keep the sale's `budget.maxHourlyCost`.
    BudgetCost,
    /// New nodes keep the sale's `budget.maxTotalCost`, from its start to its end, with what was spent before.
    BudgetTotal,
    /// What was spent stays so, and what is there is paid for.
    Spent,
    /// New nodes find free addresses in the pools' subnets, as far as the cloud said how many there are.
    Addresses,
    /// New nodes keep the account's vCPU quotas, as far as the cloud said what they are.
    Quota,
    /// New nodes keep the pool's `maxNodesEach` for a namespace.
    NamespaceNodes,
    /// The baseline is the value of the field when no sale was on.
    Baseline,
    /// No floor is below the baseline.
    FloorBelowBaseline,
    /// No floor rises above the peak, and none rises on the way back.
    FloorAbovePeak,
    /// The peak is the baseline and what the holding sales add.
    Peak,
    /// A floor rises only by replicas that have a place.
    FloorPlaced,
    /// Every replica of the peak is placed or counted as unplaced.
    Complete,
    /// The room that `headroom` asks for is planned, no more than that, or it is told that it is missing, and it is not while a pool has it.
    Headroom,
    /// Permitted pools are within the distances, nearest first, and released; places that are planned are permitted.
    Permitted,
    /// The overlay's terms, tolerations and stamp say exactly the permitted pools.
    Overlay,
    /// Preferences fall with distance.
    Preferences,
    /// Deletion costs by zone fall with distance.
    ZoneCosts,
    /// A changed overlay has a new revision, and revisions never fall.
    Revision,
    /// One claim per sale and workload, of an active sale that names it, no larger than the wish.
    Claims,
    /// Every replica without a place comes with a reason.
    Reasons,
    /// Phases agree with the instants of the sale.
    Phases,
    /// The sale's instants are what the spec says.
    Times,
    /// Preparing starts so early that everything is there by ready-by in 99 nights of 100, and no earlier than 999 of 1000 would ask for.
    StartInstant,
    /// On the way back no sale lets go faster than `returnOver`, nor is slower without a word.
    ReturnPace,
    /// Nodes are emptied only when those that stay have room for what is still wanted.
    Drain,
    /// A sale that does not act has no claims and wants no nodes.
    Untouched,
    /// Nodes are surplus only where no sale that raises floors may use the pool.
    Surplus,
    /// Nothing is given back while a state is unknown.
    UnknownKept,
    /// No single feasible and timely move of a replica that is not yet running lowers the latency cost.
    NearerPlace,
    /// No replica is without a place while a pool has room for it.
    FreePlace,
    /// Launches happen in protected pools, for a sale that holds, within limits.
    Launch,
    /// Launches of one pass take no more than the region's bucket holds, from which the cloud's API hands out instances.
    LaunchRate,
    /// No step for a pool whose instances are unknown.
    UnknownPool,
    /// The intent is recorded before the floor is written.
    RecordFirst,
    /// The overlay is there before the floor rises.
    OverlayFirst,
    /// A floor is written from the value seen, to the floor planned, into the field seen.
    WriteFloor,
    /// A contested floor is written again no earlier than its backoff allows, and noted first.
    Contest,
    /// Only the pool's own instances are terminated, and none that serves.
    Terminate,
    /// Pods are evicted on draining nodes only.
    Evict,
    /// Nodes are cordoned only when they are surplus, by their own UID.
    Cordon,
    /// A sale is released only when no placement claims it.
    ReleaseSale,
    /// A pool is released only when nothing is rented there.
    ReleasePool,
    /// A record is removed only when nobody claims the workload and its field is restored.
    RemoveRecord,
    /// Only unbound pods with a stale stamp are replaced.
    ReplacePod,
    /// One chain per sale, pool and workload, with steps of its kind.
    Chains,
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The sale, workload or pool that breaks it.
    pub subject: String,
    /// How.
    pub message: String,
}

impl Violation {
    /// A broken rule.
    #[must_use]
    pub fn new(rule: Rule, subject: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { rule, subject: subject.to_string(), message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: {}", self.rule, self.subject, self.message)
    }
}
