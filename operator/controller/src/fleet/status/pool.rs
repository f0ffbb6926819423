//! Status of a CapacityPool, without its launch ledger and its shortfalls: those are written where they are met.

use onsale_api::{
    CapacityPoolStatus, Reason,
    conditions::{Verdict, types},
    pool::NodeCounts,
};
use onsale_planner::{
    plan::{PoolPlan, Waiting},
    snapshot::Pool,
    steps::ChainKey,
};

use super::{Material, conditions, cut, lead_times, limits, problems};

/// What the pool's status must say; the ledger's fields are as they were seen and are never written from here.
pub fn status(pool: &Pool, material: &Material<'_>) -> CapacityPoolStatus {
    let Some(plan) = material.pool_plan(&pool.name) else { return pool.status.clone() };
    let mut trouble = problems::of(&ChainKey::Pool(pool.name.clone()), material);
    trouble.extend(plan.waiting_for.iter().cloned());
    let old = &pool.status;
    let generation = material.observed.pool_generations.get(&pool.name).copied();
    let known = material.facts.get(&pool.name);
    let mut verdicts = verdicts(pool, plan, &trouble).to_vec();
    verdicts.extend(known.map(|known| limits::verdict(pool, known)));
    CapacityPoolStatus {
        observed_generation: generation,
        nodes: NodeCounts { planned: plan.planned, launching: plan.launching, ready: plan.ready, draining: plan.draining },
        lead_times: lead_times::recorded(pool, plan, &material.observed.snapshot),
        conditions: conditions(&old.conditions, verdicts, generation, material.now),
        launches: old.launches.clone(),
        last_sequence: old.last_sequence,
        shortfalls: old.shortfalls.clone(),
        subnets: known.map(|known| limits::subnets(pool, known)).unwrap_or_default(),
        quotas: known.map(|known| limits::quotas(pool, known)).unwrap_or_default(),
    }
}

fn verdicts(pool: &Pool, plan: &PoolPlan, trouble: &[Waiting]) -> [Verdict; 4] {
    let capacity = capacity(pool, plan, trouble);
    let moving = plan.launching > 0 || plan.draining > 0;
    let stuck = pool.status.shortfalls.iter().find(|s| matches!(s.reason, Reason::Unauthorized | Reason::InvalidConfiguration));
    let ready = match capacity.status {
        Some(true) if !moving => Verdict { type_: types::READY, ..capacity.clone() },
        Some(true) => Verdict { type_: types::READY, status: Some(false), ..capacity.clone() },
        _ => Verdict { type_: types::READY, ..capacity.clone() },
    };
    let reconciling = Verdict {
        type_: types::RECONCILING,
        status: Some(moving),
        reason: if moving { capacity.reason } else { Reason::AllReady },
        message: if moving { format!("{} on their way, {} on their way out", plan.launching, plan.draining) } else { String::new() },
    };
    let stalled = Verdict {
        type_: types::STALLED,
        status: Some(stuck.is_some()),
        reason: stuck.map_or(Reason::AllReady, |s| s.reason),
        message: cut(stuck.map_or("", |s| s.message.as_str())),
    };
    [ready, reconciling, stalled, capacity]
}

/// Whether the pool can give what the plan asks of it. Its reason is what `kubectl get` shows as the pool's state.
fn capacity(pool: &Pool, plan: &PoolPlan, trouble: &[Waiting]) -> Verdict {
    let verdict = |status, reason, message: &str| Verdict { type_: types::CAPACITY_READY, status, reason, message: cut(message) };
    if let Some(unknown) = trouble.iter().find(|t| t.reason == Reason::Unknown) {
        return verdict(None, Reason::Unknown, &unknown.message);
    }
    if let Some(shortfall) = onsale_planner::pools::lacks(pool).last().filter(|_| !plan.idle) {
        let message = format!("{}; tried {} times, not again before {}", shortfall.message, shortfall.attempts, shortfall.retry_at.0);
        return verdict(Some(false), shortfall.reason, &message);
    }
    if let Some(waiting) = trouble.iter().find(|t| t.reason != Reason::DisruptionBudget) {
        return verdict(Some(false), waiting.reason, &waiting.message);
    }
    let blocked = trouble.first().map_or("", |t| t.message.as_str());
    match (plan.launching, plan.draining, plan.idle) {
        (1.., _, _) => verdict(Some(true), Reason::Launching, &format!("{} instances are on their way to be Ready nodes", plan.launching)),
        (_, 1.., _) => verdict(Some(true), Reason::Draining, &format!("{} nodes are on their way out. {blocked}", plan.draining)),
        (_, _, true) => verdict(Some(true), Reason::Idle, "no sale uses the pool now"),
        _ => verdict(Some(true), Reason::AllReady, &format!("{} nodes are Ready", plan.ready)),
    }
}

#[cfg(test)]
mod tests {
    use onsale_api::pool::Shortfall;
    use serde_json::json;

    use super::*;

    fn pool() -> Pool {
        let spec = json!({"tier": "Region", "zone": "z", "latency": [{"site": "dc", "rtt": "1ms"}], "nodes": {"existing": {"selector": {"matchLabels": {"a": "b"}}}}});
        Pool { protected: true, ..Pool::new("phx", serde_json::from_value(spec).unwrap()) }
    }

    fn unknown() -> Waiting {
        Waiting { reason: Reason::Unknown, message: "throttled".into(), until: None }
    }

    #[test]
    fn says_what_the_pool_does() {
        let idle = PoolPlan { idle: true, ..PoolPlan::default() };
        assert_eq!(capacity(&pool(), &idle, &[]).reason, Reason::Idle);
        let launching = PoolPlan { launching: 3, ..PoolPlan::default() };
        let [ready, reconciling, ..] = verdicts(&pool(), &launching, &[]);
        assert_eq!((ready.status, ready.reason, reconciling.status), (Some(false), Reason::Launching, Some(true)));
    }

    #[test]
    fn unknown_instances_are_unknown_capacity_and_a_shortfall_is_none() {
        let plan = PoolPlan { ready: 3, ..PoolPlan::default() };
        assert_eq!(capacity(&pool(), &plan, &[unknown()]).status, None);
        let mut short = pool();
        let at = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Default::default());
        short.status.shortfalls.push(Shortfall {
            instance_type: "c6i.large".into(),
            subnet: None,
            reason: Reason::InvalidConfiguration,
            message: "no template".into(),
            at: at.clone(),
            attempts: 2,
            retry_at: at,
        });
        let [ready, _, stalled, capacity] = verdicts(&short, &plan, &[]);
        assert_eq!((ready.status, stalled.status, capacity.status), (Some(false), Some(true), Some(false)));
    }
}
