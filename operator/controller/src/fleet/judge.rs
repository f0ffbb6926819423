//! The checker's word on what is planned and due: told, counted, and never obeyed. A checker must not stop a sale, not even by a fault of its own.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use jiff::Timestamp;
use onsale_checker::{Violation, check, check_steps};
use onsale_planner::{Chain, Plan, Snapshot};

use crate::metrics::Metrics;

/// Judges a plan and the steps that are about to be done.
pub fn judge(metrics: &Metrics, seen: &Snapshot, plan: &Plan, chains: &[Chain], now: Timestamp) {
    let judged = AssertUnwindSafe(|| {
        let mut found = check(seen, plan, now);
        found.extend(check_steps(seen, plan, now, chains));
        found
    });
    match catch_unwind(judged) {
        Ok(found) => tell(metrics, &found),
        Err(_) => tracing::error!("the checker panicked; the plan is carried out unchecked"),
    }
}

/// Counts every violation, and says one of each rule and subject: the rest tells nothing more.
fn tell(metrics: &Metrics, found: &[Violation]) {
    let mut told = BTreeSet::new();
    for Violation { rule, subject, message } in found {
        metrics.violation(*rule);
        if told.insert((rule, subject)) {
            tracing::error!(?rule, subject, message, "the plan breaks a rule: a fault of the operator, please report it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_is_not_of_this_world_is_counted_and_stops_nothing() {
        let metrics = Metrics::default();
        let plan = Plan { pools: vec![onsale_planner::plan::PoolPlan::default()], ..Plan::default() };
        judge(&metrics, &Snapshot::default(), &plan, &[], "2026-12-05T17:00:00Z".parse().unwrap());
        assert!(metrics.text().contains("onsale_plan_violations_total{rule=\"Mirror\"} 2"), "{}", metrics.text());
        judge(&metrics, &Snapshot::default(), &Plan::default(), &[], "2026-12-05T17:00:00Z".parse().unwrap());
        assert!(metrics.text().contains("onsale_plan_violations_total{rule=\"Mirror\"} 2"), "{}", metrics.text());
    }
}
