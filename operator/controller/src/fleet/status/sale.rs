//! Status of an OnSale.

use jiff::{SignedDuration, Timestamp};
use onsale_api::{
    GoDuration, OnSaleStatus, Phase, Reason,
    onsale::{Cost, PoolProgress, Report, WaitingFor, WorkloadProgress},
    placement::Distance,
};
use onsale_planner::{
    plan::{SalePlan, Waiting, WorkloadPlan},
    snapshot::Sale,
    steps::ChainKey,
};

use super::{Material, conditions, cut, problems, sale_conditions, time};

/// The schema's bounds.
const MOST_WAITING: usize = 16;
const MOST_POOLS: usize = 64;
/// A prediction that moves by less is not written again: it would cost a write each second, and tells nobody anything.
const SAME_PREDICTION: SignedDuration = SignedDuration::from_secs(5);

/// What the sale's status must say.
pub fn status(sale: &Sale, plan: &SalePlan, material: &Material<'_>) -> OnSaleStatus {
    let old = &sale.status;
    let over = matches!(plan.phase, Phase::Completed | Phase::Missed | Phase::Cancelled | Phase::Invalid);
    let workloads: Vec<&WorkloadPlan> = sale.workload_ids().filter_map(|id| material.workload_plan(&id)).collect();
    let waiting = waiting(sale, plan, material);
    let foreign = |w: &&'_ WorkloadPlan| sale_conditions::foreign(w, &material.observed.snapshot, material.now);
    let contests: Vec<_> = workloads.iter().filter_map(|w| Some((*w, foreign(w)?))).collect();
    let case = sale_conditions::Case { sale, plan, waiting: &waiting, contests: &contests, now: material.now };
    let predicted = prediction(plan, old);
    let mut new = OnSaleStatus {
        observed_generation: Some(sale.generation),
        phase: Some(plan.phase),
        opens_at: plan.times.map(|t| time(t.opens_at)),
        ready_by: plan.times.map(|t| time(t.ready_by)),
        ends_at: plan.times.map(|t| time(t.ends_at)),
        starts_at: plan.times.map(|t| time(t.starts_at)),
        predicted_ready_at: predicted.map(time),
        slack: predicted.zip(plan.times).map(|(at, times)| slack(times.ready_by, at)),
        ready: (!over).then(|| ready(&workloads)),
        next: plan.next.as_ref().map(|(at, what)| format!("{what} at {}", time(*at).0)),
        entered: entered(plan),
        workloads: old.workloads.clone(),
        pools: old.pools.clone(),
        cost: Some(plan.cost.clone()),
        waiting_for: waiting.iter().take(MOST_WAITING).map(waiting_for).collect(),
        conditions: conditions(&old.conditions, sale_conditions::verdicts(&case), Some(sale.generation), material.now),
        report: report(sale, plan, &workloads, material),
    };
    // What a sale that is over did is history: it does not follow what others do to its workloads later.
    if over {
        new.cost = old.cost.clone().map(|cost| Cost { spent: plan.cost.spent.clone(), ..cost });
    } else {
        new.workloads = workloads.iter().map(|w| workload_progress(w)).collect();
        new.pools = pool_progress(plan, &workloads, material);
        if plan.phase == Phase::Returning {
            keep_peak(old, &mut new);
        }
    }
    new
}

/// On the way back the plan wants less and less; what was wanted at the peak, and what it cost, is what people ask for afterwards.
fn keep_peak(old: &OnSaleStatus, new: &mut OnSaleStatus) {
    for work in &mut new.workloads {
        let before = old.workloads.iter().find(|w| (w.kind, &w.name) == (work.kind, &work.name));
        work.peak = before.map_or(work.peak, |w| w.peak.max(work.peak));
    }
    if let (Some(before), Some(now)) = (&old.cost, &mut new.cost) {
        now.window = now.window.max(before.window);
    }
}

/// The plan's reasons, then what went wrong with the sale's own chains.
fn waiting(sale: &Sale, plan: &SalePlan, material: &Material<'_>) -> Vec<Waiting> {
    let mut all = plan.waiting_for.clone();
    all.extend(plan.frozen.clone());
    all.extend(problems::of(&ChainKey::Sale(sale.id.clone()), material));
    if plan.phase.is_active() {
        all.extend(sale.workload_ids().flat_map(|id| problems::of(&ChainKey::Workload(id), material)));
        all.extend(plan.pools.iter().flat_map(|name| problems::of(&ChainKey::Pool(name.clone()), material)));
    }
    let mut unique: Vec<Waiting> = Vec::new();
    for waiting in all {
        if !unique.iter().any(|w| w.reason == waiting.reason && w.message == waiting.message) {
            unique.push(waiting);
        }
    }
    unique
}

fn waiting_for(waiting: &Waiting) -> WaitingFor {
    WaitingFor { reason: waiting.reason, message: cut(&waiting.message), until: waiting.until.map(time) }
}

fn entered(plan: &SalePlan) -> onsale_api::onsale::Entered {
    let mut entered = plan.entered.clone();
    for at in [&mut entered.preparing, &mut entered.ready, &mut entered.live, &mut entered.returning, &mut entered.finished] {
        *at = at.take().map(|t| time(t.0));
    }
    entered
}

fn prediction(plan: &SalePlan, old: &OnSaleStatus) -> Option<Timestamp> {
    let new = plan.predicted_ready_at?;
    let ready_by = plan.times.map(|t| t.ready_by);
    let late = |at: Timestamp| ready_by.is_some_and(|by| at > by);
    match old.predicted_ready_at.as_ref().map(|t| t.0) {
        Some(before) if new.duration_since(before).abs() < SAME_PREDICTION && late(new) == late(before) && !plan.all_ready => Some(before),
        _ => Some(new),
    }
}

/// Time left, in whole seconds; a leading minus says late.
fn slack(ready_by: Timestamp, predicted: Timestamp) -> String {
    let left = SignedDuration::from_secs(ready_by.as_second() - predicted.as_second());
    let sign = if left.is_negative() { "-" } else { "" };
    format!("{sign}{}", GoDuration::from(left.abs()))
}

/// Ready replicas of those wanted at the peak; more than wanted of one workload does not make up for another.
fn ready(workloads: &[&WorkloadPlan]) -> String {
    let (ready, peak) = workloads.iter().fold((0, 0), |(r, p), w| (r + w.ready.min(w.peak), p + w.peak));
    format!("{ready}/{peak}")
}

fn workload_progress(plan: &WorkloadPlan) -> WorkloadProgress {
    WorkloadProgress {
        kind: plan.id.kind,
        name: plan.id.name.clone(),
        baseline: plan.baseline,
        floor: plan.floor,
        peak: plan.peak,
        ready: plan.ready,
        misplaced: plan.misplaced,
        latency: mean_latency(plan),
        best_latency: plan.distances.iter().map(|d| d.latency).min(),
    }
}

/// Mean over the pods that run in pools with a known distance.
fn mean_latency(plan: &WorkloadPlan) -> Option<GoDuration> {
    let latency = |pool: &str| plan.distances.iter().find(|d: &&Distance| d.pool == pool).map(|d| d.latency.micros());
    let pairs = plan.bound.iter().filter_map(|(pool, count)| Some((latency(pool)?, i64::from(*count))));
    let (sum, count) = pairs.fold((0_i64, 0_i64), |(s, n), (l, c)| (s.saturating_add(l.saturating_mul(c)), n + c));
    (count > 0).then(|| GoDuration::from_micros(sum / count))
}

fn pool_progress(plan: &SalePlan, workloads: &[&WorkloadPlan], material: &Material<'_>) -> Vec<PoolProgress> {
    let sum = |of: fn(&WorkloadPlan) -> &std::collections::BTreeMap<String, i32>, name: &str| -> i32 {
        workloads.iter().filter_map(|w| of(w).get(name)).sum()
    };
    let all = plan.pools.iter().map(|name| {
        let nodes = material.pool_plan(name);
        PoolProgress {
            name: name.clone(),
            replicas: sum(|w| &w.by_pool, name),
            running: sum(|w| &w.bound, name),
            nodes_planned: nodes.map_or(0, |n| n.planned),
            nodes_launching: nodes.map_or(0, |n| n.launching),
            nodes_ready: nodes.map_or(0, |n| n.ready),
        }
    });
    all.filter(|p| p.replicas > 0 || p.running > 0 || p.nodes_launching > 0).take(MOST_POOLS).collect()
}

/// Running maxima while the sale is on; told in full once it is over.
fn report(sale: &Sale, plan: &SalePlan, workloads: &[&WorkloadPlan], material: &Material<'_>) -> Option<Report> {
    let old = sale.status.report.clone();
    if !plan.phase.is_active() {
        let restored = matches!(plan.phase, Phase::Completed | Phase::Cancelled);
        return old.map(|report| Report { restored, ..report });
    }
    let old = old.unwrap_or_default();
    let rented = |name: &&String| material.observed.snapshot.pool(name).is_some_and(|p| p.spec.nodes.ec2.is_some());
    let nodes = plan.pools.iter().filter(rented).filter_map(|name| material.pool_plan(name));
    let nodes: i32 = nodes.map(|p| p.launching + p.ready + p.draining).sum();
    let replicas: i32 = workloads.iter().map(|w| w.ready).sum();
    let settled = plan.entered.ready.is_some() && plan.phase.holds();
    let misplaced: i32 = if settled { workloads.iter().map(|w| w.misplaced).sum() } else { 0 };
    let on_time = plan.times.zip(plan.entered.ready.as_ref()).is_some_and(|(times, ready)| ready.0 <= times.ready_by);
    Some(Report {
        on_time,
        nodes_peak: old.nodes_peak.max(nodes),
        replicas_peak: old.replicas_peak.max(replicas),
        misplaced_peak: old.misplaced_peak.max(misplaced),
        restored: false,
    })
}

/// The sentence that sums up what is missing.
pub fn first(waiting: &[Waiting]) -> Option<(Reason, &str)> {
    waiting.first().map(|w| (w.reason, w.message.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slack_is_a_duration_with_a_minus_when_late() {
        let by: Timestamp = "2026-12-05T09:50:00Z".parse().unwrap();
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(slack(by, at("2026-12-05T09:45:30Z")), "4m30s");
        assert_eq!(slack(by, at("2026-12-05T09:50:00.7Z")), "0s");
        assert_eq!(slack(by, at("2026-12-05T09:52:05Z")), "-2m5s");
    }
}
