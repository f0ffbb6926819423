//! Own arithmetic of what a sale may use: namespaces, selectors, latency.

use std::collections::BTreeSet;

use onsale_api::{
    Phase,
    onsale::{Placement, SaleWorkload},
    pool::NamespacesFrom,
    selector,
};
use onsale_planner::{
    Snapshot,
    plan::{Stage, WorkloadPlan},
    snapshot::{Pool, Sale},
};

use crate::view::View;

/// The pool's `allowedNamespaces` admits the sale's namespace.
pub fn admits(seen: &Snapshot, pool: &Pool, sale: &Sale) -> bool {
    pool.spec.allowed_namespaces.as_ref().is_some_and(|allowed| match (allowed.from, &allowed.selector) {
        (NamespacesFrom::All, _) => true,
        (NamespacesFrom::Selector, Some(wanted)) => {
            seen.namespaces.get(&sale.id.namespace).is_some_and(|labels| selector::matches(wanted, labels))
        }
        (NamespacesFrom::Selector, None) => false,
    })
}

/// A placement allows the pool: its labels, its tier and its zone, as far as anything is said of them.
fn allows(placement: Option<&Placement>, pool: &Pool) -> bool {
    let Some(Placement { pool_selector, tiers, zones }) = placement else { return true };
    let labels = pool_selector.as_ref().is_none_or(|wanted| selector::matches(wanted, &pool.labels));
    let tier = tiers.is_empty() || tiers.contains(&pool.spec.tier);
    let zone = zones.is_empty() || zones.contains(&pool.spec.zone);
    labels && tier && zone
}

/// The sale's placement allows the pool, and so does that of this workload.
pub fn resides(pool: &Pool, sale: &Sale, wish: &SaleWorkload) -> bool {
    allows(sale.spec.placement.as_ref(), pool) && allows(wish.placement.as_ref(), pool)
}

/// The sale may use the pool for some workload, by its placements.
fn selects(pool: &Pool, sale: &Sale) -> bool {
    sale.spec.workloads.iter().any(|wish| resides(pool, sale, wish))
}

/// The sale may use the pool: by what is declared now or, while it is active, by what its workloads were promised.
pub fn open(view: &View<'_>, pool: &Pool, sale: &Sale) -> bool {
    (!pool.deleting && admits(view.seen, pool, sale) && selects(pool, sale)) || promised(view, pool, sale)
}

/// The sale is active, and a placement of its workloads names the pool: closing or deleting a pool takes effect after the window.
fn promised(view: &View<'_>, pool: &Pool, sale: &Sale) -> bool {
    let placements = || sale.workload_ids().filter_map(|id| view.seen.workload(&id)?.placement.as_ref());
    let starts = || view.sales().any(|(other, plan)| other.id == sale.id && plan.phase.is_active());
    (sale.status.phase.is_some_and(Phase::is_active) || starts())
        && placements().any(|p| p.spec.distances.iter().any(|d| d.pool == pool.name))
}

/// Latency of one request of the workload in the pool, in microseconds: serial calls times round trips. Without dependencies
/// one call to each of `sites`. `None`: a figure is missing.
pub fn latency(pool: &Pool, wish: &SaleWorkload, sites: &BTreeSet<&str>) -> Option<i64> {
    let rtt = |site: &str| pool.spec.latency.iter().filter(|l| l.site == site).map(|l| l.rtt.micros()).min();
    if wish.dependencies.is_empty() {
        return sites.iter().map(|site| rtt(site)).sum();
    }
    wish.dependencies.iter().map(|d| rtt(&d.site).map(|rtt| rtt * i64::from(d.serial_calls))).sum()
}

/// Sites that pools declare, as far as `counts` says that the pool counts.
pub fn sites(seen: &Snapshot, counts: impl Fn(&Pool) -> bool) -> BTreeSet<&str> {
    seen.pools.iter().filter(|p| counts(p)).flat_map(|p| p.spec.latency.iter().map(|l| l.site.as_str())).collect()
}

/// Every latency that the design allows for the workload in the pool: by a sale that holds it, for an idle one by any that names it, and, without dependencies, counting the
/// sites of all pools or of those that the sale may use (the design does not say which).
pub fn latencies(view: &View<'_>, work: &WorkloadPlan, pool: &Pool) -> BTreeSet<i64> {
    let mut all = BTreeSet::new();
    let held = matches!(work.stage, Stage::Preparing | Stage::Holding);
    let naming = || view.sales().filter_map(|(sale, _)| Some((sale, crate::view::named(sale, work)?))).collect();
    for (sale, wish) in if held { view.deciders(work) } else { naming() } {
        all.extend(latency(pool, wish, &sites(view.seen, |_| true)));
        all.extend(latency(pool, wish, &sites(view.seen, |p| open(view, p, sale))));
    }
    all
}

/// Latency of the workload in the pool by the plan's own distances, which another rule checks; in microseconds.
pub fn planned_latency(work: &WorkloadPlan, pool: &str) -> Option<i64> {
    work.distances.iter().find(|d| d.pool == pool).map(|d| d.latency.micros())
}

/// Rank of the pool by the plan's own distances.
pub fn rank(work: &WorkloadPlan, pool: &str) -> Option<i32> {
    work.distances.iter().find(|d| d.pool == pool).map(|d| d.rank)
}

/// The strictest bound of the active sales that name the workload, in microseconds.
pub fn max_latency(view: &View<'_>, work: &WorkloadPlan) -> Option<i64> {
    view.bounding(work).iter().filter_map(|(_, wish)| wish.max_latency).map(|m| m.micros()).min()
}

/// A sale that holds, names the workload and may use the pool: one that opens it, in reach of its bound and with every figure known.
pub fn usable(view: &View<'_>, work: &WorkloadPlan, pool: &Pool) -> bool {
    let near = |latency: i64| max_latency(view, work).is_none_or(|max| latency <= max);
    planned_latency(work, &pool.name).is_some_and(near) && view.deciders(work).iter().any(|(sale, _)| open(view, pool, sale))
}

/// Some sale that holds may use the pool for some workload.
pub fn wanted_by_a_holder(view: &View<'_>, pool: &Pool) -> bool {
    view.holding().any(|(sale, _)| {
        open(view, pool, sale)
            && view.plan.workloads.iter().any(|work| crate::view::named(sale, work).is_some() && usable(view, work, pool))
    })
}
