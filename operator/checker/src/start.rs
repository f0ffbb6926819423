//! When preparing starts: so early that everything is there by ready-by, and as late as that is safe.
//!
//! Not the quantiles that the planner adds up are compared, but the nights that are lost: what is planned, launched at the start, has to be there in time in 99
//! nights of 100, with the margin left over. If 999 of 1000 would be saved whichever pool had to hold everything, the overdue nodes made up for, then the
//! start is ten times as safe as it has to be: too early.

use std::collections::BTreeMap;

use onsale_api::{Phase, placement::FloorKind};
use onsale_planner::{
    plan::{Forecast, SalePlan, Times, WorkloadPlan},
    snapshot::{Pool, Sale, WorkloadId},
};

use crate::{
    Rule, Violation, lead,
    pools::stock,
    view::{View, named},
};

/// Nights in which everything is to be there, and nights in which that asks for more than is needed.
const SAFE: f64 = 0.99;
const TOO_SAFE: f64 = 0.999;
/// Quantiles are rounded to seconds, and normal ones are exact to 5e-4 standard deviations: so little of the nights is nobody's fault, and so few seconds.
const ROUNDED: f64 = 0.000_5;
const ROUNDED_SECONDS: f64 = 1.0;
/// Of so many nodes one takes longer than the pool's p95, and is made up for.
const ONE_IS_LATE_OF: i32 = 20;

struct Case<'a> {
    view: &'a View<'a>,
    sale: &'a Sale,
    plan: &'a SalePlan,
    forecast: &'a Forecast,
    /// Seconds from the start to ready-by, without the margin and without what an HPA takes.
    seconds: f64,
}

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    // What is not known may be there already, and is not counted on.
    if view.seen.nodes.is_none() || view.seen.pools.iter().any(|p| p.instances.is_none()) {
        return;
    }
    for forecast in &view.plan.forecasts {
        let Some((sale, plan)) = view.sales().find(|(sale, _)| sale.id == forecast.sale) else { continue };
        let Some(times) = plan.times.filter(|_| plan.phase == Phase::Scheduled && plan.looked_at_from.is_none()) else { continue };
        let case = Case { view, sale, plan, forecast, seconds: seconds(view, forecast, times) };
        if let Some(why) = late(&case) {
            found.push(Violation::new(Rule::StartInstant, &sale.id, format!("preparing starts too late, at {}: {why}", times.starts_at)));
        } else if early(&case) {
            let message = format!("preparing starts too early, at {}: {:.0} s would be left over", times.starts_at, case.seconds);
            found.push(Violation::new(Rule::StartInstant, &case.sale.id, message));
        }
    }
}

fn seconds(view: &View<'_>, forecast: &Forecast, times: Times) -> f64 {
    let settings = &view.seen.settings;
    let all = times.ready_by.duration_since(times.starts_at).as_secs_f64();
    let by_hpa = forecast.workloads.iter().any(|work| {
        let target = view.seen.workloads.iter().find(|w| w.id == work.id).and_then(|w| w.target.as_ref());
        target.is_some_and(|t| t.field.kind != FloorKind::Replicas)
    });
    let hpa = if by_hpa { settings.hpa_sync.as_secs_f64() } else { 0.0 };
    (all - hpa) / (1.0 + settings.margin_percent as f64 / 100.0)
}

/// Nodes that the forecast counts on in the pool.
fn planned(forecast: &Forecast, pool: &str) -> i32 {
    forecast.nodes.get(pool).map_or(0, |types| types.values().sum())
}

fn region(pool: &Pool) -> Option<&str> {
    pool.spec.nodes.ec2.as_ref().map(|ec2| ec2.region.as_str())
}

/// Replicas start on nodes of the pool for certain: no other sale names the workload, more are forecast there than run, and more in all than are wanted without
/// the sale.
fn fresh(case: &Case<'_>, pool: &Pool) -> bool {
    let there = |map: &BTreeMap<String, i32>| map.get(&pool.name).copied().unwrap_or_default();
    let acts = |phase: Phase| phase == Phase::Scheduled || phase.is_active();
    let unfinished = || case.view.sales().filter(|(sale, plan)| sale.id != case.sale.id && acts(plan.phase));
    let others = |work: &WorkloadPlan| unfinished().any(|(sale, _)| named(sale, work).is_some());
    case.forecast.workloads.iter().filter(|work| !others(work)).any(|work| {
        let wanted = case.view.seen.workloads.iter().find(|w| w.id == work.id).and_then(|w| w.target.as_ref()).map_or(0, |t| t.replicas);
        there(&work.by_pool) > there(&work.bound) && work.by_pool.values().sum::<i32>() > wanted
    })
}

/// Why not everything is there in time: of the nodes that are planned at least those have to be launched that are more than there are.
fn late(case: &Case<'_>) -> Option<String> {
    let new = |pool: &Pool| (planned(case.forecast, &pool.name) - stock(pool)).max(0);
    let in_region = |pool: &Pool| case.view.seen.pools.iter().filter(|p| region(p) == region(pool)).map(new).sum();
    case.view.seen.pools.iter().find_map(|pool| {
        let n = if region(pool).is_some() { new(pool) } else { i32::from(fresh(case, pool)) };
        let handed_out = if region(pool).is_some() { lead::handed_out(in_region(pool), &case.view.seen.settings) } else { 0.0 };
        let safe = lead::all_there(pool, n, case.seconds + ROUNDED_SECONDS - handed_out);
        let message = || format!("{n} of pool {} are there in {safe:.4} of the nights, margin aside", pool.name);
        (safe < SAFE - ROUNDED).then(message)
    })
}

/// Whichever pool of the sale had to hold all that is planned, it would be there in time beyond need.
fn early(case: &Case<'_>) -> bool {
    // What starts in this very pass was counted on, and is in no forecast any more.
    let was = |sale: &Sale| sale.status.phase.is_some_and(Phase::is_active);
    if case.view.sales().any(|(sale, plan)| plan.phase.is_active() && !was(sale)) {
        return false;
    }
    let used = case.view.seen.pools.iter().filter(|p| case.plan.pools.contains(&p.name));
    let nodes = |forecasts: &mut dyn Iterator<Item = &Forecast>| -> i32 {
        forecasts.flat_map(|f| f.nodes.values()).flat_map(|types| types.values()).sum()
    };
    let forecasts = || case.view.plan.forecasts.iter();
    // Nodes for a workload that several name are at the charge of one of them, and all wait for them.
    let named = |id: &WorkloadId| case.forecast.workloads.iter().any(|ours| ours.id == *id);
    let shares = |other: &&Forecast| other.sale == case.sale.id || other.workloads.iter().any(|work| named(&work.id));
    let all = nodes(&mut forecasts().filter(shares));
    // Sales that are prepared together share what is handed out.
    let everybodys = nodes(&mut forecasts());
    let made_up = (all + ONE_IS_LATE_OF - 1) / ONE_IS_LATE_OF;
    let handed_out = lead::handed_out(everybodys + made_up, &case.view.seen.settings);
    let left = case.seconds - ROUNDED_SECONDS;
    let needless = |pool: &Pool| match region(pool) {
        None => lead::all_there(pool, 1, left) > TOO_SAFE,
        Some(_) => {
            let in_place = left - handed_out - lead::patience(pool).1 - ROUNDED_SECONDS;
            lead::all_there(pool, all, left - handed_out) > TOO_SAFE && lead::all_there(pool, made_up, in_place) > TOO_SAFE
        }
    };
    left > ROUNDED_SECONDS && used.into_iter().all(needless)
}

#[cfg(test)]
mod tests {
    use crate::{
        Rule,
        testing::{Night, night},
    };

    /// Another sale waits for 30 far nodes, and starts so many seconds before its ready-by.
    fn starts(seconds: i64) -> Night {
        let live = |s: &mut onsale_planner::Snapshot| s.sales[0].status.phase = Some(onsale_api::Phase::Live);
        night().seen(live).follow("2026-12-06T16:50:00Z", &[("far", "c6i.4xlarge", 30)]).limit(60).plan(move |p| {
            let times = p.sales[1].times.as_mut().unwrap();
            times.starts_at = times.ready_by - jiff::SignedDuration::from_secs(seconds);
        })
    }

    #[test]
    fn preparing_starts_in_time_and_not_much_earlier() {
        // Of nodes that take 90 s and 180 s, the slowest of 30 takes 6 min in one night of a hundred; two that come in place of overdue ones 4.5 min after
        // 3 min: 449 s, and a fourth on top.
        starts(562).passes();
        starts(380).breaks(Rule::StartInstant);
        starts(800).breaks(Rule::StartInstant);
    }

    #[test]
    fn what_is_there_need_not_be_launched() {
        starts(380).instances(30).passes();
    }

    #[test]
    fn the_cloud_hands_out_only_so_many_a_second() {
        let slow = |seconds: i64| starts(seconds).seen(|s| (s.settings.launch_burst, s.settings.launch_rate) = (10, 1));
        slow(586).passes();
        slow(460).breaks(Rule::StartInstant);
        slow(900).breaks(Rule::StartInstant);
    }

    #[test]
    fn pods_on_nodes_that_exist_take_their_time_too() {
        let start = |seconds: i64| {
            night().follow("2026-12-06T16:50:00Z", &[]).called_off().plan(move |p| {
                let times = p.sales[1].times.as_mut().unwrap();
                times.starts_at = times.ready_by - jiff::SignedDuration::from_secs(seconds);
                p.sales[1].pools = vec!["near".into()].into();
                let more = onsale_planner::plan::WorkloadPlan {
                    by_pool: std::collections::BTreeMap::from([("near".to_owned(), 41)]).into(),
                    ..p.workloads[0].clone()
                };
                p.forecasts[0].workloads.push(more);
            })
        };
        start(60).passes();
        start(30).breaks(Rule::StartInstant);
        start(180).breaks(Rule::StartInstant);
    }
}
