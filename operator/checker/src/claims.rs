//! Claims of sales on workloads: one per sale, of an active sale that names the workload, no larger than its wish.

use onsale_api::{Phase, onsale::Mode, placement::Claim};
use onsale_planner::{
    plan::WorkloadPlan,
    snapshot::{Sale, Workload},
};

use crate::{
    Rule, Violation,
    view::{View, named},
};

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    for (_, workload, work) in view.works() {
        for (i, claim) in work.claims.iter().enumerate() {
            if work.claims[..i].iter().any(|c| c.uid == claim.uid || c.sale == claim.sale) {
                found.push(Violation::new(Rule::Claims, &work.id, format!("sale {} claims it twice", claim.sale)));
            }
            owner(view, workload, work, claim, found);
        }
        missing(view, workload, work, found);
    }
    for (sale, plan) in view.sales().filter(|(_, plan)| matches!(plan.phase, Phase::Missed | Phase::Invalid | Phase::Scheduled)) {
        let rented = plan.cost.hourly.micros() > 0 && plan.phase == Phase::Missed;
        if rented {
            found.push(Violation::new(Rule::Untouched, &sale.id, format!("the sale is {:?} and costs {}", plan.phase, plan.cost.hourly)));
        }
    }
}

fn recorded(workload: &Workload, claim: &Claim) -> bool {
    workload.placement.iter().flat_map(|p| &p.spec.claims).any(|c| c.uid == claim.uid)
}

fn owner(view: &View<'_>, workload: &Workload, work: &WorkloadPlan, claim: &Claim, found: &mut Vec<Violation>) {
    let mut wrong = |rule: Rule, message: String| found.push(Violation::new(rule, &work.id, message));
    let Some((sale, plan)) = view.sales().find(|(sale, _)| sale.uid == claim.uid) else {
        wrong(Rule::Claims, format!("a sale {} that does not exist claims it", claim.sale));
        return;
    };
    if sale.id.name != claim.sale || sale.id.namespace != work.id.namespace {
        wrong(Rule::Claims, format!("the claim of {} carries the UID of {}", claim.sale, sale.id));
    }
    if !plan.phase.is_active() || (sale.spec.mode == Mode::Plan && !recorded(workload, claim)) {
        wrong(Rule::Untouched, format!("sale {} claims it, but is {:?} in mode {:?}", sale.id, plan.phase, sale.spec.mode));
    }
    if plan.phase.holds() {
        let most = named(sale, work).map(|wish| extra(wish.peak_replicas, work.baseline));
        match most {
            None => wrong(Rule::Claims, format!("sale {} claims it and does not name it", sale.id)),
            Some(most) if claim.extra > most => wrong(Rule::Claims, format!("sale {} claims {}, wishes {most} more", sale.id, claim.extra)),
            Some(_) => {}
        }
    }
    if claim.extra < 0 {
        wrong(Rule::Claims, format!("sale {} claims {} replicas", sale.id, claim.extra));
    }
}

/// A sale that holds has its claim before its floor is raised, else a crash would forget whose it is.
fn missing(view: &View<'_>, workload: &Workload, work: &WorkloadPlan, found: &mut Vec<Violation>) {
    let adds = |sale: &Sale| named(sale, work).is_some_and(|wish| wish.peak_replicas > work.baseline);
    for (sale, _) in view.holding().filter(|(sale, _)| adds(sale)) {
        let planned = workload.target.as_ref().is_some_and(|t| !t.requests_missing);
        if planned && !work.claims.iter().any(|c| c.uid == sale.uid) {
            found.push(Violation::new(Rule::Claims, &work.id, format!("sale {} holds and has no claim", sale.id)));
        }
    }
}

/// Replicas that a wish adds to the baseline; it never lowers a workload.
pub fn extra(peak_replicas: i32, baseline: i32) -> i32 {
    (peak_replicas - baseline).max(0)
}

#[cfg(test)]
mod tests {
    use onsale_api::{Phase, onsale::Mode};

    use crate::{Rule, testing::night};

    #[test]
    fn a_sale_claims_a_workload_once_and_no_more_than_its_wish() {
        night().passes();
        night()
            .plan(|p| {
                let twice = p.workloads[0].claims[0].clone();
                p.workloads[0].claims.push(twice);
            })
            .breaks(Rule::Claims);
        night().plan(|p| p.workloads[0].claims[0].extra = 31).breaks(Rule::Claims);
        night().plan(|p| p.workloads[0].claims[0].uid = "stranger".into()).breaks(Rule::Claims);
        night().plan(|p| p.workloads[0].claims.clear()).breaks(Rule::Claims);
    }

    #[test]
    fn sales_that_do_not_act_claim_nothing() {
        night().plan(|p| p.sales[0].phase = Phase::Missed).breaks(Rule::Untouched);
        night().seen(|s| s.sales[0].spec.mode = Mode::Plan).breaks(Rule::Untouched);
    }
}
