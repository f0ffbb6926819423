//! Steps of a workload: record, overlay, floor, pods; and back.

use super::{Scope, Step};
use crate::{
    floors,
    plan::{Stage, WorkloadPlan},
    snapshot::{Pod, PodRef, TargetState, Workload},
};

pub(super) fn of(scope: &Scope<'_>, plan: &WorkloadPlan, workload: &Workload) -> Vec<Step> {
    match (plan.stage, &workload.target) {
        (Stage::Idle, _) => Vec::new(),
        (_, None) => gone(plan, workload),
        (Stage::Restoring, Some(target)) => restore(plan, workload, target),
        (_, Some(target)) if protected(scope, plan) => hold(scope, plan, workload, target),
        _ => Vec::new(),
    }
}

/// Nothing is touched before every sale that claims the workload carries our finalizer.
fn protected(scope: &Scope<'_>, plan: &WorkloadPlan) -> bool {
    plan.claims.iter().all(|c| scope.protected.contains(c.uid.as_str()))
}

/// The workload was deleted: nothing is left to restore.
fn gone(plan: &WorkloadPlan, workload: &Workload) -> Vec<Step> {
    if plan.stage != Stage::Restoring {
        return Vec::new();
    }
    let overlay = workload.overlay.map(|_| Step::RemoveOverlay);
    overlay.into_iter().chain([Step::RemoveRecord]).collect()
}

fn hold(scope: &Scope<'_>, plan: &WorkloadPlan, workload: &Workload, target: &TargetState) -> Vec<Step> {
    let Scope { seen, now, .. } = *scope;
    if plan.foreign.as_ref().is_some_and(|f| !f.raise && now < f.again_at) {
        return Vec::new();
    }
    let mut steps = Vec::new();
    let spec = floors::record(plan, workload);
    if let Some(foreign) = plan.foreign.as_ref().filter(|f| !f.raise) {
        steps.push(Step::NoteContest { manager: foreign.manager.clone(), value: foreign.value });
    }
    if workload.placement.as_ref().is_none_or(|p| p.spec != spec) {
        steps.push(Step::Record { spec: Box::new(spec) });
    }
    if let Some(overlay) = plan.overlay.as_ref().filter(|_| workload.overlay != Some(plan.revision)) {
        steps.push(Step::WriteOverlay { overlay: overlay.clone() });
    }
    let respected = plan.foreign.as_ref().is_some_and(|f| f.raise) && plan.floor <= target.value;
    if target.value != plan.floor && !respected {
        steps.push(Step::WriteFloor { field: plan.field.clone(), from: target.value, to: plan.floor, manager: None });
    }
    if plan.stage != Stage::Returning && workload.overlay == Some(plan.revision) {
        let proven = workload.pods.iter().any(|p| p.revision == Some(plan.revision));
        // Without a stamped pod the policies may not be in force, and deleting pods that come back as they were helps nobody: not so soon.
        let due = |p: &Pod| p.revision.is_some() || proven || now.duration_since(p.created_at) >= seen.settings.unschedulable_after;
        let stale = |p: &&Pod| p.node.is_none() && !p.terminating && p.revision != Some(plan.revision) && due(p);
        steps.extend(workload.pods.iter().filter(stale).map(|p| Step::ReplacePod { pod: reference(plan, p) }));
    }
    steps
}

fn reference(plan: &WorkloadPlan, pod: &Pod) -> PodRef {
    PodRef { namespace: plan.id.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone(), terminating: pod.terminating }
}

/// The field first, in the name of whoever owned it; then the overlay, when no pod needs it any more; the record last.
fn restore(plan: &WorkloadPlan, workload: &Workload, target: &TargetState) -> Vec<Step> {
    if target.value != plan.baseline {
        let spec = floors::record(plan, workload);
        if plan.foreign.is_some() {
            // Theirs is the value to restore, and it is there.
            return vec![Step::Record { spec: Box::new(spec) }];
        }
        let record = workload.placement.as_ref().is_none_or(|p| p.spec != spec).then(|| Step::Record { spec: Box::new(spec) });
        let manager = plan.baseline_manager.clone().filter(|_| plan.floor == plan.baseline);
        let write = Step::WriteFloor { field: plan.field.clone(), from: target.value, to: plan.floor, manager };
        return record.into_iter().chain([write]).collect();
    }
    if plan.overlay.is_some() {
        let spec = floors::record(plan, workload);
        return workload
            .placement
            .as_ref()
            .is_none_or(|p| p.spec != spec)
            .then(|| Step::Record { spec: Box::new(spec) })
            .into_iter()
            .collect();
    }
    let overlay = workload.overlay.map(|_| Step::RemoveOverlay);
    overlay.into_iter().chain([Step::RemoveRecord]).collect()
}
