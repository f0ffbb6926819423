//! The pods' own hard constraints: node terms and zone spread.

use std::collections::{BTreeMap, BTreeSet};

use onsale_api::names;
use onsale_planner::{
    plan::{Fill, WorkloadPlan},
    snapshot::{Node, Pool, Requirement, TargetState},
};

use crate::{Rule, Violation, view::View};

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    for (index, workload, work) in view.held_works() {
        let Some(target) = &workload.target else { continue };
        terms(view, index, work, target, found);
        if let Some(skew) = target.zone_skew {
            zones(view, index, work, skew, found);
        }
    }
}

/// One of the terms holds on the labels; without terms any node will do.
pub fn admitted<T>(terms: &[T], labels: &BTreeMap<String, String>) -> bool
where
    for<'t> &'t T: IntoIterator<Item = &'t Requirement>,
{
    terms.is_empty() || terms.iter().any(|term| term.into_iter().all(|r| r.holds(labels)))
}

/// Labels that a new node of the pool will have for certain.
pub fn certain_labels(pool: &Pool) -> BTreeMap<String, String> {
    [(names::POOL, &pool.name), (names::ZONE, &pool.spec.zone)].map(|(key, value)| (key.to_owned(), value.clone())).into()
}

/// One of the terms may hold on a new node of the pool, as far as its labels are certain.
fn possible(terms: &[Vec<Requirement>], pool: &Pool) -> bool {
    let labels = certain_labels(pool);
    let possible = |r: &Requirement| !labels.contains_key(&r.key) || r.holds(&labels);
    terms.is_empty() || terms.iter().any(|term| term.iter().all(possible))
}

fn terms(view: &View<'_>, index: usize, work: &WorkloadPlan, target: &TargetState, found: &mut Vec<Violation>) {
    for (pool, plan) in view.pools() {
        let fresh = |fill: &&Fill| fill.replicas.get(&index).is_some_and(|n| *n > view.on_node(index, &fill.node));
        for fill in plan.fills.iter().filter(fresh) {
            let holds = match view.node(&fill.node) {
                Some(node) => admitted(&target.node_terms, &node.labels),
                None => possible(&target.node_terms, pool),
            };
            if !holds {
                let message = format!("new replicas on {} in pool {}, which the pods' own node terms refuse", fill.node, pool.name);
                found.push(Violation::new(Rule::OwnTerms, &work.id, message));
            }
        }
    }
}

/// Replicas by zone, in every zone that counts as a domain: the scheduler counts only nodes that the pod's affinity admits
/// (`nodeAffinityPolicy: Honor`), so a zone counts where new pods may go: new ones are planned, or a permitted pool holds or takes some.
pub fn by_zone<'a>(view: &View<'a>, index: usize, work: &'a WorkloadPlan, terms: &[Vec<Requirement>]) -> BTreeMap<&'a str, i32> {
    let mut all: BTreeMap<&str, i32> = BTreeMap::new();
    let open: BTreeSet<&str> = work.permitted.iter().map(String::as_str).collect();
    for (pool, _) in view.pools() {
        let planned = work.by_pool.get(&pool.name).copied().unwrap_or_default();
        let permitted = open.contains(pool.name.as_str()) || view.fresh(index, &pool.name, planned) > 0;
        let domain = |node: &Node| node.pool == pool.name && node.ready && !node.cordoned && admitted(terms, &node.labels);
        if permitted && (planned > 0 || view.seen.known_nodes().any(domain)) {
            *all.entry(pool.spec.zone.as_str()).or_default() += planned;
        }
    }
    all
}

fn zones(view: &View<'_>, index: usize, work: &WorkloadPlan, skew: i32, found: &mut Vec<Violation>) {
    let terms = view.seen.workloads.get(index).and_then(|w| w.target.as_ref()).map_or(&[][..], |t| &t.node_terms);
    let all = by_zone(view, index, work, terms);
    let least = all.values().min().copied().unwrap_or_default();
    for (zone, planned) in &all {
        let fresh: i32 = view
            .pools()
            .filter(|(pool, _)| pool.spec.zone == *zone)
            .map(|(pool, _)| view.fresh(index, &pool.name, work.by_pool.get(&pool.name).copied().unwrap_or_default()))
            .sum();
        if fresh > 0 && planned - least > skew {
            let message = format!("{planned} replicas in zone {zone}, {least} in the emptiest, the pods' own maxSkew is {skew}");
            found.push(Violation::new(Rule::ZoneSpread, &work.id, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use onsale_planner::snapshot::Requirement;

    use crate::{Rule, testing::night};

    fn term(key: &str, value: &str) -> Vec<Vec<Requirement>> {
        vec![vec![Requirement { key: key.into(), operator: "In".into(), values: vec![value.into()] }]]
    }

    #[test]
    fn own_terms_hold_where_pods_shall_go() {
        night().seen(|s| s.workloads[0].target.as_mut().unwrap().node_terms = term("site", "phx")).breaks(Rule::OwnTerms);
        night()
            .seen(|s| s.workloads[0].target.as_mut().unwrap().node_terms = term("disk", "ssd"))
            .seen(|s| s.nodes.iter_mut().flatten().for_each(|n| drop(n.labels.insert("disk".into(), "ssd".into()))))
            .passes();
        night()
            .seen(|s| s.workloads[0].target.as_mut().unwrap().node_terms = term("topology.kubernetes.io/zone", "phx"))
            .breaks(Rule::OwnTerms);
    }

    #[test]
    fn zones_differ_by_no_more_than_the_own_skew() {
        // 24 in one zone and 16 in the other.
        night().seen(|s| s.workloads[0].target.as_mut().unwrap().zone_skew = Some(8)).passes();
        night().seen(|s| s.workloads[0].target.as_mut().unwrap().zone_skew = Some(7)).breaks(Rule::ZoneSpread);
    }
}
