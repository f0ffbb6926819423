//! The way back: no sale lets go faster than `returnOver` allows, and none is slower without a word.

use onsale_api::{Phase, onsale::Combine};
use onsale_planner::{
    plan::{SalePlan, Stage, WorkloadPlan},
    snapshot::{Sale, Workload},
};

use crate::{
    Rule, Violation,
    claims::extra,
    view::{View, named},
};

/// Floors fall in steps of a tenth, the first of them at once.
const STEP: f64 = 0.1;
/// Of a replica, for what floating-point numbers lose.
const ROUNDED: f64 = 1e-6;

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    for (sale, plan) in view.sales().filter(|(_, plan)| plan.phase == Phase::Returning) {
        let Some(gone) = gone(view, sale, plan) else { continue };
        for (_, workload, work) in view.works() {
            held(sale, plan, gone, (workload, work), found);
        }
    }
    for (_, workload, work) in view.works().filter(|(_, _, work)| work.stage == Stage::Returning) {
        floor(view, workload, work, found);
    }
}

/// The part of `returnOver` that is gone. `None` where nothing has to be waited for: the sale never opened, or shall return at once.
fn gone(view: &View<'_>, sale: &Sale, plan: &SalePlan) -> Option<f64> {
    let since = plan.entered.returning.as_ref().filter(|_| plan.entered.live.is_some() && !sale.return_now)?.0;
    let over = sale.spec.return_over.get().as_secs_f64();
    (over > 0.0).then(|| view.now.duration_since(since).as_secs_f64().max(0.0) / over)
}

/// What the sale still holds of a workload, against the line from all of it to nothing.
fn held(sale: &Sale, plan: &SalePlan, gone: f64, (workload, work): (&Workload, &WorkloadPlan), found: &mut Vec<Violation>) {
    let Some(wish) = named(sale, work) else { return };
    let recorded = workload.placement.iter().flat_map(|p| &p.spec.claims).filter(|c| c.uid == sale.uid).map(|c| c.extra).max();
    let Some(recorded) = recorded else { return };
    let all = f64::from(extra(wish.peak_replicas, work.baseline));
    let holds = work.claims.iter().filter(|c| c.uid == sale.uid).map(|c| c.extra).max().unwrap_or_default();
    let mut wrong = |message: String| found.push(Violation::new(Rule::ReturnPace, &work.id, message));
    let least = (all * (1.0 - STEP - gone)).floor().min(f64::from(recorded));
    if f64::from(holds) < least {
        wrong(format!(
            "sale {} lets go too fast: {holds} of {recorded} are left when {:.0} % of returnOver is gone",
            sale.id,
            gone * 100.0
        ));
    }
    let most = (all * (1.0 - gone) - ROUNDED).ceil().max(0.0);
    if f64::from(holds) > most && plan.frozen.is_none() {
        wrong(format!(
            "sale {} still holds {holds} of {all} when {:.0} % of returnOver is gone, and nothing says why",
            sale.id,
            gone * 100.0
        ));
    }
}

/// The floor is not below what is still held; an HPA's maximum cuts it off as on the way up.
fn floor(view: &View<'_>, workload: &Workload, work: &WorkloadPlan, found: &mut Vec<Violation>) {
    let Some(target) = &workload.target else { return };
    let of = |uid: &String| view.seen.sales.iter().find(|s| s.uid == *uid).map(|s| s.spec.combine);
    let largest = work.claims.iter().all(|c| of(&c.uid) == Some(Combine::Max));
    let extras = || work.claims.iter().map(|c| c.extra);
    let held = work.baseline + if largest { extras().max().unwrap_or_default() } else { extras().sum() };
    let now = workload.placement.as_ref().map_or(target.value, |p| p.spec.intended);
    let least = held.min(now).min(target.max.unwrap_or(i32::MAX));
    if work.floor < least {
        found.push(Violation::new(Rule::ReturnPace, &work.id, format!("floor {}, and {least} are still held", work.floor)));
    }
}

#[cfg(test)]
mod tests {
    use onsale_api::Reason;
    use onsale_planner::plan::Waiting;

    use crate::{
        Rule,
        testing::{Night, night},
    };

    /// The sale was over at 18:00 and has half an hour to return; it still holds so many of its 30 at this instant.
    fn holds(extra: i32, now: &str) -> Night {
        night().recorded().over().at(now).plan(move |p| {
            p.workloads[0].claims[0].extra = extra;
            p.workloads[0].floor = 10 + extra;
        })
    }

    #[test]
    fn floors_fall_no_faster_than_return_over_allows() {
        holds(27, "2026-12-05T18:00:01Z").passes();
        holds(25, "2026-12-05T18:00:01Z").breaks(Rule::ReturnPace);
        holds(18, "2026-12-05T18:10:00Z").passes();
        holds(16, "2026-12-05T18:10:00Z").breaks(Rule::ReturnPace);
        holds(16, "2026-12-05T18:10:00Z").seen(|s| s.sales[0].return_now = true).passes();
    }

    #[test]
    fn floors_fall_no_slower_without_a_word() {
        let rests = |night: Night| {
            let why = Waiting { reason: Reason::ReturnFrozen, message: "the state of the nodes is not known yet".into(), until: None };
            night.plan(|p| p.sales[0].frozen = Some(why))
        };
        holds(20, "2026-12-05T18:10:00Z").passes();
        holds(21, "2026-12-05T18:10:00Z").breaks(Rule::ReturnPace);
        rests(holds(21, "2026-12-05T18:10:00Z")).passes();
        holds(1, "2026-12-05T18:30:00Z").breaks(Rule::ReturnPace);
    }

    #[test]
    fn a_floor_is_not_below_what_is_held() {
        holds(18, "2026-12-05T18:10:00Z").plan(|p| p.workloads[0].floor = 27).breaks(Rule::ReturnPace);
        let capped = |s: &mut onsale_planner::Snapshot| s.workloads[0].target.as_mut().unwrap().max = Some(27);
        holds(18, "2026-12-05T18:10:00Z").seen(capped).plan(|p| p.workloads[0].floor = 27).passes();
    }
}
