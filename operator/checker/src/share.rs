//! `maxSharePerPool`: the loss of one place is no loss of the sale.

use onsale_planner::plan::WorkloadPlan;

use crate::{Rule, Violation, view::View};

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    for (index, _, work) in view.held_works() {
        let total = total(work);
        for (_, wish) in view.bounding(work) {
            let Some(share) = wish.max_share_per_pool else { continue };
            let most = share.ceil_of(total);
            for (pool, planned) in work.by_pool.iter().filter(|(pool, planned)| !pool.is_empty() && **planned > most) {
                // What runs beyond it already is no fault of the plan.
                if view.fresh(index, pool, *planned) > 0 {
                    let message = format!("{planned} of {total} replicas in pool {pool}, maxSharePerPool {share} allows {most}");
                    found.push(Violation::new(Rule::Share, &work.id, message));
                }
            }
        }
    }
}

/// Replicas that a share is a share of: everything that is wanted at the peak.
pub fn total(work: &WorkloadPlan) -> i32 {
    work.by_pool.values().sum::<i32>() + work.unplaced
}

#[cfg(test)]
mod tests {
    use onsale_api::Percent;

    use crate::{Rule, testing::night};

    #[test]
    fn one_pool_holds_no_more_than_its_share() {
        // 24 of 40 replicas are near, 10 of them run.
        night().seen(|s| s.sales[0].spec.workloads[0].max_share_per_pool = Some(Percent::new(60))).passes();
        night().seen(|s| s.sales[0].spec.workloads[0].max_share_per_pool = Some(Percent::new(57))).breaks(Rule::Share);
    }

    #[test]
    fn what_runs_beyond_its_share_may_stay() {
        night().running(24, "near-1").seen(|s| s.sales[0].spec.workloads[0].max_share_per_pool = Some(Percent::new(50))).passes();
    }
}
