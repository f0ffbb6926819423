//! What is given back, and when nothing may be.

use std::collections::BTreeMap;

use onsale_api::{Phase, onsale::Mode};
use onsale_planner::{
    plan::{PoolPlan, Times},
    snapshot::Pool,
};

use crate::{Rule, Violation, access, view::View};

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    for (pool, plan) in view.pools() {
        let held = access::wanted_by_a_holder(view, pool);
        if held && !plan.surplus.is_empty() {
            found.push(Violation::new(
                Rule::Surplus,
                &pool.name,
                format!("a sale that holds may use the pool, surplus {:?}", plan.surplus),
            ));
        }
        if held && plan.released {
            found.push(Violation::new(Rule::Surplus, &pool.name, "released, and a sale that holds may use it"));
        }
        if view.sales().any(|(sale, p)| p.phase.is_active() && p.pools.contains(&pool.name) && !sale.deleting) && plan.idle {
            found.push(Violation::new(Rule::Surplus, &pool.name, "idle, and an active sale may use it"));
        }
        unknown(view, pool, plan, found);
        theirs(view, pool, plan, found);
        soon(view, pool, plan, found);
    }
}

/// A failed read must never look like an empty list.
fn unknown(view: &View<'_>, pool: &Pool, plan: &PoolPlan, found: &mut Vec<Violation>) {
    let mut wrong = |message: &str| found.push(Violation::new(Rule::UnknownKept, &pool.name, message));
    if view.seen.nodes.is_none() && !plan.surplus.is_empty() {
        wrong("nodes are unknown, and some are surplus");
    }
    if pool.instances.is_none() && (!plan.surplus.is_empty() || !plan.never_joined.is_empty()) {
        wrong("instances are unknown, and some are given back");
    }
    if view.seen.nodes.is_none() && !plan.never_joined.is_empty() {
        wrong("nodes are unknown, and instances are said never to have joined");
    }
}

/// Only what is the pool's own and is there can be surplus.
fn theirs(view: &View<'_>, pool: &Pool, plan: &PoolPlan, found: &mut Vec<Violation>) {
    let own = |id: &String| pool.instances.iter().flatten().any(|i| i.id == *id);
    for surplus in &plan.surplus {
        let node = surplus.node.is_empty() || view.node(&surplus.node).is_some_and(|n| n.pool == pool.name);
        if !node || !own(&surplus.instance) {
            found.push(Violation::new(Rule::Surplus, &pool.name, format!("{surplus:?} is not the pool's")));
        }
    }
    if let Some(id) = plan.never_joined.iter().find(|id| !own(id)) {
        found.push(Violation::new(Rule::Surplus, &pool.name, format!("{id} is not the pool's")));
    }
    let joined = |id: &&String| view.seen.known_nodes().any(|n| n.instance.as_ref() == Some(*id) && n.ready);
    if let Some(id) = plan.never_joined.iter().find(joined) {
        found.push(Violation::new(Rule::Surplus, &pool.name, format!("{id} never joined, and its node is Ready")));
    }
}

/// What a sale that is about to start needs stays: it is cheaper kept than launched again while no more than twice its lead time passes before its start.
fn soon(view: &View<'_>, pool: &Pool, plan: &PoolPlan, found: &mut Vec<Violation>) {
    let mut needed: BTreeMap<&String, i32> = BTreeMap::new();
    for forecast in &view.plan.forecasts {
        let Some((sale, of)) = view.sales().find(|(sale, _)| sale.id == forecast.sale) else { continue };
        let starts = of.phase == Phase::Scheduled && sale.spec.mode == Mode::Live && !sale.spec.suspend && !sale.deleting;
        let close = |t: Times| t.ready_by.duration_since(view.now) <= t.ready_by.duration_since(t.starts_at) * 3;
        if starts && of.times.is_some_and(close) {
            forecast.nodes.get(&pool.name).into_iter().flatten().for_each(|(t, n)| *needed.entry(t).or_default() += n);
        }
    }
    let given = |id: &String| plan.surplus.iter().any(|s| s.instance == *id);
    for (instance_type, needed) in needed {
        let serves = |id: &String| view.seen.known_nodes().any(|n| n.instance.as_ref() == Some(id) && n.ready && !n.cordoned);
        let there = pool.instances.iter().flatten().filter(|i| i.instance_type == *instance_type && !i.leaving && serves(&i.id));
        let (given, stay): (Vec<_>, Vec<_>) = there.partition(|i| given(&i.id));
        if !given.is_empty() && i32::try_from(stay.len()).is_ok_and(|stay| stay < needed) {
            let message = format!("{} {instance_type} are given back, and a sale that is about to start needs {needed}", given.len());
            found.push(Violation::new(Rule::Surplus, &pool.name, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use onsale_planner::plan::Surplus;

    use crate::{
        Rule,
        testing::{Night, night},
    };

    fn surplus(night: Night) -> Night {
        night.instances(1).plan(|p| p.pools[1].surplus.push(Surplus { node: String::new(), instance: "i-0".into(), drain: false }))
    }

    #[test]
    fn nothing_is_surplus_while_a_sale_holds() {
        surplus(night()).breaks(Rule::Surplus);
        surplus(night().recorded().over()).passes();
    }

    #[test]
    fn nothing_is_surplus_while_nodes_are_unknown() {
        surplus(night().recorded().over()).seen(|s| s.nodes = None).breaks(Rule::UnknownKept);
        surplus(night().recorded().over()).seen(|s| s.pools[1].instances = None).breaks(Rule::UnknownKept);
    }

    #[test]
    fn what_a_sale_that_is_about_to_start_needs_is_no_surplus() {
        let followed =
            |ready_by: &str| surplus(night().recorded().over()).joined("i-0", "far-1").follow(ready_by, &[("far", "c6i.4xlarge", 1)]);
        followed("2026-12-05T18:20:00Z").breaks(Rule::Surplus);
        followed("2026-12-05T20:20:00Z").passes();
    }

    #[test]
    fn only_own_instances_are_surplus() {
        surplus(night().recorded().over()).plan(|p| p.pools[1].surplus[0].instance = "i-9".into()).breaks(Rule::Surplus);
    }
}
