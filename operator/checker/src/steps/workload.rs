//! Steps of a workload: recorded first, overlay before floor, restored before forgotten.

use onsale_planner::{
    plan::{Stage, WorkloadPlan},
    snapshot::{Workload, WorkloadId},
    steps::Step,
};

use crate::{Rule, Violation, view::View};

struct Case<'a> {
    view: &'a View<'a>,
    workload: &'a Workload,
    work: &'a WorkloadPlan,
    /// Steps before this one.
    before: &'a [Step],
}

pub fn check(view: &View<'_>, id: &WorkloadId, steps: &[Step], found: &mut Vec<Violation>) {
    let Some((_, workload, work)) = view.works().find(|(_, w, _)| w.id == *id) else {
        found.push(Violation::new(Rule::Chains, id, "steps for a workload that is not in the snapshot"));
        return;
    };
    if work.stage == Stage::Idle && workload.placement.is_none() && !steps.is_empty() {
        let done = steps.iter().all(|step| *step == Step::RemoveOverlay);
        if !done {
            found.push(Violation::new(Rule::Untouched, id, format!("no sale is on, nothing is recorded, and these are due: {steps:?}")));
        }
    }
    for (i, step) in steps.iter().enumerate() {
        let case = Case { view, workload, work, before: &steps[..i] };
        one(&case, step, found);
    }
}

fn one(case: &Case<'_>, step: &Step, found: &mut Vec<Violation>) {
    match step {
        Step::Record { spec } => {
            let work = case.work;
            // A foreign value that is overwritten becomes the one to restore.
            let restored = case.workload.target.as_ref().map(|t| t.value);
            let baseline = spec.baseline == work.baseline || (work.foreign.is_some() && Some(spec.baseline) == restored);
            // A write that is not seen to have arrived stays recorded: the value before it and the one it was to write are both ours.
            let kept = case.workload.placement.as_ref().map(|p| (p.spec.before, p.spec.intended)) == Some((spec.before, spec.intended));
            let intended = spec.intended == work.floor || (kept && spec.before == work.floor && restored == Some(work.floor));
            if spec.claims != work.claims || !intended || !baseline {
                let message = format!("records {spec:?}, which is not what is planned");
                found.push(Violation::new(Rule::RecordFirst, &work.id, message));
            }
        }
        Step::WriteFloor { from, to, .. } => floor(case, step, *from, *to, found),
        Step::RemoveRecord => forgotten(case, found),
        Step::ReplacePod { pod } => {
            let stamp = case.workload.placement.as_ref().map_or(case.work.revision, |p| p.spec.revision.max(case.work.revision));
            let known = case.workload.pods.iter().find(|p| p.name == pod.name && p.uid == pod.uid);
            if known.is_none_or(|p| p.node.is_some() || p.revision == Some(stamp)) {
                let message = format!("replaces {}, which is bound, well stamped or not the workload's", pod.name);
                found.push(Violation::new(Rule::ReplacePod, &case.work.id, message));
            }
        }
        Step::RemoveOverlay if !matches!(case.work.stage, Stage::Restoring | Stage::Idle) => {
            found.push(Violation::new(Rule::OverlayFirst, &case.work.id, format!("removes the overlay while {:?}", case.work.stage)));
        }
        _ => {}
    }
}

fn floor(case: &Case<'_>, step: &Step, from: i32, to: i32, found: &mut Vec<Violation>) {
    let mut wrong = |rule: Rule, message: String| found.push(Violation::new(rule, &case.work.id, message));
    let Step::WriteFloor { field, .. } = step else { return };
    let Some(target) = &case.workload.target else {
        wrong(Rule::WriteFloor, "writes the floor of a workload that does not exist".to_owned());
        return;
    };
    if from != target.value || *field != target.field {
        wrong(Rule::WriteFloor, format!("writes {field:?} from {from}, {:?} holds {}", target.field, target.value));
    }
    if to != case.work.floor {
        wrong(Rule::WriteFloor, format!("writes {to}, the floor is {}", case.work.floor));
    }
    let recorded = case.workload.placement.as_ref().map(|p| p.spec.intended);
    let first = case.before.iter().any(|s| matches!(s, Step::Record { spec } if spec.intended == to));
    if recorded != Some(to) && !first {
        wrong(Rule::RecordFirst, format!("writes {to}, {recorded:?} is recorded as intended"));
    }
    let overlay = case.work.overlay.is_none()
        || case.workload.overlay == Some(case.work.revision)
        || case.before.iter().any(|s| matches!(s, Step::WriteOverlay { .. }));
    if to > from && !overlay {
        wrong(Rule::OverlayFirst, format!("raises the floor to {to} before its overlay is there"));
    }
    if let Some(foreign) = case.work.foreign.as_ref().filter(|f| !f.raise && to > from && f.value == from) {
        let noted = case.before.iter().any(|s| matches!(s, Step::NoteContest { .. }));
        if !noted || case.view.now < foreign.again_at {
            wrong(Rule::Contest, format!("writes again before {} or without a note: {foreign:?}", foreign.again_at));
        }
    }
}

fn forgotten(case: &Case<'_>, found: &mut Vec<Violation>) {
    let mut wrong = |message: String| found.push(Violation::new(Rule::RemoveRecord, &case.work.id, message));
    if !case.work.claims.is_empty() {
        wrong(format!("forgotten while {} sales claim it", case.work.claims.len()));
    }
    let value = case.workload.target.as_ref().map(|t| t.value);
    let written = case.before.iter().any(|s| matches!(s, Step::WriteFloor { to, .. } if *to == case.work.baseline));
    if value.is_some_and(|value| value != case.work.baseline) && !written {
        wrong(format!("forgotten while the field holds {value:?} and the baseline is {}", case.work.baseline));
    }
}

#[cfg(test)]
mod tests {
    use onsale_planner::{
        plan::{Foreign, Stage},
        snapshot::PodRef,
        steps::Step,
    };

    use crate::{
        Rule,
        testing::{Night, floor_field, night, record},
    };

    fn write(from: i32, to: i32) -> Step {
        Step::WriteFloor { field: floor_field(), from, to, manager: None }
    }

    fn rising() -> Vec<Step> {
        let (_, plan) = night().parts();
        let overlay = plan.workloads[0].overlay.clone().unwrap();
        vec![Step::Record { spec: Box::new(record()) }, Step::WriteOverlay { overlay }, write(10, 40)]
    }

    fn without(n: usize) -> Vec<Step> {
        let mut steps = rising();
        steps.remove(n);
        steps
    }

    #[test]
    fn the_intent_is_recorded_before_the_floor_is_written() {
        night().workload_steps(rising()).passes();
        night().workload_steps(without(0)).breaks(Rule::RecordFirst);
        let mut late = rising();
        late.swap(0, 2);
        night().workload_steps(late).breaks(Rule::RecordFirst);
    }

    #[test]
    fn the_overlay_is_there_before_the_floor_rises() {
        night().workload_steps(without(1)).breaks(Rule::OverlayFirst);
        night().seen(|s| s.workloads[0].overlay = Some(1)).workload_steps(without(1)).passes();
    }

    #[test]
    fn a_floor_is_written_from_the_value_seen() {
        night().seen(|s| s.workloads[0].target.as_mut().unwrap().value = 10).workload_steps(rising()).passes();
        night().recorded().seen(|s| s.workloads[0].overlay = Some(1)).workload_steps(vec![write(11, 40)]).breaks(Rule::WriteFloor);
        night().recorded().seen(|s| s.workloads[0].overlay = Some(1)).workload_steps(vec![write(10, 39)]).breaks(Rule::WriteFloor);
    }

    #[test]
    fn a_contested_floor_waits_for_its_backoff() {
        let contested = |again_at: &str| {
            let again_at = again_at.parse().unwrap();
            night().recorded().seen(|s| s.workloads[0].overlay = Some(1)).plan(move |p| {
                p.workloads[0].foreign = Some(Foreign { value: 10, manager: "argocd".into(), raise: false, again_at });
            })
        };
        let steps = || vec![Step::NoteContest { manager: "argocd".into(), value: 10 }, write(10, 40)];
        contested("2026-12-05T17:30:00Z").workload_steps(steps()).passes();
        contested("2026-12-05T17:30:01Z").workload_steps(steps()).breaks(Rule::Contest);
        contested("2026-12-05T17:30:00Z").workload_steps(vec![write(10, 40)]).breaks(Rule::Contest);
    }

    fn restoring() -> Night {
        night().recorded().over().at("2026-12-05T18:40:00Z").plan(|p| {
            let work = &mut p.workloads[0];
            (work.stage, work.floor, work.overlay) = (Stage::Restoring, 10, None);
            work.claims.clear();
        })
    }

    #[test]
    fn a_record_is_removed_when_the_field_is_restored() {
        restoring().workload_steps(vec![Step::RemoveOverlay, Step::RemoveRecord]).passes();
        restoring()
            .seen(|s| s.workloads[0].target.as_mut().unwrap().value = 40)
            .workload_steps(vec![Step::RemoveRecord])
            .breaks(Rule::RemoveRecord);
        night().recorded().workload_steps(vec![Step::RemoveRecord]).breaks(Rule::RemoveRecord);
    }

    #[test]
    fn only_unbound_pods_with_a_stale_stamp_are_replaced() {
        let replace = |n: i32| {
            let pod =
                PodRef { namespace: "shop".into(), name: format!("seat-map-{n}"), uid: format!("pod-seat-map-{n}"), terminating: false };
            vec![Step::ReplacePod { pod }]
        };
        night().unbound(None).workload_steps(replace(10)).passes();
        night().unbound(Some(1)).workload_steps(replace(10)).breaks(Rule::ReplacePod);
        night().workload_steps(replace(0)).breaks(Rule::ReplacePod);
    }
}
