//! Releases, floors and the way back of one workload.
//!
//! While preparing, replicas are released rank by rank, nearest first: new pods may go to the pools of the current rank only, the floor rises by what finds a
//! place there on Ready nodes, and the next rank follows when nothing is left to place in this one. Two workloads that compete for the last near places thus
//! get exactly what the packing gave them. From then on every pool is open, nearest first.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use onsale_api::{
    names,
    onsale::TargetKind,
    placement::{Distance, FloorField, FloorKind, WorkloadPlacementSpec},
};

use crate::{
    demand::Demand,
    overlay::Overlay,
    packing::{Bin, BinState, Packed, Packing},
    plan::{Foreign, Stage, Waiting, WorkloadPlan},
    snapshot::{Node, Placement, Requirement, Snapshot, TargetState, Workload},
};

/// Replicas that are raised first under a new overlay, whose stamp is then checked on real pods before the rest follows.
const FIRST_BATCH: i32 = 2;
/// Preferred weights by rank. The scheduler keeps at most three distances apart (only ratios count); ranks beyond the third share the last.
const WEIGHTS: [i32; 3] = [100, 50, 1];
/// Pod-deletion-cost by rank below the nearest.
const COST_PER_RANK: i32 = -10;

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
    stage(&mut plan, workload, demand, &packed);
    permit(&mut plan, seen, workload);
    plan.floor = confirmed(floor(&plan, workload, demand, &packed), workload);
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
    let wanted = demand.first.as_ref().map_or(0, |(_, wish)| wish.peak_replicas);
    match &workload.target {
        Some(target) if !target.requests_missing => packed.unplaced + (wanted - demand.floor).max(0),
        _ => wanted,
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

/// Number of ranks.
fn ranks(distances: &[Distance]) -> i32 {
    distances.last().map_or(0, |d| d.rank + 1)
}

/// Where the workload is between baseline and baseline, and how many ranks are released.
fn stage(plan: &mut WorkloadPlan, workload: &Workload, demand: &Demand, packed: &Packed) {
    let all = ranks(&plan.distances) + 1;
    let released = workload.placement.as_ref().map_or(0, |p| p.spec.released);
    let spread = workload.target.as_ref().is_some_and(|t| t.zone_skew.is_some());
    (plan.stage, plan.released) = match () {
        () if demand.claims.is_empty() && workload.placement.is_none() => (Stage::Idle, 0),
        () if demand.claims.is_empty() => (Stage::Restoring, all),
        () if !demand.holding => (Stage::Returning, all),
        () if demand.open || spread || released >= all => (Stage::Holding, all),
        () => {
            let waits = |rank: i32| packed.fresh.range(..rank).any(|(_, n)| *n > 0);
            let released = (released.max(1)..all).find(|rank| waits(*rank)).unwrap_or(all);
            (if released < all { Stage::Preparing } else { Stage::Holding }, released)
        }
    };
}

/// Pools that new pods may go to, and the overlay that says so.
fn permit(plan: &mut WorkloadPlan, seen: &Snapshot, workload: &Workload) {
    let exists = |d: &&Distance| seen.pool(&d.pool).is_some();
    let current = |d: &&Distance| plan.stage != Stage::Preparing || d.rank == plan.released - 1;
    plan.permitted = match (plan.stage, &workload.placement) {
        (Stage::Idle, _) => return,
        (Stage::Restoring, Some(placement)) => placement.spec.permitted.clone(),
        _ => plan.distances.iter().filter(exists).filter(current).map(|d| d.pool.clone()).collect(),
    };
    let recorded = workload.placement.as_ref().map(|p| &p.spec);
    plan.revision = match recorded {
        Some(spec) if spec.permitted == plan.permitted => spec.revision,
        Some(spec) => spec.revision + 1,
        None => 1,
    };
    let now = workload.target.as_ref().map_or(0, |t| t.value.max(t.replicas));
    plan.trial = recorded.filter(|spec| spec.revision == plan.revision).map_or(now + FIRST_BATCH, |spec| spec.trial);
    if plan.stage != Stage::Restoring || keeps_overlay(plan, seen, workload) {
        plan.overlay = overlay(plan, seen, workload);
    }
}

/// On the way out the overlay stays until the field is restored and no pod is left on a rented node.
fn keeps_overlay(plan: &WorkloadPlan, seen: &Snapshot, workload: &Workload) -> bool {
    let Some(target) = &workload.target else { return false };
    let rented = |pool: &str| seen.pool(pool).is_some_and(|p| p.spec.nodes.ec2.is_some());
    target.value != plan.baseline || plan.bound.iter().any(|(pool, n)| *n > 0 && rented(pool))
}

fn overlay(plan: &WorkloadPlan, seen: &Snapshot, workload: &Workload) -> Option<Overlay> {
    let permitted: Vec<&Distance> = plan.distances.iter().filter(|d| plan.permitted.contains(&d.pool)).collect();
    let terms: Vec<(&Distance, Vec<Requirement>)> = permitted.iter().filter_map(|d| Some((*d, term(seen, &d.pool)?))).collect();
    if terms.is_empty() {
        return None;
    }
    let rented = |d: &&Distance| seen.pool(&d.pool).is_some_and(|p| p.spec.nodes.ec2.is_some());
    let weight = |rank: i32| WEIGHTS[usize::try_from(rank).unwrap_or_default().min(WEIGHTS.len() - 1)];
    let own_cost = workload.target.as_ref().is_some_and(|t| t.own_deletion_cost);
    let (owner_kind, owner_pattern, pod_pattern) = patterns(workload.id.kind, &workload.id.name);
    Some(Overlay {
        owner_kind,
        owner_pattern,
        pod_pattern,
        zone_costs: if own_cost { Vec::new() } else { zone_costs(plan, seen) },
        stamp: stamp(&workload.id.name, plan.revision),
        required: terms.iter().map(|(_, term)| term.clone()).collect(),
        preferred: terms.into_iter().map(|(d, term)| (weight(d.rank), term)).collect(),
        tolerated: permitted.into_iter().filter(rented).map(|d| d.pool.clone()).collect(),
    })
}

/// A label value, at most 63 characters: as much of the name as fits, and the revision, which is all that is read back.
fn stamp(name: &str, revision: i64) -> String {
    const NAME: usize = 42;
    let cut: String = name.chars().take(NAME).collect();
    format!("{}.{revision}", cut.trim_end_matches(['-', '.']))
}

/// The labels of a pool's nodes as a node selector term.
fn term(seen: &Snapshot, pool: &str) -> Option<Vec<Requirement>> {
    let pool = seen.pool(pool)?;
    let is = |key: &str, value: &str| Requirement { key: key.to_owned(), operator: "In".to_owned(), values: vec![value.to_owned()] };
    let Some(existing) = &pool.spec.nodes.existing else { return Some(vec![is(names::POOL, &pool.name)]) };
    let labels = existing.selector.match_labels.iter().flatten().map(|(key, value)| is(key, value));
    let more = existing.selector.match_expressions.iter().flatten().map(|r| Requirement {
        key: r.key.clone(),
        operator: r.operator.clone(),
        values: r.values.clone().unwrap_or_default(),
    });
    Some(labels.chain(more).collect())
}

/// Owner and pod names as Kubernetes makes them: a ReplicaSet is `<deployment>-<hash>`, its pods `<replicaset>-` cut to 58 characters plus 5 random ones;
/// a StatefulSet's pods are `<statefulset>-<ordinal>`.
fn patterns(kind: TargetKind, name: &str) -> (&'static str, String, String) {
    let quoted = name.replace('.', "[.]");
    match kind {
        TargetKind::StatefulSet => ("StatefulSet", format!("^{quoted}$"), format!("^{quoted}-[0-9]+$")),
        TargetKind::Deployment => {
            let cut = name.len() + 11 > 57;
            let pods = if cut {
                format!("^{}[a-z0-9-]*[a-z0-9]{{5}}$", name.chars().take(46).collect::<String>().replace('.', "[.]"))
            } else {
                format!("^{quoted}-[a-z0-9]{{1,10}}-[a-z0-9]{{5}}$")
            };
            ("ReplicaSet", format!("^{quoted}-[a-z0-9]{{1,10}}$"), pods)
        }
    }
}

/// The farther a zone, the sooner its pods go when replicas fall. Where pools of several distances share a zone, the farthest decides.
fn zone_costs(plan: &WorkloadPlan, seen: &Snapshot) -> Vec<(String, i32)> {
    let mut costs: BTreeMap<String, i32> = BTreeMap::new();
    for distance in plan.distances.iter().filter(|d| d.rank > 0) {
        if let Some(pool) = seen.pool(&distance.pool) {
            let cost = costs.entry(pool.spec.zone.clone()).or_default();
            *cost = (*cost).min(distance.rank * COST_PER_RANK);
        }
    }
    costs.into_iter().collect()
}

/// The floor that is due now. It rises only by what finds a place on Ready nodes, in a first batch whose stamp is checked, and never falls before the way back.
fn floor(plan: &WorkloadPlan, workload: &Workload, demand: &Demand, packed: &Packed) -> i32 {
    let Some(target) = &workload.target else { return plan.baseline };
    match plan.stage {
        Stage::Idle | Stage::Restoring => plan.baseline,
        Stage::Returning => demand.floor,
        Stage::Preparing | Stage::Holding => {
            let recorded = workload.placement.as_ref().map_or(plan.baseline, |p| p.spec.intended);
            let running: i32 = packed.by_pool.values().sum::<i32>() - packed.fresh.values().sum::<i32>();
            let ready: i32 = packed.fresh_on_ready.range(..plan.released).map(|(_, n)| n).sum();
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
    for rank in 0..ranks(&plan.distances) {
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
