//! What came of a rehearsal: events, numbers, and what is wrong with it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use onsale_api::{Money, Phase};
use onsale_planner::{
    plan::{SalePlan, Waiting, WorkloadPlan},
    snapshot::{SaleId, WorkloadId},
};

/// Something that people see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A sale enters a phase.
    Phase(SaleId, Phase),
    /// Nodes are asked for.
    Launched {
        /// Pool.
        pool: String,
        /// Instance type.
        instance_type: String,
        /// How many.
        count: i32,
    },
    /// Nodes are Ready.
    Joined {
        /// Pool.
        pool: String,
        /// How many.
        count: i32,
    },
    /// A floor changes.
    Floor {
        /// Whose.
        workload: WorkloadId,
        /// From.
        from: i32,
        /// To.
        to: i32,
    },
    /// Nodes are given back.
    Terminated {
        /// Pool.
        pool: String,
        /// How many.
        count: i32,
    },
}

/// An event with its instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// How many there are at an instant, until the next sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Nodes Ready, by pool.
    pub nodes: BTreeMap<String, i32>,
    /// Nodes on their way, by pool.
    pub launching: BTreeMap<String, i32>,
    /// Floors.
    pub floors: BTreeMap<WorkloadId, i32>,
    /// Ready replicas.
    pub ready: BTreeMap<WorkloadId, i32>,
}

/// The night.
#[derive(Clone, Debug, Default)]
pub struct Night {
    /// What happens, in order.
    pub events: Vec<Event>,
    /// How many there are, where that changes.
    pub samples: Vec<(Timestamp, Sample)>,
    /// When most replicas were without a place at once, by sale that met it while it was on.
    pub unplaced: BTreeMap<SaleId, Shortage>,
    /// What each sale that starts pays for rented nodes.
    pub spent: BTreeMap<SaleId, Spending>,
    /// Sales that never come back: when nothing more happens, they are not over.
    pub stays: BTreeMap<SaleId, Stay>,
    /// Why it ends early, if it does.
    pub cut: Option<Cut>,
}

/// Replicas that find no place while a sale is on.
#[derive(Clone, Debug)]
pub struct Shortage {
    /// When.
    pub at: Timestamp,
    /// What the plan of that instant says of the sale.
    pub told: SalePlan,
    /// And of all workloads.
    pub workloads: Vec<WorkloadPlan>,
    /// Other sales that are on then and may use the same pools.
    pub others: Vec<SaleId>,
}

/// What a sale pays for rented nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    /// In all.
    pub amount: Money,
    /// Most per hour.
    pub hourly: Money,
}

/// What stays of a sale for ever.
#[derive(Clone, Debug)]
pub struct Stay {
    /// Nothing more happens after that.
    pub since: Timestamp,
    /// Rented nodes, by pool.
    pub nodes: BTreeMap<String, usize>,
    /// Replicas on rented nodes.
    pub replicas: BTreeMap<WorkloadId, usize>,
    /// Why the way back rests, where the plan says so.
    pub frozen: Option<Waiting>,
}

/// Why a rehearsal ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It would take too long.
    TooLarge,
    /// Steps follow steps without end at this instant.
    Restless(Timestamp),
}
