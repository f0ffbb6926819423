//! `due(plan, snapshot, now)`: the idempotent actions that are due, as independent chains. A failure stops its own chain only.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;
use onsale_api::{Reason, WorkloadPlacementSpec, placement::FloorField};
use serde::Serialize;

use crate::{
    launch_rate,
    overlay::Overlay,
    plan::Plan,
    snapshot::{PodRef, SaleId, Snapshot, WorkloadId},
};

/// AWS advises batches of about this many instances in one call.
pub(crate) const BATCH: i32 = 100;

/// Whose steps a chain holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ChainKey {
    /// One sale: its finalizer.
    Sale(SaleId),
    /// One pool: launches, nodes, drains.
    Pool(String),
    /// One workload: record, overlay, floor, pods.
    Workload(WorkloadId),
}

/// Steps that must happen in this order; the first failure ends the chain for this pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chain {
    /// Whose.
    pub key: ChainKey,
    /// In order.
    pub steps: Vec<Step>,
}

/// One idempotent action.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Step {
    /// Add our finalizer to the sale: before anything is done for it.
    ProtectSale,
    /// Remove our finalizer from the sale: everything is back.
    ReleaseSale,
    /// Add our finalizer to the pool: before anything is rented there.
    ProtectPool,
    /// Remove our finalizer from the pool: nothing is rented there.
    ReleasePool,
    /// Call the cloud again with an unresolved entry of the launch ledger, verbatim.
    Replay {
        /// Sequence of the entry.
        sequence: i64,
    },
    /// Write a ledger entry, call the cloud, resolve the entry. Final refusals become a shortfall in the pool's status.
    Launch {
        /// Instance type.
        instance_type: String,
        /// Subnet.
        subnet: String,
        /// Instances, 1 to 100.
        count: i32,
    },
    /// Drop resolved ledger entries whose instances are seen or gone, and shortfalls that are over.
    Tidy {
        /// Sequences of the entries.
        sequences: Vec<i64>,
        /// Also drop all shortfalls.
        shortfalls: bool,
    },
    /// Give a node the pool's label or taint that it did not register with.
    RepairNode {
        /// Node.
        node: String,
        /// The label is missing.
        label: bool,
        /// The taint is missing.
        taint: bool,
    },
    /// Cordon the node, take it out of load balancers, mark it as draining.
    Cordon {
        /// Node.
        node: String,
        /// Its UID.
        uid: String,
    },
    /// Take a draining node back into service.
    Uncordon {
        /// Node.
        node: String,
        /// Its UID.
        uid: String,
    },
    /// Evict a pod through the Eviction API.
    Evict {
        /// The pod.
        pod: PodRef,
        /// Node that it is on.
        node: String,
    },
    /// Terminate instances.
    Terminate {
        /// Instance IDs.
        instances: Vec<String>,
        /// `NeverJoined` also becomes a shortfall in the pool's status.
        reason: Reason,
    },
    /// Create or replace the WorkloadPlacement: before the first write, and whenever the intent changes.
    Record {
        /// The whole intent.
        spec: Box<WorkloadPlacementSpec>,
    },
    /// Apply the overlay PodTemplate.
    WriteOverlay {
        /// Its content.
        overlay: Overlay,
    },
    /// Write the floor: JSON Patch `test` + `replace`, by `/scale` for replicas.
    WriteFloor {
        /// Which field.
        field: FloorField,
        /// Value expected there.
        from: i32,
        /// Value to write.
        to: i32,
        /// Field manager to write as; `None`: our own.
        manager: Option<String>,
    },
    /// Note in the placement's status that somebody else lowered the floor's field, before it is written again.
    NoteContest {
        /// The foreign manager.
        manager: String,
        /// The foreign value.
        value: i32,
    },
    /// Delete an unbound pod whose stamp is not the current one, so that it comes back with it.
    ReplacePod {
        /// The pod.
        pod: PodRef,
    },
    /// Delete the overlay PodTemplate.
    RemoveOverlay,
    /// Delete the WorkloadPlacement: everything is restored.
    RemoveRecord,
}

/// The steps that are due now, for a plan of this very snapshot. Equal inputs give equal steps; once they are done, the next call gives none of them again.
#[must_use]
pub fn due(plan: &Plan, seen: &Snapshot, now: Timestamp) -> Vec<Chain> {
    due_beside(plan, seen, now, &BTreeSet::new())
}

/// The same without chains that rest or are under way: what the cloud's API hands out is for the others.
#[must_use]
pub fn due_beside(plan: &Plan, seen: &Snapshot, now: Timestamp, busy: &BTreeSet<ChainKey>) -> Vec<Chain> {
    let scope = Scope::of(plan, seen, now);
    let sales = plan.sales.iter().zip(&seen.sales);
    let sales = sales.map(|(plan, sale)| Chain { key: ChainKey::Sale(plan.id.clone()), steps: sale_steps::of(plan, sale) });
    let pools = plan.pools.iter().zip(&seen.pools);
    let pools = pools.map(|(plan, pool)| Chain { key: ChainKey::Pool(plan.name.clone()), steps: pool_steps::of(&scope, plan, pool) });
    let works = plan.workloads.iter().zip(&seen.workloads);
    let works = works.map(|(plan, work)| Chain { key: ChainKey::Workload(plan.id.clone()), steps: workload_steps::of(&scope, plan, work) });
    let mut chains = sales.chain(pools).chain(works).filter(|chain| !chain.steps.is_empty() && !busy.contains(&chain.key)).collect();
    launch_rate::keep(&mut chains, seen, now);
    chains
}

/// What decides about all chains alike.
struct Scope<'a> {
    seen: &'a Snapshot,
    now: Timestamp,
    /// UIDs of the sales that carry our finalizer: nothing is touched for others.
    protected: HashSet<&'a str>,
    /// Pools of a sale that raises floors and does not carry it yet: nothing is rented there.
    withheld: HashSet<&'a str>,
}

impl<'a> Scope<'a> {
    fn of(plan: &'a Plan, seen: &'a Snapshot, now: Timestamp) -> Self {
        let sales = || plan.sales.iter().zip(&seen.sales);
        let bare = sales().filter(|(plan, sale)| plan.phase.holds() && !sale.protected && !sale.deleting);
        Self {
            seen,
            now,
            protected: seen.sales.iter().filter(|s| s.protected).map(|s| s.uid.as_str()).collect(),
            withheld: bare.flat_map(|(plan, _)| plan.pools.iter().map(String::as_str)).collect(),
        }
    }
}

mod pool_steps;
mod sale_steps;
mod workload_steps;
