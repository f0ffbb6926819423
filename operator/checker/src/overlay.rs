//! The overlay says exactly what the plan permits: terms, tolerations, preferences, deletion costs, stamp.

use std::collections::{BTreeMap, BTreeSet};

use onsale_api::onsale::TargetKind;
use onsale_planner::{
    overlay::Overlay,
    plan::WorkloadPlan,
    snapshot::{Pool, Workload},
};

use crate::{
    Rule, Violation, access,
    spread::{admitted, certain_labels},
    view::View,
};

/// Weights keep this many distances in order (100, 50, 1); with more, ranks are released one by one.
const ORDERED_BY_WEIGHT: usize = 3;
/// Characters of the workload's name in a stamp: with a dot and the longest revision they make 62 of the 63 that a label's value holds.
const NAME_IN_STAMP: usize = 42;

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    for (_, workload, work) in view.works() {
        revision(workload, work, found);
        if let Some(overlay) = &work.overlay {
            required(view, work, overlay, found);
            tolerated(view, work, overlay, found);
            preferred(view, work, overlay, found);
            zone_costs(view, work, overlay, found);
            identity(work, overlay, found);
        }
    }
}

/// Labels of nodes of the pool: those that are known, and one that is as the pool declares.
fn labels<'a>(view: &View<'a>, pool: &'a Pool) -> Vec<BTreeMap<String, String>> {
    let known = view.seen.known_nodes().filter(|n| n.pool == pool.name && n.labelled).map(|n| n.labels.clone());
    known.chain(declared_labels(pool)).collect()
}

fn declared_labels(pool: &Pool) -> Option<BTreeMap<String, String>> {
    let mut labels = certain_labels(pool);
    if let Some(existing) = &pool.spec.nodes.existing {
        if existing.selector.match_expressions.is_some() {
            return None;
        }
        labels.remove(onsale_api::names::POOL);
        labels.extend(existing.selector.match_labels.clone().unwrap_or_default());
    }
    Some(labels)
}

fn required(view: &View<'_>, work: &WorkloadPlan, overlay: &Overlay, found: &mut Vec<Violation>) {
    let mut wrong = |message: String| found.push(Violation::new(Rule::Overlay, &work.id, message));
    if overlay.required.is_empty() || overlay.required.iter().any(|term| term.is_empty()) {
        wrong("an empty term would admit every node, or none".to_owned());
    }
    let mut open = BTreeSet::new();
    for (pool, _) in view.pools().filter(|(pool, _)| work.permitted.contains(&pool.name)) {
        for labels in labels(view, pool) {
            if !admitted(&overlay.required, &labels) {
                wrong(format!("pool {} is permitted, and the required terms refuse its nodes {labels:?}", pool.name));
            }
            open.insert(labels);
        }
    }
    for (pool, _) in view.pools().filter(|(pool, _)| !work.permitted.contains(&pool.name)) {
        for labels in labels(view, pool) {
            if !overlay.required.is_empty() && admitted(&overlay.required, &labels) && !open.contains(&labels) {
                wrong(format!("pool {} is not permitted, and the required terms admit its nodes {labels:?}", pool.name));
            }
        }
    }
}

fn tolerated(view: &View<'_>, work: &WorkloadPlan, overlay: &Overlay, found: &mut Vec<Violation>) {
    let mut wrong = |message: String| found.push(Violation::new(Rule::Overlay, &work.id, message));
    for (pool, _) in view.pools().filter(|(pool, _)| pool.spec.nodes.ec2.is_some() && work.permitted.contains(&pool.name)) {
        if !overlay.tolerated.contains(&pool.name) {
            wrong(format!("pool {} is permitted, and its taint is not tolerated", pool.name));
        }
    }
    for name in overlay.tolerated.iter().filter(|name| !work.permitted.contains(name)) {
        wrong(format!("the taint of pool {name} is tolerated, and it is not permitted"));
    }
}

/// What a node with these labels scores.
fn weight(overlay: &Overlay, labels: &BTreeMap<String, String>) -> i32 {
    overlay.preferred.iter().filter(|(_, term)| term.iter().all(|r| r.holds(labels))).map(|(weight, _)| weight).sum()
}

fn preferred(view: &View<'_>, work: &WorkloadPlan, overlay: &Overlay, found: &mut Vec<Violation>) {
    let mut wrong = |message: String| found.push(Violation::new(Rule::Preferences, &work.id, message));
    if let Some((weight, _)) = overlay.preferred.iter().find(|(weight, _)| !(1..=100).contains(weight)) {
        wrong(format!("weight {weight} is not from 1 to 100; the API server would refuse the pod"));
    }
    let pools = view.pools().filter(|(pool, _)| work.permitted.contains(&pool.name));
    let scored = pools.filter_map(|(pool, _)| {
        let rank = access::rank(work, &pool.name)?;
        Some((rank, declared_labels(pool).map(|l| weight(overlay, &l))?, &pool.name))
    });
    let scored: Vec<(i32, i32, &String)> = scored.collect();
    let ranks: BTreeSet<i32> = scored.iter().map(|(rank, ..)| *rank).collect();
    for (near, near_weight, near_pool) in &scored {
        for (far, far_weight, far_pool) in scored.iter().filter(|(far, ..)| near <= far) {
            let ordered = ranks.len() > ORDERED_BY_WEIGHT || near_weight > far_weight;
            if near < far && (near_weight < far_weight || !ordered) {
                wrong(format!("pool {near_pool} of rank {near} weighs {near_weight}, {far_pool} of rank {far} {far_weight}"));
            }
            if near == far && near_weight != far_weight {
                wrong(format!("pools {near_pool} and {far_pool} share a rank and weigh {near_weight} and {far_weight}"));
            }
        }
    }
}

/// A scale-down takes the lowest cost first, so the farthest zone costs least. Zones with pools of several ranks are left out.
fn zone_costs(view: &View<'_>, work: &WorkloadPlan, overlay: &Overlay, found: &mut Vec<Violation>) {
    let mut ranks: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for (pool, _) in view.pools() {
        if let Some(rank) = access::rank(work, &pool.name) {
            ranks.entry(pool.spec.zone.as_str()).or_default().insert(rank);
        }
    }
    let costs = overlay.zone_costs.iter().filter_map(|(zone, cost)| {
        let ranks = ranks.get(zone.as_str()).filter(|ranks| ranks.len() == 1)?;
        Some((*ranks.first()?, *cost, zone))
    });
    let costs: Vec<(i32, i32, &String)> = costs.collect();
    for (near, near_cost, near_zone) in &costs {
        for (far, far_cost, far_zone) in costs.iter().filter(|(far, far_cost, _)| near < far && near_cost <= far_cost) {
            let message = format!("zone {near_zone} of rank {near} costs {near_cost}, {far_zone} of rank {far} {far_cost}");
            found.push(Violation::new(Rule::ZoneCosts, &work.id, message));
        }
    }
}

fn identity(work: &WorkloadPlan, overlay: &Overlay, found: &mut Vec<Violation>) {
    let cut: String = work.id.name.chars().take(NAME_IN_STAMP).collect();
    let stamp = format!("{}.{}", cut.trim_end_matches(['-', '.']), work.revision);
    let owner = match work.id.kind {
        TargetKind::Deployment => "ReplicaSet",
        TargetKind::StatefulSet => "StatefulSet",
    };
    if overlay.stamp != stamp || overlay.owner_kind != owner {
        let message = format!("stamp {} and owner {}, should be {stamp} and {owner}", overlay.stamp, overlay.owner_kind);
        found.push(Violation::new(Rule::Overlay, &work.id, message));
    }
}

fn revision(workload: &Workload, work: &WorkloadPlan, found: &mut Vec<Violation>) {
    let Some(record) = workload.placement.as_ref().map(|p| &p.spec) else { return };
    let changed = work.overlay.is_some() && record.permitted != work.permitted;
    if work.revision < record.revision || (changed && work.revision == record.revision) {
        let message =
            format!("revision {} after {}, permitted {:?} after {:?}", work.revision, record.revision, work.permitted, record.permitted);
        found.push(Violation::new(Rule::Revision, &work.id, message));
    }
}

#[cfg(test)]
mod tests {
    use crate::{Rule, testing::night};

    fn overlay(plan: &mut onsale_planner::Plan) -> &mut onsale_planner::overlay::Overlay {
        plan.workloads[0].overlay.as_mut().unwrap()
    }

    #[test]
    fn the_terms_admit_exactly_the_permitted_pools() {
        night().plan(|p| drop(overlay(p).required.pop())).breaks(Rule::Overlay);
        night().plan(|p| overlay(p).required.push(Vec::new().into())).breaks(Rule::Overlay);
        let near_only = || night().near_only();
        near_only().passes();
        near_only().plan(|p| drop(p.workloads[0].permitted.pop())).plan(|p| drop(overlay(p).tolerated.pop())).breaks(Rule::Overlay);
    }

    #[test]
    fn taints_of_permitted_pools_are_tolerated() {
        night().plan(|p| overlay(p).tolerated.clear()).breaks(Rule::Overlay);
        night().plan(|p| overlay(p).tolerated.push("elsewhere".into())).breaks(Rule::Overlay);
    }

    #[test]
    fn the_stamp_names_workload_and_revision() {
        night().plan(|p| overlay(p).stamp = "seat-map.2".into()).breaks(Rule::Overlay);
        night().plan(|p| overlay(p).stamp = "seat.1".into()).breaks(Rule::Overlay);
    }

    #[test]
    fn preferences_fall_with_distance() {
        night().plan(|p| overlay(p).preferred[0].0 = 51).passes();
        night().plan(|p| overlay(p).preferred[0].0 = 50).breaks(Rule::Preferences);
        night().plan(|p| overlay(p).preferred[0].0 = 101).breaks(Rule::Preferences);
    }

    #[test]
    fn deletion_costs_fall_with_distance() {
        night().plan(|p| overlay(p).zone_costs.clear()).passes();
        night().plan(|p| overlay(p).zone_costs[0].1 = 0).breaks(Rule::ZoneCosts);
    }

    #[test]
    fn a_changed_overlay_has_a_new_revision() {
        night().recorded().seen(|s| s.workloads[0].placement.as_mut().unwrap().spec.revision = 2).breaks(Rule::Revision);
        night().recorded().seen(|s| s.workloads[0].placement.as_mut().unwrap().spec.permitted.reverse()).breaks(Rule::Revision);
    }
}
