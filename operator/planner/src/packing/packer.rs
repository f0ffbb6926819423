//! The pass over workloads and ranks.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use onsale_api::{Reason, placement::Distance};

use super::{
    BinState, Bins, Keep, Packed, Taken, Work,
    bounds::{Bounds, Zones},
};
use crate::{index::Indexed, plan::Waiting};

/// Bins, and what has been put into them so far.
#[derive(Clone, Debug)]
pub struct Packer<'a> {
    /// The nodes.
    pub bins: Bins,
    /// Everything that was taken beyond what runs, in order.
    pub taken: Vec<Taken>,
    keep: Keep,
    bounds: Bounds<'a>,
}

/// A pool that may take replicas of the workload that is placed now.
struct Place<'w> {
    distance: &'w Distance,
    /// Replicas there, headroom included.
    count: i32,
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
        Self { bins: Bins::of(seen, works, keep), taken: Vec::new(), keep, bounds: Bounds { seen, retry } }
    }

    /// Places workloads beside what is there: first everybody's targets, then everybody's headroom.
    pub fn place(&mut self, works: &[Work]) -> BTreeMap<usize, Packed> {
        let mut order: Vec<&Work> = works.iter().collect();
        order.sort_by_cached_key(|w| (Reverse(sensitivity(w)), w.id.clone()));
        let placed = order.iter().map(|work| (work.index, self.place_all(work))).collect();
        order.iter().for_each(|work| self.reserve(work));
        placed
    }

    fn place_all(&mut self, work: &Work) -> Packed {
        let mut packed = Packed { by_pool: self.bins.held(work.index), ..Packed::default() };
        let mut missing = (work.target - packed.by_pool.values().sum::<i32>()).max(0);
        let mut places = self.places(work, &packed.by_pool);
        let mut blocked = BTreeMap::new();
        while missing > 0 {
            let Some(bin) = self.next_place(work, &mut places, missing, &mut blocked) else { break };
            self.taken.push(self.bins.take(bin, work, true));
            let bin = &self.bins.all[bin];
            *packed.fresh.entry(bin.pool.clone()).or_default() += 1;
            if bin.state == BinState::Ready {
                *packed.fresh_on_ready.entry(bin.pool.clone()).or_default() += 1;
            }
            missing -= 1;
        }
        if !packed.fresh.is_empty() {
            packed.by_pool = self.bins.held(work.index);
        }
        packed.unplaced = missing;
        if missing > 0 {
            packed.waiting_for = blocked.into_iter().map(|((reason, _), w)| Waiting { reason, ..w }).collect();
        }
        packed
    }

    /// Plans the headroom as if it were replicas, without counting it as such; what finds no room is no shortfall.
    fn reserve(&mut self, work: &Work) {
        let mut places = if work.reserve > 0 { self.places(work, &self.bins.held(work.index)) } else { return };
        for left in (1..=work.reserve).rev() {
            let Some(bin) = self.next_place(work, &mut places, left, &mut BTreeMap::new()) else { return };
            self.taken.push(self.bins.take(bin, work, false));
        }
    }

    /// The pools that the workload may use, nearest first.
    fn places<'w>(&self, work: &'w Work, counts: &BTreeMap<String, i32>) -> Vec<Place<'w>> {
        let open = work.distances.iter().filter(|d| d.rank >= work.closed);
        let count = |d: &Distance| counts.get(&d.pool).copied().unwrap_or_default();
        open.map(|distance| Place { distance, count: count(distance), from: 0, asked: false, closed: false }).collect()
    }

    /// The bin for one more replica: nearest rank first, within the rank the pool that holds fewest.
    fn next_place(
        &mut self,
        work: &Work,
        places: &mut [Place<'_>],
        missing: i32,
        blocked: &mut BTreeMap<(Reason, String), Waiting>,
    ) -> Option<usize> {
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
                let open = (0..peers.len()).filter(|i| !peers[*i].closed && !refused.contains(i));
                open.min_by_key(|i| peers[*i].count)
            };
            while let Some(i) = next(peers, &refused) {
                match self.place_in(work, &mut peers[i], zones.as_ref(), share) {
                    Ok(bin) => {
                        peers[i].count += 1;
                        return Some(bin);
                    }
                    Err(waiting) => {
                        // The pods' own spread over zones lets a pool in again when the others have caught up.
                        peers[i].closed = work.zone_skew.is_none();
                        refused.insert(i);
                        blocked.insert((waiting.reason, peers[i].distance.pool.clone()), waiting);
                    }
                }
            }
            rest = farther;
        }
        None
    }

    /// A bin of the pool with room for one replica, opened if need be, or why there is none.
    fn place_in(&mut self, work: &Work, place: &mut Place<'_>, zones: Option<&(i32, Zones<'_>)>, share: i32) -> Result<usize, Waiting> {
        let pool = &place.distance.pool;
        if !place.asked {
            self.bounds.may_be_in(work, pool)?;
            place.asked = true;
        }
        self.bounds.may_hold_more(work, pool, place.count, zones)?;
        if let Some(at) = self.bins.with_room(self.bounds.seen, pool, place.from, work, self.keep) {
            place.from = at;
            return Ok(self.bins.in_pool(pool)[at]);
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
