//! Which pools a workload's new pods may go to, and when a workload waits for another.
//!
//! While preparing, replicas are released rank by rank, nearest first, and within a rank pool by pool: new pods may go to one pool only, the floor rises by
//! what finds a place there on Ready nodes, and the next pool follows when nothing is left to place in this one. In one pool the largest pods come first, so
//! that small ones do not break up the room that was meant for large ones. Workloads that compete for the last near places thus get exactly what the packing
//! gave them, and the zones of a rank are filled as evenly as it planned. From then on every pool is open, nearest first.

use jiff::Timestamp;
use onsale_api::placement::Distance;

use crate::{
    demand::Demand,
    index::Indexed,
    overlay::overlay,
    packing::{Packed, Rooms},
    plan::{Stage, WorkloadPlan},
    snapshot::Workload,
};

/// Replicas that are raised first under a new overlay, whose stamp is then checked on real pods before the rest follows.
const FIRST_BATCH: i32 = 2;

/// Number of ranks.
#[must_use]
pub fn ranks(distances: &[Distance]) -> i32 {
    distances.last().map_or(0, |d| d.rank + 1)
}

/// Where the workload is between baseline and baseline, and how many ranks are released.
pub fn stage(plan: &mut WorkloadPlan, workload: &Workload, demand: &Demand, packed: &Packed) {
    let all = ranks(&plan.distances) + 1;
    let released = workload.placement.as_ref().map_or(0, |p| p.spec.released);
    let spread = workload.target.as_ref().is_some_and(|t| t.zone_skew.is_some());
    (plan.stage, plan.released) = match () {
        () if demand.claims.is_empty() && workload.placement.is_none() => (Stage::Idle, 0),
        () if demand.claims.is_empty() => (Stage::Restoring, all),
        () if !demand.holding => (Stage::Returning, all),
        () if demand.open || spread || released >= all => (Stage::Holding, all),
        () => {
            let waits = |rank: i32| plan.distances.iter().any(|d| d.rank < rank && packed.fresh_in(&d.pool) > 0);
            let released = (released.max(1)..all).find(|rank| waits(*rank)).unwrap_or(all);
            (if released < all { Stage::Preparing } else { Stage::Holding }, released)
        }
    };
}

/// Pools that new pods may go to, and the overlay that says so.
pub fn permit(plan: &mut WorkloadPlan, seen: &Indexed<'_>, workload: &Workload, demand: &Demand, packed: &Packed) {
    let exists = |d: &&Distance| seen.pool(&d.pool).is_some() && !demand.outside.contains(&d.pool);
    plan.permitted = match (plan.stage, &workload.placement) {
        (Stage::Idle, _) => return,
        (Stage::Restoring, Some(placement)) => placement.spec.permitted.clone(),
        (Stage::Preparing, _) => next_pool(plan, workload, demand, packed),
        _ => plan.distances.iter().filter(exists).map(|d| d.pool.clone()).collect(),
    };
    let recorded = workload.placement.as_ref().map(|p| &p.spec);
    plan.revision = match recorded {
        Some(spec) if spec.permitted == plan.permitted => spec.revision,
        Some(spec) => spec.revision + 1,
        // Pods may carry stamps of an earlier window still: theirs are not those of this one.
        None => workload.pods.iter().filter_map(|p| p.revision).max().unwrap_or_default() + 1,
    };
    let recorded = recorded.filter(|spec| spec.revision == plan.revision);
    plan.trial = recorded.map_or(0, |spec| spec.trial).max(before_trial(plan, workload, recorded.is_none()) + FIRST_BATCH);
    if plan.stage != Stage::Restoring || keeps_overlay(plan, seen, workload) {
        plan.overlay = overlay(plan, seen, workload);
    }
}

/// Replicas that were there before the overlay of the plan's revision: those that run as it begins. Who begins it may have seen an old state; pods with the stamp of
/// an earlier revision tell later that there were more, but only where they have a place: unbound ones are replaced, and may come with the old stamp again. Pods
/// without any stamp tell so only where they are older than those, and up to the baseline: others are what nobody stamps, and more of them help nobody.
fn before_trial(plan: &WorkloadPlan, workload: &Workload, begins: bool) -> i32 {
    let now = workload.target.as_ref().filter(|_| begins).map_or(0, |t| t.value.max(t.replicas));
    let there = || workload.pods.iter().filter(|p| !p.terminating);
    let stamped = || there().filter(|p| p.node.is_some() && p.revision.is_some_and(|revision| revision != plan.revision));
    let newest = stamped().map(|p| p.created_at).max();
    let plain = there().filter(|p| p.revision.is_none() && newest.is_none_or(|newest| p.created_at <= newest)).count();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    now.max(count(stamped().count()) + count(plain).min(plan.baseline))
}

/// The pool of the current rank that is filled now: the one that was, while replicas wait for places that are Ready there; else the first where some can go
/// at once; else, while nodes are on their way, the first that will take any.
fn next_pool(plan: &WorkloadPlan, workload: &Workload, demand: &Demand, packed: &Packed) -> Vec<String> {
    let before = workload.placement.as_ref().map_or(&[][..], |p| &p.spec.permitted);
    let mut pools: Vec<&String> =
        plan.distances.iter().filter(|d| d.rank == plan.released - 1).map(|d| &d.pool).filter(|p| !demand.outside.contains(*p)).collect();
    pools.sort_by_key(|pool| !before.contains(pool));
    let ready = |pool: &&&String| packed.ready_in(pool) > 0;
    let fresh = |pool: &&&String| packed.fresh_in(pool) > 0;
    let next = pools.iter().find(ready).or_else(|| pools.iter().find(fresh));
    next.map_or(pools.as_slice(), std::slice::from_ref).iter().map(|pool| (*pool).clone()).collect()
}

/// On the way out the overlay stays until the field is restored and no pod is left on a rented node.
fn keeps_overlay(plan: &WorkloadPlan, seen: &Indexed<'_>, workload: &Workload) -> bool {
    let Some(target) = &workload.target else { return false };
    let rented = |pool: &str| seen.pool(pool).is_some_and(|p| p.spec.nodes.ec2.is_some());
    target.value != plan.baseline || plan.bound.iter().any(|(pool, n)| *n > 0 && rented(pool))
}

/// Larger pods of another workload wait for places on Ready nodes of a pool that is open to this one: they go first. Not for longer than the first half of
/// the time to prepare: what keeps them away may be theirs alone.
#[must_use]
pub fn waits_for_larger(plan: &WorkloadPlan, workload: &Workload, demand: &Demand, rooms: &Rooms<'_>, now: Timestamp) -> bool {
    let unhurried = plan.stage == Stage::Preparing && demand.unhurried_until.is_some_and(|until| now < until);
    let size = workload.target.as_ref().map_or(0, |t| t.requests.size());
    unhurried && plan.permitted.iter().any(|pool| rooms.larger_waits(pool, size))
}
