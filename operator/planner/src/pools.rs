//! The plan of each pool: nodes that shall exist, nodes that are no longer needed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use onsale_api::pool::Shortfall;

use crate::{
    fleet::Have,
    index::Indexed,
    packing::{Bin, BinState},
    plan::{Fill, PoolPlan, Stage, Surplus, Waiting, WorkloadPlan},
    snapshot::{Instance, Node, Pool, TargetState},
};

/// What decides about all pools alike.
#[derive(Debug)]
pub struct Scope<'a> {
    /// The world.
    pub seen: &'a Indexed<'a>,
    /// Instances that would be needed if everything on rented nodes came home: the others are surplus.
    pub needed: &'a BTreeSet<String>,
    /// Nodes by pool and instance type that stay for sales which are about to start.
    pub kept: &'a BTreeMap<&'a str, BTreeMap<&'a str, i32>>,
    /// Workloads.
    pub workloads: &'a [WorkloadPlan],
    /// Pools that a sale which raises floors may use.
    pub held: &'a BTreeSet<&'a str>,
    /// Pools that any active sale may use.
    pub used: &'a BTreeSet<&'a str>,
    /// Rented nodes by pool that scheduled sales will need.
    pub scheduled: &'a BTreeMap<String, i32>,
}

/// The plan of one pool.
#[must_use]
pub fn plan(scope: &Scope<'_>, index: usize, bins: &[&Bin]) -> PoolPlan {
    let (pool, have) = (&scope.seen.pools[index], &scope.seen.have[index]);
    let rented = pool.spec.nodes.ec2.is_some();
    let held = scope.held.contains(pool.name.as_str());
    let mut plan = PoolPlan {
        name: pool.name.clone(),
        ready: count(have.ready.len()),
        launching: count(have.launching.len() + have.overdue.len() + have.unresolved.len()),
        draining: count(have.draining.len()),
        never_joined: have.never_joined.iter().map(|i| i.id.clone()).collect(),
        fills: fills(bins),
        waiting_for: shortfalls(pool),
        idle: !scope.used.contains(pool.name.as_str()),
        released: !held,
        ..PoolPlan::default()
    };
    if rented {
        plan.wanted = wanted(pool, have, bins, held);
        if !held && scope.seen.nodes.is_some() {
            plan.surplus = surplus(scope, pool, have);
        }
        let now: i32 = plan.wanted.values().sum();
        plan.planned = now.max(scope.scheduled.get(&pool.name).copied().unwrap_or_default());
    }
    plan
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// What exists and is in order, and what the packing opens or takes back. On the way back nothing is opened.
fn wanted(pool: &Pool, have: &Have<'_>, bins: &[&Bin], held: bool) -> BTreeMap<String, i32> {
    let mut wanted = BTreeMap::new();
    for instance_type in in_service(pool, have) {
        *wanted.entry(instance_type.to_owned()).or_default() += 1;
    }
    if held {
        let more = |b: &&&Bin| b.used() && matches!(b.state, BinState::New | BinState::Draining);
        for bin in bins.iter().filter(more) {
            *wanted.entry(bin.instance_type.clone().unwrap_or_default()).or_default() += 1;
        }
    }
    wanted
}

/// Instance types of what serves or will: Ready nodes, instances on their way, launches without an answer.
#[must_use]
pub fn in_service<'a>(pool: &'a Pool, have: &Have<'a>) -> Vec<&'a str> {
    let ids = have.ready.iter().filter_map(|n| n.instance.as_deref()).chain(have.launching.iter().map(|i| i.id.as_str()));
    let types = ids.filter_map(|id| pool.instances.iter().flatten().find(|i| i.id == id)).map(|i| i.instance_type.as_str());
    types.chain(have.unresolved.iter().copied()).collect()
}

/// The floor is on its way down, or its last write has not arrived: as long as that is refused, there are as many pods as before, without room nearer.
fn is_up(scope: &Scope<'_>, work: &WorkloadPlan) -> bool {
    let above = |target: &TargetState| target.value > work.baseline;
    match work.stage {
        Stage::Returning => true,
        Stage::Restoring => scope.seen.workload(&work.id).and_then(|w| w.target.as_ref()).is_some_and(above),
        Stage::Idle | Stage::Preparing | Stage::Holding => false,
    }
}

/// Rented nodes that nothing needs, and no sale that is about to start. Empty ones may go at any time of the way back; those with pods only when the floors are down, so that scale-down
/// empties them first.
fn surplus(scope: &Scope<'_>, pool: &Pool, have: &Have<'_>) -> Vec<Surplus> {
    let down = !scope.workloads.iter().any(|w| is_up(scope, w) && w.distances.iter().any(|d| d.pool == pool.name));
    let named = |node: &&Node| node.instance.clone().map(|instance| (node.name.clone(), instance));
    let joining = |i: &&Instance| (scope.seen.node_of(&i.id).map(|n| n.name.clone()).unwrap_or_default(), i.id.clone());
    let useful = have.ready.iter().filter_map(named).chain(have.launching.iter().map(joining));
    let others = have.lost.iter().chain(&have.draining).filter_map(named).chain(have.overdue.iter().map(joining));
    let unneeded = |(_, instance): &(String, String)| !scope.needed.contains(instance);
    let mut kept = scope.kept.get(pool.name.as_str()).cloned().unwrap_or_default();
    let mut stays = |(_, instance): &(String, String)| {
        let of_type = pool.instances.iter().flatten().find(|i| i.id == *instance).map(|i| i.instance_type.as_str());
        let left = of_type.and_then(|t| kept.get_mut(t)).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    };
    let all = useful.filter(unneeded).filter(|one| !stays(one)).chain(others.filter(unneeded));
    all.map(|(node, instance)| Surplus { node, instance, drain: down }).collect()
}

fn fills(bins: &[&Bin]) -> Vec<Fill> {
    let headroom = |b: &Bin| b.headroom.iter().filter(|(_, n)| **n > 0).map(|(work, n)| (*work, *n)).collect();
    let fill = |b: &&Bin| Fill {
        node: b.node.clone(),
        instance_type: b.instance_type.clone(),
        room: b.room.clone(),
        replicas: b.replicas.clone(),
        headroom: headroom(b),
    };
    bins.iter().map(fill).filter(|f| !f.replicas.is_empty() || !f.headroom.is_empty()).collect()
}

fn shortfalls(pool: &Pool) -> Vec<Waiting> {
    let waiting = |s: &Shortfall| Waiting { reason: s.reason, message: s.message.clone(), until: Some(s.retry_at.0) };
    lacks(pool).map(waiting).collect()
}

/// What the pool cannot give: a subnet that is full is no lack while another one has room.
pub fn lacks(pool: &Pool) -> impl Iterator<Item = &Shortfall> {
    let full = all_full(pool).is_some();
    pool.status.shortfalls.iter().filter(move |s| full || s.subnet.is_none())
}

/// Why a type cannot be had in the pool, and until when: it was short itself, or no subnet has room.
#[must_use]
pub fn short<'a>(pool: &'a Pool, instance_type: &str) -> Option<&'a Shortfall> {
    let of_type = |s: &&Shortfall| s.subnet.is_none() && (s.instance_type == instance_type || s.instance_type == "*");
    let typed = pool.status.shortfalls.iter().filter(of_type);
    typed.chain(all_full(pool)).max_by_key(|s| s.retry_at.0)
}

/// The shortfall that ends first, where every subnet of the pool is full.
fn all_full(pool: &Pool) -> Option<&Shortfall> {
    let subnets = &pool.spec.nodes.ec2.as_ref()?.subnets;
    let all: Option<Vec<&Shortfall>> = subnets.iter().map(|subnet| full(pool, subnet)).collect();
    all?.into_iter().min_by_key(|s| s.retry_at.0)
}

fn full<'a>(pool: &'a Pool, subnet: &str) -> Option<&'a Shortfall> {
    pool.status.shortfalls.iter().find(|s| s.subnet.as_deref() == Some(subnet))
}

/// The subnets to launch into: those that have room as far as is known; where none has, those whose pause is over.
#[must_use]
pub fn subnets(pool: &Pool, now: Timestamp) -> Vec<&str> {
    let all = || pool.spec.nodes.ec2.iter().flat_map(|e| &e.subnets).map(String::as_str);
    let free: Vec<&str> = all().filter(|subnet| full(pool, subnet).is_none()).collect();
    if free.is_empty() { all().filter(|subnet| full(pool, subnet).is_some_and(|s| s.retry_at.0 <= now)).collect() } else { free }
}
