//! What the active sales want of each workload: baseline, claims, peak, and the replicas that need a place.

use std::collections::BTreeSet;

use jiff::Timestamp;
use onsale_api::{
    Reason,
    onsale::{Combine, SaleWorkload},
    placement::{Claim, Distance, FloorKind},
};

use crate::{
    distance::too_far,
    index::Indexed,
    lifecycle::Draft,
    packing::{Payer, Work},
    plan::Waiting,
    residency::Residency,
    shared::Shared,
    snapshot::{TargetState, Workload, WorkloadId},
};

/// What is wanted of one workload.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Value of the floor's field when no sale is on.
    pub baseline: i32,
    /// What each sale adds now.
    pub claims: Vec<Claim>,
    /// Floor that the claims make.
    pub floor: i32,
    /// What they would make without the HPA's maximum.
    pub wished: i32,
    /// Distances, frozen in the placement while there is one.
    pub distances: Shared<Vec<Distance>>,
    /// Of these, pools that take nothing new: the sale was edited, or a stricter one came, while replicas run there.
    pub outside: BTreeSet<String>,
    /// Replicas that need a place.
    pub target: i32,
    /// Headroom above them.
    pub reserve: i32,
    /// Index of the sale that opens first, and its wish under the strictest bounds of all sales; `None` when no active sale names the workload.
    pub first: Option<(usize, SaleWorkload)>,
    /// Sales that pay for nodes.
    pub payers: Vec<Payer>,
    /// Some sale raises the floor.
    pub holding: bool,
    /// Some sale is open or Ready: nothing is released rank by rank any more.
    pub open: bool,
    /// Until then a workload may wait for the larger pods of another, so that room is not broken up: half of the time to prepare is left then. `None`: no
    /// sale that has a time is preparing.
    pub unhurried_until: Option<Timestamp>,
    /// Why pools are left out, and what else is wrong with the wish.
    pub problems: Vec<Waiting>,
}

/// Which sales count, and how.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The world.
    pub seen: &'a Indexed<'a>,
    /// Every sale's draft, in the snapshot's order.
    pub drafts: &'a [Draft],
    /// Sales that are active count.
    pub active: bool,
    /// Sales that count as if they were preparing.
    pub also: &'a [usize],
    /// Sales on their way back that do not let go any further now.
    pub frozen: &'a BTreeSet<usize>,
}

impl Scope<'_> {
    fn counts(&self, sale: usize) -> bool {
        (self.active && self.drafts[sale].phase.is_active()) || self.also.contains(&sale)
    }

    /// It raises floors, or would.
    fn holds(&self, sale: usize) -> bool {
        (self.active && self.drafts[sale].phase.holds()) || self.also.contains(&sale)
    }
}

/// What the active sales want of a workload.
#[must_use]
pub fn demand(scope: &Scope<'_>, index: usize) -> Demand {
    let Scope { seen, drafts, .. } = *scope;
    let workload = &seen.workloads[index];
    let wishes = wishes(scope, index);
    let target = workload.target.as_ref();
    let baseline = baseline(workload);
    let mut all = Demand {
        baseline,
        claims: Vec::new(),
        floor: baseline,
        wished: baseline,
        distances: Shared::default(),
        outside: BTreeSet::new(),
        target: 0,
        reserve: 0,
        first: strictest(&wishes),
        payers: Vec::new(),
        holding: wishes.iter().any(|(sale, _)| scope.holds(*sale)),
        open: wishes.iter().any(|(sale, _)| drafts[*sale].entered.live.is_some()),
        unhurried_until: wishes.iter().filter_map(|(sale, _)| half_time(&drafts[*sale])).min(),
        problems: Vec::new(),
    };
    // What each sale adds; one that adds nothing any more has no say in how they come together.
    let mut parts: Vec<(usize, Option<i32>)> = Vec::with_capacity(wishes.len());
    for (sale, wish) in &wishes {
        let extra = extra(scope, workload, *sale, (wish.peak_replicas - baseline).max(0));
        let claims = extra > 0 || (scope.active && drafts[*sale].phase.holds());
        if claims {
            all.claims.push(Claim { sale: seen.sales[*sale].id.name.clone(), uid: seen.sales[*sale].uid.clone(), extra });
        }
        parts.push((*sale, claims.then_some(extra)));
    }
    let largest = parts.iter().all(|(sale, extra)| extra.is_none() || seen.sales[*sale].spec.combine == Combine::Max);
    all.floor = baseline + combined(parts.iter().filter_map(|(_, extra)| *extra).collect(), largest);
    all.payers = payers(scope, parts, baseline, largest);
    if !all.holding {
        // What never rose does not rise on the way back.
        let recorded = workload.placement.as_ref().map_or(baseline, |p| p.spec.intended);
        all.floor = all.floor.min(recorded).max(baseline);
    }
    all.wished = all.floor;
    measure(&mut all, scope, &wishes, workload);
    match target {
        Some(target) => bounds(&mut all, workload, target),
        None => all.problems.push(not_found(&workload.id)),
    }
    all
}

/// Why nothing is done for a workload that is not there.
#[must_use]
pub fn not_found(id: &WorkloadId) -> Waiting {
    let message = format!("{:?} {} does not exist in namespace {}: create it or correct spec.workloads", id.kind, id.name, id.namespace);
    Waiting { reason: Reason::WorkloadNotFound, message, until: None }
}

/// In the order of their openings, whichever of them are on their way back: who pays for what does not depend on names, nor change when a sale is over, but that its
/// part of the replicas grows less. Of those that open at once one with a budget comes first: what it cannot pay is for the others.
fn payers(scope: &Scope<'_>, mut parts: Vec<(usize, Option<i32>)>, baseline: i32, largest: bool) -> Vec<Payer> {
    parts.sort_by_key(|(sale, _)| (opens_at(scope, *sale), scope.seen.sales[*sale].spec.budget.is_none(), *sale));
    let mut wanted = 0;
    let payer = |(sale, extra): (usize, Option<i32>)| {
        wanted = combined(vec![wanted, extra.unwrap_or_default()], largest);
        Payer { sale, up_to: baseline + wanted, opens: scope.holds(sale), most_hourly: None }
    };
    parts.into_iter().map(payer).collect()
}

fn opens_at(scope: &Scope<'_>, sale: usize) -> Timestamp {
    scope.drafts[sale].times.map_or(Timestamp::MAX, |times| times.opens_at)
}

fn wishes<'a>(scope: &Scope<'a>, workload: usize) -> Vec<(usize, &'a SaleWorkload)> {
    let mut found: Vec<_> = scope.seen.wishes(workload).iter().filter(|(sale, _)| scope.counts(*sale)).copied().collect();
    // One that holds, or would, comes before one that is on its way back; and of two the one that opens first.
    found.sort_by_key(|(sale, _)| (!scope.holds(*sale), opens_at(scope, *sale), *sale));
    found
}

/// The middle between the start of preparing and ready-by; a sale that starts after its ready-by has none left.
fn half_time(draft: &Draft) -> Option<Timestamp> {
    let (start, ready_by) = (draft.entered.preparing.as_ref()?.0, draft.times?.ready_by);
    Some(start + ready_by.duration_since(start) / 2)
}

/// The wish of the sale that pays, under the strictest bounds of all: buyers of every sale meet any of the pods.
fn strictest(wishes: &[(usize, &SaleWorkload)]) -> Option<(usize, SaleWorkload)> {
    let (sale, first) = wishes.first()?;
    let max_latency = wishes.iter().filter_map(|(_, w)| w.max_latency).min();
    let max_share_per_pool = wishes.iter().filter_map(|(_, w)| w.max_share_per_pool).min();
    Some((*sale, SaleWorkload { max_latency, max_share_per_pool, ..(*first).clone() }))
}

/// The recorded baseline, or what the field says while there is none. A value below the floor that somebody else wrote is what they want afterwards.
fn baseline(workload: &Workload) -> i32 {
    let value = workload.target.as_ref().map_or(0, |t| t.value);
    workload.placement.as_ref().map_or(value, |p| p.spec.baseline)
}

/// What one sale adds to the baseline now, of the `full` extra that its peak asks for.
fn extra(scope: &Scope<'_>, workload: &Workload, sale: usize, full: i32) -> i32 {
    let Scope { seen, drafts, frozen, .. } = *scope;
    if scope.holds(sale) {
        return full;
    }
    let claims = workload.placement.iter().flat_map(|p| &p.spec.claims);
    let held = claims.filter(|c| c.uid == seen.sales[sale].uid).map(|c| c.extra).max().unwrap_or_default();
    if frozen.contains(&sale) {
        return held;
    }
    let tenths = drafts[sale].tenths(&seen.sales[sale], seen.now);
    held.min(i32::try_from((i64::from(full) * tenths + 9) / 10).unwrap_or(full))
}

/// What extras come to: the largest where every sale that claims one says `Max`, else their sum.
#[must_use]
pub fn combined(extras: Vec<i32>, largest: bool) -> i32 {
    if largest { extras.into_iter().max().unwrap_or_default() } else { extras.into_iter().sum() }
}

fn measure(all: &mut Demand, scope: &Scope<'_>, wishes: &[(usize, &SaleWorkload)], workload: &Workload) {
    let Scope { seen, drafts, .. } = *scope;
    let recorded = workload.placement.as_ref().map(|p| &p.spec.distances);
    let residency = Residency::of(seen, wishes);
    let max_latency = all.first.as_ref().and_then(|(_, wish)| wish.max_latency);
    let near = |d: &Distance| max_latency.is_none_or(|max| d.latency <= max);
    let fine = |d: &Distance| near(d) && seen.pool(&d.pool).is_none_or(|pool| residency.admits(pool));
    // On the way back distances are what they were: no pool opens or closes any more.
    let Some((sale, wish)) = all.first.as_ref().filter(|_| all.holding || recorded.is_none()) else {
        all.distances = recorded.cloned().unwrap_or_default().into();
        all.outside = all.distances.iter().filter(|d| !fine(d)).map(|d| d.pool.clone()).collect();
        return;
    };
    let frozen = recorded.filter(|d| !d.is_empty());
    let pools = &drafts[*sale].pools;
    let open = if residency.is_silent() { pools.clone() } else { seen.pools_among(pools, |pool| residency.admits(pool)) };
    let found = seen.alike.distances(&seen.pools, wish, pools, &open);
    if pools.is_empty() {
        all.problems.push(Waiting {
            reason: Reason::NoPool,
            message: format!(
                "no CapacityPool is open to namespace {} and within the placement: see allowedNamespaces",
                workload.id.namespace
            ),
            until: None,
        });
    }
    all.problems.extend(residency.problems(&workload.id.name));
    all.problems.extend(found.left_out.iter().map(|left_out| left_out.say(wish)));
    // A sale that comes to a workload of another finds the other's distances frozen, and may refuse some of them.
    let refused = frozen.into_iter().flatten().filter(|d| !near(d)).map(|d| too_far(wish, &d.pool, d.latency));
    let refused: Vec<Waiting> = refused.filter(|w| !all.problems.contains(w)).collect();
    all.problems.extend(refused);
    let Some(frozen) = frozen else {
        all.distances = found.near_to_far.clone();
        return;
    };
    // What runs where nothing new may go any more stays there until the window is over, and the pool with it.
    let runs = |d: &Distance| workload.pods.iter().any(|pod| pod.node.as_deref().is_some_and(|n| is_in(seen, n, &d.pool)));
    all.outside = frozen.iter().filter(|d| !fine(d)).map(|d| d.pool.clone()).collect();
    all.distances = frozen.iter().filter(|d| !all.outside.contains(&d.pool) || runs(d)).cloned().collect::<Vec<_>>().into();
}

fn is_in(seen: &Indexed<'_>, node: &str, pool: &str) -> bool {
    seen.node(node).is_some_and(|node| node.pool == pool)
}

/// Caps the floor by the HPA's maximum, and finds the replicas that need a place.
fn bounds(all: &mut Demand, workload: &Workload, target: &TargetState) {
    if let Some(max) = target.max.filter(|max| *max < all.floor) {
        all.problems.push(Waiting {
            reason: Reason::MaxReplicasTooLow,
            message: format!("{} {} allows at most {max} replicas, {} are wanted: raise it", kind_of(target), target.field.name, all.floor),
            until: None,
        });
        all.floor = max.max(all.baseline);
    }
    if target.requests_missing {
        let message = format!("{} sets no CPU or memory requests for some container: nothing can be planned for it", workload.id);
        all.problems.push(Waiting { reason: Reason::RequestsMissing, message, until: None });
    }
    if let Some(session) = all.first.as_ref().and_then(|(_, wish)| wish.session_length).filter(|s| s.get() > target.grace) {
        let message = format!(
            "{} gives pods {} s to end and a session lasts {session}: raise terminationGracePeriodSeconds",
            workload.id,
            target.grace.as_secs()
        );
        all.problems.push(Waiting { reason: Reason::GraceTooShort, message, until: None });
    }
    let scaled_by_others = target.field.kind != FloorKind::Replicas;
    let raised = workload.placement.as_ref().is_some_and(|p| target.value > p.spec.intended && target.value != p.spec.before);
    let demand = if scaled_by_others || (raised && all.holding) { target.replicas } else { 0 };
    all.target = all.floor.max(demand);
    if let (true, true, Some((_, wish))) = (scaled_by_others, all.holding, &all.first) {
        let room = all.floor + wish.headroom.ceil_of(all.floor) - all.target;
        all.reserve = room.min(target.max.map_or(i32::MAX, |max| max - all.target)).max(0);
    }
}

const fn kind_of(target: &TargetState) -> &'static str {
    match target.field.kind {
        FloorKind::ScaledObjectMinReplicaCount => "maxReplicaCount of ScaledObject",
        FloorKind::HpaMinReplicas | FloorKind::Replicas => "maxReplicas of HorizontalPodAutoscaler",
    }
}

/// What the packing has to know; `None` when there is nothing to pack.
#[must_use]
pub fn work(seen: &Indexed<'_>, index: usize, demand: &Demand) -> Option<Work> {
    let workload = &seen.workloads[index];
    let target = workload.target.as_ref().filter(|t| !t.requests_missing)?;
    let wish = demand.first.as_ref().map(|(_, wish)| wish);
    let (closed, stuck) = closed(seen, workload, demand);
    // Without an overlay pods tolerate no taint, so that only existing nodes are open to them.
    let tolerates = demand.holding || workload.placement.is_some();
    let open = |d: &Distance| !demand.outside.contains(&d.pool);
    let reach = |d: &&Distance| open(d) && seen.pool(&d.pool).is_some_and(|p| tolerates || p.spec.nodes.ec2.is_none());
    // What is measured now is of pools that are there.
    let all_reached = (tolerates && workload.placement.is_none()) || demand.distances.iter().all(|d| reach(&d));
    Some(Work {
        index,
        id: workload.id.clone(),
        payers: demand.payers.clone(),
        requests: target.requests.clone(),
        distances: if all_reached {
            demand.distances.clone()
        } else {
            demand.distances.iter().filter(reach).cloned().collect::<Vec<_>>().into()
        },
        outside: demand.outside.clone(),
        closed,
        stuck,
        target: demand.target,
        reserve: demand.reserve,
        max_per_pool: wish.and_then(|w| w.max_share_per_pool).map(|share| share.floor_of(demand.target).max(1)),
        zone_skew: target.zone_skew,
        node_terms: target.node_terms.clone(),
        opens: demand.holding,
        leaves_soon: target.grace <= seen.settings.unschedulable_after,
    })
}

/// While preparing: ranks that were left behind, and pools of the current rank whose pods stay unbound.
fn closed(seen: &Indexed<'_>, workload: &Workload, demand: &Demand) -> (i32, BTreeSet<String>) {
    let ranks = demand.distances.last().map_or(0, |d| d.rank + 1);
    let Some(placement) = workload.placement.as_ref().filter(|p| !demand.open && (1..=ranks).contains(&p.spec.released)) else {
        return (0, BTreeSet::new());
    };
    let late = |created_at: Timestamp| seen.now.duration_since(created_at) >= seen.settings.unschedulable_after;
    // While nodes are on their way, a pod that is unbound waits for them.
    let awaited = |pool: &String| seen.have_of(pool).is_some_and(|have| !have.launching.is_empty() || !have.unresolved.is_empty());
    let stuck = !placement.spec.permitted.iter().any(awaited)
        && workload
            .pods
            .iter()
            .any(|p| p.node.is_none() && !p.terminating && p.revision == Some(placement.spec.revision) && late(p.created_at));
    let pools = if stuck { placement.spec.permitted.iter().cloned().collect() } else { BTreeSet::new() };
    // Pods with a hard spread of their own need every zone at once: nothing is left behind.
    let closed = if workload.target.as_ref().is_some_and(|t| t.zone_skew.is_some()) { 0 } else { placement.spec.released - 1 };
    (closed, pools)
}
