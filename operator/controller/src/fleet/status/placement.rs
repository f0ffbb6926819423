//! Status of a WorkloadPlacement.

use onsale_api::{
    Reason, WorkloadPlacementStatus,
    conditions::{Verdict, types},
    placement::PodsInPool,
};
use onsale_planner::{
    plan::{Foreign, Stage, WorkloadPlan},
    snapshot::Workload,
    steps::ChainKey,
};

use super::{
    Material, conditions, cut, problems,
    sale_conditions::{contest_sentence, foreign},
};

/// The schema's bound on pools.
const MOST_POOLS: usize = 256;

/// What the placement's status must say; `None` without a placement or a plan for it.
pub fn status(workload: &Workload, material: &Material<'_>) -> Option<WorkloadPlacementStatus> {
    let old = &workload.placement.as_ref()?.status;
    let plan = material.workload_plan(&workload.id)?;
    let trouble = problems::of(&ChainKey::Workload(workload.id.clone()), material).into_iter().next();
    let ready = trouble
        .map_or_else(|| ready(plan), |t| Verdict { type_: types::READY, status: Some(false), reason: t.reason, message: cut(&t.message) });
    Some(WorkloadPlacementStatus {
        ready: plan.ready,
        misplaced: plan.misplaced,
        pools: pools(plan),
        contest: old.contest.clone(),
        conditions: conditions(
            &old.conditions,
            [ready, contested(plan, foreign(plan, &material.observed.snapshot, material.now).as_ref())],
            None,
            material.now,
        ),
    })
}

fn pools(plan: &WorkloadPlan) -> Vec<PodsInPool> {
    let names: std::collections::BTreeSet<&String> = plan.by_pool.keys().chain(plan.bound.keys()).collect();
    let of = |map: &std::collections::BTreeMap<String, i32>, name: &str| map.get(name).copied().unwrap_or_default();
    let all = names.into_iter().map(|name| PodsInPool {
        pool: name.clone(),
        planned: of(&plan.by_pool, name),
        bound: of(&plan.bound, name),
        ready: of(&plan.ready_by_pool, name),
    });
    all.take(MOST_POOLS).collect()
}

fn ready(plan: &WorkloadPlan) -> Verdict {
    let verdict = |status, reason, message: String| Verdict { type_: types::READY, status: Some(status), reason, message };
    match plan.stage {
        Stage::Idle => verdict(true, Reason::Idle, "no sale is on".to_owned()),
        Stage::Restoring => verdict(false, Reason::Returning, format!("the field goes back to {}", plan.baseline)),
        Stage::Returning => verdict(false, Reason::Returning, format!("the floor falls to {}", plan.baseline)),
        Stage::Preparing | Stage::Holding if plan.ready < plan.floor => {
            verdict(false, Reason::Preparing, format!("{} of {} replicas are Ready", plan.ready, plan.floor))
        }
        Stage::Preparing | Stage::Holding if plan.misplaced > 0 => {
            verdict(false, Reason::Misplaced, format!("{} pods are where the plan does not want them", plan.misplaced))
        }
        Stage::Preparing if plan.floor < plan.peak => {
            verdict(false, Reason::Preparing, format!("the floor is {} of {} at the peak", plan.floor, plan.peak))
        }
        Stage::Preparing | Stage::Holding => verdict(true, Reason::AllReady, format!("{} replicas are Ready", plan.ready)),
    }
}

fn contested(plan: &WorkloadPlan, foreign: Option<&Foreign>) -> Verdict {
    let (status, reason, message) = match foreign {
        None => (false, Reason::AllReady, String::new()),
        Some(foreign) if foreign.raise => (false, Reason::ForeignRaise, contest_sentence(plan, foreign)),
        Some(foreign) => (true, Reason::Contested, contest_sentence(plan, foreign)),
    };
    Verdict { type_: types::CONTESTED, status: Some(status), reason, message: cut(&message) }
}

#[cfg(test)]
mod tests {
    use onsale_api::placement::{FloorField, FloorKind};
    use onsale_planner::snapshot::WorkloadId;

    use super::*;

    pub fn plan(stage: Stage, ready: i32, floor: i32, misplaced: i32) -> WorkloadPlan {
        WorkloadPlan {
            id: WorkloadId { namespace: "shop".into(), kind: Default::default(), name: "seat-map".into() },
            stage,
            field: FloorField { kind: FloorKind::Replicas, name: "seat-map".into() },
            baseline: 4,
            baseline_manager: None,
            claims: Vec::new(),
            distances: Default::default(),
            peak: 40,
            floor,
            by_pool: Default::default(),
            unplaced: 0,
            headroom: 0,
            released: 0,
            permitted: Vec::new(),
            overlay: None,
            revision: 1,
            trial: 0,
            ready,
            bound: Default::default(),
            ready_by_pool: Default::default(),
            misplaced,
            foreign: None,
            problems: Vec::new(),
        }
    }

    #[test]
    fn is_ready_when_the_floor_is_ready_where_it_belongs() {
        assert_eq!(ready(&plan(Stage::Holding, 40, 40, 0)).status, Some(true));
        assert_eq!(ready(&plan(Stage::Holding, 40, 40, 2)).reason, Reason::Misplaced);
        assert_eq!(ready(&plan(Stage::Preparing, 12, 20, 0)).reason, Reason::Preparing);
        assert_eq!(ready(&plan(Stage::Preparing, 20, 20, 0)).message, "the floor is 20 of 40 at the peak");
        assert_eq!(ready(&plan(Stage::Returning, 40, 20, 0)).reason, Reason::Returning);
    }

    #[test]
    fn a_raise_is_respected_and_a_lower_value_contested() {
        let mut work = plan(Stage::Holding, 40, 40, 0);
        work.foreign = Some(Foreign { value: 3, manager: "argocd-controller".into(), raise: false, again_at: Default::default() });
        let verdict = contested(&work, work.foreign.as_ref());
        assert_eq!((verdict.status, verdict.reason), (Some(true), Reason::Contested));
        assert!(verdict.message.contains("jsonPointers: [/spec/replicas]"), "{}", verdict.message);
        work.foreign = Some(Foreign { value: 99, manager: "kubectl".into(), raise: true, again_at: Default::default() });
        let verdict = contested(&work, work.foreign.as_ref());
        assert_eq!((verdict.status, verdict.reason), (Some(false), Reason::ForeignRaise));
    }
}
