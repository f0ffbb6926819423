//! Steps of a pool: launches, repairs, and the way out of nodes: cordon, drain, terminate.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use onsale_api::Reason;

use super::{BATCH, Scope, Step};
use crate::{
    addresses, fleet,
    plan::{PoolPlan, Surplus},
    pools::{self, in_service},
    snapshot::{Node, Pool, Snapshot},
};

/// A resolved launch stays in the ledger while its instances may be missing from lists that lag behind.
const LEDGER_KEEPS: SignedDuration = SignedDuration::from_mins(5);
/// Entries in the ledger at most, of the 256 that the schema allows.
const LEDGER_ROOM: usize = 200;

pub(super) fn of(scope: &Scope<'_>, plan: &PoolPlan, pool: &Pool) -> Vec<Step> {
    let Scope { seen, now, .. } = *scope;
    // Without the cloud's or the cluster's word nothing is launched and nothing is given back.
    if pool.spec.nodes.ec2.is_none() || pool.instances.is_none() || seen.nodes.is_none() {
        return Vec::new();
    }
    let mut steps: Vec<Step> = pool.status.launches.iter().filter(|l| !l.resolved).map(|l| Step::Replay { sequence: l.sequence }).collect();
    // First: what is given up makes room within the limit, and becomes a shortfall that the next launch has to know of.
    steps.extend(useless(plan, pool));
    if plan.released {
        steps.extend(returns(plan, pool, seen));
    } else {
        steps.extend(launches(scope, plan, pool));
    }
    // A repair that fails must not keep the pool from launching: it ends the chain.
    steps.extend(repairs(pool, seen));
    steps.extend(tidy(plan, pool, now));
    if pool.protected && plan.idle && empty(pool) {
        steps.push(Step::ReleasePool);
    }
    steps
}

fn empty(pool: &Pool) -> bool {
    pool.instances.as_ref().is_some_and(Vec::is_empty) && pool.status.launches.is_empty()
}

/// Nodes that registered without the pool's label or taint.
fn repairs(pool: &Pool, seen: &Snapshot) -> Vec<Step> {
    let nodes = seen.known_nodes().filter(|n| n.pool == pool.name && n.instance.is_some() && (!n.labelled || !n.tainted));
    nodes.map(|n| Step::RepairNode { node: n.name.clone(), label: !n.labelled, taint: !n.tainted }).collect()
}

/// Instances that never became nodes, and those that stopped: both cost and serve nobody.
fn useless(plan: &PoolPlan, pool: &Pool) -> Vec<Step> {
    let stopped: Vec<String> = pool.instances.iter().flatten().filter(|i| i.stopped).map(|i| i.id.clone()).collect();
    let never =
        (!plan.never_joined.is_empty()).then(|| Step::Terminate { instances: plan.never_joined.clone(), reason: Reason::NeverJoined });
    let stopped = (!stopped.is_empty()).then_some(Step::Terminate { instances: stopped, reason: Reason::Terminated });
    never.into_iter().chain(stopped).collect()
}

/// What is wanted beyond what is in service: draining nodes are taken back first, the rest is launched.
fn launches(scope: &Scope<'_>, plan: &PoolPlan, pool: &Pool) -> Vec<Step> {
    let have = fleet::have(pool, scope.seen, scope.now);
    let mut missing = plan.wanted.clone();
    for instance_type in in_service(pool, &have) {
        if let Some(n) = missing.get_mut(instance_type) {
            *n -= 1;
        }
    }
    missing.retain(|_, n| *n > 0);
    if missing.is_empty() || scope.withheld.contains(pool.name.as_str()) {
        return Vec::new();
    }
    if !pool.protected {
        return vec![Step::ProtectPool];
    }
    let mut steps = take_back(pool, &have.draining, &mut missing);
    steps.extend(orders(pool, &missing, scope.now));
    steps
}

fn take_back(pool: &Pool, draining: &[&Node], missing: &mut BTreeMap<String, i32>) -> Vec<Step> {
    let mut steps = Vec::new();
    for node in draining {
        let instance = pool.instances.iter().flatten().find(|i| node.instance.as_deref() == Some(&i.id));
        if let Some(n) = instance.and_then(|i| missing.get_mut(&i.instance_type)).filter(|n| **n > 0) {
            *n -= 1;
            steps.push(Step::Uncordon { node: node.name.clone(), uid: node.uid.clone() });
        }
    }
    steps
}

/// Subnets take turns from launch to launch, so that none runs out of addresses before the others; those that are full are passed over. Where the cloud said
/// how many addresses are free, the one with most comes first, and is asked for no more than it has.
fn orders(pool: &Pool, missing: &BTreeMap<String, i32>, now: Timestamp) -> Vec<Step> {
    let subnets = pools::subnets(pool, now);
    if subnets.is_empty() {
        return Vec::new();
    }
    let mut free = addresses::by_subnet(pool, &subnets, now);
    let mut steps = Vec::new();
    let mut turn = usize::try_from(pool.status.last_sequence).unwrap_or_default();
    let room = LEDGER_ROOM.saturating_sub(pool.status.launches.len());
    for (instance_type, n) in missing {
        let (mut left, each) = (*n, addresses::per_node(pool, instance_type).max(1));
        while left > 0 && steps.len() < room {
            // With nothing left by the cloud's old word, the cloud itself may decide.
            let most = free.iter().max_by_key(|(subnet, n)| (**n, std::cmp::Reverse(*subnet))).filter(|(_, n)| **n >= each);
            let (subnet, fit) = most.map_or((subnets[turn % subnets.len()], i64::MAX), |(subnet, n)| (*subnet, *n / each));
            let count = left.min(BATCH).min(i32::try_from(fit).unwrap_or(i32::MAX));
            free.entry(subnet).and_modify(|n| *n -= i64::from(count) * each);
            steps.push(Step::Launch { instance_type: instance_type.clone(), subnet: subnet.to_owned(), count });
            (left, turn) = (left - count, turn + 1);
        }
    }
    steps
}

fn returns(plan: &PoolPlan, pool: &Pool, seen: &Snapshot) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut gone = Vec::new();
    for surplus in &plan.surplus {
        match seen.known_nodes().find(|n| n.name == surplus.node) {
            // It never joined: there is nothing to drain.
            None => gone.push(surplus.instance.clone()),
            // Pods may still serve on a node that only its link makes unready; once Kubernetes has given them up, nobody waits for them.
            Some(node) if !node.ready => {
                if node.evictable.iter().all(|p| p.terminating) {
                    gone.push(surplus.instance.clone());
                }
            }
            Some(node) => steps.extend(let_go(node, surplus, &mut gone)),
        }
    }
    if !gone.is_empty() {
        steps.push(Step::Terminate { instances: gone, reason: Reason::Terminated });
    }
    if steps.is_empty() && !pool.protected && pool.instances.as_ref().is_some_and(|i| !i.is_empty()) {
        steps.push(Step::ProtectPool);
    }
    steps
}

/// Cordon first; terminate only what was cordoned before this pass and holds no pods: nothing can have come in between.
fn let_go(node: &Node, surplus: &Surplus, gone: &mut Vec<String>) -> Vec<Step> {
    let empty = node.evictable.is_empty();
    match (node.draining, empty) {
        (false, _) if surplus.drain || empty => vec![Step::Cordon { node: node.name.clone(), uid: node.uid.clone() }],
        (true, true) => {
            gone.push(surplus.instance.clone());
            Vec::new()
        }
        (true, false) if surplus.drain => {
            let pods = node.evictable.iter().filter(|p| !p.terminating);
            pods.map(|pod| Step::Evict { pod: pod.clone(), node: node.name.clone() }).collect()
        }
        _ => Vec::new(),
    }
}

fn tidy(plan: &PoolPlan, pool: &Pool, now: Timestamp) -> Option<Step> {
    let none_left = pool.instances.as_ref().is_some_and(Vec::is_empty);
    let over = |l: &&onsale_api::pool::Launch| l.resolved && (none_left || now.duration_since(l.made_at()) > LEDGER_KEEPS);
    let sequences: Vec<i64> = pool.status.launches.iter().filter(over).map(|l| l.sequence).collect();
    let shortfalls = plan.released && !pool.status.shortfalls.is_empty();
    (!sequences.is_empty() || shortfalls).then_some(Step::Tidy { sequences, shortfalls })
}
