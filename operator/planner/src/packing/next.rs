//! Where the next replica goes: the nearest rank that takes it, evenly over the pools of a rank, first fit within a pool.

use std::collections::BTreeSet;

use onsale_api::placement::Distance;

use super::{
    Packer, Work,
    bounds::{Refusal, Zones},
    packer::{Blocked, Most, count},
};

/// A pool that may take replicas of the workload that is placed now.
pub(super) struct Place<'w> {
    pub distance: &'w Distance,
    /// The pool's index, once it was asked whether the workload may be there at all.
    at: Option<usize>,
    /// Replicas there, headroom included.
    count: i32,
    /// Most replicas there.
    most: i32,
    /// Bins before this one have no room: room only shrinks while one workload is placed.
    from: usize,
    /// Takes no more, for a reason that does not go away while this workload is placed.
    closed: bool,
}

impl Packer<'_> {
    /// The pools that the workload may use, nearest first.
    pub(super) fn places<'w>(&self, work: &'w Work, most: Option<&Most>) -> Vec<Place<'w>> {
        let counts = self.bins.held(work.index);
        let open = work.distances.iter().filter(|d| d.rank >= work.closed);
        let count = |d: &Distance| counts.and_then(|counts| counts.get(&d.pool)).copied().unwrap_or_default();
        let most = |d: &Distance| most.map_or(i32::MAX, |most| most.get(&d.pool).copied().unwrap_or_default());
        let place = |distance| Place { distance, at: None, count: count(distance), most: most(distance), from: 0, closed: false };
        open.map(place).collect()
    }

    /// The bin for one more replica, nearest rank first, within the rank the pool that holds fewest; and how many of the missing ones come there one after the other.
    pub(super) fn next_place<'w>(
        &mut self,
        work: &Work,
        places: &mut [Place<'w>],
        missing: i32,
        blocked: &mut Blocked<'w>,
    ) -> Option<(usize, i32)> {
        let zones = work.zone_skew.map(|skew| (skew, self.bounds.by_zone(places.iter().map(|p| (p.distance.pool.as_str(), p.count)))));
        let mut rest = places;
        while let Some(first) = rest.first() {
            let rank = first.distance.rank;
            let end = rest.iter().position(|p| p.distance.rank != rank).unwrap_or(rest.len());
            let (peers, farther) = rest.split_at_mut(end);
            let share = missing.saturating_add(count(peers.len()) - 1) / count(peers.len());
            // What is refused for now only may be asked again for the next replica.
            let mut refused = BTreeSet::new();
            while let Some(i) = fewest(peers, |i| !refused.contains(&i)) {
                match self.place_in(work, &mut peers[i], zones.as_ref(), share) {
                    Ok(bin) => {
                        let n = if zones.is_some() { 1 } else { self.in_a_row(work, peers, i, bin).min(missing) };
                        peers[i].count += n;
                        return Some((bin, n));
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

    /// How many replicas come to this bin before another bin or another of the peers has its turn, one at least.
    fn in_a_row(&self, work: &Work, peers: &[Place<'_>], i: usize, bin: usize) -> i32 {
        let here = &peers[i];
        let turn = |j: usize| peers[j].count - here.count + i32::from(i < j);
        let until = fewest(peers, |j| j != i).map_or(i32::MAX, turn);
        let room = i32::try_from(self.bins.all[bin].free.count_of(&work.requests)).unwrap_or(i32::MAX);
        let most = here.most.min(work.max_per_pool.unwrap_or(i32::MAX)) - here.count;
        until.min(room).min(most).max(1)
    }

    /// A bin of the pool with room for one replica, opened if need be, or why there is none.
    fn place_in(&mut self, work: &Work, place: &mut Place<'_>, zones: Option<&(i32, Zones<'_>)>, share: i32) -> Result<usize, Refusal> {
        let at = match place.at {
            Some(at) => at,
            None => {
                let at = self.bounds.place(&place.distance.pool)?;
                self.bounds.may_be_in(work, at)?;
                *place.at.insert(at)
            }
        };
        self.bounds.may_hold_more(work, &place.distance.pool, place.count, zones)?;
        while let Some(n) = self.bins.with_room(self.bounds.seen, at, place.from, work, self.keep) {
            let bin = self.bins.in_pool(at)[n];
            if let Ok(payer) = self.bounds.may_reopen(work, &self.bins.all[bin], &self.bins) {
                self.bins.all[bin].payer = payer.or(self.bins.all[bin].payer);
                place.from = n;
                return Ok(bin);
            }
            place.from = n + 1;
        }
        let bin = self.bounds.new_node(work, at, &self.bins, share)?;
        place.from = self.bins.in_pool(at).len();
        Ok(self.bins.add(bin))
    }
}

/// The first of the peers that hold fewest, of those that may take more.
fn fewest(peers: &[Place<'_>], asked: impl Fn(usize) -> bool) -> Option<usize> {
    let open = (0..peers.len()).filter(|i| !peers[*i].closed && peers[*i].count < peers[*i].most && asked(*i));
    open.min_by_key(|i| peers[*i].count)
}
