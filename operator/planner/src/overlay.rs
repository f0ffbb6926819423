//! What the admission policies do to a workload's new pods, as data; the controller writes it as a PodTemplate.

use std::collections::{BTreeMap, BTreeSet};

use onsale_api::{names, onsale::TargetKind, placement::Distance};
use serde::Serialize;

use crate::{
    index::Indexed,
    plan::{Stage, WorkloadPlan},
    shared::Shared,
    snapshot::{Pool, Requirement, Workload},
};

/// Preferred weights by rank. The scheduler keeps at most three distances apart (only ratios count); ranks beyond the third share the last.
const WEIGHTS: [i32; 3] = [100, 50, 1];
/// Pod-deletion-cost by rank below the nearest.
const COST_PER_RANK: i32 = -10;

/// A node selector term: all of it must hold.
pub type Term = Shared<Vec<Requirement>>;

/// Everything that the overlay PodTemplate of one workload says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overlay {
    /// Kind of the controller that owns the pods.
    pub owner_kind: &'static str,
    /// RE2 pattern of that controller's name.
    pub owner_pattern: String,
    /// RE2 pattern of the pods' names.
    pub pod_pattern: String,
    /// Deletion cost by zone; empty: none is stamped.
    pub zone_costs: Shared<Vec<(String, i32)>>,
    /// Stamp that new pods carry: `<workload>.<revision>`, the workload's name cut to fit into a label value.
    pub stamp: String,
    /// Where pods may go: one of these terms must hold. Never empty.
    pub required: Vec<Term>,
    /// Where they go first: weight and term, nearest first.
    pub preferred: Vec<(i32, Term)>,
    /// Pools whose taint the pods tolerate.
    pub tolerated: Vec<String>,
}

/// The overlay that opens the plan's permitted pools; `None` when none of them exists.
#[must_use]
pub fn overlay(plan: &WorkloadPlan, seen: &Indexed<'_>, workload: &Workload) -> Option<Overlay> {
    let permitted: Vec<&Distance> = plan.distances.iter().filter(|d| plan.permitted.contains(&d.pool)).collect();
    let terms: Vec<(&Distance, &Term)> = permitted.iter().filter_map(|d| Some((*d, seen.term_of(&d.pool)?))).collect();
    if terms.is_empty() {
        return None;
    }
    let rented = |d: &&Distance| seen.pool(&d.pool).is_some_and(|p| p.spec.nodes.ec2.is_some());
    // By the ranks that take new pods: a placement may have left out near ones in the middle of a window, whose numbers the others keep.
    let open = |d: &&Distance| plan.stage == Stage::Preparing || plan.permitted.contains(&d.pool);
    let ranks: BTreeSet<i32> = plan.distances.iter().filter(open).map(|d| d.rank).collect();
    let weight = |rank: i32| WEIGHTS[ranks.range(..rank).count().min(WEIGHTS.len() - 1)];
    let own_cost = workload.target.as_ref().is_some_and(|t| t.own_deletion_cost);
    let (owner_kind, owner_pattern, pod_pattern) = patterns(workload.id.kind, &workload.id.name);
    Some(Overlay {
        owner_kind,
        owner_pattern,
        pod_pattern,
        zone_costs: if own_cost { Shared::default() } else { seen.alike.zone_costs(&plan.distances, || zone_costs(plan, seen)) },
        stamp: stamp(&workload.id.name, plan.revision),
        required: terms.iter().map(|(_, term)| (*term).clone()).collect(),
        preferred: terms.into_iter().map(|(d, term)| (weight(d.rank), term.clone())).collect(),
        tolerated: permitted.into_iter().filter(rented).map(|d| d.pool.clone()).collect(),
    })
}

/// A label value, at most 63 characters: as much of the name as fits, and the revision, which is all that is read back.
fn stamp(name: &str, revision: i64) -> String {
    const NAME: usize = 42;
    let cut: String = name.chars().take(NAME).collect();
    format!("{}.{revision}", cut.trim_end_matches(['-', '.']))
}

/// The labels of a pool's nodes as a node selector term.
#[must_use]
pub fn term(pool: &Pool) -> Term {
    let is = |key: &str, value: &str| Requirement { key: key.to_owned(), operator: "In".to_owned(), values: vec![value.to_owned()] };
    let Some(existing) = &pool.spec.nodes.existing else { return vec![is(names::POOL, &pool.name)].into() };
    let labels = existing.selector.match_labels.iter().flatten().map(|(key, value)| is(key, value));
    let more = existing.selector.match_expressions.iter().flatten().map(|r| Requirement {
        key: r.key.clone(),
        operator: r.operator.clone(),
        values: r.values.clone().unwrap_or_default(),
    });
    labels.chain(more).collect::<Vec<_>>().into()
}

/// Owner and pod names as Kubernetes makes them: a ReplicaSet is `<deployment>-<hash>`, its pods `<replicaset>-` cut to 58 characters plus 5 random ones;
/// a StatefulSet's pods are `<statefulset>-<ordinal>`.
fn patterns(kind: TargetKind, name: &str) -> (&'static str, String, String) {
    let quoted = name.replace('.', "[.]");
    match kind {
        TargetKind::StatefulSet => ("StatefulSet", format!("^{quoted}$"), format!("^{quoted}-[0-9]+$")),
        TargetKind::Deployment => {
            let cut = name.len() + 11 > 57;
            let pods = if cut {
                format!("^{}[a-z0-9-]*[a-z0-9]{{5}}$", name.chars().take(46).collect::<String>().replace('.', "[.]"))
            } else {
                format!("^{quoted}-[a-z0-9]{{1,10}}-[a-z0-9]{{5}}$")
            };
            ("ReplicaSet", format!("^{quoted}-[a-z0-9]{{1,10}}$"), pods)
        }
    }
}

/// The farther a zone, the sooner its pods go when replicas fall. Where pools of several distances share a zone, the farthest decides. Pods that run on nodes of
/// no pool cost nothing: they stay when those on rented nodes go, on the nearest of them, too.
fn zone_costs(plan: &WorkloadPlan, seen: &Indexed<'_>) -> Vec<(String, i32)> {
    let mut costs: BTreeMap<String, i32> = BTreeMap::new();
    let pools = || plan.distances.iter().filter_map(|d| Some((d.rank, seen.pool(&d.pool)?)));
    let nearest_is_rented = pools().any(|(rank, pool)| rank == 0 && pool.spec.nodes.ec2.is_some());
    for (rank, pool) in pools().map(|(rank, pool)| (rank + i32::from(nearest_is_rented), pool)).filter(|(rank, _)| *rank > 0) {
        let cost = costs.entry(pool.spec.zone.clone()).or_default();
        *cost = (*cost).min(rank * COST_PER_RANK);
    }
    costs.into_iter().collect()
}
