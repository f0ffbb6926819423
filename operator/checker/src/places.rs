//! Which pools a workload's new replicas may go to.

use onsale_api::Phase;
use onsale_planner::{
    plan::{Stage, WorkloadPlan},
    snapshot::{Pool, Workload},
};

use crate::{
    Rule, Violation, access,
    view::{SaleView, View, named},
};

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    for (index, workload, work) in view.works() {
        nowhere(view, index, work, found);
        for (name, planned) in work.by_pool.iter().filter(|(name, planned)| !name.is_empty() && view.fresh(index, name, **planned) > 0) {
            if work.stage != Stage::Restoring && !(work.stage == Stage::Idle && just_over(view, work)) && !kept(workload, work, name) {
                place(view, work, name, format!("{planned} replicas are planned in"), found);
            }
        }
        for name in work.permitted.iter().filter(|name| !kept(workload, work, name)) {
            place(view, work, name, "new pods are permitted in".to_owned(), found);
        }
        permitted(view, index, workload, work, found);
    }
    // What is over lists what it used.
    for (sale, plan) in view.sales().filter(|(_, plan)| plan.phase == Phase::Scheduled || plan.phase.is_active()) {
        for name in &plan.pools {
            if let Some((pool, _)) = view.pool(name) {
                refusals(view, pool, &[sale], &sale.id.to_string(), "the sale lists", found);
            }
        }
    }
}

/// The empty name stands for what runs in no pool, or on nodes that are lost or closed: never for new replicas.
fn nowhere(view: &View<'_>, index: usize, work: &WorkloadPlan, found: &mut Vec<Violation>) {
    let (planned, there) = (work.by_pool.get("").copied().unwrap_or_default(), view.adrift(index));
    if planned > there {
        found.push(Violation::new(Rule::Permitted, &work.id, format!("{planned} replicas are planned in no pool, {there} run there")));
    }
}

/// On the way back what was permitted stays so: nothing new comes anyway.
fn kept(workload: &Workload, work: &WorkloadPlan, pool: &str) -> bool {
    matches!(work.stage, Stage::Returning | Stage::Restoring)
        && workload.placement.as_ref().is_some_and(|p| p.spec.permitted.iter().any(|name| name == pool))
}

/// A sale that names it ended in this very pass: what it was planned by no longer counts, and nothing is done by it.
fn just_over(view: &View<'_>, work: &WorkloadPlan) -> bool {
    let over = |(sale, plan): &SaleView<'_>| sale.status.phase.is_some_and(Phase::is_active) && !plan.phase.is_active();
    view.sales().filter(over).any(|(sale, _)| named(sale, work).is_some())
}

fn place(view: &View<'_>, work: &WorkloadPlan, name: &str, what: String, found: &mut Vec<Violation>) {
    let subject = work.id.to_string();
    let Some((pool, _)) = view.pool(name) else {
        found.push(Violation::new(Rule::Permitted, subject, format!("{what} pool {name}, which does not exist")));
        return;
    };
    // What a returning sale opened stays open until it is back, for the pods that still run there.
    let active = view.sales().filter(|(sale, plan)| plan.phase.is_active() && named(sale, work).is_some());
    let sales: Vec<_> = active.map(|(sale, _)| sale).chain(view.deciders(work).into_iter().map(|(sale, _)| sale)).collect();
    refusals(view, pool, &sales, &subject, &what, found);
    if let Some((sale, _)) = view.bounding(work).iter().find(|(sale, wish)| !access::resides(pool, sale, wish)) {
        let message = format!("{what} pool {name}, which the placement of sale {} leaves out", sale.id.name);
        found.push(Violation::new(Rule::Residency, &subject, message));
    }
    match access::planned_latency(work, name) {
        None => found.push(Violation::new(Rule::LatencyKnown, subject, format!("{what} pool {name}, which has no distance"))),
        Some(latency) if access::max_latency(view, work).is_some_and(|max| latency > max) => {
            found.push(Violation::new(Rule::MaxLatency, subject, format!("{what} pool {name} at {latency} us, beyond maxLatency")));
        }
        Some(_) => {}
    }
}

/// One sale at least must open the pool.
fn refusals(
    view: &View<'_>,
    pool: &Pool,
    sales: &[&onsale_planner::snapshot::Sale],
    subject: &str,
    what: &str,
    found: &mut Vec<Violation>,
) {
    if sales.is_empty() || sales.iter().any(|sale| access::open(view, pool, sale)) {
        return;
    }
    let admitted = sales.iter().any(|sale| access::admits(view.seen, pool, sale));
    let rule = if admitted { Rule::PoolSelected } else { Rule::NamespaceAllowed };
    found.push(Violation::new(rule, subject, format!("{what} pool {}, which no sale may use", pool.name)));
}

fn permitted(view: &View<'_>, index: usize, workload: &Workload, work: &WorkloadPlan, found: &mut Vec<Violation>) {
    let mut wrong = |message: String| found.push(Violation::new(Rule::Permitted, &work.id, message));
    let ranks: Vec<i32> = work.permitted.iter().filter_map(|name| access::rank(work, name)).collect();
    if !ranks.is_sorted() {
        wrong(format!("permitted pools are not nearest first: {:?} of ranks {ranks:?}", work.permitted));
    }
    if work.permitted.iter().enumerate().any(|(i, name)| work.permitted[..i].contains(name)) {
        wrong(format!("a pool is permitted twice: {:?}", work.permitted));
    }
    let before = workload.placement.as_ref().map_or(0, |p| p.spec.released);
    match work.stage {
        Stage::Preparing => {
            if let Some(far) = ranks.iter().find(|rank| **rank >= work.released) {
                wrong(format!("rank {far} is permitted, but {} ranks are released", work.released));
            }
            if work.released < before && workload.placement.as_ref().is_some_and(|p| !p.spec.claims.is_empty()) {
                wrong(format!("released falls from {before} to {}", work.released));
            }
        }
        Stage::Holding => {
            for (name, planned) in work.by_pool.iter() {
                if !name.is_empty() && view.fresh(index, name, *planned) > 0 && !work.permitted.contains(name) {
                    wrong(format!("{planned} replicas are planned in pool {name}, which is not permitted while the floor is held"));
                }
            }
        }
        Stage::Idle | Stage::Returning | Stage::Restoring => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use onsale_planner::plan::Stage;
    use serde_json::json;

    use crate::{Rule, testing::night};

    #[test]
    fn only_admitted_namespaces_use_a_pool() {
        let allowed =
            |team: &str| serde_json::from_value(json!({"from": "Selector", "selector": {"matchLabels": {"team": team}}})).unwrap();
        night().seen(|s| s.pools[1].spec.allowed_namespaces = Some(allowed("tickets"))).passes();
        night().seen(|s| s.pools[1].spec.allowed_namespaces = Some(allowed("billing"))).breaks(Rule::NamespaceAllowed);
        night().seen(|s| s.pools[1].spec.allowed_namespaces = None).breaks(Rule::NamespaceAllowed);
    }

    #[test]
    fn only_selected_pools_are_used() {
        let selected = |value: &str| {
            serde_json::from_value(json!({"poolSelector": {"matchExpressions": [{"key": "fleet", "operator": "In", "values": [value]}]}}))
        };
        night().seen(|s| s.sales[0].spec.placement = selected("tickets").unwrap()).passes();
        night().seen(|s| s.sales[0].spec.placement = selected("billing").unwrap()).breaks(Rule::PoolSelected);
    }

    #[test]
    fn a_pool_that_is_being_deleted_keeps_what_it_promised_and_promises_nothing_more() {
        night().seen(|s| s.pools[1].deleting = true).breaks(Rule::PoolSelected);
        night().recorded().seen(|s| s.pools[1].deleting = true).passes();
    }

    #[test]
    fn no_new_replica_goes_where_a_placement_does_not_allow_it() {
        let of_sale = |text: serde_json::Value| night().seen(|s| s.sales[0].spec.placement = serde_json::from_value(text).unwrap());
        let of_work = |text| night().seen(|s| s.sales[0].spec.workloads[0].placement = serde_json::from_value(text).unwrap());
        of_sale(json!({"tiers": ["Region"], "zones": ["zone-near", "zone-far"]})).passes();
        of_work(json!({"tiers": ["Region", "OnPrem"]})).passes();
        for other in
            [json!({"tiers": ["OnPrem"]}), json!({"zones": ["zone-near"]}), json!({"poolSelector": {"matchLabels": {"fleet": "b"}}})]
        {
            of_sale(other.clone()).breaks(Rule::Residency);
            of_work(other).breaks(Rule::Residency);
        }
        // What runs there already may stay.
        of_work(json!({"zones": ["zone-far"]})).breaks(Rule::Residency);
        of_work(json!({"zones": ["zone-far"]})).near_stays().passes();
    }

    #[test]
    fn no_new_replica_goes_beyond_max_latency() {
        let max = |text: &str| text.parse().ok();
        night().seen(|s| s.sales[0].spec.workloads[0].max_latency = max("16ms")).passes();
        night().seen(|s| s.sales[0].spec.workloads[0].max_latency = max("15.9ms")).breaks(Rule::MaxLatency);
    }

    #[test]
    fn a_place_needs_a_distance() {
        night().plan(|p| drop(p.workloads[0].distances.pop())).breaks(Rule::LatencyKnown);
    }

    #[test]
    fn no_new_replica_goes_nowhere() {
        let lost = || {
            night().seen(|s| s.nodes.as_mut().unwrap()[0].ready = false).plan(|p| {
                p.workloads[0].by_pool = BTreeMap::from([("".to_owned(), 10), ("near".to_owned(), 12), ("far".to_owned(), 16)]).into();
                (p.workloads[0].unplaced, p.workloads[0].floor) = (2, 38);
                p.pools[0].fills.remove(0);
                p.workloads[0].problems.push(onsale_planner::plan::Waiting {
                    reason: onsale_api::Reason::Unknown,
                    message: "node near-1 is not Ready".into(),
                    until: None,
                });
            })
        };
        lost().passes();
        lost().plan(|p| *p.workloads[0].by_pool.get_mut("").unwrap() = 11).breaks(Rule::Permitted);
    }

    #[test]
    fn permitted_pools_are_nearest_first_and_released() {
        night().plan(|p| p.workloads[0].permitted.reverse()).breaks(Rule::Permitted);
        night().plan(|p| drop(p.workloads[0].permitted.pop())).breaks(Rule::Permitted);
        let preparing = |released: i32| {
            night().plan(move |p| {
                p.workloads[0].stage = Stage::Preparing;
                p.workloads[0].released = released;
            })
        };
        preparing(2).passes();
        preparing(1).breaks(Rule::Permitted);
    }
}
