//! Limits of a pool and the types of its nodes.

use std::collections::BTreeSet;

use onsale_planner::{
    plan::{PoolPlan, Stage},
    snapshot::Pool,
};

use crate::{
    Rule, Violation, access,
    view::{View, declared, existing, underway},
};

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    for (pool, plan) in view.pools() {
        limit(pool, plan, found);
        types(pool, plan, found);
        if grows(pool, plan) && !access::wanted_by_a_holder(view, pool) {
            found.push(Violation::new(Rule::NodesForHolders, &pool.name, "new nodes are wanted, but no sale that holds may use the pool"));
        }
        holders(view, plan, found);
    }
}

/// Whoever holds pays: a new node for nobody who holds is rented for nothing, and pods without a stamp could not even go there.
fn holders(view: &View<'_>, plan: &PoolPlan, found: &mut Vec<Violation>) {
    for fill in plan.fills.iter().filter(|fill| fill.instance_type.is_some() && view.node(&fill.node).is_none()) {
        let works = || fill.replicas.iter().filter(|(_, n)| **n > 0).filter_map(|(index, _)| view.plan.workloads.get(*index));
        let held = works().any(|work| matches!(work.stage, Stage::Preparing | Stage::Holding));
        if let Some(work) = works().next().filter(|_| !held) {
            let message = format!("{} is filled with nothing but {:?}, which is {:?}", fill.node, work.id.name, work.stage);
            found.push(Violation::new(Rule::NodesForHolders, &plan.name, message));
        }
    }
}

/// New nodes are wanted of some type.
pub fn grows(pool: &Pool, plan: &PoolPlan) -> bool {
    let (have, coming) = (existing(pool), underway(pool));
    let known = |kind: &String| have.get(kind.as_str()).copied().unwrap_or(0) + coming.get(kind.as_str()).copied().unwrap_or(0);
    plan.wanted.iter().any(|(kind, n)| *n > known(kind))
}

/// Nodes that there are or may be.
pub fn stock(pool: &Pool) -> i32 {
    existing(pool).values().sum::<i32>() + underway(pool).values().sum::<i32>()
}

fn limit(pool: &Pool, plan: &PoolPlan, found: &mut Vec<Violation>) {
    let Some(max) = pool.spec.limits.as_ref().and_then(|l| l.max_nodes) else { return };
    let wanted: i32 = plan.wanted.values().sum();
    let filled = plan.fills.iter().filter(|f| f.instance_type.is_some() && f.replicas.values().any(|n| *n > 0)).count();
    let filled = i32::try_from(filled).unwrap_or(i32::MAX);
    for (what, n) in [("wants", wanted), ("fills", filled)] {
        let all = max.max(stock(pool));
        if n > all {
            found.push(Violation::new(
                Rule::NodeLimit,
                &pool.name,
                format!("{what} {n} nodes, limits.maxNodes and what exists allow {all}"),
            ));
        }
    }
    if wanted > max && grows(pool, plan) {
        found.push(Violation::new(Rule::NodeLimit, &pool.name, format!("wants new nodes beyond limits.maxNodes {max}")));
    }
}

fn types(pool: &Pool, plan: &PoolPlan, found: &mut Vec<Violation>) {
    let (have, coming) = (existing(pool), underway(pool));
    let declared: BTreeSet<&str> = declared(pool).iter().map(|t| t.name.as_str()).collect();
    for (kind, n) in &plan.wanted {
        let there = have.get(kind.as_str()).copied().unwrap_or(0) + coming.get(kind.as_str()).copied().unwrap_or(0);
        if *n < 0 || (*n > there && !declared.contains(kind.as_str())) {
            found.push(Violation::new(Rule::InstanceType, &pool.name, format!("wants {n} new {kind}, which it does not declare")));
        }
    }
}

#[cfg(test)]
mod tests {
    use onsale_planner::plan::Stage;

    use crate::{Rule, testing::night};

    #[test]
    fn a_pool_may_want_nodes_up_to_its_limit() {
        night().plan(|p| *p.pools[1].wanted.get_mut("c6i.4xlarge").unwrap() = 4).passes();
        night().plan(|p| *p.pools[1].wanted.get_mut("c6i.4xlarge").unwrap() = 5).breaks(Rule::NodeLimit);
    }

    #[test]
    fn nodes_above_a_lowered_limit_may_stay_but_not_grow() {
        let lowered = || night().instances(3).seen(|s| s.pools[1].spec.limits.as_mut().unwrap().max_nodes = Some(1));
        lowered().plan(|p| *p.pools[1].wanted.get_mut("c6i.4xlarge").unwrap() = 3).passes();
        lowered().plan(|p| *p.pools[1].wanted.get_mut("c6i.4xlarge").unwrap() = 4).breaks(Rule::NodeLimit);
    }

    #[test]
    fn new_nodes_are_for_workloads_that_are_held() {
        night().recorded().over().passes();
        night().plan(|p| p.workloads[0].stage = Stage::Returning).breaks(Rule::NodesForHolders);
    }

    #[test]
    fn an_undeclared_type_may_stay_but_not_grow() {
        let old = |n: i32| {
            night().instances(1).seen(|s| s.pools[1].instances.as_mut().unwrap()[0].instance_type = "old.large".into()).plan(move |p| {
                p.pools[1].wanted.insert("old.large".into(), n);
            })
        };
        old(1).passes();
        old(2).breaks(Rule::InstanceType);
    }
}
