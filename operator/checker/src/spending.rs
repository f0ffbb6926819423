//! Money for whole windows: `budget.maxTotalCost`, and the memory of what was spent. Amounts are products of millionths and milliseconds, so that nothing is rounded.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use onsale_api::{Money, Phase};
use onsale_planner::{
    plan::{Forecast, SalePlan},
    snapshot::Sale,
};

use crate::{
    Rule, Violation,
    budget::{alone, charged, opens, price},
    pools::stock,
    view::{SaleView, View, declared},
};

/// Milliseconds of an hour.
const HOUR: i128 = 3_600_000;

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    if let Some((sale, plan)) = alone(view) {
        let fills = charged(view, sale);
        if view.pools().any(|(pool, plan)| opens(view, sale, pool, plan)) {
            total(sale, plan, view.now, fills.iter().filter_map(price).sum(), found);
        }
        let there: Money = fills.iter().filter(|(_, fill)| view.node(&fill.node).is_some()).filter_map(price).sum();
        if there > plan.cost.spent.as_ref().map_or(Money::default(), |spent| spent.hourly) {
            let message = format!("its nodes cost {there} an hour, what it spends is {:?}", plan.cost.spent);
            found.push(Violation::new(Rule::Spent, &sale.id, message));
        }
    }
    view.sales().for_each(|one| remembered(&one, found));
    for forecast in &view.plan.forecasts {
        waiting(view, forecast, found);
    }
}

/// Spent and not yet counted, in millionths times milliseconds.
fn spent(sale: &Sale, now: Timestamp) -> i128 {
    let on = sale.status.phase.is_some_and(|phase| phase.is_active() || phase == Phase::Scheduled);
    let Some(spent) = sale.status.cost.as_ref().filter(|_| on).and_then(|cost| cost.spent.as_ref()) else { return 0 };
    let since = now.as_millisecond() - spent.until.0.as_millisecond();
    (i128::from(spent.amount.micros()) * HOUR + i128::from(spent.hourly.micros()) * i128::from(since)).max(0)
}

/// From then until the way back is meant to be over, in milliseconds.
fn ahead(sale: &Sale, plan: &SalePlan, from: Timestamp) -> Option<i128> {
    let end = plan.times?.opens_at + sale.spec.duration.get() + sale.spec.return_over.get();
    Some(end.duration_since(from).as_millis().max(0))
}

fn total(sale: &Sale, plan: &SalePlan, from: Timestamp, hourly: Money, found: &mut Vec<Violation>) {
    let Some(max) = sale.spec.budget.as_ref().and_then(|b| b.max_total_cost) else { return };
    let Some(ahead) = ahead(sale, plan, from) else { return };
    let all = spent(sale, from) + i128::from(hourly.micros()) * ahead;
    if all > i128::from(max.micros()) * HOUR {
        let message = format!("new nodes up to {} millionths in all, budget.maxTotalCost is {max}", all / HOUR);
        found.push(Violation::new(Rule::BudgetTotal, &sale.id, message));
    }
}

/// A sale that waits, and finds nothing rented that is another's: all its nodes are new, from its start on.
fn waiting(view: &View<'_>, forecast: &Forecast, found: &mut Vec<Violation>) {
    let Some((sale, plan)) = view.sales().find(|(sale, _)| sale.id == forecast.sale) else { return };
    let Some(times) = plan.times.filter(|_| view.pools().all(|(pool, _)| stock(pool) == 0)) else { return };
    let of = |(pool, types): (&String, &BTreeMap<String, i32>)| -> Money {
        let declared = view.pool(pool).map_or(&[][..], |(pool, _)| declared(pool));
        declared.iter().map(|t| t.hourly_cost.times(types.get(&t.name).copied().unwrap_or_default().into())).sum()
    };
    total(sale, plan, times.starts_at, forecast.nodes.iter().map(of).sum(), found);
}

/// What was spent is never forgotten while the sale is on.
fn remembered((sale, plan): &SaleView<'_>, found: &mut Vec<Violation>) {
    let old = sale.status.cost.as_ref().and_then(|cost| cost.spent.as_ref());
    let Some(old) = old.filter(|_| plan.phase.is_active() && sale.status.phase.is_some_and(Phase::is_active)) else { return };
    let kept = plan.cost.spent.as_ref().is_some_and(|new| {
        let more = i128::from(old.hourly.micros()) * i128::from(new.until.0.as_millisecond() - old.until.0.as_millisecond());
        let due = (i128::from(old.amount.micros()) * HOUR + more).max(0);
        // A millionth is not divided.
        (i128::from(new.amount.micros()) * HOUR - due).abs() < HOUR
    });
    if !kept {
        found.push(Violation::new(Rule::Spent, &sale.id, format!("{old:?} became {:?}", plan.cost.spent)));
    }
}

/// The sale could certainly pay so much per hour, however early it was counted from.
pub fn certain(sale: &Sale, plan: &SalePlan, hourly: Money) -> bool {
    let Some(max) = sale.spec.budget.as_ref().and_then(|b| b.max_total_cost) else { return true };
    let Some(times) = plan.times else { return false };
    let begun = plan.entered.preparing.as_ref().map_or(times.starts_at, |t| t.0.min(times.starts_at)) - SignedDuration::from_mins(1);
    let Some(whole) = ahead(sale, plan, begun) else { return false };
    spent(sale, times.ends_at) + i128::from(hourly.micros()) * whole <= i128::from(max.micros()) * HOUR
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use onsale_api::{
        Phase,
        onsale::{Budget, Cost, Spent},
    };

    use crate::{
        Rule,
        testing::{Night, night},
    };

    /// Two far nodes of 0.85 are opened at 17:30, and kept until 18:30: an hour of 1.70.
    fn bounded(max: &str) -> Night {
        night().seen(|s| s.sales[0].spec.budget = Some(Budget { max_total_cost: max.parse().ok(), ..Budget::default() }))
    }

    fn spent(amount: &str, hourly: &str, until: &str) -> Spent {
        Spent { until: Time(until.parse().unwrap()), amount: amount.parse().unwrap(), hourly: hourly.parse().unwrap() }
    }

    /// So much was spent before.
    fn after(night: Night, old: &Spent, new: &Spent) -> Night {
        let cost = |spent: &Spent| Cost { spent: Some(spent.clone()), ..Cost::default() };
        night
            .seen(|s| (s.sales[0].status.phase, s.sales[0].status.cost) = (Some(Phase::Live), Some(cost(old))))
            .plan(|p| p.sales[0].cost = cost(new))
    }

    #[test]
    fn new_nodes_keep_the_cost_of_the_whole_window() {
        bounded("1.70").passes();
        bounded("1.69").breaks(Rule::BudgetTotal);
    }

    #[test]
    fn a_longer_duration_costs_more() {
        bounded("1.70").seen(|s| s.sales[0].spec.duration = "61m".parse().unwrap()).breaks(Rule::BudgetTotal);
    }

    #[test]
    fn what_was_spent_counts() {
        let old = spent("0.50", "1", "2026-12-05T17:00:00Z");
        after(bounded("2.70"), &old, &old).passes();
        after(bounded("2.69"), &old, &old).breaks(Rule::BudgetTotal);
    }

    #[test]
    fn what_was_spent_is_not_forgotten() {
        let old = spent("0.50", "1", "2026-12-05T17:00:00Z");
        after(night(), &old, &spent("1", "0.85", "2026-12-05T17:30:00Z")).passes();
        after(night(), &old, &spent("0.99", "0.85", "2026-12-05T17:30:00Z")).breaks(Rule::Spent);
        after(night(), &old, &spent("0", "0.85", "2026-12-05T17:00:00Z")).breaks(Rule::Spent);
    }

    #[test]
    fn a_sale_that_waits_plans_within_its_budget() {
        // Eight minutes to ready-by, ten to the opening, an hour and half an hour, four times 0.85.
        let next = |max: &str| {
            let max = max.parse().ok();
            let night = night().follow("2026-12-06T16:50:00Z", &[("far", "c6i.4xlarge", 4)]);
            night.plan(|p| p.sales[1].times.as_mut().unwrap().starts_at = "2026-12-06T16:42:00Z".parse().unwrap()).seen(|s| {
                s.sales[1].spec.budget = Some(Budget { max_total_cost: max, ..Budget::default() });
            })
        };
        next("6.12").passes();
        next("6.11").breaks(Rule::BudgetTotal);
    }
}
