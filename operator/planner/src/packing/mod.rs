//! Which replica goes where, and which nodes that takes.
//!
//! - this file: the wish and the outcome; [`packer`]: the pass over workloads and ranks; [`next`]: where the next replica goes; [`bins`]: nodes as bins, and what is in them; [`nodes`]: what nodes offer; [`bounds`]: what forbids a
//!   new node; [`shared`]: what pools share: addresses of subnets, the account's quotas; [`exchange`]: who gets the near places that several want, by way of [`flow`]; [`types`]: which types of nodes; [`rooms`]: what is left, by pool
//!
//! First workloads by how much latency one of their replicas loses per unit of room when it moves from its nearest to its farthest pool, then rank by rank,
//! pools of a rank evenly, first fit within a pool. Where that leaves somebody farther than a place that somebody else takes, the places are exchanged: exact
//! for equal pods, as far as budgets and what a namespace may have do not interfere; a heuristic for mixed ones, which may also open more nodes than an
//! optimal packing would.

pub mod bins;
pub mod bounds;
mod exchange;
mod flow;
mod next;
pub mod nodes;
pub mod packer;
pub mod rooms;
mod shared;
mod types;

use std::collections::{BTreeMap, BTreeSet};

use onsale_api::{Money, onsale::Budget, placement::Distance};

use crate::{
    index::Indexed,
    plan::Waiting,
    resources::Resources,
    shared::Shared,
    snapshot::{Requirement, Snapshot, WorkloadId},
};
pub use bins::{Bin, BinState, Bins, Taken};
pub use packer::Packer;
pub use rooms::Rooms;

/// A sale that pays for new nodes of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payer {
    /// Index of the sale in [`Snapshot::sales`].
    pub sale: usize,
    /// Replicas that it and those before it want: what is beyond is for the next one to pay.
    pub up_to: i32,
    /// It raises floors: one that is on its way back pays for what is there, and for nothing new.
    pub opens: bool,
    /// The most per hour that what is left of its `budget.maxTotalCost` pays for until everything is back; `None`: no bound.
    pub most_hourly: Option<Money>,
}

/// What one workload wants of the packing.
#[derive(Clone, Debug)]
pub struct Work {
    /// Index in [`Snapshot::workloads`].
    pub index: usize,
    /// Whose.
    pub id: WorkloadId,
    /// Sales whose budgets pay for new nodes, in the order of their openings; none where no active sale names it.
    pub payers: Vec<Payer>,
    /// What one pod asks for.
    pub requests: Resources,
    /// Pools that may hold it, nearest first.
    pub distances: Shared<Vec<Distance>>,
    /// Pools that take nothing new and where replicas run: the nodes below them are at the sale's charge still.
    pub outside: BTreeSet<String>,
    /// Ranks below this one take no further replicas: they were filled and left behind.
    pub closed: i32,
    /// Pools that have proved to take no further replicas.
    pub stuck: BTreeSet<String>,
    /// Replicas that need a place, those that run included.
    pub target: i32,
    /// Replicas of headroom, planned after everybody's targets.
    pub reserve: i32,
    /// Most replicas in one pool.
    pub max_per_pool: Option<i32>,
    /// The pods' own hard spread over zones.
    pub zone_skew: Option<i32>,
    /// The pods' own required node labels.
    pub node_terms: Vec<Vec<Requirement>>,
    /// Pods that are being deleted are gone before an instance could serve: their room counts as free.
    pub leaves_soon: bool,
    /// A sale raises its floor: new nodes may be opened for it.
    pub opens: bool,
}

impl Work {
    /// Who pays for a node of one more replica beside so many: who wants it, and after that one those that open later. The last pays for all that is beyond.
    pub fn payers_beside(&self, placed: i32) -> impl Iterator<Item = &Payer> {
        let wants = |payer: &Payer| placed < payer.up_to;
        let from = self.payers.iter().position(wants).unwrap_or(self.payers.len().saturating_sub(1));
        self.payers.iter().skip(from)
    }

    /// The same for a node that is new: of those that raise floors, or the last of these where only a sale on its way back still wants the replica.
    #[must_use]
    pub fn new_paid_by(&self, placed: i32) -> Vec<&Payer> {
        let beside: Vec<&Payer> = self.payers_beside(placed).filter(|payer| payer.opens).collect();
        if beside.is_empty() { self.payers.iter().rfind(|payer| payer.opens).into_iter().collect() } else { beside }
    }

    /// Whether the sale is one of those that pay.
    #[must_use]
    pub fn is_paid_by(&self, sale: usize) -> bool {
        self.payers.iter().any(|payer| payer.sale == sale)
    }

    /// Whether replicas that do not run yet may go to a node in this state. What no sale raises gets no node that has yet to come, and none that is on its
    /// way out: at home only, where what still runs on one may have no better place.
    #[must_use]
    pub fn may_use(&self, state: BinState, keep: Keep) -> bool {
        self.opens || state == BinState::Ready || (state == BinState::Draining && keep == Keep::Existing)
    }
}

/// How much of today's placement stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Every bound pod stays where it is: before and during a sale nobody is moved.
    Bound,
    /// Pods on rented nodes may go anywhere: what would be needed if everything came home.
    Existing,
    /// There are no rented nodes: what is there while no sale is on.
    Home,
}

/// The outcome.
#[derive(Clone, Debug)]
pub struct Packing<'a> {
    /// The nodes with what they hold, to go on from.
    pub packer: Packer<'a>,
    /// Per workload, by its index in the snapshot.
    pub works: BTreeMap<usize, Packed>,
}

impl Packing<'_> {
    /// Every node with what it holds.
    #[must_use]
    pub fn bins(&self) -> &[Bin] {
        &self.packer.bins.all
    }
}

/// The outcome for one workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packed {
    /// Replicas by pool, those that run included.
    pub by_pool: Shared<BTreeMap<String, i32>>,
    /// Replicas that do not run yet, by pool.
    pub fresh: BTreeMap<String, i32>,
    /// Those of `fresh` whose node is Ready.
    pub fresh_on_ready: BTreeMap<String, i32>,
    /// Replicas without a place.
    pub unplaced: i32,
    /// Why.
    pub waiting_for: Vec<Waiting>,
    /// Replicas of headroom that have room.
    pub headroom: i32,
    /// Why the rest of them has none.
    pub no_headroom: Option<Waiting>,
}

impl Packed {
    /// Replicas that do not run yet in a pool.
    #[must_use]
    pub fn fresh_in(&self, pool: &str) -> i32 {
        self.fresh.get(pool).copied().unwrap_or_default()
    }

    /// Those of them whose node is Ready.
    #[must_use]
    pub fn ready_in(&self, pool: &str) -> i32 {
        self.fresh_on_ready.get(pool).copied().unwrap_or_default()
    }
}

/// Packs `works`. Pools that were short try again, once their pause is over, only where not everything finds a place without them.
#[must_use]
pub fn pack<'a>(seen: &'a Indexed<'a>, works: &[Work], keep: Keep) -> Packing<'a> {
    let first = attempt(seen, works, keep, false);
    let short = first.works.values().any(|w| w.unplaced > 0) && seen.pools.iter().any(|p| !p.status.shortfalls.is_empty());
    if short { attempt(seen, works, keep, true) } else { first }
}

fn attempt<'a>(seen: &'a Indexed<'a>, works: &[Work], keep: Keep, retry: bool) -> Packing<'a> {
    let mut packer = Packer::new(seen, works, keep, retry);
    let works = packer.place(works);
    Packing { packer, works }
}

/// Adds to what is counted for a pool, whose name is copied only where it is new.
fn add(counts: &mut BTreeMap<String, i32>, pool: &str, n: i32) {
    match counts.get_mut(pool) {
        Some(count) => *count += n,
        None => drop(counts.insert(pool.to_owned(), n)),
    }
}

/// What the sale may spend, or nothing said.
fn budget(seen: &Snapshot, sale: usize) -> Budget {
    seen.sales.get(sale).and_then(|s| s.spec.budget.clone()).unwrap_or_default()
}

#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod tests;
