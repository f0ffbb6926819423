//! Room above the floor that an HPA may grow into: as much as `headroom` asks for, or it is told how much is missing.

use onsale_api::{Reason, placement::FloorKind};
use onsale_planner::{
    plan::{Stage, WorkloadPlan},
    snapshot::TargetState,
};

use crate::{Rule, Violation, moves, view::View};

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    for (index, workload, work) in view.works() {
        let mut wrong = |message: String| found.push(Violation::new(Rule::Headroom, &work.id, message));
        let kept: i32 = view.plan.pools.iter().flat_map(|p| &p.fills).filter_map(|f| f.headroom.get(&index)).sum();
        if kept != work.headroom {
            wrong(format!("nodes keep room for {kept} replicas of headroom, {} are planned", work.headroom));
        }
        let Some(target) = workload.target.as_ref().filter(|t| !t.requests_missing) else { continue };
        let (least, most) = asked(view, work, target);
        if work.headroom > most {
            wrong(format!("{} replicas of headroom are planned, {most} were asked for", work.headroom));
        }
        if work.headroom >= least || work.unplaced > 0 {
            continue;
        }
        if !work.problems.iter().any(|p| p.reason == Reason::HeadroomMissing) {
            wrong(format!("{} of {least} replicas of headroom are planned, and nothing says why", work.headroom));
        }
        if let Some((pool, place)) = moves::room_for_headroom(view, index, workload, work, target) {
            wrong(format!("{} of {least} replicas of headroom are planned, and pool {pool} has room: {place}", work.headroom));
        }
    }
}

/// Fewest and most replicas that the sales which hold the workload ask for above what needs a place anyway; an HPA's maximum bounds them.
fn asked(view: &View<'_>, work: &WorkloadPlan, target: &TargetState) -> (i32, i32) {
    let held = matches!(work.stage, Stage::Preparing | Stage::Holding);
    if !held || target.field.kind == FloorKind::Replicas {
        return (0, 0);
    }
    let needed = work.peak.max(target.replicas);
    let most = target.max.map_or(i32::MAX, |max| (max - needed).max(0));
    let above = |wish: &onsale_api::onsale::SaleWorkload| (work.peak + wish.headroom.ceil_of(work.peak) - needed).clamp(0, most);
    let all: Vec<i32> = view.deciders(work).into_iter().map(|(_, wish)| above(wish)).collect();
    (all.iter().min().copied().unwrap_or_default(), all.iter().max().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use onsale_api::{Reason, placement::FloorKind};
    use onsale_planner::plan::Waiting;

    use crate::{
        Rule,
        testing::{Night, night},
    };

    /// An HPA scales the workload, for which room for `n` replicas is kept on the second far node.
    fn kept(n: i32) -> Night {
        night().seen(|s| s.workloads[0].target.as_mut().unwrap().field.kind = FloorKind::HpaMinReplicas).plan(move |p| {
            p.workloads[0].headroom = n;
            p.pools[1].fills[1].headroom = [(0, n)].into();
        })
    }

    #[test]
    fn the_room_that_was_asked_for_is_kept() {
        kept(4).passes();
        kept(3).breaks(Rule::Headroom);
        kept(5).breaks(Rule::Headroom);
        kept(4).seen(|s| s.sales[0].spec.workloads[0].headroom = "20%".parse().unwrap()).breaks(Rule::Headroom);
        kept(4).plan(|p| p.pools[1].fills[1].headroom.clear()).breaks(Rule::Headroom);
        night().passes();
    }

    #[test]
    fn nothing_is_kept_that_nobody_can_use() {
        kept(4).seen(|s| s.workloads[0].target.as_mut().unwrap().max = Some(42)).breaks(Rule::Headroom);
        kept(2).seen(|s| s.workloads[0].target.as_mut().unwrap().max = Some(42)).passes();
        kept(4).seen(|s| s.workloads[0].target.as_mut().unwrap().field.kind = FloorKind::Replicas).breaks(Rule::Headroom);
    }

    #[test]
    fn it_fits_beside_the_replicas() {
        kept(14).seen(|s| s.sales[0].spec.workloads[0].headroom = "35%".parse().unwrap()).passes();
        kept(15).seen(|s| s.sales[0].spec.workloads[0].headroom = "36%".parse().unwrap()).breaks(Rule::Room);
    }

    #[test]
    fn what_is_missing_is_told_and_has_no_room() {
        let told = |night: Night| {
            let why = Waiting { reason: Reason::HeadroomMissing, message: "pool far is at its limit".into(), until: None };
            night.plan(|p| p.workloads[0].problems.push(why))
        };
        // Both far nodes are full, and the pool is at its limit.
        let full = |n: i32| kept(n).limit(2).seen(|s| s.sales[0].spec.workloads[0].headroom = "40%".parse().unwrap());
        told(full(14)).at("2026-12-05T16:00:00Z").preparing().passes();
        full(14).at("2026-12-05T16:00:00Z").preparing().breaks(Rule::Headroom);
        told(full(13)).at("2026-12-05T16:00:00Z").preparing().passes();
        told(full(14)).limit(3).at("2026-12-05T15:00:00Z").preparing().breaks(Rule::Headroom);
    }
}
