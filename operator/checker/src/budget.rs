//! Budgets of sales and of namespaces. Nodes that sales share are charged to nobody here: a false alarm costs more than a late one.

use std::collections::BTreeSet;

use onsale_api::{Money, Phase};
use onsale_planner::{
    plan::{Fill, PoolPlan, WorkloadPlan},
    snapshot::{Pool, Sale},
};

use crate::{
    Rule, Violation, access,
    pools::{grows, stock},
    view::{SaleView, View, declared, named, underway},
};

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    let holding: Vec<SaleView<'_>> = view.holding().collect();
    if let Some(alone) = alone(view).filter(|(sale, _)| view.pools().any(|(pool, plan)| opens(view, sale, pool, plan))) {
        one(view, &alone, found);
    }
    all(view, &holding, found);
    for (pool, plan) in view.pools() {
        each(view, pool, plan, found);
    }
}

/// The only sale that holds, where no other is charged with nodes either, until this pass at least.
pub fn alone<'a>(view: &View<'a>) -> Option<SaleView<'a>> {
    let was = |sale: &Sale| sale.status.phase.is_some_and(Phase::is_active);
    let returning = view.sales().any(|(other, plan)| plan.phase == Phase::Returning || (was(other) && !plan.phase.is_active()));
    let mut holding = view.holding().filter(|_| !returning);
    holding.next().filter(|_| holding.next().is_none())
}

/// Rented nodes that shall hold replicas of the sale's workloads.
pub fn charged<'a>(view: &View<'a>, sale: &Sale) -> Vec<(&'a Pool, &'a Fill)> {
    let fills = view.pools().flat_map(|(pool, plan)| plan.fills.iter().map(move |f| (pool, f)));
    fills.filter(|(pool, f)| used(view, sale, pool, f)).collect()
}

/// What such a node costs per hour, as far as its pool declares it.
pub fn price((pool, fill): &(&Pool, &Fill)) -> Option<Money> {
    declared(pool).iter().find(|t| Some(&t.name) == fill.instance_type.as_ref()).map(|t| t.hourly_cost)
}

/// Hourly cost of what the plan wants, as far as the pools declare prices.
pub fn hourly(pool: &Pool, plan: &PoolPlan) -> Money {
    declared(pool).iter().map(|t| t.hourly_cost.times(i64::from(plan.wanted.get(&t.name).copied().unwrap_or_default()))).sum()
}

/// A rented node that shall hold replicas of a workload that the sale names, in a pool that may hold it: where pods only happen to run is drained.
fn used(view: &View<'_>, sale: &Sale, pool: &Pool, fill: &Fill) -> bool {
    let may = |work: &WorkloadPlan| named(sale, work).is_some() && access::rank(work, &pool.name).is_some();
    let names = |index: &usize| view.plan.workloads.get(*index).is_some_and(may);
    fill.instance_type.is_some() && fill.replicas.iter().any(|(index, n)| *n > 0 && names(index))
}

/// The sale fills nodes that are neither there nor on their way.
pub fn opens(view: &View<'_>, sale: &Sale, pool: &Pool, plan: &PoolPlan) -> bool {
    more_than_come(view, pool, plan.fills.iter().filter(|fill| used(view, sale, pool, fill)))
}

/// More of these are no node than instances are on their way.
fn more_than_come<'a>(view: &View<'_>, pool: &Pool, fills: impl Iterator<Item = &'a Fill>) -> bool {
    let joined = |id: &String| view.seen.known_nodes().any(|n| n.instance.as_ref() == Some(id));
    let coming = pool.instances.iter().flatten().filter(|i| !i.leaving && !joined(&i.id)).count();
    let underway = usize::try_from(underway(pool).values().sum::<i32>()).unwrap_or_default();
    fills.filter(|fill| view.node(&fill.node).is_none()).count() > coming + underway
}

/// A single sale that opens nodes: every rented node that shall hold something is charged to it. What only exists is not its fault.
fn one(view: &View<'_>, (sale, _): &SaleView<'_>, found: &mut Vec<Violation>) {
    let Some(budget) = &sale.spec.budget else { return };
    let fills = charged(view, sale);
    let nodes = i32::try_from(fills.len()).unwrap_or(i32::MAX);
    if let Some(max) = budget.max_nodes.filter(|max| nodes > *max) {
        found.push(Violation::new(Rule::BudgetNodes, &sale.id, format!("new nodes up to {nodes}, budget.maxNodes is {max}")));
    }
    let cost: Money = fills.iter().filter_map(price).sum();
    if let Some(max) = budget.max_hourly_cost.filter(|max| cost > *max) {
        found.push(Violation::new(Rule::BudgetCost, &sale.id, format!("new nodes up to {cost} an hour, budget.maxHourlyCost is {max}")));
    }
}

/// Several sales: whoever is charged, new nodes are not more than all budgets together.
fn all(view: &View<'_>, holding: &[SaleView<'_>], found: &mut Vec<Violation>) {
    let new: i32 = view.pools().map(|(pool, plan)| (plan.wanted.values().sum::<i32>() - stock(pool)).max(0)).sum();
    let budgets: Option<i32> = holding.iter().map(|(sale, _)| sale.spec.budget.as_ref().and_then(|b| b.max_nodes)).sum();
    if let Some(max) = budgets.filter(|max| new > *max && !holding.is_empty()) {
        found.push(Violation::new(
            Rule::BudgetNodes,
            "all sales",
            format!("{new} new nodes, the budgets of all sales together allow {max}"),
        ));
    }
}

/// A pool whose holders are all of one namespace: its new nodes are that namespace's. Of several, each has at least what only it fills.
fn each(view: &View<'_>, pool: &Pool, plan: &PoolPlan, found: &mut Vec<Violation>) {
    let Some(max) = pool.spec.allowed_namespaces.as_ref().and_then(|a| a.max_nodes_each) else { return };
    let users = view.sales().filter(|(sale, plan)| plan.phase.is_active() && access::open(view, pool, sale));
    let namespaces: BTreeSet<&str> = users.map(|(sale, _)| sale.id.namespace.as_str()).collect();
    for namespace in &namespaces {
        let only = |fill: &&Fill| {
            let mut works = fill.replicas.iter().filter(|(_, n)| **n > 0).filter_map(|(index, _)| view.plan.workloads.get(*index));
            let ours = |work: &WorkloadPlan| work.id.namespace == *namespace && access::rank(work, &pool.name).is_some();
            fill.instance_type.is_some() && works.all(ours)
        };
        let filled = plan.fills.iter().filter(only).count();
        let nodes = if namespaces.len() == 1 { plan.wanted.values().sum() } else { i32::try_from(filled).unwrap_or(i32::MAX) };
        if nodes > max && grows(pool, plan) && (namespaces.len() == 1 || more_than_come(view, pool, plan.fills.iter().filter(only))) {
            let message = format!("new nodes up to {nodes} for namespace {namespace}, maxNodesEach is {max}");
            found.push(Violation::new(Rule::NamespaceNodes, &pool.name, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use onsale_api::onsale::Budget;
    use serde_json::json;

    use crate::{Rule, testing::night};

    fn nodes(max: i32) -> Option<Budget> {
        Some(Budget { max_nodes: Some(max), ..Budget::default() })
    }

    #[test]
    fn new_nodes_keep_the_budget() {
        night().seen(|s| s.sales[0].spec.budget = nodes(2)).passes();
        night().seen(|s| s.sales[0].spec.budget = nodes(1)).breaks(Rule::BudgetNodes);
    }

    #[test]
    fn what_exists_beyond_a_lowered_budget_may_stay() {
        let joined = night().instances(2).joined("i-0", "far-0").joined("i-1", "far-1").plan(|p| {
            p.pools[1].fills.iter_mut().zip(["far-0", "far-1"]).for_each(|(fill, name)| {
                fill.node = name.into();
                (fill.room.cpu, fill.room.memory, fill.room.pods) = (12_000, 12 << 30, 106);
                fill.replicas.insert(0, 8);
            });
        });
        joined.seen(|s| s.sales[0].spec.budget = nodes(1)).passes();
    }

    #[test]
    fn new_nodes_keep_the_hourly_cost() {
        let cost = |text: &str| Some(Budget { max_hourly_cost: text.parse().ok(), ..Budget::default() });
        night().seen(|s| s.sales[0].spec.budget = cost("1.70")).passes();
        night().seen(|s| s.sales[0].spec.budget = cost("1.69")).breaks(Rule::BudgetCost);
    }

    #[test]
    fn new_nodes_keep_a_namespaces_part() {
        let each = |n: i32| serde_json::from_value(json!({"from": "All", "maxNodesEach": n})).unwrap();
        night().seen(|s| s.pools[1].spec.allowed_namespaces = Some(each(2))).passes();
        night().seen(|s| s.pools[1].spec.allowed_namespaces = Some(each(1))).breaks(Rule::NamespaceNodes);
    }
}
