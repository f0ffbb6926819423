//! The plan: what must hold now, what will hold at the peak, and why nothing more can be done.

use std::collections::BTreeMap;

use jiff::Timestamp;
use onsale_api::{
    Phase, Reason,
    onsale::{Cost, Entered},
    placement::{Claim, Distance, FloorField},
};
use serde::Serialize;

use crate::{
    overlay::Overlay,
    resources::Resources,
    shared::Shared,
    snapshot::{SaleId, Snapshot, WorkloadId},
};

/// One plan for the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// Every sale, in the snapshot's order.
    pub sales: Vec<SalePlan>,
    /// Every workload of the snapshot, in its order.
    pub workloads: Vec<WorkloadPlan>,
    /// Every pool, in the snapshot's order.
    pub pools: Vec<PoolPlan>,
    /// What each sale that waits for its start would get, in the snapshot's order.
    pub forecasts: Vec<Forecast>,
    /// When this plan changes by itself, if nothing else happens.
    pub next_change: Option<Timestamp>,
}

/// What a sale that waits for its start would get at its peak, together with every sale whose time it shares.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// The sale.
    pub sale: SaleId,
    /// The workloads that it names, as they would be planned then.
    pub workloads: Vec<WorkloadPlan>,
    /// Rented nodes at the charge of the sale, by pool and instance type.
    pub nodes: BTreeMap<String, BTreeMap<String, i32>>,
}

/// What cannot be had, why, and when that may change by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Why.
    pub reason: Reason,
    /// What, and what to do.
    pub message: String,
    /// When it may change by itself.
    pub until: Option<Timestamp>,
}

/// One sale.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SalePlan {
    /// Namespace and name.
    pub id: SaleId,
    /// The phase that holds now.
    pub phase: Phase,
    /// When each phase was entered, this pass included.
    pub entered: Entered,
    /// Instants; `None` when `opensAt` names none.
    pub times: Option<Times>,
    /// When everything is Ready as far as is known; once it is, when it was.
    pub predicted_ready_at: Option<Timestamp>,
    /// Everything that the sale needs is Ready now.
    pub all_ready: bool,
    /// Why the sale cannot run at all.
    pub invalid: Option<Waiting>,
    /// What is missing or in the way.
    pub waiting_for: Vec<Waiting>,
    /// Replicas that find no place.
    pub unplaced: i32,
    /// It opens too late to look yet at whether everything can be had: when that begins. Then nothing is predicted, and nothing is missing.
    pub looked_at_from: Option<Timestamp>,
    /// Cost of the rented nodes.
    pub cost: Cost,
    /// Pools that the sale may use; once it is active also those that it was promised at its start.
    pub pools: Shared<Vec<String>>,
    /// The sale was first seen after its computed start.
    pub late_start: bool,
    /// The way back rests: an unknown state, or an HPA that still wants more.
    pub frozen: Option<Waiting>,
    /// What happens next, and when.
    pub next: Option<(Timestamp, String)>,
}

/// Instants of a sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Times {
    /// T0.
    pub opens_at: Timestamp,
    /// When everything must be Ready.
    pub ready_by: Timestamp,
    /// When preparing starts.
    pub starts_at: Timestamp,
    /// When the floors begin to fall.
    pub ends_at: Timestamp,
}

/// What is being done to a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// No sale is on, and nothing of one is left.
    Idle,
    /// Floors rise, rank by rank.
    Preparing,
    /// The floor is held; every permitted pool is open, nearest first.
    Holding,
    /// Floors fall.
    Returning,
    /// No claim is left: restore the field, then remove overlay and record.
    Restoring,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkloadPlan {
    /// Namespace, kind and name.
    pub id: WorkloadId,
    /// What is being done to it.
    pub stage: Stage,
    /// The field that holds the floor.
    pub field: FloorField,
    /// Value of the field when no sale is on.
    pub baseline: i32,
    /// Manager in whose name it is put back.
    pub baseline_manager: Option<String>,
    /// What each sale adds.
    pub claims: Vec<Claim>,
    /// Distances, frozen while a window is open.
    pub distances: Shared<Vec<Distance>>,
    /// Floor at the peak.
    pub peak: i32,
    /// Floor that is due now.
    pub floor: i32,
    /// Replicas by pool at the peak, those that run included.
    pub by_pool: Shared<BTreeMap<String, i32>>,
    /// Replicas that find no place.
    pub unplaced: i32,
    /// Replicas beyond those for which room is kept, so that an HPA finds it above the floor.
    pub headroom: i32,
    /// Ranks released, see `WorkloadPlacementSpec::released`.
    pub released: i32,
    /// Pools that new pods may go to now, nearest first.
    pub permitted: Vec<String>,
    /// Overlay that is due now; `None`: none.
    pub overlay: Option<Overlay>,
    /// Its revision.
    pub revision: i64,
    /// Floor that the first batch under this revision may reach.
    pub trial: i32,
    /// Ready pods.
    pub ready: i32,
    /// Pods bound, by pool; pods on nodes of no pool under the empty name.
    pub bound: Shared<BTreeMap<String, i32>>,
    /// Ready pods, by pool.
    pub ready_by_pool: Shared<BTreeMap<String, i32>>,
    /// Pods that are where they should not be: outside the permitted pools, or far while there is room nearer.
    pub misplaced: i32,
    /// A foreign value of the floor's field, and what is done about it.
    pub foreign: Option<Foreign>,
    /// What is wrong with the wish, and why replicas find no place.
    pub problems: Vec<Waiting>,
}

/// Somebody else wrote the floor's field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Foreign {
    /// The value found.
    pub value: i32,
    /// The manager's name.
    pub manager: String,
    /// It is above the floor, and respected until the sale ends; otherwise the floor is written again.
    pub raise: bool,
    /// When the floor may be written again.
    pub again_at: Timestamp,
}

/// One pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PoolPlan {
    /// Name.
    pub name: String,
    /// Rented nodes that shall serve now, by instance type; those that were lost or that somebody else cordoned come on top.
    pub wanted: BTreeMap<String, i32>,
    /// Rented nodes at the peak of everything that is planned, scheduled sales included.
    pub planned: i32,
    /// Instances that are no Ready node yet.
    pub launching: i32,
    /// Nodes that are Ready and take pods.
    pub ready: i32,
    /// Nodes on their way out.
    pub draining: i32,
    /// Nodes that are no longer needed; those in the list may be drained although pods run there.
    pub surplus: Vec<Surplus>,
    /// Instances that run and never became nodes in time.
    pub never_joined: Vec<String>,
    /// The packing behind the numbers: what each node shall hold at the peak of the sales that are active.
    pub fills: Vec<Fill>,
    /// What the pool cannot give.
    pub waiting_for: Vec<Waiting>,
    /// No active sale may use the pool.
    pub idle: bool,
    /// No sale that raises floors may use the pool: what it has goes.
    pub released: bool,
}

/// A node that is no longer needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Surplus {
    /// Node, or empty for an instance that is no node yet.
    pub node: String,
    /// Its instance.
    pub instance: String,
    /// Pods there may be evicted: the floors are down, and what remains finds room nearer.
    pub drain: bool,
}

/// What one node holds at the peak.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fill {
    /// Name of the node; `new-<pool>-<type>-<n>` for one that is to be launched or has not joined yet.
    pub node: String,
    /// Instance type of rented nodes.
    pub instance_type: Option<String>,
    /// What is free for the sale's workloads on it, before any of them.
    pub room: Resources,
    /// Replicas by workload (its index in [`Plan::workloads`]).
    pub replicas: BTreeMap<usize, i32>,
    /// Headroom that is kept there beside them, in replicas by workload.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headroom: BTreeMap<usize, i32>,
}

/// The plan for a snapshot at an instant. Total: an impossible wish becomes a [`Waiting`], never an error.
#[must_use]
pub fn plan(seen: &Snapshot, now: Timestamp) -> Plan {
    whole::plan(seen, now)
}

mod whole;
