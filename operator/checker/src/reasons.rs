//! Every replica without a place comes with a reason.

use onsale_api::Phase;
use onsale_planner::plan::Waiting;

use crate::{Rule, Violation, view::View};

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    for (_, _, work) in view.works() {
        explained(&format!("{} ({:?})", work.id, work.stage), work.unplaced, &work.problems, found);
    }
    for (sale, plan) in view.sales() {
        explained(&sale.id.to_string(), plan.unplaced, &plan.waiting_for, found);
        if (plan.phase == Phase::Invalid) != plan.invalid.is_some() {
            found.push(Violation::new(Rule::Reasons, &sale.id, format!("phase {:?} and invalid {:?}", plan.phase, plan.invalid)));
        }
        said(&sale.id.to_string(), plan.invalid.iter().chain(&plan.frozen), found);
    }
    for (pool, plan) in view.pools() {
        said(&pool.name, plan.waiting_for.iter(), found);
    }
}

fn explained(subject: &str, unplaced: i32, why: &[Waiting], found: &mut Vec<Violation>) {
    if unplaced < 0 {
        found.push(Violation::new(Rule::Reasons, subject, format!("{unplaced} replicas without a place")));
    }
    if unplaced > 0 && why.is_empty() {
        found.push(Violation::new(Rule::Reasons, subject, format!("{unplaced} replicas find no place, and nothing says why")));
    }
    said(subject, why.iter(), found);
}

fn said<'a>(subject: &str, why: impl Iterator<Item = &'a Waiting>, found: &mut Vec<Violation>) {
    for waiting in why.filter(|w| w.message.trim().is_empty()) {
        found.push(Violation::new(Rule::Reasons, subject, format!("{} without a sentence", waiting.reason)));
    }
}

#[cfg(test)]
mod tests {
    use crate::{Rule, testing::night};

    #[test]
    fn what_finds_no_place_says_why() {
        night().limit(1).unplaced(1).passes();
        night().limit(1).unplaced(1).plan(|p| p.workloads[0].problems.clear()).breaks(Rule::Reasons);
        night().limit(1).unplaced(1).plan(|p| p.sales[0].waiting_for.clear()).breaks(Rule::Reasons);
        night().limit(1).unplaced(1).plan(|p| p.workloads[0].problems[0].message.clear()).breaks(Rule::Reasons);
    }
}
