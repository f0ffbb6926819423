//! Floors of one workload, and its way back: how many replicas are due now, what of the field is ours, and what to record. Where they may go is decided in
//! [`release`](crate::release).

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use onsale_api::{
    Reason, names,
    placement::{FloorField, FloorKind, WorkloadPlacementSpec},
};

use crate::{
    demand::Demand,
    index::Indexed,
    packing::{Packed, Rooms},
    plan::{Foreign, Stage, Waiting, WorkloadPlan},
    release,
    snapshot::{Placement, TargetState, Workload},
};

/// What decides about one workload.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The world.
    pub seen: &'a Indexed<'a>,
    /// The workload's index in it.
    pub index: usize,
    /// What is wanted of it.
    pub demand: &'a Demand,
    /// Where its replicas find a place; `None`: it is not packed.
    pub packed: Option<&'a Packed>,
    /// What the packing leaves.
    pub rooms: &'a Rooms<'a>,
}

impl<'a> Case<'a> {
    fn workload(&self) -> &'a Workload {
        &self.seen.snapshot().workloads[self.index]
    }
}

/// The plan of one workload.
#[must_use]
pub fn plan(case: &Case<'_>) -> WorkloadPlan {
    let Case { seen, demand, .. } = *case;
    let (workload, now) = (case.workload(), seen.now);
    let nowhere = Packed::default();
    let packed = case.packed.unwrap_or(&nowhere);
    let running = &seen.running[case.index];
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
        unplaced: unplaced(workload, demand, packed),
        headroom: packed.headroom,
        released: 0,
        permitted: Vec::new(),
        overlay: None,
        revision: workload.placement.as_ref().map_or(0, |p| p.spec.revision),
        trial: 0,
        ready: count(workload.pods.iter().filter(|p| p.ready && !p.terminating).count()),
        bound: running.bound.clone(),
        ready_by_pool: running.ready.clone(),
        misplaced: 0,
        foreign: None,
        problems: problems(demand, case.packed),
    };
    release::stage(&mut plan, workload, demand, packed);
    release::permit(&mut plan, seen, workload, demand, packed);
    let waits = release::waits_for_larger(&plan, workload, demand, case.rooms, now);
    plan.floor = confirmed(floor(&plan, workload, demand, packed, waits), workload);
    plan.foreign = foreign(&plan, workload, now);
    plan.misplaced = misplaced(&plan, case, packed);
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

fn problems(demand: &Demand, packed: Option<&Packed>) -> Vec<Waiting> {
    let waiting = packed.into_iter().flat_map(|p| &p.waiting_for);
    demand.problems.iter().chain(waiting).cloned().chain(packed.and_then(|p| no_headroom(demand, p))).collect()
}

/// Where replicas themselves lack a place, that says enough.
fn no_headroom(demand: &Demand, packed: &Packed) -> Option<Waiting> {
    if packed.unplaced > 0 || packed.headroom >= demand.reserve {
        return None;
    }
    let why = packed.no_headroom.as_ref();
    let because = why.map_or("no pool is open to it", |why| why.message.as_str());
    let message = format!("an HPA finds room for {} of {} replicas of headroom: {because}", packed.headroom, demand.reserve);
    Some(Waiting { reason: Reason::HeadroomMissing, message, until: why.and_then(|why| why.until) })
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
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
    if ours || target.value == spec.before || target.value == spec.intended {
        return None;
    }
    let raise = target.value > spec.intended;
    // On the way back everything falls; what is lower than the baseline when nothing is held any more is what somebody wants from now on.
    let matters = match plan.stage {
        Stage::Idle => false,
        Stage::Preparing | Stage::Holding => true,
        Stage::Returning => !raise,
        Stage::Restoring => target.value < plan.baseline,
    };
    if !matters {
        return None;
    }
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
fn misplaced(plan: &WorkloadPlan, case: &Case<'_>, packed: &Packed) -> i32 {
    let Some(target) = case.workload().target.as_ref().filter(|_| plan.stage != Stage::Idle) else { return 0 };
    let rank = |pool: &str| plan.distances.iter().find(|d| d.pool == pool).map(|d| d.rank);
    let (mut outside, mut here) = (0, BTreeMap::<i32, i64>::new());
    for (pool, n) in plan.bound.iter() {
        match rank(pool) {
            Some(rank) => *here.entry(rank).or_default() += i64::from(*n),
            None => outside += n,
        }
    }
    // On the way back nobody is moved: what is far goes first.
    let holding = matches!(plan.stage, Stage::Preparing | Stage::Holding);
    let share = case.seen.wishes(case.index).first().is_some_and(|(_, wish)| wish.max_share_per_pool.is_some());
    if !holding || target.zone_skew.is_some() || share {
        return outside;
    }
    let (mut far, mut room): (i64, i64) = (0, 0);
    for rank in 0..=here.last_key_value().map_or(0, |(rank, _)| *rank) {
        let moved = here.get(&rank).copied().unwrap_or_default().min(room);
        far += moved;
        room -= moved;
        let pools = plan.distances.iter().filter(|d| d.rank == rank);
        let free = pools.map(|d| case.rooms.free(case.seen, &d.pool, case.index, packed.ready_in(&d.pool))).sum::<i64>();
        room += free.max(0);
    }
    outside + i32::try_from(far).unwrap_or(i32::MAX)
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
        distances: plan.distances.to_vec(),
        released: plan.released,
        permitted: plan.permitted.clone(),
        revision: plan.revision,
        trial: plan.trial,
    }
}
