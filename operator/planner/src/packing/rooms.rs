//! What a packing leaves, by pool: made once a plan, asked for every workload.

use std::collections::BTreeMap;

use super::{Bin, BinState, Packing};
use crate::{index::Indexed, resources::Resources};

/// What is left in one pool.
#[derive(Debug, Default)]
struct Room<'a> {
    /// Ready nodes that nobody drains.
    ready: Vec<&'a Bin>,
    /// No node has more free of anything.
    most: Resources,
    /// Size of the largest pod that waits for a place that is Ready.
    largest_waiting: Option<i64>,
}

/// What a packing leaves on nodes that are Ready.
#[derive(Debug, Default)]
pub struct Rooms<'a>(BTreeMap<&'a str, Room<'a>>);

impl<'a> Rooms<'a> {
    /// Of a packing.
    #[must_use]
    pub fn of(seen: &Indexed<'_>, packing: &'a Packing<'_>) -> Self {
        let mut pools: BTreeMap<&str, Room<'_>> = BTreeMap::new();
        let size = |work: usize| seen.workloads.get(work)?.target.as_ref().map(|t| t.requests.size());
        for bin in packing.bins().iter().filter(|b| b.state == BinState::Ready) {
            let room = pools.entry(&bin.pool).or_default();
            let waiting = bin.replicas.iter().filter(|(work, n)| **n > bin.running.get(work).copied().unwrap_or_default());
            room.largest_waiting = room.largest_waiting.max(waiting.filter_map(|(work, _)| size(*work)).max());
            if !seen.node(&bin.node).is_some_and(|n| n.draining) {
                room.most.raise_to(&bin.free);
                room.ready.push(bin);
            }
        }
        Self(pools)
    }

    /// Replicas of a workload that the pool's Ready nodes still hold, those counted that are only planned there: `fresh`.
    #[must_use]
    pub fn free(&self, seen: &Indexed<'_>, pool: &str, work: usize, fresh: i32) -> i64 {
        let Some(target) = seen.workloads.get(work).and_then(|w| w.target.as_ref()) else { return 0 };
        let requests = &target.requests;
        let Some(room) = self.0.get(pool).filter(|room| fresh > 0 || room.most.holds(requests)) else { return 0 };
        let admitted = |bin: &&&Bin| seen.node(&bin.node).is_none_or(|node| target.may_be_on(node));
        let of = |bin: &&Bin| {
            let count = |counts: &BTreeMap<usize, i32>| i64::from(counts.get(&work).copied().unwrap_or_default());
            bin.free.count_of(requests).saturating_add(count(&bin.replicas) - count(&bin.running))
        };
        room.ready.iter().filter(admitted).map(of).map(|n| n.min(i64::from(i32::MAX))).sum()
    }

    /// Whether pods that are larger than `size` wait for a place in the pool that is Ready.
    #[must_use]
    pub fn larger_waits(&self, pool: &str, size: i64) -> bool {
        self.0.get(pool).and_then(|room| room.largest_waiting).is_some_and(|largest| largest > size)
    }
}
