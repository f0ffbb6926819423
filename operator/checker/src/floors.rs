//! Baselines, peaks and floors.

use onsale_api::{Phase, onsale::Combine, onsale::Mode};
use onsale_planner::{
    plan::{Stage, WorkloadPlan},
    snapshot::{TargetState, Workload},
};

use crate::{
    Rule, Violation,
    claims::extra,
    view::{View, named},
};

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    for (index, workload, work) in view.works() {
        let Some(target) = &workload.target else { continue };
        baseline(workload, work, target, found);
        if work.floor < work.baseline {
            found.push(Violation::new(Rule::FloorBelowBaseline, &work.id, format!("floor {}, baseline {}", work.floor, work.baseline)));
        }
        match work.stage {
            Stage::Preparing | Stage::Holding => {
                peak(view, workload, work, target, found);
                rise(view, index, workload, work, target, found);
                complete(view, index, work, target, found);
            }
            Stage::Returning | Stage::Restoring | Stage::Idle => fall(workload, work, target, found),
        }
        stage(view, work, found);
    }
}

fn baseline(workload: &Workload, work: &WorkloadPlan, target: &TargetState, found: &mut Vec<Violation>) {
    let recorded = workload.placement.as_ref().map(|p| p.spec.baseline);
    let restored = target.value;
    if work.baseline != recorded.unwrap_or(restored) && work.baseline != restored {
        let message = format!("baseline {}, recorded {recorded:?}, the field holds {restored}", work.baseline);
        found.push(Violation::new(Rule::Baseline, &work.id, message));
    }
}

/// The floor that is in force: what was intended last, or what the field holds.
fn current(workload: &Workload, target: &TargetState) -> i32 {
    workload.placement.as_ref().map_or(target.value, |p| p.spec.intended)
}

/// Baseline plus the extras of these sales. On the way back a sale may keep what it claimed, whatever its peak says now.
fn wish(view: &View<'_>, workload: &Workload, work: &WorkloadPlan, counts: impl Fn(Phase, Mode) -> bool) -> i32 {
    let sales = view.sales().filter(|(sale, plan)| counts(plan.phase, sale.spec.mode));
    let claims = || workload.placement.iter().flat_map(|p| &p.spec.claims);
    let extras = sales.filter_map(|(sale, plan)| {
        let kept = claims().filter(|c| plan.phase == Phase::Returning && c.uid == sale.uid).map(|c| c.extra).max();
        Some((sale.spec.combine, extra(named(sale, work)?.peak_replicas, work.baseline).max(kept.unwrap_or_default())))
    });
    let extras: Vec<(Combine, i32)> = extras.collect();
    let all = extras.iter().map(|(_, extra)| *extra);
    // Where sales disagree, Sum holds.
    let sum = extras.iter().any(|(combine, _)| *combine == Combine::Sum);
    work.baseline + if sum { all.sum() } else { all.max().unwrap_or_default() }
}

fn peak(view: &View<'_>, workload: &Workload, work: &WorkloadPlan, target: &TargetState, found: &mut Vec<Violation>) {
    let holding = wish(view, workload, work, |phase, mode| phase.holds() && mode == Mode::Live);
    // What a returning sale still claims may count until its floor is down.
    let most = wish(view, workload, work, |phase, mode| phase.is_active() && mode == Mode::Live).max(holding);
    let least = target.max.map_or(holding, |max| holding.min(max));
    if !target.requests_missing && !(least..=most).contains(&work.peak) {
        found.push(Violation::new(Rule::Peak, &work.id, format!("peak {}, the sales wish {least} to {most}", work.peak)));
    }
}

fn rise(view: &View<'_>, index: usize, workload: &Workload, work: &WorkloadPlan, target: &TargetState, found: &mut Vec<Violation>) {
    let current = current(workload, target);
    if work.floor > work.peak.max(current).max(work.baseline) {
        found.push(Violation::new(Rule::FloorAbovePeak, &work.id, format!("floor {}, peak {}, now {current}", work.floor, work.peak)));
    }
    let places = placed(view, index, work);
    if work.floor > current.max(work.baseline) && work.floor > places {
        found.push(Violation::new(
            Rule::FloorPlaced,
            &work.id,
            format!("floor {} rises from {current}, {places} replicas have a place", work.floor),
        ));
    }
}

/// Replicas that have a place, those that run in no pool included.
pub fn placed(view: &View<'_>, index: usize, work: &WorkloadPlan) -> i32 {
    let elsewhere = if work.by_pool.contains_key("") { 0 } else { view.in_pool(index, "") };
    work.by_pool.values().sum::<i32>() + elsewhere
}

fn complete(view: &View<'_>, index: usize, work: &WorkloadPlan, target: &TargetState, found: &mut Vec<Violation>) {
    let counted = placed(view, index, work) + work.unplaced;
    if !target.requests_missing && counted < work.peak {
        let message = format!("peak {}, only {counted} replicas are placed or counted as unplaced", work.peak);
        found.push(Violation::new(Rule::Complete, &work.id, message));
    }
}

/// On the way back floors fall; without a sale they are where they were.
fn fall(workload: &Workload, work: &WorkloadPlan, target: &TargetState, found: &mut Vec<Violation>) {
    let current = current(workload, target).max(work.baseline);
    if work.floor > current {
        found.push(Violation::new(Rule::FloorAbovePeak, &work.id, format!("floor {} rises from {current} without a sale", work.floor)));
    }
    if work.stage == Stage::Idle && work.floor != work.baseline {
        found.push(Violation::new(
            Rule::FloorAbovePeak,
            &work.id,
            format!("floor {} and baseline {} while idle", work.floor, work.baseline),
        ));
    }
}

/// A workload is on its way up or up exactly while a sale that names it holds.
fn stage(view: &View<'_>, work: &WorkloadPlan, found: &mut Vec<Violation>) {
    let held = view.holding().any(|(sale, _)| named(sale, work).is_some());
    if !held && matches!(work.stage, Stage::Preparing | Stage::Holding) {
        found.push(Violation::new(Rule::Phases, &work.id, format!("stage {:?}, and no sale that names it holds", work.stage)));
    }
    if held && matches!(work.stage, Stage::Idle | Stage::Returning | Stage::Restoring) {
        found.push(Violation::new(Rule::Phases, &work.id, format!("stage {:?}, and a sale that names it holds", work.stage)));
    }
}

#[cfg(test)]
mod tests {
    use onsale_api::Phase;
    use onsale_planner::plan::Stage;

    use crate::{Rule, testing::night};

    #[test]
    fn the_baseline_is_what_the_field_held() {
        night().plan(|p| p.workloads[0].baseline = 9).breaks(Rule::Baseline);
        night().recorded().seen(|s| s.workloads[0].target.as_mut().unwrap().value = 40).passes();
    }

    #[test]
    fn a_floor_is_between_baseline_and_peak() {
        night().plan(|p| p.workloads[0].floor = 10).passes();
        night().plan(|p| p.workloads[0].floor = 9).breaks(Rule::FloorBelowBaseline);
        night().plan(|p| p.workloads[0].floor = 41).breaks(Rule::FloorAbovePeak);
    }

    #[test]
    fn the_peak_is_what_the_sales_wish() {
        night().plan(|p| p.workloads[0].peak = 39).breaks(Rule::Peak);
        night().plan(|p| p.workloads[0].peak = 41).breaks(Rule::Peak);
        night()
            .seen(|s| s.workloads[0].target.as_mut().unwrap().max = Some(39))
            .plan(|p| p.workloads[0].peak = 39)
            .plan(|p| p.workloads[0].floor = 39)
            .passes();
    }

    #[test]
    fn a_floor_rises_only_by_replicas_with_a_place() {
        let without_place = |floor: i32| night().limit(1).unplaced(1).plan(move |p| p.workloads[0].floor = floor);
        without_place(39).passes();
        without_place(40).breaks(Rule::FloorPlaced);
    }

    #[test]
    fn no_replica_is_lost() {
        night().limit(1).unplaced(1).plan(|p| p.workloads[0].unplaced = 0).breaks(Rule::Complete);
    }

    #[test]
    fn no_floor_rises_on_the_way_back() {
        let returning = |floor: i32| {
            night().recorded().over().plan(move |p| {
                p.workloads[0].stage = Stage::Returning;
                p.workloads[0].floor = floor;
            })
        };
        returning(40).passes();
        returning(41).breaks(Rule::FloorAbovePeak);
    }

    #[test]
    fn stages_follow_the_sales() {
        night().plan(|p| p.workloads[0].stage = Stage::Idle).breaks(Rule::Phases);
        night().plan(|p| p.sales[0].phase = Phase::Scheduled).breaks(Rule::Phases);
    }
}
