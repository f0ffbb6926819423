//! When preparing starts: so early that everything is there by ready-by, and as late as that is safe.
//!
//! Not the quantiles that the planner adds up are compared, but the nights that are lost: what is planned, launched at the start, has to be there in time in 99
//! nights of 100, with the margin left over. If 999 of 1000 would be saved whichever pool had to hold everything, the overdue nodes made up for, then the
//! start is ten times as safe as it has to be: too early.

use std::collections::{BTreeMap, BTreeSet};

use onsale_api::{Phase, onsale::TargetKind, placement::FloorKind};
use onsale_planner::{
    plan::{Forecast, SalePlan, Times},
    snapshot::{Pool, SaleId, TargetState, Workload, WorkloadId},
};

use crate::{
    Rule, Violation, lead,
    pools::stock,
    view::{SaleView, View},
};

/// Nights in which everything is to be there, and nights in which that asks for more than is needed.
const SAFE: f64 = 0.99;
const TOO_SAFE: f64 = 0.999;
/// Quantiles are rounded to seconds, and normal ones are exact to 5e-4 standard deviations: so little of the nights is nobody's fault, and so few seconds.
const ROUNDED: f64 = 0.000_5;
const ROUNDED_SECONDS: f64 = 1.0;
/// Of so many nodes one takes longer than the pool's p95, and is made up for.
const ONE_IS_LATE_OF: i32 = 20;

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    // What is not known may be there already, and is not counted on.
    if view.plan.forecasts.is_empty() || view.seen.nodes.is_none() || view.seen.pools.iter().any(|p| p.instances.is_none()) {
        return;
    }
    let all = All::of(view);
    for (forecast, waits_for) in view.plan.forecasts.iter().zip(waits_for(&view.plan.forecasts)) {
        let Some((sale, plan)) = all.sales.get(&forecast.sale) else { continue };
        let Some(times) = plan.times.filter(|_| plan.phase == Phase::Scheduled && plan.looked_at_from.is_none()) else { continue };
        let case = Case { all: &all, plan, forecast, waits_for, seconds: all.seconds(forecast, times) };
        if let Some(why) = late(&case) {
            found.push(Violation::new(Rule::StartInstant, &sale.id, format!("preparing starts too late, at {}: {why}", times.starts_at)));
        } else if early(&case) {
            let message = format!("preparing starts too early, at {}: {:.0} s would be left over", times.starts_at, case.seconds);
            found.push(Violation::new(Rule::StartInstant, &sale.id, message));
        }
    }
}

/// One sale that waits for its start.
struct Case<'a> {
    all: &'a All<'a>,
    plan: &'a SalePlan,
    forecast: &'a Forecast,
    /// Nodes that have to be there before the sale is ready.
    waits_for: i32,
    /// Seconds from the start to ready-by, without the margin and without what an HPA takes.
    seconds: f64,
}

/// Namespace, kind and name of a workload.
type Key<'a> = (&'a str, TargetKind, &'a str);

fn key(id: &WorkloadId) -> Key<'_> {
    (&id.namespace, id.kind, &id.name)
}

/// Facts of all sales, computed once: there may be thousands that wait.
struct All<'a> {
    view: &'a View<'a>,
    sales: BTreeMap<&'a SaleId, SaleView<'a>>,
    workloads: BTreeMap<Key<'a>, &'a Workload>,
    /// Sales that are scheduled or active, by the workloads that they name.
    naming: BTreeMap<Key<'a>, Vec<&'a SaleId>>,
    /// A sale starts in this very pass.
    one_starts: bool,
    /// Nodes that there are or may be, of each pool.
    stock: Vec<i32>,
    /// Nodes of all forecasts.
    nodes: i32,
}

impl<'a> All<'a> {
    fn of(view: &'a View<'a>) -> Self {
        let mut naming = BTreeMap::<_, Vec<_>>::new();
        for (sale, plan) in view.sales() {
            if plan.phase == Phase::Scheduled || plan.phase.is_active() {
                for work in &sale.spec.workloads {
                    let key = (sale.id.namespace.as_str(), work.target.kind, work.target.name.as_str());
                    naming.entry(key).or_default().push(&sale.id);
                }
            }
        }
        Self {
            view,
            sales: view.sales().map(|(sale, plan)| (&sale.id, (sale, plan))).collect(),
            workloads: view.seen.workloads.iter().map(|work| (key(&work.id), work)).collect(),
            naming,
            one_starts: view.sales().any(|(sale, plan)| plan.phase.is_active() && !sale.status.phase.is_some_and(Phase::is_active)),
            stock: view.seen.pools.iter().map(stock).collect(),
            nodes: view.plan.forecasts.iter().map(nodes).sum(),
        }
    }

    fn target(&self, id: &WorkloadId) -> Option<&'a TargetState> {
        self.workloads.get(&key(id))?.target.as_ref()
    }

    fn seconds(&self, forecast: &Forecast, times: Times) -> f64 {
        let settings = &self.view.seen.settings;
        let all = times.ready_by.duration_since(times.starts_at).as_secs_f64();
        let by_hpa = forecast.workloads.iter().any(|work| self.target(&work.id).is_some_and(|t| t.field.kind != FloorKind::Replicas));
        let hpa = if by_hpa { settings.hpa_sync.as_secs_f64() } else { 0.0 };
        (all - hpa) / (1.0 + settings.margin_percent as f64 / 100.0)
    }
}

/// Rented nodes at the charge of a sale.
fn nodes(forecast: &Forecast) -> i32 {
    forecast.nodes.values().flat_map(|types| types.values()).sum()
}

/// Nodes that each forecast waits for: those for a workload that several name are at the charge of one of them, and all wait for them.
fn waits_for<'a>(forecasts: &'a [Forecast]) -> Vec<i32> {
    let (mut by_sale, mut by_workload) = (BTreeMap::<_, Vec<usize>>::new(), BTreeMap::<_, Vec<usize>>::new());
    for (index, forecast) in forecasts.iter().enumerate() {
        by_sale.entry(&forecast.sale).or_default().push(index);
        for work in &forecast.workloads {
            by_workload.entry(key(&work.id)).or_default().push(index);
        }
    }
    by_workload.retain(|_, by| by.len() > 1);
    // Sales that share the same workloads wait for the same nodes: a thousand of them are added up once, not a thousand times.
    let mut together = BTreeMap::<BTreeSet<Key<'a>>, i32>::new();
    let add_up = |shared: &BTreeSet<Key<'a>>| {
        let naming: BTreeSet<usize> = shared.iter().filter_map(|work| by_workload.get(work)).flatten().copied().collect();
        naming.into_iter().map(|index| nodes(&forecasts[index])).sum()
    };
    let one = |forecast: &'a Forecast| -> i32 {
        let shared: BTreeSet<_> = forecast.workloads.iter().map(|w| key(&w.id)).filter(|work| by_workload.contains_key(work)).collect();
        let alone = |other: &&Forecast| !other.workloads.iter().any(|work| shared.contains(&key(&work.id)));
        let own = by_sale.get(&forecast.sale).into_iter().flatten().map(|index| &forecasts[*index]);
        let own: i32 = own.filter(alone).map(nodes).sum();
        own + *together.entry(shared).or_insert_with_key(add_up)
    };
    forecasts.iter().map(one).collect()
}

fn region(pool: &Pool) -> Option<&str> {
    pool.spec.nodes.ec2.as_ref().map(|ec2| ec2.region.as_str())
}

/// Pools on whose nodes replicas start for certain: no other sale names the workload, more are forecast there than run, and more in all than are wanted without
/// the sale.
fn fresh<'a>(case: &Case<'a>) -> BTreeSet<&'a str> {
    let others = |id: &WorkloadId| case.all.naming.get(&key(id)).is_some_and(|by| by.iter().any(|sale| **sale != case.forecast.sale));
    let wanted = |id: &WorkloadId| case.all.target(id).map_or(0, |t| t.replicas);
    let grown = case.forecast.workloads.iter().filter(|w| !others(&w.id) && w.by_pool.values().sum::<i32>() > wanted(&w.id));
    let pools = grown.flat_map(|work| {
        let there = |map: &BTreeMap<String, i32>, pool: &String| map.get(pool).copied().unwrap_or_default();
        work.by_pool.keys().chain(work.bound.keys()).filter(move |pool| there(&work.by_pool, pool) > there(&work.bound, pool))
    });
    pools.map(String::as_str).collect()
}

/// Why not everything is there in time: of the nodes that are planned at least those have to be launched that are more than there are.
fn late(case: &Case<'_>) -> Option<String> {
    let planned = |pool: &Pool| case.forecast.nodes.get(&pool.name).map_or(0, |types| types.values().sum::<i32>());
    let new: Vec<_> =
        case.all.view.seen.pools.iter().zip(&case.all.stock).map(|(pool, stock)| (pool, (planned(pool) - stock).max(0))).collect();
    let mut in_region = BTreeMap::<_, i32>::new();
    for (pool, n) in &new {
        *in_region.entry(region(pool)).or_default() += n;
    }
    let (fresh, settings) = (fresh(case), &case.all.view.seen.settings);
    new.into_iter().find_map(|(pool, n)| {
        let (n, handed_out) = match region(pool) {
            Some(region) => (n, lead::handed_out(in_region.get(&Some(region)).copied().unwrap_or_default(), settings)),
            None => (i32::from(fresh.contains(pool.name.as_str())), 0.0),
        };
        // Nothing has to come.
        if n == 0 {
            return None;
        }
        let safe = lead::all_there(pool, n, case.seconds + ROUNDED_SECONDS - handed_out);
        let message = || format!("{n} of pool {} are there in {safe:.4} of the nights, margin aside", pool.name);
        (safe < SAFE - ROUNDED).then(message)
    })
}

/// Whichever pool of the sale had to hold all that is planned, it would be there in time beyond need.
fn early(case: &Case<'_>) -> bool {
    // What starts in this very pass was counted on, and is in no forecast any more.
    if case.all.one_starts {
        return false;
    }
    let all = case.waits_for;
    let made_up = (all + ONE_IS_LATE_OF - 1) / ONE_IS_LATE_OF;
    // Sales that are prepared together share what is handed out.
    let handed_out = lead::handed_out(case.all.nodes + made_up, &case.all.view.seen.settings);
    let left = case.seconds - ROUNDED_SECONDS;
    let needless = |pool: &Pool| match region(pool) {
        None => lead::all_there(pool, 1, left) > TOO_SAFE,
        Some(_) => {
            let in_place = left - handed_out - lead::patience(pool).1 - ROUNDED_SECONDS;
            lead::all_there(pool, all, left - handed_out) > TOO_SAFE && lead::all_there(pool, made_up, in_place) > TOO_SAFE
        }
    };
    let usable: BTreeSet<&str> = case.plan.pools.iter().map(String::as_str).collect();
    left > ROUNDED_SECONDS && case.all.view.seen.pools.iter().filter(|p| usable.contains(p.name.as_str())).all(needless)
}

#[cfg(test)]
mod tests {
    use onsale_planner::plan::WorkloadPlan;

    use super::*;
    use crate::testing::{Night, night};

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

    /// A forecast of so many far nodes for workloads of these names.
    fn forecast(sale: &str, nodes: i32, works: &[&str]) -> Forecast {
        let (seen, plan) = night().follow("2026-12-06T16:50:00Z", &[("far", "c6i.4xlarge", nodes)]).parts();
        let work = |name: &&str| {
            let id = WorkloadId { name: (*name).to_owned(), ..seen.workloads[0].id.clone() };
            WorkloadPlan { id, ..plan.workloads[0].clone() }
        };
        let sale = SaleId { name: sale.to_owned(), ..seen.sales[1].id.clone() };
        Forecast { sale, workloads: works.iter().map(work).collect(), ..plan.forecasts[0].clone() }
    }

    #[test]
    fn who_shares_a_workload_waits_for_its_nodes_once() {
        let forecasts = [
            forecast("seats", 30, &["tickets", "queue"]),
            forecast("tour", 5, &["tickets", "queue", "mail"]),
            forecast("fans", 2, &["mail", "news"]),
            forecast("shirts", 1, &["shop", "shop"]),
        ];
        assert_eq!(waits_for(&forecasts), [35, 37, 7, 1]);
    }

    #[test]
    fn the_nodes_of_a_sale_that_shares_a_workload_take_their_time() {
        let later = |works: &'static [&'static str]| {
            starts(562).follow("2026-12-06T16:50:00Z", &[]).seen(|s| s.sales[2].id.name = "later".into()).plan(|p| {
                p.sales[2].id.name = "later".into();
                p.sales[2].times = p.sales[1].times;
                p.forecasts = vec![forecast("next", 30, &["tickets", "queue"]), forecast("later", 0, works)];
            })
        };
        later(&["queue", "mail"]).passes();
        later(&["mail"]).breaks(Rule::StartInstant);
    }
}
