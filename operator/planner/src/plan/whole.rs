//! The passes that make one plan: phases by memory and clock, starts, packing, then what follows for workloads, pools and sales.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use onsale_api::{Phase, onsale::Mode};

use super::{Forecast, Plan, PoolPlan, SalePlan, Stage, Times, WorkloadPlan};
use crate::{
    demand::{self, Demand},
    fleet, floors, lead,
    lifecycle::{self, Draft},
    packing::{Bin, Keep, Packing, Work, pack},
    pools, sales,
    snapshot::Snapshot,
};

/// What a sale that has not started would need: the nodes by pool, and its own plan.
struct Expected {
    packing: Packing,
    workloads: Vec<WorkloadPlan>,
}

pub(super) fn plan(seen: &Snapshot, now: Timestamp) -> Plan {
    let mut drafts: Vec<Draft> = seen.sales.iter().map(|sale| lifecycle::draft(seen, sale, now)).collect();
    let mut forecasts = BTreeMap::new();
    for index in sales::in_order(seen, &drafts) {
        postpone(seen, &mut drafts, index, now);
        let forecast = if drafts[index].waits() { start(seen, &mut drafts, index, now) } else { None };
        forecasts.extend(forecast.map(|forecast| (index, forecast)));
    }
    let frozen: BTreeSet<usize> = (0..drafts.len()).filter(|i| sales::frozen(seen, &seen.sales[*i], &drafts[*i]).is_some()).collect();
    let scope = demand::Scope { seen, drafts: &drafts, candidate: None, frozen: &frozen, now };
    let demands: Vec<Demand> = seen.workloads.iter().map(|w| demand::demand(&scope, w)).collect();
    let packing = pack(seen, &works(seen, &demands, now), Keep::Bound, now);
    let workloads: Vec<WorkloadPlan> = (0..demands.len()).map(|i| floors::plan(seen, i, &demands[i], &packing, now)).collect();
    let pools = pool_plans(seen, &drafts, &demands, &packing, &workloads, &forecasts, now);
    let sales = sale_plans(seen, &mut drafts, &packing, &workloads, &pools, &forecasts, now);
    let next_change = next_change(seen, &drafts, &demands, &sales, &workloads, now);
    let forecasts = forecasts.into_iter().map(|(index, expected)| forecast(seen, index, expected)).collect();
    Plan { sales, workloads, pools, forecasts, next_change }
}

fn forecast(seen: &Snapshot, index: usize, expected: Expected) -> Forecast {
    let mut nodes: BTreeMap<String, BTreeMap<String, i32>> = BTreeMap::new();
    let charged = |b: &&Bin| b.used && b.owner.as_ref().is_some_and(|(_, owner)| *owner == index);
    for bin in expected.packing.bins.iter().filter(charged) {
        if let Some(instance_type) = &bin.instance_type {
            *nodes.entry(bin.pool.clone()).or_default().entry(instance_type.clone()).or_default() += 1;
        }
    }
    Forecast { sale: seen.sales[index].id.clone(), workloads: expected.workloads, nodes }
}

fn works(seen: &Snapshot, demands: &[Demand], now: Timestamp) -> Vec<Work> {
    demands.iter().enumerate().filter_map(|(i, d)| demand::work(seen, i, d, now)).collect()
}

/// A sale whose opening was moved away while it prepared gives its nodes back when coming again is cheaper than keeping them: when more than twice its lead
/// time would pass before it had to start again (nodes launched again are paid for about one lead time before they serve).
fn postpone(seen: &Snapshot, drafts: &mut [Draft], index: usize, now: Timestamp) {
    let (sale, draft) = (&seen.sales[index], &drafts[index]);
    let moved = draft.times.zip(sale.status.opens_at.as_ref()).is_some_and(|(times, old)| times.opens_at > old.0);
    if draft.phase == Phase::Returning {
        drafts[index].postponed = !draft.off && draft.entered.live.is_none() && draft.times.is_some_and(|t| now < t.ends_at);
    }
    if !moved || !matches!(drafts[index].phase, Phase::Preparing | Phase::Ready) {
        return;
    }
    let lead = seen.pools.iter().filter(|p| drafts[index].pools.contains(&p.name)).map(|p| lead::until_all(p, 100, &seen.settings)).max();
    let lead = lead.unwrap_or_default();
    if let Some(times) = drafts[index].times {
        drafts[index].times = Some(Times { starts_at: times.ready_by - lead, ..times });
        if times.ready_by.duration_since(now) > lead * 3 {
            drafts[index].enter(Phase::Returning, now);
            drafts[index].postponed = true;
        }
    }
}

/// Computes when the sale has to start, and starts it when that is past. Its forecast counts it together with every sale that is active.
fn start(seen: &Snapshot, drafts: &mut [Draft], index: usize, now: Timestamp) -> Option<Expected> {
    let none = BTreeSet::new();
    let scope = demand::Scope { seen, drafts, candidate: Some(index), frozen: &none, now };
    let demands: Vec<Demand> = seen.workloads.iter().map(|w| demand::demand(&scope, w)).collect();
    let packing = pack(seen, &works(seen, &demands, now), Keep::Bound, now);
    let workloads = (0..demands.len()).map(|i| floors::plan(seen, i, &demands[i], &packing, now)).collect();
    let sale = &seen.sales[index];
    let lead = sales::lead_time(seen, &drafts[index], &packing, sales::scaled_by_hpa(seen, sale));
    let times = drafts[index].times?;
    let starts_at = onsale_api::time::whole_seconds(times.ready_by.checked_sub(lead).unwrap_or(times.ready_by));
    drafts[index].times = Some(Times { starts_at, ..times });
    if lifecycle::may_start(sale, &drafts[index]) && now >= starts_at {
        let phase = if now >= times.opens_at { Phase::Live } else { Phase::Preparing };
        drafts[index].enter(Phase::Preparing, now);
        drafts[index].pools = lifecycle::pools_of(seen, sale, true);
        if phase == Phase::Live {
            drafts[index].enter(phase, now);
        }
        return None;
    }
    Some(Expected { packing, workloads })
}

fn pool_plans(
    seen: &Snapshot,
    drafts: &[Draft],
    demands: &[Demand],
    packing: &Packing,
    workloads: &[WorkloadPlan],
    forecasts: &BTreeMap<usize, Expected>,
    now: Timestamp,
) -> Vec<PoolPlan> {
    let of = |which: fn(Phase) -> bool| -> Vec<String> { drafts.iter().filter(|d| which(d.phase)).flat_map(|d| d.pools.clone()).collect() };
    let mut scheduled = BTreeMap::new();
    for forecast in forecasts.values() {
        for pool in &seen.pools {
            let bins = forecast.packing.bins.iter().filter(|b| b.pool == pool.name && b.used && b.instance_type.is_some()).count();
            let most: &mut i32 = scheduled.entry(pool.name.clone()).or_default();
            *most = (*most).max(i32::try_from(bins).unwrap_or(i32::MAX));
        }
    }
    let mut at_home = works(seen, demands, now);
    for work in &mut at_home {
        (work.closed, work.reserve) = (0, if demands[work.index].holding { work.reserve } else { 0 });
        // Nothing is opened on the way back: what would need a new node stays where it is.
        work.opens = false;
    }
    let home = pack(seen, &at_home, Keep::Existing, now);
    let (held, used) = (of(Phase::holds), of(Phase::is_active));
    let scope = pools::Scope { seen, packing, home: &home, workloads, held: &held, used: &used, scheduled: &scheduled, now };
    seen.pools.iter().map(|pool| pools::plan(&scope, pool)).collect()
}

fn sale_plans(
    seen: &Snapshot,
    drafts: &mut [Draft],
    packing: &Packing,
    workloads: &[WorkloadPlan],
    pools: &[PoolPlan],
    forecasts: &BTreeMap<usize, Expected>,
    now: Timestamp,
) -> Vec<SalePlan> {
    let mut plans = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.iter_mut().enumerate() {
        let sale = &seen.sales[index];
        let (packing, workloads) = forecasts.get(&index).map_or((packing, workloads), |f| (&f.packing, f.workloads.as_slice()));
        let scope = sales::Scope { seen, packing, workloads, now };
        let mut plan = sales::plan(&scope, index, draft);
        if promote(&plan, draft, sale, seen, pools, now) {
            plan = sales::plan(&scope, index, draft);
        }
        plan.frozen = sales::frozen(seen, sale, draft).or_else(|| demand_above_floor(seen, sale, draft, pools, now));
        plans.push(plan);
    }
    plans
}

/// Phase changes that depend on the world: Ready, no longer Ready, and back.
fn promote(plan: &SalePlan, draft: &mut Draft, sale: &crate::snapshot::Sale, seen: &Snapshot, pools: &[PoolPlan], now: Timestamp) -> bool {
    let before = draft.phase;
    match draft.phase {
        Phase::Preparing if plan.all_ready => draft.enter(Phase::Ready, now),
        Phase::Live if plan.all_ready && draft.entered.ready.is_none() => {
            draft.entered.ready = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(onsale_api::time::whole_seconds(now)));
            return true;
        }
        // Peak raised, or a node lost, before the opening: preparing again.
        Phase::Ready if plan.unplaced > 0 || !plan.all_ready => {
            draft.phase = Phase::Preparing;
            draft.entered.ready = None;
        }
        Phase::Returning if sales::all_back(sale, seen, pools, draft) => match () {
            () if draft.postponed || (!draft.off && draft.times.is_some_and(|t| now < t.opens_at)) => {
                draft.phase = Phase::Scheduled;
                draft.entered = onsale_api::onsale::Entered::default();
                // The start is computed in the next pass; until then at least no later than ready-by.
                draft.times = draft.times.map(|t| Times { starts_at: t.starts_at.min(t.ready_by), ..t });
            }
            () if draft.off => draft.enter(Phase::Cancelled, now),
            () => draft.enter(Phase::Completed, now),
        },
        _ => {}
    }
    draft.phase != before
}

/// The floors are down and an HPA still holds replicas on rented nodes: they stay until it lets go.
fn demand_above_floor(
    seen: &Snapshot,
    sale: &crate::snapshot::Sale,
    draft: &Draft,
    pools: &[PoolPlan],
    now: Timestamp,
) -> Option<super::Waiting> {
    if draft.phase != Phase::Returning || draft.tenths(sale, now) > 0 || !sales::scaled_by_hpa(seen, sale) {
        return None;
    }
    let kept = |p: &&PoolPlan| draft.pools.contains(&p.name) && p.released && p.ready > i32::try_from(p.surplus.len()).unwrap_or(i32::MAX);
    let rented = |p: &&PoolPlan| seen.pool(&p.name).is_some_and(|p| p.spec.nodes.ec2.is_some());
    let pool = pools.iter().filter(rented).find(kept)?;
    let message =
        format!("workloads still want more replicas than fit on existing nodes: pool {} keeps nodes until they do not", pool.name);
    Some(super::Waiting { reason: onsale_api::Reason::DemandAboveFloor, message, until: None })
}

/// The next instant at which this plan would be another one although nothing else happened.
fn next_change(
    seen: &Snapshot,
    drafts: &[Draft],
    demands: &[Demand],
    sales: &[SalePlan],
    workloads: &[WorkloadPlan],
    now: Timestamp,
) -> Option<Timestamp> {
    let mut instants: Vec<Timestamp> = Vec::new();
    for ((sale, draft), plan) in seen.sales.iter().zip(drafts).zip(sales) {
        let Some(times) = plan.times else { continue };
        match plan.phase {
            Phase::Scheduled if sale.spec.mode == Mode::Live => instants.push(times.starts_at),
            Phase::Scheduled => instants.extend([times.starts_at, times.ends_at]),
            Phase::Preparing | Phase::Ready => instants.extend([times.ready_by, times.opens_at, times.ends_at]),
            Phase::Live => instants.push(times.ends_at),
            Phase::Returning => instants.extend(draft.next_step(sale, now)),
            Phase::Completed | Phase::Missed | Phase::Cancelled | Phase::Invalid => {}
        }
    }
    for pool in &seen.pools {
        let patience = lead::given_up_after(pool) + SignedDuration::from_millis(1);
        for launched_at in fleet::have(pool, seen, now).launching.iter().map(|i| i.launched_at) {
            instants.extend([launched_at + patience, launched_at + lead::of(pool).p95.get() + SignedDuration::from_millis(1)]);
        }
        instants.extend(pool.status.shortfalls.iter().map(|s| s.retry_at.0));
    }
    let preparing = workloads.iter().zip(demands).filter(|(w, _)| w.stage == Stage::Preparing);
    instants.extend(preparing.filter_map(|(_, d)| d.unhurried_until));
    instants.extend(workloads.iter().filter_map(|w| w.foreign.as_ref()).map(|f| f.again_at));
    let unbound = seen.workloads.iter().filter(|w| w.placement.is_some()).flat_map(|w| &w.pods).filter(|p| p.node.is_none());
    instants.extend(unbound.map(|p| p.created_at + seen.settings.unschedulable_after));
    instants.into_iter().filter(|t| *t > now).min()
}
