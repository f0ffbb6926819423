//! Floors of one workload, and its way back: how many replicas are due now, what of the field is ours, and what to record. Where they may go is decided in
//! [`release`](crate::release).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use onsale_api::{
    names,
    placement::{FloorField, FloorKind, WorkloadPlacementSpec},
};

use crate::{
    demand::Demand,
    packing::{Bin, BinState, Packed, Packing},
    plan::{Foreign, Stage, Waiting, WorkloadPlan},
    release,
    snapshot::{Node, Placement, Snapshot, TargetState, Workload},
};

/// The plan of one workload.
#[must_use]
pub fn plan(seen: &Snapshot, index: usize, demand: &Demand, packing: &Packing, now: Timestamp) -> WorkloadPlan {
    let workload = &seen.workloads[index];
    let packed = packing.works.get(&index).cloned().unwrap_or_default();
    let mut plan = WorkloadPlan {
        id: workload.id.clone(),
        stage: Stage::Idle,
        field: field(workload),
        baseline: demand.baseline,
        baseline_manager: manager(workload),
        claims: demand.claims.clone(),
        distances: demand.distances.clone(),
        peak: demand.floor,
        floor: demand.baseline,
        by_pool: packed.by_pool.clone(),
        unplaced: unplaced(workload, demand, &packed),
        released: 0,
        permitted: Vec::new(),
        overlay: None,
        revision: workload.placement.as_ref().map_or(0, |p| p.spec.revision),
        trial: 0,
        ready: count(workload.pods.iter().filter(|p| p.ready && !p.terminating).count()),
        bound: pods_by_pool(seen, workload, |_| true),
        ready_by_pool: pods_by_pool(seen, workload, |p| p.ready),
        misplaced: 0,
        foreign: None,
        problems: problems(demand, &packed),
    };
    release::stage(&mut plan, workload, demand, &packed);
    release::permit(&mut plan, seen, workload, &packed);
    let waits = release::waits_for_larger(&plan, seen, demand, index, packing, now);
    plan.floor = confirmed(floor(&plan, workload, demand, &packed, waits), workload);
    plan.foreign = foreign(&plan, workload, now);
    plan.misplaced = misplaced(&plan, seen, workload, packing, index);
    plan
}

fn field(workload: &Workload) -> FloorField {
    let target = workload.target.as_ref().map(|t| t.field.clone());
    let recorded = workload.placement.as_ref().map(|p| p.spec.field.clone());
    recorded.or(target).unwrap_or_else(|| FloorField { kind: FloorKind::Replicas, name: workload.id.name.clone() })
}

fn manager(workload: &Workload) -> Option<String> {
    match &workload.placement {
        Some(placement) => placement.spec.baseline_manager.clone(),
        None => workload.target.as_ref().and_then(|t| t.manager.clone()).filter(|m| m != names::MANAGER),
    }
}

/// Only what a sale asks for can lack a place.
fn unplaced(workload: &Workload, demand: &Demand, packed: &Packed) -> i32 {
    if !demand.holding {
        return 0;
    }
    match &workload.target {
        Some(target) if !target.requests_missing => packed.unplaced + demand.wished - demand.floor,
        _ => demand.wished,
    }
}

fn problems(demand: &Demand, packed: &Packed) -> Vec<Waiting> {
    demand.problems.iter().chain(&packed.waiting_for).cloned().collect()
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn pods_by_pool(seen: &Snapshot, workload: &Workload, which: impl Fn(&crate::snapshot::Pod) -> bool) -> BTreeMap<String, i32> {
    let pools: BTreeMap<&str, &str> = seen.known_nodes().map(|n| (n.name.as_str(), n.pool.as_str())).collect();
    let mut counts = BTreeMap::new();
    for pod in workload.pods.iter().filter(|p| !p.terminating && which(p)) {
        if let Some(node) = &pod.node {
            *counts.entry(pools.get(node.as_str()).copied().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    counts
}

/// The floor that is due now. It rises only by what finds a place on Ready nodes, in a first batch whose stamp is checked, and never falls before the way back.
fn floor(plan: &WorkloadPlan, workload: &Workload, demand: &Demand, packed: &Packed, waits: bool) -> i32 {
    let Some(target) = &workload.target else { return plan.baseline };
    match plan.stage {
        Stage::Idle | Stage::Restoring => plan.baseline,
        Stage::Returning => demand.floor,
        Stage::Preparing | Stage::Holding => {
            let recorded = workload.placement.as_ref().map_or(plan.baseline, |p| p.spec.intended);
            let running: i32 = packed.by_pool.values().sum::<i32>() - packed.fresh.values().sum::<i32>();
            let ready: i32 = if waits { 0 } else { plan.permitted.iter().map(|pool| packed.ready_in(pool)).sum() };
            let possible = (running + ready).min(demand.floor).max(plan.baseline);
            let due = if recorded <= demand.floor { possible.max(recorded) } else { demand.floor };
            batched(plan, workload, target, due)
        }
    }
}

/// The last write is not seen to have arrived: it may have been lost in a crash, or our view is old. Until it is, nothing else is written than the value that
/// it was to write, or the one before it: the record covers both, and whichever is there stays ours.
fn confirmed(due: i32, workload: &Workload) -> i32 {
    match unconfirmed(workload) {
        Some((before, _)) if due == before => before,
        Some((_, intended)) => intended,
        None => due,
    }
}

fn unconfirmed(workload: &Workload) -> Option<(i32, i32)> {
    let (target, spec) = (workload.target.as_ref()?, &workload.placement.as_ref()?.spec);
    (target.value == spec.before && target.value != spec.intended).then_some((spec.before, spec.intended))
}

/// Nothing rises before the overlay is in force; the first pods under it come in a small batch.
fn batched(plan: &WorkloadPlan, workload: &Workload, target: &TargetState, due: i32) -> i32 {
    let now = target.value.max(plan.baseline);
    if due <= now {
        return due;
    }
    let in_force = workload.overlay == Some(plan.revision) && workload.placement.as_ref().is_some_and(|p| p.spec.revision == plan.revision);
    if !in_force {
        return workload.placement.as_ref().map_or(plan.baseline, |p| p.spec.intended).min(due);
    }
    if workload.pods.iter().any(|p| p.revision == Some(plan.revision)) {
        return due;
    }
    due.min(plan.trial).max(now)
}

/// A value in the field that is neither what we wrote nor what was there before.
fn foreign(plan: &WorkloadPlan, workload: &Workload, now: Timestamp) -> Option<Foreign> {
    let (target, Placement { spec, status }) = (workload.target.as_ref()?, workload.placement.as_ref()?);
    let ours = target.manager.as_deref() == Some(names::MANAGER);
    if ours || target.value == spec.before || target.value == spec.intended || !matches!(plan.stage, Stage::Preparing | Stage::Holding) {
        return None;
    }
    let raise = target.value > spec.intended;
    let again_at = status.contest.as_ref().filter(|_| !raise).and_then(|c| c.last.0.checked_add(pause(c.count)).ok()).unwrap_or(now);
    let manager = target.manager.clone().unwrap_or_else(|| "unknown".to_owned());
    Some(Foreign { value: target.value, manager, raise, again_at })
}

/// Pause before the floor is written again after `count` times: 5 s, doubling, at most 5 minutes: longer than Argo CD's self-heal takes (5 s and up).
fn pause(count: i32) -> SignedDuration {
    SignedDuration::from_secs((5_i64 << count.clamp(1, 10).saturating_sub(1)).min(300))
}

/// Pods outside the workload's pools, and pods that are far although a Ready node that is nearer has room for them. What the workload's own bounds
/// (`maxSharePerPool`, zone spread) keep away is where it belongs.
fn misplaced(plan: &WorkloadPlan, seen: &Snapshot, workload: &Workload, packing: &Packing, index: usize) -> i32 {
    let Some(target) = workload.target.as_ref().filter(|_| plan.stage != Stage::Idle) else { return 0 };
    let distance = |pool: &str| plan.distances.iter().find(|d| d.pool == pool).map(|d| d.rank);
    let outside: i32 = plan.bound.iter().filter(|(pool, _)| distance(pool).is_none()).map(|(_, n)| n).sum();
    let share = plan
        .distances
        .first()
        .and_then(|_| seen.sales.iter().flat_map(|s| s.workload_ids().zip(&s.spec.workloads)).find(|(id, _)| *id == workload.id));
    // On the way back nobody is moved: what is far goes first.
    let holding = matches!(plan.stage, Stage::Preparing | Stage::Holding);
    if !holding || target.zone_skew.is_some() || share.is_some_and(|(_, wish)| wish.max_share_per_pool.is_some()) {
        return outside;
    }
    let usable = |bin: &&Bin| bin.state == BinState::Ready && node_of(seen, bin).is_none_or(|n| !n.draining);
    let mut far = 0;
    let mut room: i64 = 0;
    for rank in 0..release::ranks(&plan.distances) {
        let here: i64 = plan.bound.iter().filter(|(pool, _)| distance(pool) == Some(rank)).map(|(_, n)| i64::from(*n)).sum();
        let moved = here.min(room);
        far += moved;
        room -= moved;
        let bins = packing.bins.iter().filter(usable).filter(|b| distance(&b.pool) == Some(rank));
        let free: i64 = bins.map(|b| free_now(b, index, target).min(i64::from(i32::MAX))).sum();
        room += free.max(0);
    }
    outside + i32::try_from(far).unwrap_or(i32::MAX)
}

/// Replicas of the workload that still fit into the bin, those counted that are only planned there.
fn free_now(bin: &Bin, index: usize, target: &TargetState) -> i64 {
    let running = bin.running.get(&index).copied().unwrap_or_default();
    let planned = bin.replicas.get(&index).copied().unwrap_or_default();
    bin.free.count_of(&target.requests) + i64::from(planned - running)
}

fn node_of<'a>(seen: &'a Snapshot, bin: &Bin) -> Option<&'a Node> {
    seen.known_nodes().find(|n| n.name == bin.node)
}

/// The intent to record: everything but the floor as planned; `before` and `intended` as they are until the floor is to be written.
#[must_use]
pub fn record(plan: &WorkloadPlan, workload: &Workload) -> WorkloadPlacementSpec {
    let value = workload.target.as_ref().map_or(plan.baseline, |t| t.value);
    let foreign = plan.foreign.as_ref();
    let lowered = foreign.filter(|f| !f.raise);
    let recorded = workload.placement.as_ref().map(|p| (p.spec.before, p.spec.intended));
    let respected = foreign.is_some_and(|f| f.raise) && plan.floor <= value;
    let (before, intended) = match recorded {
        Some(kept) if unconfirmed(workload).is_some() => kept,
        _ if plan.floor != value && !respected => (value, plan.floor),
        Some((before, _)) if respected => (before, plan.floor),
        // The write is seen to have arrived: from now on the value that was there before is as foreign as any other.
        _ if plan.floor == value => (value, value),
        Some(kept) if kept.1 == plan.floor => kept,
        _ => (value, plan.floor),
    };
    WorkloadPlacementSpec {
        target: onsale_api::onsale::Target { api_version: "apps/v1".to_owned(), kind: workload.id.kind, name: workload.id.name.clone() },
        field: plan.field.clone(),
        baseline: lowered.map_or(plan.baseline, |f| f.value),
        baseline_manager: lowered.map_or_else(|| plan.baseline_manager.clone(), |f| Some(f.manager.clone())),
        before,
        intended,
        claims: plan.claims.clone(),
        distances: plan.distances.clone(),
        released: plan.released,
        permitted: plan.permitted.clone(),
        revision: plan.revision,
        trial: plan.trial,
    }
}
