//! The pass over workloads and ranks.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    iter,
};

use onsale_api::Reason;

use super::{
    Bin, BinState, Bins, Keep, Packed, Taken, Work, add,
    bins::Held,
    bounds::{Bounds, Refusal},
    exchange,
};
use crate::{index::Indexed, plan::Waiting, resources::Resources};

/// How often room that was given up is offered again, nearest first.
const MOST_PASSES: usize = 20;

/// Bins, and what has been put into them so far.
#[derive(Clone, Debug)]
pub struct Packer<'a> {
    /// The nodes.
    pub bins: Bins,
    /// Everything that was taken beyond what runs, in order.
    pub taken: Vec<Taken>,
    pub(super) keep: Keep,
    pub(super) bounds: Bounds<'a>,
}

/// The outcome by workload.
pub type Placed = BTreeMap<usize, Packed>;

/// Most replicas of a workload by pool, running ones included.
pub(super) type Most = BTreeMap<String, i32>;

/// The same of every workload.
pub(super) type Guide = BTreeMap<usize, Most>;

/// A point in the packing.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    taken: usize,
    /// Bins from this one on are new since.
    pub(super) bins: usize,
}

/// What was packed: into which bins, how they are then, and what the workloads hold.
pub(super) struct Contents {
    bins: Vec<(usize, Bin)>,
    held: Vec<(usize, Held)>,
    taken: Vec<Taken>,
}

/// Why pools took no more of a workload, by reason and pool.
pub(super) type Blocked<'w> = BTreeMap<(Reason, &'w str), Refusal>;

impl<'a> Packer<'a> {
    /// The bins of the snapshot with what runs in them; of `works` nothing else is placed yet.
    #[must_use]
    pub fn new(seen: &'a Indexed<'a>, works: &[Work], keep: Keep, retry: bool) -> Self {
        let bounds = Bounds { seen, retry, roomy: false };
        Self { bins: Bins::of(&bounds, works, keep), taken: Vec::new(), keep, bounds }
    }

    /// Places workloads beside what is there: first everybody's targets, then everybody's headroom.
    pub fn place(&mut self, works: &[Work]) -> Placed {
        self.bins.expect(self.bounds.seen, works);
        let mut order: Vec<&Work> = works.iter().collect();
        order.sort_by_cached_key(|w| (Reverse(sensitivity(w)), &w.id));
        let begun = self.mark();
        let mut placed = self.pack(&order, begun);
        if self.could_be_roomier(&order, begun) {
            placed = self.roomier(&order, begun, &placed);
        }
        for work in order {
            let (headroom, refused) = self.reserve(work);
            if let Some(packed) = placed.get_mut(&work.index) {
                (packed.headroom, packed.no_headroom) = (headroom, refused);
            }
        }
        placed
    }

    /// Everybody's targets, and then the places that several want are exchanged.
    pub(super) fn pack(&mut self, order: &[&Work], begun: Mark) -> Placed {
        let placed = self.fill(order, begun, None);
        let placed = exchange::better(self, order, begun, placed);
        self.shrink(begun);
        placed
    }

    /// What can be gone back to.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark { taken: self.taken.len(), bins: self.bins.all.len() }
    }

    /// Everybody's targets, in this order: under a guide first what it says, the largest pods first, and then the rest.
    pub(super) fn fill(&mut self, order: &[&Work], begun: Mark, guide: Option<&Guide>) -> Placed {
        let mut placed: Placed = order.iter().map(|work| (work.index, Packed::default())).collect();
        if let Some(guide) = guide {
            let mut largest_first = order.to_vec();
            largest_first.sort_by_cached_key(|work| Reverse(work.requests.size()));
            for work in largest_first {
                let missing = (work.target - self.bins.placed(work.index)).max(0);
                self.put(work, missing, guide.get(&work.index).or(Some(&Most::new())), &mut Blocked::new());
            }
        }
        self.fill_up(order, &mut placed);
        self.count(&mut placed, begun);
        placed
    }

    /// Places what has no place yet, and says why the rest has none.
    fn fill_up(&mut self, order: &[&Work], placed: &mut Placed) {
        for work in order {
            let missing = (work.target - self.bins.placed(work.index)).max(0);
            let mut blocked = Blocked::new();
            let unplaced = self.put(work, missing, None, &mut blocked);
            if let Some(packed) = placed.get_mut(&work.index) {
                packed.unplaced = unplaced;
                let mut why: Vec<((Reason, &str), Refusal)> = blocked.into_iter().filter(|_| unplaced > 0).collect();
                // That existing nodes are full is why others are rented: what stands in the way of those comes first.
                why.sort_by_key(|((_, pool), _)| self.is_existing(pool));
                packed.waiting_for = why.into_iter().map(|((_, pool), refusal)| refusal.say(pool)).collect();
            }
        }
    }

    /// Places so many replicas, in each pool no more than the most, if there is one; how many find no place.
    fn put<'w>(&mut self, work: &'w Work, mut missing: i32, most: Option<&Most>, blocked: &mut Blocked<'w>) -> i32 {
        let mut places = if missing > 0 { self.places(work, most) } else { return 0 };
        while missing > 0 {
            let Some((bin, n)) = self.next_place(work, &mut places, missing, blocked) else { break };
            self.take(bin, work, true, n);
            missing -= n;
        }
        missing
    }

    /// Plans so many replicas in a bin, or only keeps their room.
    fn take(&mut self, bin: usize, work: &Work, replica: bool, n: i32) {
        let first = self.bins.take(bin, work, replica, n);
        let others = (1..n).map(|_| Taken { first: false, charged: false, ..first });
        self.taken.extend(iter::once(first).chain(others));
    }

    /// Counts what was placed since.
    fn count(&self, placed: &mut Placed, begun: Mark) {
        for packed in placed.values_mut() {
            packed.fresh.clear();
            packed.fresh_on_ready.clear();
        }
        let pools = &self.bounds.seen.pools;
        for ours in self.taken[begun.taken..].chunk_by(|a, b| a.work == b.work) {
            let Some(packed) = ours.first().and_then(|taken| placed.get_mut(&taken.work)) else { continue };
            let mut counts = vec![(0, 0); pools.len()];
            for bin in ours.iter().map(|taken| &self.bins.all[taken.bin]) {
                counts[bin.place].0 += 1;
                counts[bin.place].1 += i32::from(bin.state == BinState::Ready);
            }
            for (pool, (all, ready)) in pools.iter().zip(counts).filter(|(_, (all, _))| *all > 0) {
                add(&mut packed.fresh, &pool.name, all);
                if ready > 0 {
                    add(&mut packed.fresh_on_ready, &pool.name, ready);
                }
            }
        }
        for (work, packed) in placed {
            packed.by_pool = self.bins.held(*work).cloned().unwrap_or_default();
        }
    }

    /// Everybody's targets as a guide says, and what it leaves room for.
    pub(super) fn guided(&mut self, order: &[&Work], begun: Mark, guide: &Guide) -> Placed {
        let mut placed = self.fill(order, begun, Some(guide));
        for _ in 0..MOST_PASSES {
            if !self.draw_near(order, begun) {
                break;
            }
            self.fill_up(order, &mut placed);
        }
        self.count(&mut placed, begun);
        placed
    }

    /// Moves replicas that were placed since to nearer ranks, where a guide has left room there; whether there was any.
    fn draw_near(&mut self, order: &[&Work], begun: Mark) -> bool {
        let mut moved = false;
        for work in order.iter().filter(|work| work.opens && work.zone_skew.is_none()) {
            let mut full_below = work.closed;
            for at in (begun.taken..self.taken.len()).rev().filter(|at| self.taken[*at].work == work.index).collect::<Vec<_>>() {
                let pool = &self.bins.all[self.taken[at].bin].pool;
                let rank = work.distances.iter().find(|d| d.pool == *pool).map(|d| d.rank);
                let Some(rank) = rank.filter(|rank| *rank > full_below && self.may_leave(order, at)) else { continue };
                let mut places = self.places(work, None);
                places.retain(|place| place.distance.rank < rank);
                match self.next_place(work, &mut places, 1, &mut Blocked::new()) {
                    Some((bin, _)) => self.move_to(order, at, bin),
                    None => full_below = rank,
                }
                moved |= full_below < rank;
            }
        }
        moved
    }

    /// Whoever would be charged for the node that this one leaves can pay for it: until now it was weighed against the budget of the one who opened it.
    fn may_leave(&self, order: &[&Work], at: usize) -> bool {
        let alone = || !self.taken.iter().enumerate().any(|(other, taken)| other != at && taken.bin == self.taken[at].bin);
        !self.taken[at].charged || alone() || self.heir(order, at).is_some()
    }

    /// Who takes over the charge for the node that this one leaves: another in it, of the same sale or of one that can pay. Its index, and the sale.
    fn heir(&self, order: &[&Work], at: usize) -> Option<(usize, usize)> {
        let bin = &self.bins.all[self.taken[at].bin];
        let (_, sale) = bin.owner.as_ref()?;
        let others = self.taken.iter().enumerate().filter(|(other, taken)| *other != at && taken.bin == self.taken[at].bin);
        let mut charged = others.filter_map(|(other, taken)| Some((other, order.iter().find(|work| work.index == taken.work)?)));
        let (other, heir) = charged.find(|(_, work)| !work.payers.is_empty())?;
        if heir.is_paid_by(*sale) {
            return Some((other, *sale));
        }
        Some((other, self.bounds.may_take_over(heir, bin, &self.bins).ok()?))
    }

    /// Moves a replica that was placed to another bin. The next in the bin that it leaves takes over the charge; a new node that it leaves empty is none.
    fn move_to(&mut self, order: &[&Work], at: usize, bin: usize) {
        let (old, heir) = (self.taken[at], self.heir(order, at).filter(|_| self.taken[at].charged));
        let work_of = |taken: &Taken| order.iter().find(|work| work.index == taken.work);
        let Some(work) = work_of(&old) else { return };
        self.bins.give_back(old, 1, &work.requests);
        self.taken[at] = self.bins.take(bin, work, true, 1);
        if let Some(heir) = self.taken.iter_mut().find(|t| t.bin == old.bin) {
            heir.first |= old.first;
        }
        if old.charged {
            let namespace = |taken: &Taken| work_of(taken).map(|work| work.id.namespace.clone());
            self.bins.all[old.bin].owner = heir.and_then(|(other, sale)| Some((namespace(&self.taken[other])?, sale)));
            heir.into_iter().for_each(|(other, _)| self.taken[other].charged = true);
        }
        let left = &mut self.bins.all[old.bin];
        if left.state == BinState::New && !left.used() {
            (left.room, left.free) = (Resources::default(), Resources::default());
        }
    }

    /// Undoes everything since.
    pub fn go_back(&mut self, to: Mark) {
        let since = self.taken.split_off(to.taken);
        let charged: Vec<usize> = since.iter().filter(|taken| taken.charged).map(|taken| taken.bin).collect();
        self.give_back(&since);
        charged.into_iter().for_each(|bin| self.bins.all[bin].owner = None);
        self.bins.truncate(to.bins);
    }

    /// Plans the headroom as if it were replicas, without counting it as such; what finds no room is no shortfall. How much does, and why the rest does not.
    fn reserve(&mut self, work: &Work) -> (i32, Option<Waiting>) {
        let mut places = if work.reserve > 0 { self.places(work, None) } else { return (0, None) };
        let mut refused = Blocked::new();
        let mut left = work.reserve;
        while left > 0 {
            let Some((bin, n)) = self.next_place(work, &mut places, left, &mut refused) else {
                return (work.reserve - left, self.first(refused));
            };
            self.take(bin, work, false, n);
            left -= n;
        }
        (work.reserve, None)
    }

    /// What says most of why something finds no place: that existing nodes are full is why others are rented, and what stands in the way of those comes first.
    fn first(&self, refused: Blocked<'_>) -> Option<Waiting> {
        refused.into_iter().min_by_key(|((_, pool), _)| self.is_existing(pool)).map(|((_, pool), refusal)| refusal.say(pool))
    }

    fn is_existing(&self, pool: &str) -> bool {
        self.bounds.seen.pool(pool).is_some_and(|p| p.spec.nodes.ec2.is_none())
    }

    /// Undoes some of [`Packer::taken`], in whatever order they were taken; the bins that nothing uses any more.
    pub fn give_back(&mut self, taken: &[Taken]) -> Vec<usize> {
        let (mut counts, mut unused) = (vec![0; self.bins.all.len()], Vec::new());
        for alike in taken.chunk_by(|a, b| (a.work, a.replica) == (b.work, b.replica)) {
            let Some(target) = &self.bounds.seen.workloads[alike[0].work].target else { continue };
            let mut firsts = Vec::new();
            for one in alike {
                if counts[one.bin] == 0 {
                    firsts.push(*one);
                }
                counts[one.bin] += 1;
            }
            for one in firsts {
                self.bins.give_back(one, std::mem::take(&mut counts[one.bin]), &target.requests);
                if !self.bins.all[one.bin].used() {
                    unused.push(one.bin);
                }
            }
        }
        unused
    }

    /// What was packed since, to be restored.
    pub(super) fn packed(&self, begun: Mark) -> Contents {
        let taken = self.taken[begun.taken..].to_vec();
        let touched: BTreeSet<usize> = taken.iter().map(|one| one.bin).chain(begun.bins..self.bins.all.len()).collect();
        let held = taken.iter().map(|one| one.work).collect::<BTreeSet<usize>>();
        Contents {
            bins: touched.into_iter().map(|at| (at, self.bins.all[at].clone())).collect(),
            held: held.into_iter().map(|work| (work, self.bins.held(work).cloned().unwrap_or_default())).collect(),
            taken,
        }
    }

    /// Packed as it was, instead of what was packed since.
    pub(super) fn restore(&mut self, begun: Mark, packed: Contents) {
        self.go_back(begun);
        self.bins.restore(packed.bins, packed.held);
        self.taken.extend(packed.taken);
    }
}

/// Microseconds lost per unit of room when a replica moves from its nearest to its farthest pool.
fn sensitivity(work: &Work) -> i64 {
    let (near, far) = (work.distances.first(), work.distances.last());
    let lost = far.map_or(0, |d| d.latency.micros()) - near.map_or(0, |d| d.latency.micros());
    lost.saturating_mul(1_000) / work.requests.size().max(1)
}

pub(super) fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
