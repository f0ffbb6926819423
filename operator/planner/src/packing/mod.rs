//! Which replica goes where, and which nodes that takes.
//!
//! - this file: the pass over workloads and ranks; [`bins`]: nodes as bins, existing and new; [`bounds`]: what forbids a new node
//!
//! A heuristic: workloads by how much latency one of their replicas loses per unit of room when it moves from its nearest to its farthest pool, then rank by
//! rank, pools of a rank evenly, first fit within a pool. It is exact for equal pods and leaves no replica that a single move would bring nearer; for mixed
//! pods it may open more nodes than an optimal packing would.

pub mod bins;
pub mod bounds;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use onsale_api::{Reason, onsale::Budget, placement::Distance};

use crate::{
    plan::Waiting,
    resources::Resources,
    snapshot::{Requirement, Snapshot, WorkloadId},
};
pub use bins::{Bin, BinState, Bins};
use bounds::Bounds;

/// Stands for the sale of a workload that no active sale names: nobody is charged.
pub const NO_SALE: usize = usize::MAX;

/// What one workload wants of the packing.
#[derive(Clone, Debug)]
pub struct Work {
    /// Index in [`Snapshot::workloads`].
    pub index: usize,
    /// Whose.
    pub id: WorkloadId,
    /// Index of the sale in [`Snapshot::sales`] whose budget pays for new nodes, or [`NO_SALE`].
    pub sale: usize,
    /// What one pod asks for.
    pub requests: Resources,
    /// Pools that may hold it, nearest first.
    pub distances: Vec<Distance>,
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
}

/// The outcome.
#[derive(Clone, Debug, Default)]
pub struct Packing {
    /// Every node with what it holds.
    pub bins: Vec<Bin>,
    /// Per workload, by its index in the snapshot.
    pub works: BTreeMap<usize, Packed>,
}

/// The outcome for one workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packed {
    /// Replicas by pool, those that run included.
    pub by_pool: BTreeMap<String, i32>,
    /// Replicas that do not run yet, by pool.
    pub fresh: BTreeMap<String, i32>,
    /// Those of `fresh` whose node is Ready.
    pub fresh_on_ready: BTreeMap<String, i32>,
    /// Replicas without a place.
    pub unplaced: i32,
    /// Why.
    pub waiting_for: Vec<Waiting>,
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

/// Packs `works`. `budgets` are those of [`Snapshot::sales`]; `retry` lets pools that were short try again once their pause is over.
#[must_use]
pub fn pack(seen: &Snapshot, works: &[Work], keep: Keep, now: Timestamp) -> Packing {
    let first = attempt(seen, works, keep, now, false);
    let short = first.works.values().any(|w| w.unplaced > 0) && seen.pools.iter().any(|p| !p.status.shortfalls.is_empty());
    if short { attempt(seen, works, keep, now, true) } else { first }
}

fn attempt(seen: &Snapshot, works: &[Work], keep: Keep, now: Timestamp, retry: bool) -> Packing {
    let mut pass = Pass { keep, bins: Bins::of(seen, works, keep, now), bounds: Bounds { seen, now, retry }, works: BTreeMap::new() };
    let mut order: Vec<&Work> = works.iter().collect();
    order.sort_by_key(|w| (std::cmp::Reverse(sensitivity(w)), w.id.clone()));
    for work in &order {
        let packed = pass.place_all(work);
        pass.works.insert(work.index, packed);
    }
    for work in &order {
        pass.reserve(work);
    }
    Packing { bins: pass.bins.all, works: pass.works }
}

/// Microseconds lost per unit of room when a replica moves from its nearest to its farthest pool.
fn sensitivity(work: &Work) -> i64 {
    let (near, far) = (work.distances.first(), work.distances.last());
    let lost = far.map_or(0, |d| d.latency.micros()) - near.map_or(0, |d| d.latency.micros());
    lost.saturating_mul(1_000) / work.requests.size().max(1)
}

struct Pass<'a> {
    keep: Keep,
    bins: Bins,
    bounds: Bounds<'a>,
    works: BTreeMap<usize, Packed>,
}

impl Pass<'_> {
    fn place_all(&mut self, work: &Work) -> Packed {
        let mut packed = Packed { by_pool: self.bins.running(work.index), ..Packed::default() };
        let running: i32 = packed.by_pool.values().sum();
        let mut missing = (work.target - running).max(0);
        let mut blocked = BTreeMap::new();
        while missing > 0 {
            let Some(bin) = self.next_place(work, &packed.by_pool, missing, &mut blocked) else { break };
            let bin = &mut self.bins.all[bin];
            bin.put(work);
            *packed.by_pool.entry(bin.pool.clone()).or_default() += 1;
            *packed.fresh.entry(bin.pool.clone()).or_default() += 1;
            if bin.state == BinState::Ready {
                *packed.fresh_on_ready.entry(bin.pool.clone()).or_default() += 1;
            }
            missing -= 1;
        }
        packed.unplaced = missing;
        if missing > 0 {
            packed.waiting_for = blocked.into_iter().map(|((reason, _), w)| Waiting { reason, ..w }).collect();
        }
        packed
    }

    /// Plans the headroom as if it were replicas, without counting it as such; what finds no room is no shortfall.
    fn reserve(&mut self, work: &Work) {
        let mut counts = self.works.get(&work.index).map(|p| p.by_pool.clone()).unwrap_or_default();
        for left in (1..=work.reserve).rev() {
            let Some(bin) = self.next_place(work, &counts, left, &mut BTreeMap::new()) else { return };
            let bin = &mut self.bins.all[bin];
            bin.reserve(work);
            *counts.entry(bin.pool.clone()).or_default() += 1;
        }
    }

    /// The bin for one more replica: nearest rank first, within the rank the pool that holds fewest.
    fn next_place(
        &mut self,
        work: &Work,
        counts: &BTreeMap<String, i32>,
        missing: i32,
        blocked: &mut BTreeMap<(Reason, String), Waiting>,
    ) -> Option<usize> {
        let mut candidates: Vec<&Distance> = work.distances.iter().filter(|d| d.rank >= work.closed).collect();
        candidates.sort_by_key(|d| (d.rank, counts.get(&d.pool).copied().unwrap_or_default()));
        let peers = |rank| i32::try_from(candidates.iter().filter(|d| d.rank == rank).count()).unwrap_or(1).max(1);
        for distance in &candidates {
            let share = (missing + peers(distance.rank) - 1) / peers(distance.rank);
            match self.place_in(work, &distance.pool, counts, share) {
                Ok(bin) => return Some(bin),
                Err(waiting) => {
                    blocked.insert((waiting.reason, distance.pool.clone()), waiting);
                }
            }
        }
        None
    }

    /// A bin of the pool with room for one replica, opened if need be, or why there is none.
    fn place_in(&mut self, work: &Work, pool: &str, counts: &BTreeMap<String, i32>, share: i32) -> Result<usize, Waiting> {
        self.bounds.may_hold(work, pool, counts)?;
        if let Some(bin) = self.bins.with_room(pool, work, self.keep) {
            return Ok(bin);
        }
        let bin = self.bounds.new_node(work, pool, &self.bins, share)?;
        Ok(self.bins.add(bin))
    }
}

/// What the sale may spend, or nothing said.
fn budget(seen: &Snapshot, sale: usize) -> Budget {
    seen.sales.get(sale).and_then(|s| s.spec.budget.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
