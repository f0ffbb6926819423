//! What is told: plain data, the same for people, pipelines and pictures.
//!
//! - this file: the data; [`build`]: from plan and rehearsal to it; [`verdict`]: go or no-go, and what is worth knowing
//! - [`timeline`]: what happens when; [`merge`]: its steps as lines; [`clock`]: instants as people read them
//! - [`missing`]: what cannot be had and why; [`money`]: what it costs; [`changes`], [`placement`]: what would have to change, tried before it is said

pub mod build;
pub mod changes;
pub mod clock;
pub mod merge;
pub mod missing;
mod money;
mod placement;
pub mod timeline;
mod verdict;

use std::fmt;

use jiff::Timestamp;
use onsale_api::{GoDuration, Money, Phase, Reason, pool::Tier};
use serde::Serialize;

use crate::rehearsal::Sample;

pub use build::preview;

/// Go or no-go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Verdict {
    /// Everything can be had in time.
    Go,
    /// Something cannot.
    NoGo,
}

/// All that is told.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// The instant that it is told for.
    pub at: Timestamp,
    /// No-go if any sale is.
    pub verdict: Verdict,
    /// Where facts besides the files come from, with the age of what the operator recorded; unset: files alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The sales of the files.
    pub sales: Vec<SalePreview>,
    /// What had to be assumed, in sentences.
    pub assumptions: Vec<String>,
}

/// One sale.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SalePreview {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Go or no-go, as the condition `Feasible` would say.
    pub verdict: Verdict,
    /// The verdict in a sentence.
    pub summary: String,
    /// Phase at that instant.
    pub phase: Phase,
    /// Time zone in which the times are told to people: an IANA name or an offset.
    pub time_zone: String,
    /// Its instants; unset for a sale of which nothing will be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<Times>,
    /// What happens when.
    pub timeline: Vec<Moment>,
    /// Where each workload's replicas are.
    pub workloads: Vec<WorkloadPreview>,
    /// What each pool gives.
    pub pools: Vec<PoolPreview>,
    /// What it costs.
    pub cost: CostPreview,
    /// What cannot be had.
    pub missing: Vec<Missing>,
    /// What would have to change, each of them tried: with it the sale is a go.
    pub changes: Vec<String>,
    /// Worth knowing, and no reason against the sale.
    pub remarks: Vec<String>,
    /// For the picture.
    #[serde(skip)]
    pub samples: Vec<(Timestamp, Sample)>,
}

/// Instants of a sale.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// Start of preparing.
    pub starts_at: Timestamp,
    /// When everything is Ready if each node takes its pool's p95; unset where it is not rehearsed or never is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_ready_at: Option<Timestamp>,
    /// By when everything is Ready in 99 nights of 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_at_latest: Option<Timestamp>,
    /// When everything must be Ready.
    pub ready_by: Timestamp,
    /// T0.
    pub opens_at: Timestamp,
    /// Start of the way back.
    pub ends_at: Timestamp,
    /// When everything is back; unset where it is not rehearsed, or never is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_at: Option<Timestamp>,
    /// After which nothing more happens although the sale is not back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stays_from: Option<Timestamp>,
}

/// What kind of moment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// Preparing starts.
    Start,
    /// Nodes are asked for.
    Launch,
    /// Nodes are Ready.
    NodesReady,
    /// Floors rise.
    FloorsRise,
    /// Everything is Ready, as expected.
    Ready,
    /// Everything is Ready in 99 nights of 100.
    ReadyAtLatest,
    /// Everything must be Ready.
    ReadyBy,
    /// T0.
    Opens,
    /// The way back starts.
    ReturnStarts,
    /// Floors fall.
    FloorsFall,
    /// Nodes are given back.
    NodesReturned,
    /// Everything is back.
    Back,
    /// Nothing more happens, and not everything is back.
    Stays,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What kind of moment it is.
    pub kind: Kind,
    /// What happens.
    pub text: String,
    /// What moves, for kinds that come step by step: the text says these.
    #[serde(skip)]
    pub parts: Vec<Part>,
    /// How often sales that have to do with this one have set out or turned back before: steps between which none has are one movement.
    #[serde(skip)]
    pub chapter: usize,
}

/// Something that moves step by step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The floor of a workload.
    Floor {
        /// Whose.
        workload: String,
        /// From.
        from: i32,
        /// To.
        to: i32,
    },
    /// Nodes of a pool.
    Nodes {
        /// Which pool.
        pool: String,
        /// How many.
        count: i32,
    },
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Floor { workload, from, to } => write!(f, "{workload} {from} -> {to}"),
            Self::Nodes { pool, count } => write!(f, "{count} in {pool}"),
        }
    }
}

/// One workload.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadPreview {
    /// Kind.
    pub kind: onsale_api::onsale::TargetKind,
    /// Name.
    pub name: String,
    /// Floor when no sale is on.
    pub baseline: i32,
    /// Floor at the peak.
    pub peak: i32,
    /// Replicas that find a place at the peak.
    pub placed: i32,
    /// Mean latency of one request over the replicas that run now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_now: Option<GoDuration>,
    /// The same at the peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_at_peak: Option<GoDuration>,
    /// The same if every replica were in the nearest pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_latency: Option<GoDuration>,
    /// By pool, nearest first; pools with none now and none at the peak are left out.
    pub pools: Vec<Share>,
}

/// Replicas of a workload in one pool.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// Pool; empty: nodes of no pool.
    pub pool: String,
    /// Replicas that run there now.
    pub now: i32,
    /// Replicas there at the peak.
    pub at_peak: i32,
    /// Latency of one request there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<GoDuration>,
}

/// What one pool gives.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolPreview {
    /// Name.
    pub name: String,
    /// Tier.
    pub tier: Tier,
    /// Nodes that are there; unset: unknown, taken as full with what runs today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub existing_nodes: Option<i32>,
    /// Rented nodes for the sale, by instance type.
    pub rented: Vec<Rented>,
    /// Most that may be rented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_nodes: Option<i32>,
    /// When they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// Price per hour.
    pub hourly: Money,
    /// What the operator recorded that the cloud could not give.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recorded: Vec<String>,
}

/// Rented nodes of one type.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rented {
    /// Instance type.
    pub instance_type: String,
    /// How many.
    pub count: i32,
}

/// What a sale costs, in the currency of the pools' prices.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CostPreview {
    /// Per hour at the peak.
    pub hourly: Money,
    /// For the whole window.
    pub window: Money,
    /// Sales beside which that is rehearsed, because more nodes are charged to it than were planned for it as it starts; none: as planned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<String>,
    /// The sale's `budget.maxHourlyCost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_hourly: Option<Money>,
    /// The sale's `budget.maxTotalCost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_total: Option<Money>,
    /// Rented nodes at the peak.
    pub nodes: i32,
    /// The sale's `budget.maxNodes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_nodes: Option<i32>,
}

/// What cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// Workload; unset: the sale as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Replicas without a place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Why.
    pub reason: Reason,
    /// What, and what to do.
    pub message: String,
    /// When it may change by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}
