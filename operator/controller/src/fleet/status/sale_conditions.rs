//! Conditions of an OnSale, one pure function each: `Ready`, `Reconciling`, `Stalled` (kstatus), `Feasible`, `AtRisk`, `Contested`.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use onsale_api::{
    OnSaleStatus, Phase, Reason,
    conditions::{Verdict, types},
    onsale::{Mode, OnShortfall, TargetKind},
    placement::FloorKind,
};
use onsale_planner::{
    plan::{Foreign, SalePlan, Stage, Waiting, WorkloadPlan},
    snapshot::{Sale, Snapshot},
};

use super::{cut, sale::first};
use crate::fleet::act::floor_label;

/// How long after the last foreign write a field counts as contested: Git tools come round every few minutes.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(15);

/// What the conditions are made from.
pub struct Case<'a> {
    /// As seen.
    pub sale: &'a Sale,
    /// As planned.
    pub plan: &'a SalePlan,
    /// What is missing or went wrong.
    pub waiting: &'a [Waiting],
    /// Who else writes into its workloads.
    pub contests: &'a [(&'a WorkloadPlan, Foreign)],
    /// The pass's instant.
    pub now: Timestamp,
}

impl Case<'_> {
    fn late(&self) -> bool {
        self.plan.times.zip(self.plan.predicted_ready_at).is_some_and(|(times, at)| at > times.ready_by)
    }
    /// Before the opening, when something can be done about it still.
    fn is_before(&self) -> bool {
        matches!(self.plan.phase, Phase::Scheduled | Phase::Preparing | Phase::Ready)
    }
    fn missing(&self) -> (Reason, String) {
        let on_their_way = || match self.plan.unplaced {
            0 => "replicas are not Ready yet".to_owned(),
            unplaced => format!("{unplaced} replicas find no place"),
        };
        first(self.waiting).map_or_else(|| (Reason::Preparing, on_their_way()), |(reason, message)| (reason, message.to_owned()))
    }
    fn lateness(&self) -> String {
        let (at, by) = (self.plan.predicted_ready_at.unwrap_or_default(), self.plan.times.map(|t| t.ready_by).unwrap_or_default());
        let whole = onsale_api::time::whole_seconds;
        let why = first(self.waiting).map(|(_, message)| format!(": {message}")).unwrap_or_default();
        // The instant itself is in predictedReadyAt: here it would change with every pass.
        let left = if at > by { "after" } else { "before" };
        format!("everything will be Ready {left} ready-by ({}){why}", whole(by))
    }
}

/// All of them.
pub fn verdicts(case: &Case<'_>) -> [Verdict; 6] {
    [ready(case), reconciling(case), stalled(case), feasible(case), at_risk(case), contested(case)]
}

fn verdict(type_: &'static str, status: bool, reason: Reason, message: impl AsRef<str>) -> Verdict {
    Verdict { type_, status: Some(status), reason, message: cut(message.as_ref()) }
}

/// The reason that goes with a phase.
pub const fn reason(phase: Phase) -> Reason {
    match phase {
        Phase::Scheduled => Reason::Scheduled,
        Phase::Preparing => Reason::Preparing,
        Phase::Ready => Reason::AllReady,
        Phase::Live => Reason::Live,
        Phase::Returning => Reason::Returning,
        Phase::Completed => Reason::Completed,
        Phase::Missed => Reason::Missed,
        Phase::Cancelled => Reason::Cancelled,
        Phase::Invalid => Reason::InvalidSpec,
    }
}

/// The sale is where it should be at this moment. A sale that waits for its start, or is over, is: Git tools that wait for health must not hang on it.
fn ready(case: &Case<'_>) -> Verdict {
    let is = |status, reason, message: &str| verdict(types::READY, status, reason, message);
    let plan_only = case.sale.spec.mode == Mode::Plan && case.is_before();
    match case.plan.phase {
        Phase::Invalid => {
            let (why, message) = invalid(case);
            is(false, why, &message)
        }
        Phase::Scheduled | Phase::Preparing | Phase::Ready if plan_only => {
            is(true, Reason::PlanOnly, "computed and reported; mode is Plan, so nothing is changed")
        }
        Phase::Scheduled if case.plan.unplaced > 0 => {
            let (why, message) = case.missing();
            is(false, why, &message)
        }
        Phase::Scheduled => is(true, Reason::Scheduled, "waits for its computed start"),
        Phase::Preparing if case.plan.late_start => {
            is(false, Reason::LateStart, "seen after its computed start: nodes and floors catch up")
        }
        Phase::Preparing => is(false, Reason::Preparing, "nodes, then floors are on their way"),
        Phase::Ready => is(true, Reason::AllReady, "everything is Ready and waits for opensAt"),
        Phase::Live if !case.plan.all_ready => {
            let (_, message) = case.missing();
            is(false, Reason::Live, &format!("open, and not everything is Ready: {message}"))
        }
        Phase::Live => is(true, Reason::Live, "open: floors are held"),
        Phase::Returning => match &case.plan.frozen {
            Some(frozen) => is(false, frozen.reason, &frozen.message),
            None => is(false, Reason::Returning, "floors fall and nodes go"),
        },
        Phase::Completed => is(true, Reason::Completed, "every field is restored and no node is held for this sale"),
        Phase::Missed => is(true, Reason::Missed, "the window was over when the sale was first seen: nothing was touched"),
        Phase::Cancelled => is(true, Reason::Cancelled, "called off, and everything is back"),
    }
}

fn invalid(case: &Case<'_>) -> (Reason, String) {
    match &case.plan.invalid {
        Some(waiting) => (waiting.reason, waiting.message.clone()),
        None => (Reason::InvalidSpec, "the sale cannot run as it is".to_owned()),
    }
}

fn reconciling(case: &Case<'_>) -> Verdict {
    let working = match case.plan.phase {
        Phase::Preparing => case.sale.spec.mode == Mode::Live,
        Phase::Live => !case.plan.all_ready,
        Phase::Returning => true,
        Phase::Scheduled | Phase::Ready | Phase::Completed | Phase::Missed | Phase::Cancelled | Phase::Invalid => false,
    };
    verdict(types::RECONCILING, working && stuck(case).is_none(), reason(case.plan.phase), "")
}

/// Nothing moves without a person.
fn stalled(case: &Case<'_>) -> Verdict {
    match stuck(case) {
        Some((why, message)) => verdict(types::STALLED, true, why, message),
        None => verdict(types::STALLED, false, reason(case.plan.phase), ""),
    }
}

fn stuck(case: &Case<'_>) -> Option<(Reason, String)> {
    if case.plan.phase == Phase::Invalid {
        return Some(invalid(case));
    }
    let held = case.sale.spec.on_shortfall == OnShortfall::Hold && case.plan.unplaced > 0 && case.plan.phase == Phase::Preparing;
    held.then(|| {
        (Reason::Held, format!("onShortfall is Hold, and something is missing: {}; change the sale or its pools", case.missing().1))
    })
}

/// Go or no-go. On the way back it is history, and stays as it was until nothing is asked for any more.
fn feasible(case: &Case<'_>) -> Verdict {
    let is = |status, reason, message: &str| verdict(types::FEASIBLE, status, reason, message);
    if let Some(at) = case.plan.looked_at_from {
        let message = format!("looked at from {at:.0} on; kubectl onsale plan tells now");
        return Verdict { type_: types::FEASIBLE, status: None, reason: Reason::TooFarAhead, message };
    }
    match case.plan.phase {
        Phase::Invalid => {
            let (why, message) = invalid(case);
            is(false, why, &message)
        }
        Phase::Missed => is(false, Reason::Missed, "the window was over when the sale was first seen"),
        Phase::Returning => kept(case, types::FEASIBLE),
        Phase::Completed | Phase::Cancelled => is(true, reason(case.plan.phase), "nothing is asked for any more"),
        _ if case.plan.unplaced > 0 => {
            let (why, message) = case.missing();
            is(false, why, &format!("{} replicas find no place: {message}", case.plan.unplaced))
        }
        Phase::Scheduled | Phase::Preparing if case.late() => {
            is(false, if case.plan.late_start { Reason::LateStart } else { Reason::LeadTimeTooLong }, &case.lateness())
        }
        phase => is(true, reason(phase), "everything the sale needs can be had in time"),
    }
}

fn kept(case: &Case<'_>, type_: &'static str) -> Verdict {
    let old = case.sale.status.conditions.iter().find(|c| c.type_ == type_);
    let status = old.and_then(|c| match c.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    });
    let why = old.and_then(|c| parse_reason(&c.reason)).unwrap_or_else(|| reason(case.plan.phase));
    Verdict { type_, status, reason: why, message: old.map(|c| c.message.clone()).unwrap_or_default() }
}

/// Worth an alert: the prediction passes ready-by, something is missing, no pod can be placed, or the sale opened unready.
fn at_risk(case: &Case<'_>) -> Verdict {
    let is = |status, reason, message: &str| verdict(types::AT_RISK, status, reason, message);
    let (started, overdue) = case.plan.times.map_or((false, false), |t| (case.now >= t.starts_at, case.now > t.ready_by));
    let unstamped = case.waiting.iter().find(|w| w.reason == Reason::PolicyIneffective);
    if let Some(waiting) = unstamped.filter(|_| case.plan.phase == Phase::Preparing) {
        return is(true, waiting.reason, &waiting.message);
    }
    match case.plan.phase {
        Phase::Scheduled | Phase::Preparing | Phase::Ready if case.sale.spec.mode == Mode::Plan && started => {
            is(true, Reason::PlanOnly, "the lead time has begun and mode is still Plan: nothing is prepared; set mode to Live")
        }
        Phase::Scheduled | Phase::Preparing | Phase::Ready | Phase::Live if case.plan.unplaced > 0 => {
            let (why, message) = case.missing();
            is(true, why, &format!("{} replicas find no place: {message}", case.plan.unplaced))
        }
        Phase::Scheduled | Phase::Preparing if case.late() => is(true, Reason::LeadTimeTooLong, &case.lateness()),
        Phase::Preparing if overdue && !case.plan.all_ready => is(true, Reason::LeadTimeTooLong, &case.lateness()),
        Phase::Live if !case.plan.all_ready && case.plan.entered.ready.is_none() => {
            is(true, Reason::OpenedUnready, &format!("opened before everything was Ready: {}", case.missing().1))
        }
        Phase::Live if !case.plan.all_ready => is(true, Reason::Live, &format!("not everything is Ready: {}", case.missing().1)),
        phase => is(false, reason(phase), ""),
    }
}

/// Somebody else writes the field that holds a floor. A raise is respected, and no alarm.
fn contested(case: &Case<'_>) -> Verdict {
    let lowered = case.contests.iter().find(|(_, f)| !f.raise);
    match (lowered, case.contests.first()) {
        (Some((work, foreign)), _) => verdict(types::CONTESTED, true, Reason::Contested, contest_sentence(work, foreign)),
        (None, Some((work, foreign))) => verdict(types::CONTESTED, false, Reason::ForeignRaise, contest_sentence(work, foreign)),
        (None, None) => verdict(types::CONTESTED, false, reason(case.plan.phase), ""),
    }
}

/// A foreign value as it is now, or the last one that was written over: whoever wrote it is likely to do so again.
pub fn foreign(work: &WorkloadPlan, seen: &Snapshot, now: Timestamp) -> Option<Foreign> {
    if work.foreign.is_some() || work.stage == Stage::Idle {
        return work.foreign.clone();
    }
    let contest = seen.workload(&work.id)?.placement.as_ref()?.status.contest.as_ref()?;
    let fresh = now.duration_since(contest.last.0) < REMEMBERED;
    fresh.then(|| Foreign { value: contest.value, manager: contest.manager.clone(), raise: false, again_at: now })
}

/// Who wrote what, and the exact rule that makes the user's own tool leave the field alone.
pub fn contest_sentence(work: &WorkloadPlan, foreign: &Foreign) -> String {
    let (field, object) = (floor_label(work.field.kind), &work.field.name);
    let wrote = format!("{} set {field} of {object} to {}", foreign.manager, foreign.value);
    if foreign.raise {
        return format!("{wrote}, above the floor of {}: respected until the sale ends", work.floor);
    }
    format!("{wrote}, below the floor of {}: the floor is written again; {}", work.floor, ignore_rule(work, &foreign.manager))
}

fn ignore_rule(work: &WorkloadPlan, manager: &str) -> String {
    let (group, kind) = match (work.field.kind, work.id.kind) {
        (FloorKind::Replicas, TargetKind::Deployment) => ("apps", "Deployment"),
        (FloorKind::Replicas, TargetKind::StatefulSet) => ("apps", "StatefulSet"),
        (FloorKind::HpaMinReplicas, _) => ("autoscaling", "HorizontalPodAutoscaler"),
        (FloorKind::ScaledObjectMinReplicaCount, _) => ("keda.sh", "ScaledObject"),
    };
    let (field, name, namespace) = (floor_label(work.field.kind), &work.field.name, &work.id.namespace);
    if manager.contains("argocd") {
        return format!(
            "in the Application set syncOptions: [RespectIgnoreDifferences=true] and ignoreDifferences: \
             [{{group: {group}, kind: {kind}, name: {name}, namespace: {namespace}, jsonPointers: [/spec/{field}]}}]"
        );
    }
    if manager.contains("kustomize-controller") || manager.contains("helm-controller") {
        return format!(
            "remove spec.{field} of {kind} {name} from Git for the time of the sale, or suspend the Kustomization or HelmRelease"
        );
    }
    format!("make {manager} leave spec.{field} of {kind} {name} alone until the sale is over")
}

/// The conditions that an event is worth when they begin.
pub fn alarms(new: &OnSaleStatus) -> impl Iterator<Item = (&'static str, &Condition)> {
    [(types::FEASIBLE, "False"), (types::AT_RISK, "True"), (types::CONTESTED, "True")]
        .into_iter()
        .filter_map(|(type_, alarm)| new.conditions.iter().find(|c| c.type_ == type_ && c.status == alarm).map(|c| (type_, c)))
}

/// A reason as it was written.
pub fn parse_reason(text: &str) -> Option<Reason> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}

#[cfg(test)]
#[path = "sale_conditions_tests.rs"]
mod tests;
