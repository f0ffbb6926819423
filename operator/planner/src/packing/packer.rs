//! The pass over workloads and ranks.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use onsale_api::{Reason, placement::Distance};

use super::{
    BinState, Bins, Keep, NO_SALE, Packed, Taken, Work, add,
    bounds::{Bounds, Refusal, Zones},
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

/// Why pools took no more of a workload, by reason and pool.
type Blocked<'w> = BTreeMap<(Reason, &'w str), Refusal>;

/// A pool that may take replicas of the workload that is placed now.
struct Place<'w> {
    distance: &'w Distance,
    /// Replicas there, headroom included.
    count: i32,
    /// Most replicas there.
    most: i32,
    /// Bins before this one have no room: room only shrinks while one workload is placed.
    from: usize,
    /// It was asked whether the workload may be there at all.
    asked: bool,
    /// Takes no more, for a reason that does not go away while this workload is placed.
    closed: bool,
}

impl<'a> Packer<'a> {
    /// The bins of the snapshot with what runs in them; of `works` nothing else is placed yet.
    #[must_use]
    pub fn new(seen: &'a Indexed<'a>, works: &[Work], keep: Keep, retry: bool) -> Self {
        Self { bins: Bins::of(seen, works, keep), taken: Vec::new(), keep, bounds: Bounds { seen, retry, roomy: false } }
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
            let Some(bin) = self.next_place(work, &mut places, missing, blocked) else { break };
            self.taken.push(self.bins.take(bin, work, true));
            missing -= 1;
        }
        missing
    }

    /// Counts what was placed since.
    fn count(&self, placed: &mut Placed, begun: Mark) {
        for packed in placed.values_mut() {
            packed.fresh.clear();
            packed.fresh_on_ready.clear();
        }
        for ours in self.taken[begun.taken..].chunk_by(|a, b| a.work == b.work) {
            let Some(packed) = ours.first().and_then(|taken| placed.get_mut(&taken.work)) else { continue };
            for bin in ours.iter().map(|taken| &self.bins.all[taken.bin]) {
                add(&mut packed.fresh, &bin.pool, 1);
                if bin.state == BinState::Ready {
                    add(&mut packed.fresh_on_ready, &bin.pool, 1);
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
        self.bins.tidy();
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
                    Some(bin) => self.move_to(order, at, bin),
                    None => full_below = rank,
                }
                moved |= full_below < rank;
            }
        }
        moved
    }

    /// Whoever would be charged for the node that this one leaves can pay for it: until now it was weighed against the budget of the one who opened it.
    fn may_leave(&self, order: &[&Work], at: usize) -> bool {
        let left = self.taken[at];
        let mut others = self.taken.iter().enumerate().filter(|(other, taken)| *other != at && taken.bin == left.bin).peekable();
        if !left.charged || others.peek().is_none() {
            return true;
        }
        let work_of = |work: usize| order.iter().find(|w| w.index == work).filter(|w| w.sale != NO_SALE);
        let heir = others.find_map(|(_, taken)| work_of(taken.work));
        let same = |heir: &Work| work_of(left.work).is_some_and(|work| work.sale == heir.sale);
        heir.is_some_and(|heir| same(heir) || self.bounds.may_take_over(heir, &self.bins.all[left.bin], &self.bins).is_ok())
    }

    /// Moves a replica that was placed to another bin. The next in the bin that it leaves takes over the charge; a new node that it leaves empty is none.
    fn move_to(&mut self, order: &[&Work], at: usize, bin: usize) {
        let old = self.taken[at];
        let work_of = |taken: &Taken| order.iter().find(|work| work.index == taken.work);
        let Some(work) = work_of(&old) else { return };
        self.give_back(old);
        self.taken[at] = self.bins.take(bin, work, true);
        if let Some(heir) = self.taken.iter_mut().find(|t| t.bin == old.bin) {
            heir.first |= old.first;
        }
        if old.charged {
            let heir = self.taken.iter_mut().find(|t| t.bin == old.bin && work_of(t).is_some_and(|work| work.sale != NO_SALE));
            self.bins.all[old.bin].owner = heir.and_then(|heir| {
                heir.charged = true;
                work_of(heir).map(|work| (work.id.namespace.clone(), work.sale))
            });
        }
        let left = &mut self.bins.all[old.bin];
        if left.state == BinState::New && !left.used() {
            (left.room, left.free) = (Resources::default(), Resources::default());
        }
    }

    /// Undoes everything since.
    pub fn go_back(&mut self, to: Mark) {
        for taken in self.taken.split_off(to.taken).into_iter().rev() {
            self.give_back(taken);
            if taken.charged {
                self.bins.all[taken.bin].owner = None;
            }
        }
        self.bins.truncate(to.bins);
    }

    /// Plans the headroom as if it were replicas, without counting it as such; what finds no room is no shortfall. How much does, and why the rest does not.
    fn reserve(&mut self, work: &Work) -> (i32, Option<Waiting>) {
        let mut places = if work.reserve > 0 { self.places(work, None) } else { return (0, None) };
        let mut refused = Blocked::new();
        for left in (1..=work.reserve).rev() {
            let Some(bin) = self.next_place(work, &mut places, left, &mut refused) else {
                return (work.reserve - left, self.first(refused));
            };
            self.taken.push(self.bins.take(bin, work, false));
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

    /// The pools that the workload may use, nearest first.
    fn places<'w>(&self, work: &'w Work, most: Option<&Most>) -> Vec<Place<'w>> {
        let counts = self.bins.held(work.index);
        let open = work.distances.iter().filter(|d| d.rank >= work.closed);
        let count = |d: &Distance| counts.and_then(|counts| counts.get(&d.pool)).copied().unwrap_or_default();
        let most = |d: &Distance| most.map_or(i32::MAX, |most| most.get(&d.pool).copied().unwrap_or_default());
        let place = |distance| Place { distance, count: count(distance), most: most(distance), from: 0, asked: false, closed: false };
        open.map(place).collect()
    }

    /// The bin for one more replica: nearest rank first, within the rank the pool that holds fewest.
    fn next_place<'w>(&mut self, work: &Work, places: &mut [Place<'w>], missing: i32, blocked: &mut Blocked<'w>) -> Option<usize> {
        let zones = work.zone_skew.map(|skew| (skew, self.bounds.by_zone(places.iter().map(|p| (p.distance.pool.as_str(), p.count)))));
        let mut rest = places;
        while let Some(first) = rest.first() {
            let rank = first.distance.rank;
            let end = rest.iter().position(|p| p.distance.rank != rank).unwrap_or(rest.len());
            let (peers, farther) = rest.split_at_mut(end);
            let share = missing.saturating_add(count(peers.len()) - 1) / count(peers.len());
            // What is refused for now only may be asked again for the next replica.
            let mut refused = BTreeSet::new();
            let next = |peers: &[Place<'_>], refused: &BTreeSet<usize>| {
                let open = (0..peers.len()).filter(|i| !peers[*i].closed && peers[*i].count < peers[*i].most && !refused.contains(i));
                open.min_by_key(|i| peers[*i].count)
            };
            while let Some(i) = next(peers, &refused) {
                match self.place_in(work, &mut peers[i], zones.as_ref(), share) {
                    Ok(bin) => {
                        peers[i].count += 1;
                        return Some(bin);
                    }
                    Err(refusal) => {
                        // The pods' own spread over zones lets a pool in again when the others have caught up.
                        match work.zone_skew {
                            Some(_) => drop(refused.insert(i)),
                            None => peers[i].closed = true,
                        }
                        blocked.insert((refusal.reason(), &peers[i].distance.pool), refusal);
                    }
                }
            }
            rest = farther;
        }
        None
    }

    /// A bin of the pool with room for one replica, opened if need be, or why there is none.
    fn place_in(&mut self, work: &Work, place: &mut Place<'_>, zones: Option<&(i32, Zones<'_>)>, share: i32) -> Result<usize, Refusal> {
        let pool = &place.distance.pool;
        if !place.asked {
            self.bounds.may_be_in(work, pool)?;
            place.asked = true;
        }
        self.bounds.may_hold_more(work, pool, place.count, zones)?;
        while let Some(at) = self.bins.with_room(self.bounds.seen, pool, place.from, work, self.keep) {
            let bin = self.bins.in_pool(pool)[at];
            if self.bounds.may_reopen(work, &self.bins.all[bin], &self.bins).is_ok() {
                place.from = at;
                return Ok(bin);
            }
            place.from = at + 1;
        }
        let bin = self.bounds.new_node(work, pool, &self.bins, share)?;
        place.from = self.bins.in_pool(pool).len();
        Ok(self.bins.add(bin))
    }

    /// Undoes one of [`Packer::taken`].
    pub fn give_back(&mut self, taken: Taken) {
        if let Some(target) = &self.bounds.seen.workloads[taken.work].target {
            self.bins.give_back(taken, &target.requests);
        }
    }
}

/// Microseconds lost per unit of room when a replica moves from its nearest to its farthest pool.
fn sensitivity(work: &Work) -> i64 {
    let (near, far) = (work.distances.first(), work.distances.last());
    let lost = far.map_or(0, |d| d.latency.micros()) - near.map_or(0, |d| d.latency.micros());
    lost.saturating_mul(1_000) / work.requests.size().max(1)
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
