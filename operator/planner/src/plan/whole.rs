//! The passes that make one plan: phases by memory and clock, starts, packing, then what follows for workloads, pools and sales.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use onsale_api::{Money, Phase, Reason, onsale::Mode};

use super::{Forecast, Plan, PoolPlan, SalePlan, Stage, Times, WorkloadPlan};
use crate::{
    alike::PoolList,
    demand::{self, Demand},
    floors,
    forecast::{self, Expected, Outlook},
    index::Indexed,
    launch_rate, lead,
    lifecycle::{self, Draft},
    packing::{Bin, Keep, Packing, Rooms, Work, pack},
    pools, sales,
    snapshot::{Pool, Snapshot},
    spending,
};

pub(super) fn plan(snapshot: &Snapshot, now: Timestamp) -> Plan {
    let seen = Indexed::new(snapshot, now);
    let mut drafts: Vec<Draft> = (0..seen.sales.len()).map(|sale| lifecycle::draft(&seen, sale)).collect();
    (0..drafts.len()).for_each(|index| postpone(&seen, &mut drafts, index));
    let (mut demands, mut packing) = active(&seen, &drafts);
    let mut outlook = forecast::outlook(&seen, &drafts, &packing);
    if start(&seen, &mut drafts, &mut outlook) {
        (demands, packing) = active(&seen, &drafts);
    }
    let rooms = Rooms::of(&seen, &packing);
    let case = |index| floors::Case { seen: &seen, index, demand: &demands[index], packed: packing.works.get(&index), rooms: &rooms };
    let workloads: Vec<WorkloadPlan> = (0..demands.len()).map(|index| floors::plan(&case(index))).collect();
    let needed = needed_at_home(&seen, &drafts, &demands);
    let pools = pool_plans(&seen, &drafts, &needed, &packing, &workloads, &outlook);
    let sales = sale_plans(&seen, &mut drafts, &needed, &packing, &workloads, &pools, &outlook);
    let mut next_change = next_change(&seen, &drafts, &demands, &sales, &workloads);
    next_change = launch_rate::next(snapshot, &seen.have, &pools, now).into_iter().chain(next_change).filter(|t| *t > now).min();
    let forecast = |(index, e): (usize, Expected)| Forecast { sale: seen.sales[index].id.clone(), workloads: e.workloads, nodes: e.nodes };
    let forecasts = outlook.sales.into_iter().map(forecast).collect();
    Plan { sales, workloads, pools, forecasts, next_change }
}

/// What active sales want, and where it finds a place.
fn active<'a>(seen: &'a Indexed<'a>, drafts: &[Draft]) -> (Vec<Demand>, Packing<'a>) {
    let frozen: BTreeSet<usize> = (0..drafts.len()).filter(|i| sales::frozen(seen, *i, &drafts[*i]).is_some()).collect();
    let scope = demand::Scope { seen, drafts, active: true, also: &[], frozen: &frozen };
    let demands: Vec<Demand> = (0..seen.workloads.len()).map(|i| demand::demand(&scope, i)).collect();
    let left = spending::left(seen, drafts);
    let mut works = works(seen, &demands);
    works.iter_mut().flat_map(|work| &mut work.payers).for_each(|payer| payer.most_hourly = left.get(&payer.sale).copied());
    let packing = pack(seen, &works, Keep::Bound);
    (demands, packing)
}

fn works(seen: &Indexed<'_>, demands: &[Demand]) -> Vec<Work> {
    demands.iter().enumerate().filter_map(|(i, d)| demand::work(seen, i, d)).collect()
}

/// Whether nodes that a sale needs by then are cheaper kept than launched again: unless more than twice its lead time would pass before it had to start (nodes
/// that are launched are paid for about one lead time before they serve).
fn is_cheaper_kept(ready_by: Timestamp, lead: SignedDuration, now: Timestamp) -> bool {
    ready_by.duration_since(now) <= lead * 3
}

/// What sales that are about to start need of each pool, by instance type: it stays where another sale leaves it.
fn kept<'a>(seen: &Indexed<'_>, drafts: &[Draft], outlook: &'a Outlook) -> BTreeMap<&'a str, BTreeMap<&'a str, i32>> {
    let mut kept: BTreeMap<&str, BTreeMap<&str, i32>> = BTreeMap::new();
    for (index, expected) in &outlook.sales {
        let draft = &drafts[*index];
        let soon = draft.times.is_some_and(|t| is_cheaper_kept(t.ready_by, expected.lead_anew, seen.now));
        if !soon || !lifecycle::may_start(&seen.sales[*index], draft) {
            continue;
        }
        for (pool, types) in &expected.nodes {
            for (instance_type, n) in types {
                *kept.entry(pool).or_default().entry(instance_type).or_default() += n;
            }
        }
    }
    kept
}

/// A sale whose opening was moved away while it prepared gives its nodes back when coming again is cheaper than keeping them.
fn postpone(seen: &Indexed<'_>, drafts: &mut [Draft], index: usize) {
    let (sale, draft, now) = (&seen.sales[index], &drafts[index], seen.now);
    let moved = draft.times.zip(sale.status.opens_at.as_ref()).is_some_and(|(times, old)| times.opens_at > old.0);
    if draft.phase == Phase::Returning {
        drafts[index].postponed = !draft.off && draft.entered.live.is_none() && draft.times.is_some_and(|t| now < t.ends_at);
    }
    if !moved || !matches!(drafts[index].phase, Phase::Preparing | Phase::Ready) {
        return;
    }
    let lead = drafts[index].pools.at().iter().map(|i| seen.paces[*i].until_all(100)).max();
    let lead = lead.unwrap_or_default();
    if let Some(times) = drafts[index].times {
        drafts[index].times = Some(Times { starts_at: times.ready_by - lead, ..times });
        if !is_cheaper_kept(times.ready_by, lead, now) {
            drafts[index].enter(Phase::Returning, now);
            drafts[index].postponed = true;
        }
    }
}

/// Computes when each sale that waits has to start, and starts those whose time has come: they are no forecasts any more. Tells whether there were any.
fn start(seen: &Indexed<'_>, drafts: &mut [Draft], outlook: &mut Outlook) -> bool {
    let waiting = outlook.sales.len();
    outlook.sales.retain(|index, expected| {
        let (sale, draft) = (&seen.sales[*index], &mut drafts[*index]);
        let Some(times) = draft.times else { return true };
        draft.times = Some(Times { starts_at: lifecycle::starts_at(times, expected.lead), ..times });
        let starts = lifecycle::starts_now(sale, draft, expected.lead, seen.now);
        if starts {
            draft.enter(Phase::Preparing, seen.now);
            draft.pools = lifecycle::pools_of(seen, *index, true);
            if seen.now >= times.opens_at {
                draft.enter(Phase::Live, seen.now);
            }
        }
        !starts
    });
    outlook.sales.len() < waiting
}

fn pool_plans(
    seen: &Indexed<'_>,
    drafts: &[Draft],
    needed: &BTreeSet<String>,
    packing: &Packing<'_>,
    workloads: &[WorkloadPlan],
    outlook: &Outlook,
) -> Vec<PoolPlan> {
    let (held, used) = (used_by(drafts, Phase::holds), used_by(drafts, Phase::is_active));
    let mut bins: BTreeMap<&str, Vec<&Bin>> = BTreeMap::new();
    packing.bins().iter().for_each(|bin| bins.entry(&bin.pool).or_default().push(bin));
    let kept = kept(seen, drafts, outlook);
    let scope = pools::Scope { seen, needed, kept: &kept, workloads, held: &held, used: &used, scheduled: &outlook.nodes };
    let of = |index: usize| pools::plan(&scope, index, bins.get(seen.pools[index].name.as_str()).map_or(&[], Vec::as_slice));
    (0..seen.pools.len()).map(of).collect()
}

/// Pools that sales in these phases may use.
fn used_by(drafts: &[Draft], which: fn(Phase) -> bool) -> BTreeSet<&str> {
    let lists: BTreeMap<usize, &PoolList> = drafts.iter().filter(|d| which(d.phase)).map(|d| (d.pools.number(), &d.pools)).collect();
    lists.into_values().flat_map(|list| list.iter().map(String::as_str)).collect()
}

/// Instances that would be needed if everything on rented nodes came home; asked only where a pool might have some too many.
fn needed_at_home(seen: &Indexed<'_>, drafts: &[Draft], demands: &[Demand]) -> BTreeSet<String> {
    let held = used_by(drafts, Phase::holds);
    let given_back = |pool: &Pool| !held.contains(pool.name.as_str()) && pool.instances.as_ref().is_some_and(|i| !i.is_empty());
    if !seen.pools.iter().any(given_back) {
        return BTreeSet::new();
    }
    let mut works = works(seen, demands);
    for work in &mut works {
        (work.closed, work.reserve) = (0, if demands[work.index].holding { work.reserve } else { 0 });
        // Nothing is opened on the way back: what would need a new node stays where it is, and so does what a share would have kept away.
        work.opens = false;
        work.max_per_pool = work.max_per_pool.filter(|_| demands[work.index].holding);
    }
    let home = pack(seen, &works, Keep::Existing);
    home.bins().iter().filter(|bin| bin.used()).filter_map(|bin| bin.instance.clone()).collect()
}

fn sale_plans(
    seen: &Indexed<'_>,
    drafts: &mut [Draft],
    needed: &BTreeSet<String>,
    packing: &Packing<'_>,
    workloads: &[WorkloadPlan],
    pools: &[PoolPlan],
    outlook: &Outlook,
) -> Vec<SalePlan> {
    let (hourly, held) = (sales::hourly(packing), spending::held(seen, drafts, packing));
    let nodes_ready = sales::nodes_ready(seen, packing);
    let mut plans = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.iter_mut().enumerate() {
        let (ours, hourly) = match outlook.sales.get(&index) {
            Some(expected) => (expected.workloads.iter().collect(), expected.hourly),
            None if draft.looked_at_from(&seen.settings, seen.now).is_some() => (Vec::new(), Money::default()),
            None => (seen.named(index).iter().flatten().map(|i| &workloads[*i]).collect(), hourly.get(&index).copied().unwrap_or_default()),
        };
        let held = held.get(&index).copied().unwrap_or_default();
        let scope = sales::Scope { seen, ours, hourly, held, nodes_ready: &nodes_ready };
        let mut plan = sales::plan(&scope, index, draft);
        if promote(&plan, draft, index, seen, pools) {
            plan = sales::plan(&scope, index, draft);
        }
        plan.frozen = sales::frozen(seen, index, draft).or_else(|| kept_rented(seen, index, draft, pools, needed));
        plans.push(plan);
    }
    plans
}

/// Phase changes that depend on the world: Ready, no longer Ready, and back.
fn promote(plan: &SalePlan, draft: &mut Draft, index: usize, seen: &Indexed<'_>, pools: &[PoolPlan]) -> bool {
    let (before, now) = (draft.phase, seen.now);
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
        Phase::Returning if sales::all_back(index, seen, pools, draft) => match () {
            () if draft.postponed || (!draft.off && draft.times.is_some_and(|t| now < t.opens_at) && !opened_later(draft, now)) => {
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

/// It was Live at an instant that lies ahead: the clock is behind, and the opening is not to come again.
fn opened_later(draft: &Draft, now: Timestamp) -> bool {
    draft.entered.live.as_ref().is_some_and(|live| live.0 > now)
}

/// The floors are down, and replicas on rented nodes have no other place: they stay until an HPA lets go of them, or there is room for them at home.
fn kept_rented(seen: &Indexed<'_>, index: usize, draft: &Draft, pools: &[PoolPlan], needed: &BTreeSet<String>) -> Option<super::Waiting> {
    if draft.phase != Phase::Returning || draft.tenths(&seen.sales[index], seen.now) > 0 {
        return None;
    }
    let keeps = |pool: &Pool| pool.instances.iter().flatten().any(|instance| needed.contains(&instance.id));
    let kept = |p: &&PoolPlan| draft.pools.contains(&p.name) && p.released && seen.pool(&p.name).is_some_and(keeps);
    let pool = pools.iter().find(kept)?;
    let (reason, message) = if sales::scaled_by_hpa(seen, index) {
        let message =
            format!("workloads still want more replicas than fit on existing nodes: pool {} keeps nodes until they do not", pool.name);
        (Reason::DemandAboveFloor, message)
    } else {
        let message = format!(
            "replicas of the baseline fit on no node that is not rented: pool {} keeps nodes until others have room for them, or the baseline is lowered",
            pool.name
        );
        (Reason::NoHome, message)
    };
    Some(super::Waiting { reason, message, until: None })
}

/// The next instant at which this plan would be another one although nothing else happened.
fn next_change(
    seen: &Indexed<'_>,
    drafts: &[Draft],
    demands: &[Demand],
    sales: &[SalePlan],
    workloads: &[WorkloadPlan],
) -> Option<Timestamp> {
    let now = seen.now;
    let mut instants: Vec<Timestamp> = Vec::new();
    for ((sale, draft), plan) in seen.sales.iter().zip(drafts).zip(sales) {
        let Some(times) = plan.times else { continue };
        instants.extend(plan.looked_at_from);
        instants.extend(spending::affordable_at(seen, sale, draft, plan));
        match plan.phase {
            Phase::Scheduled if sale.spec.mode == Mode::Live => instants.push(times.starts_at),
            Phase::Scheduled => instants.extend([times.starts_at, times.ends_at]),
            Phase::Preparing | Phase::Ready => instants.extend([times.ready_by, times.opens_at, times.ends_at]),
            Phase::Live => instants.push(times.ends_at),
            Phase::Returning => instants.extend(draft.next_step(sale, now)),
            Phase::Completed | Phase::Missed | Phase::Cancelled | Phase::Invalid => {}
        }
    }
    for (pool, have) in seen.pools.iter().zip(&seen.have) {
        let moment = SignedDuration::from_millis(1);
        let (overdue, given_up) = (lead::overdue_after(pool) + moment, lead::given_up_after(pool) + moment);
        for launched_at in have.launching.iter().chain(&have.overdue).map(|i| i.launched_at) {
            instants.extend([launched_at + given_up, launched_at + overdue]);
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
