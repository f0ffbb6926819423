//! Better than first come, first served: where workloads compete for near places, who gets them is solved as a flow, and packed again.
//!
//! Exact for pods that ask for the same: the flow of [`super::flow`] is then the whole problem. For mixed pods it is the problem in which a replica may be
//! divided and the nodes of a pool are one room, once for each resource as if only that could run out; its whole replicas are packed, the largest first, and
//! the rest as ever. That is a heuristic, and what it comes to is taken only where it beats the first packing: fewer replicas without a place, then less
//! latency, then less money. Budgets, what a namespace may have, and labels and taints of single nodes are no part of the flow: what it counted on and could
//! not be had is taken from the room, and it is solved again.

use std::collections::BTreeMap;

use onsale_api::Money;

use super::{
    Keep, Packer, Work,
    bins::Bin,
    flow::{Flow, Row},
    packer::{Contents, Guide, Mark, Most, Placed},
};
use crate::{resources::Resources, shared::Shared};

/// How often what could not be had is taken from the room.
const ROUNDS: usize = 4;

/// Latency is counted in so small parts of a microsecond, so that a share of a replica's is a whole number.
const PARTS: i128 = 1 << 20;

/// What a unit of room is.
#[derive(Clone, Copy, Debug)]
enum Measure<'a> {
    /// One pod: all are alike.
    Pod(&'a Resources),
    /// So many millicores, which divide every pod.
    Cpu(i64),
    /// So many bytes.
    Memory(i64),
    /// A place in the kubelet's count.
    Count,
}

/// What a packing comes to, in the order in which less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Worth {
    unplaced: i64,
    latency: i64,
    hourly: Money,
}

/// The better of what has been placed since `begun` and what exchanges lead to, which is then what is placed.
pub(super) fn better(packer: &mut Packer<'_>, order: &[&Work], begun: Mark, first: Placed) -> Placed {
    if packer.keep == Keep::Existing || !competing(order, &first) {
        return first;
    }
    let mut best = Best { worth: worth(packer, order, &first), placed: first, packed: packer.packed(begun) };
    for measure in measures(order, &best.placed) {
        let mut now = best.placed.clone();
        let mut room = BTreeMap::new();
        for round in 0..ROUNDS {
            packer.go_back(begun);
            let mut problem = Problem::new(packer, order, measure);
            if round == 0 {
                room = problem.room.clone();
            }
            problem.room.clone_from(&room);
            let Some(guide) = problem.solve(&now) else { break };
            now = packer.guided(order, begun, &guide);
            let worth = worth(packer, order, &now);
            if worth < best.worth {
                best = Best { worth, placed: now.clone(), packed: packer.packed(begun) };
            }
            if !problem.learn(&mut room, &guide, &now) {
                break;
            }
        }
    }
    packer.restore(begun, best.packed);
    best.placed
}

/// The best that is known yet.
struct Best {
    worth: Worth,
    placed: Placed,
    packed: Contents,
}

/// Whether somebody is farther than a place that somebody else is to take: otherwise nothing can be exchanged.
fn competing(order: &[&Work], placed: &Placed) -> bool {
    let mut fresh: BTreeMap<&str, i32> = BTreeMap::new();
    for (pool, n) in order.iter().filter(|w| w.opens).filter_map(|w| placed.get(&w.index)).flat_map(|p| &p.fresh) {
        *fresh.entry(pool).or_default() += n;
    }
    order.iter().filter(|w| w.opens).any(|work| {
        let Some(packed) = placed.get(&work.index) else { return false };
        let rank = |pool: &String| work.distances.iter().find(|d| d.pool == *pool).map(|d| d.rank);
        let farthest = if packed.unplaced > 0 { Some(i32::MAX) } else { packed.fresh.keys().filter_map(rank).max() };
        let Some(farthest) = farthest else { return false };
        let nearer = work.distances.iter().filter(|d| d.rank >= work.closed && d.rank < farthest);
        nearer.into_iter().any(|d| fresh.get(d.pool.as_str()).is_some_and(|n| *n > packed.fresh_in(&d.pool)))
    })
}

/// The measures in which room is counted: one where all are alike.
fn measures<'w>(order: &[&'w Work], placed: &Placed) -> Vec<Measure<'w>> {
    let moving = |w: &&&Work| placed.get(&w.index).is_some_and(|p| p.unplaced > 0 || !p.fresh.is_empty());
    let requests: Vec<&'w Resources> = order.iter().filter(moving).map(|w| &w.requests).collect();
    if let Some(pod) = requests.first().filter(|first| requests.iter().all(|r| r == *first)) {
        return vec![Measure::Pod(pod)];
    }
    // What somebody asks nothing of runs out for others only: the flow would let it in anywhere.
    let unit = |of: fn(&Resources) -> i64| {
        let asked = || requests.iter().map(|r| of(r));
        asked().all(|ask| ask > 0).then(|| asked().fold(0, gcd))
    };
    let (cpu, memory) = (unit(|r| r.cpu).map(Measure::Cpu), unit(|r| r.memory).map(Measure::Memory));
    cpu.into_iter().chain(memory).chain([Measure::Count]).collect()
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What has been placed comes to.
pub(super) fn worth(packer: &Packer<'_>, order: &[&Work], placed: &Placed) -> Worth {
    let mut worth = Worth { unplaced: 0, latency: 0, hourly: Money::default() };
    for (work, packed) in order.iter().filter_map(|work| Some((work, placed.get(&work.index)?))) {
        worth.unplaced += i64::from(packed.unplaced);
        for distance in &work.distances {
            worth.latency =
                worth.latency.saturating_add(rank_cost(work, distance.rank).saturating_mul(packed.fresh_in(&distance.pool).into()));
        }
    }
    worth.hourly = packer.bins.all.iter().filter(|bin| bin.counts()).map(|bin| bin.hourly).sum();
    worth
}

/// Microseconds of one request in a rank: pools of one rank count as equally far, or they would not be filled evenly, and no rank is nearer than the one before.
fn rank_cost(work: &Work, rank: i32) -> i64 {
    let firsts = work.distances.chunk_by(|a, b| a.rank == b.rank).filter_map(|pools| pools.first());
    firsts.take_while(|d| d.rank <= rank).map(|d| d.latency.micros()).max().unwrap_or_default()
}

/// The flow over the places as they are before anything is placed.
struct Problem<'a> {
    order: &'a [&'a Work],
    measure: Measure<'a>,
    pools: Vec<String>,
    /// Units that each pool can take.
    room: BTreeMap<String, i64>,
    /// What each workload holds by pool.
    held: Vec<Shared<BTreeMap<String, i32>>>,
    /// Pools that each workload may go to.
    open: Vec<Vec<bool>>,
}

impl<'a> Problem<'a> {
    fn new(packer: &Packer<'_>, order: &'a [&'a Work], measure: Measure<'a>) -> Self {
        let mut pools: Vec<String> = order.iter().flat_map(|w| &w.distances).map(|d| d.pool.clone()).collect();
        pools.sort_unstable();
        pools.dedup();
        let room = pools.iter().map(|pool| (pool.clone(), room(packer, pool, measure))).collect();
        let may = |work: &Work, pool: &String| {
            let near = work.distances.iter().any(|d| d.pool == *pool && d.rank >= work.closed);
            near && packer.bounds.place(pool).is_ok_and(|place| packer.bounds.may_be_in(work, place).is_ok())
        };
        let open = order.iter().map(|work| pools.iter().map(|pool| may(work, pool)).collect()).collect();
        let held = order.iter().map(|work| packer.bins.held(work.index).cloned().unwrap_or_default()).collect();
        Self { order, measure, pools, room, held, open }
    }

    /// Units of room that a replica takes.
    fn size(&self, work: &Work) -> i64 {
        let of = |ask: i64, unit: i64| (ask + unit - 1) / unit.max(1);
        match self.measure {
            Measure::Pod(_) | Measure::Count => 1,
            Measure::Cpu(unit) => of(work.requests.cpu, unit),
            Measure::Memory(unit) => of(work.requests.memory, unit),
        }
    }

    /// The best flow from what is placed now, as replicas by pool; `None` where nothing is better.
    fn solve(&self, now: &Placed) -> Option<Guide> {
        let mut spare: Vec<i64> = self.pools.iter().map(|pool| self.room.get(pool).copied().unwrap_or_default()).collect();
        let mut rows: Vec<Row> = Vec::with_capacity(self.order.len() + 1);
        for (i, work) in self.order.iter().enumerate() {
            for (spare, pool) in spare.iter_mut().zip(&self.pools) {
                *spare -= i64::from(now.get(&work.index).map_or(0, |packed| packed.fresh_in(pool))) * self.size(work);
            }
            rows.push(self.row(i, now));
        }
        spare.iter_mut().for_each(|n| *n = (*n).max(0));
        spare.push(i64::MAX / 4);
        let places = spare.len();
        rows.push(Row { cost: vec![Some(0); places], held: spare.clone(), free: spare, most: i64::MAX, air: true });
        let mut flow = Flow { rows, places };
        flow.settle().then(|| self.guide(&flow))
    }

    fn row(&self, i: usize, now: &Placed) -> Row {
        let (work, packed) = (self.order[i], now.get(&self.order[i].index));
        let size = self.size(work);
        let moves = work.opens && work.zone_skew.is_none();
        let cost = |(pool, open): (&String, &bool)| {
            let rank = work.distances.iter().find(|d| d.pool == *pool && *open)?.rank;
            Some(i128::from(rank_cost(work, rank)) * PARTS / i128::from(size.max(1)))
        };
        let mut cost: Vec<Option<i128>> = self.pools.iter().zip(&self.open[i]).map(cost).collect();
        cost.push(Some(self.nowhere() / i128::from(size.max(1))));
        let fresh = |pool: &String| i64::from(packed.map_or(0, |p| p.fresh_in(pool))) * size;
        let before = |pool: &String| i64::from(self.held[i].get(pool).copied().unwrap_or_default()) * size;
        let mut free: Vec<i64> = self.pools.iter().map(fresh).collect();
        free.push(i64::from(packed.map_or(0, |p| p.unplaced)) * size);
        let mut held: Vec<i64> = self.pools.iter().map(|pool| before(pool) + fresh(pool)).collect();
        held.push(free[self.pools.len()]);
        if !moves {
            free.iter_mut().for_each(|n| *n = 0);
        }
        let most = work.max_per_pool.map_or(i64::MAX, |most| i64::from(most) * size);
        Row { cost, held, free, most, air: false }
    }

    /// Being nowhere costs more than any chain of moves can save.
    fn nowhere(&self) -> i128 {
        let farthest = self.order.iter().flat_map(|w| &w.distances).map(|d| d.latency.micros()).max().unwrap_or_default();
        let largest = self.order.iter().map(|w| self.size(w)).max().unwrap_or(1).max(1);
        i128::from(farthest + 1) * PARTS * i128::from(largest) * (self.pools.len() as i128 + 2)
    }

    fn guide(&self, flow: &Flow) -> Guide {
        let of = |(i, work): (usize, &&Work)| {
            let whole = |units: i64| i32::try_from(units / self.size(work).max(1)).unwrap_or(i32::MAX);
            let most: Most = self.pools.iter().zip(&flow.rows[i].held).map(|(pool, units)| (pool.clone(), whole(*units))).collect();
            (work.index, most)
        };
        self.order.iter().enumerate().map(of).collect()
    }

    /// Takes from the room of each pool what was counted on there and could not be had; whether there was any.
    fn learn(&self, room: &mut BTreeMap<String, i64>, guide: &Guide, reached: &Placed) -> bool {
        let mut learnt = false;
        for pool in &self.pools {
            let of = |work: &&&Work| {
                let most = guide.get(&work.index).and_then(|most| most.get(pool)).copied().unwrap_or_default();
                reached.get(&work.index).is_some_and(|p| p.by_pool.get(pool).copied().unwrap_or_default() < most)
            };
            if self.order.iter().any(|work| of(&work)) {
                let used = self.order.iter().map(|w| i64::from(reached.get(&w.index).map_or(0, |p| p.fresh_in(pool))) * self.size(w)).sum();
                learnt |= room.insert(pool.clone(), used).is_some_and(|before| before > used);
            }
        }
        learnt
    }
}

/// Units that the pool's nodes can take, those included that may still be opened.
fn room(packer: &Packer<'_>, pool: &str, measure: Measure<'_>) -> i64 {
    let of = |room: &Resources| match measure {
        Measure::Pod(pod) => room.count_of(pod),
        Measure::Cpu(unit) => room.cpu / unit.max(1),
        Measure::Memory(unit) => room.memory / unit.max(1),
        Measure::Count => room.pods,
    };
    let of = |room: &Resources| of(room).clamp(0, i64::from(i32::MAX));
    let Ok(place) = packer.bounds.place(pool) else { return 0 };
    let here: i64 = packer.bins.of_pool(place).map(|bin: &Bin| of(&bin.free)).sum();
    let (nodes, shapes) = packer.bounds.openable(pool, &packer.bins);
    here + nodes.saturating_mul(shapes.iter().map(of).max().unwrap_or_default()).min(i64::from(i32::MAX))
}
