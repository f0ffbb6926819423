//! The plan of each sale: start, prediction, cost, what is missing, what comes next.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use onsale_api::{
    Money, Phase, Reason,
    onsale::{Combine, OnShortfall},
    placement::FloorKind,
};

use crate::{
    demand,
    fleet::Have,
    index::Indexed,
    launch_rate,
    lead::{self, Pace},
    lifecycle::Draft,
    packing::{BinState, Packing},
    plan::{SalePlan, Stage, Times, Waiting, WorkloadPlan},
    snapshot::{Pool, Sale, SaleId, Settings, Workload},
    spending,
};

/// How long everything takes from the first call until all is Ready, for a packing that is to be carried out: the slowest pool for as many nodes as it
/// opens, and those that make up for the overdue, and for every other rented pool of the sale as many nodes as there are in all, so that falling back is still in time.
#[must_use]
pub fn lead_time(seen: &Indexed<'_>, draft: &Draft, opening: &Opening<'_>, scaled_by_hpa: bool) -> SignedDuration {
    // Most pools of a region are equally fast, and asked for as many nodes: a quantile is worth more than to be computed again.
    let mut questions: Vec<(Pace, Asked)> = Vec::new();
    for question in draft.pools.at().iter().map(|i| (seen.paces[*i], opening.asked(&seen.pools[*i]))) {
        if !questions.contains(&question) {
            questions.push(question);
        }
    }
    let slowest = questions.into_iter().map(|(pace, asked)| asked.takes(pace, &seen.settings)).max().unwrap_or_default();
    let margin = SignedDuration::from_secs((slowest.as_secs() * seen.settings.margin_percent + 99) / 100);
    slowest + margin + if scaled_by_hpa { seen.settings.hpa_sync } else { SignedDuration::ZERO }
}

/// What a sale is to open.
#[derive(Debug)]
pub struct Opening<'a> {
    /// Nodes that have to be launched, by pool.
    pub nodes: &'a BTreeMap<&'a str, i32>,
    /// The same by region.
    pub ours: &'a BTreeMap<&'a str, i32>,
    /// Instances by region that are launched at the same time, for this sale and those that are prepared with it.
    pub by_region: &'a BTreeMap<&'a str, i32>,
    /// There are replicas to start on nodes that exist.
    pub fresh: bool,
}

impl Opening<'_> {
    fn asked(&self, pool: &Pool) -> Asked {
        let Some(region) = launch_rate::region(pool) else { return Asked::Pods(i32::from(self.fresh)) };
        let in_region = self.by_region.get(region).copied().unwrap_or_default();
        if let Some(n) = self.nodes.get(pool.name.as_str()) {
            return Asked::Nodes { n: *n, in_region };
        }
        let (all, ours): (i32, i32) = (self.ours.values().sum(), self.ours.get(region).copied().unwrap_or_default());
        Asked::StandIn { all, in_region: in_region - ours + all }
    }
}

/// What a pool is asked for by a sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Pods on nodes that exist.
    Pods(i32),
    /// So many of all the nodes that are launched in its region.
    Nodes { n: i32, in_region: i32 },
    /// All nodes of the sale, should it have to stand in for every other pool.
    StandIn { all: i32, in_region: i32 },
}

impl Asked {
    /// How long until it is there.
    fn takes(self, pace: Pace, settings: &Settings) -> SignedDuration {
        let handed_out = |n: i32| launch_rate::handed_out(n.into(), settings);
        match self {
            Self::Pods(n) => pace.until_all(n),
            Self::Nodes { n, in_region } => {
                let made_up = pace.until_made_up(n) + handed_out(in_region + lead::made_up(n));
                made_up.max(pace.until_all(n) + handed_out(in_region))
            }
            // It waits for nothing, however long others do.
            Self::StandIn { all: 0, .. } => SignedDuration::ZERO,
            Self::StandIn { all, in_region } => pace.until_all(all) + handed_out(in_region),
        }
    }
}

/// Whether an HPA stands between some floor of the sale and its replicas.
#[must_use]
pub fn scaled_by_hpa(seen: &Indexed<'_>, sale: usize) -> bool {
    seen.workloads_of(sale).filter_map(|w| w.target.as_ref()).any(|t| t.field.kind != FloorKind::Replicas)
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// What the other parts of the plan say about one sale.
#[derive(Debug)]
pub struct Scope<'a> {
    /// The world.
    pub seen: &'a Indexed<'a>,
    /// The sale's workloads, as planned together with every sale that is active, or in its forecast.
    pub ours: Vec<&'a WorkloadPlan>,
    /// Price per hour of the rented nodes at its charge.
    pub hourly: Money,
    /// The same of those that there are now.
    pub held: Money,
    /// When the nodes of a pool that are planned or on their way are Ready; pools that wait for none are left out.
    pub nodes_ready: &'a BTreeMap<&'a str, Timestamp>,
}

/// The plan of one sale.
#[must_use]
pub fn plan(scope: &Scope<'_>, index: usize, draft: &Draft) -> SalePlan {
    let sale = &scope.seen.sales[index];
    let ours = &scope.ours;
    let looked_at_from = draft.looked_at_from(&scope.seen.settings, scope.seen.now);
    let shown = draft.phase.holds() || draft.phase == Phase::Scheduled && looked_at_from.is_none();
    let short = |work: &WorkloadPlan| (work.unplaced - wanted_later(scope.seen, sale, draft.times, work)).max(0);
    let all_ready = draft.phase.holds() && all_ready(scope, sale, draft.times);
    let mut plan = SalePlan {
        id: sale.id.clone(),
        phase: draft.phase,
        entered: draft.entered.clone(),
        times: draft.times,
        predicted_ready_at: None,
        all_ready,
        invalid: draft.invalid.clone(),
        waiting_for: if shown { waiting(scope, index, &short) } else { Vec::new() },
        unplaced: if shown { ours.iter().map(|w| short(w)).sum() } else { 0 },
        looked_at_from,
        cost: spending::cost(scope.seen, sale, draft, scope.hourly, scope.held),
        pools: draft.pools.names(),
        late_start: late_start(sale, draft),
        frozen: None,
        next: None,
    };
    if let Some(times) = draft.times.filter(|_| shown) {
        plan.predicted_ready_at = Some(predicted(scope, index, draft, times, all_ready));
    }
    plan.next = next(&plan, draft, sale, scope.seen.now);
    plan
}

/// Replicas of a workload that only sales want which are to be Ready later than this one: what they lack is not this one's fault.
fn wanted_later(seen: &Indexed<'_>, sale: &Sale, times: Option<Times>, work: &WorkloadPlan) -> i32 {
    // Mostly nobody else wants it, and nobody else has to be looked up.
    let Some(times) = times.filter(|_| work.claims.iter().any(|claim| claim.uid != sale.uid)) else { return 0 };
    let claims = work.claims.iter().map(|claim| (claim.extra, seen.sales.iter().find(|s| s.uid == claim.uid)));
    let (mut earlier, mut later, mut largest): (Vec<i32>, bool, bool) = (Vec::new(), false, true);
    for (extra, of) in claims {
        let of = of.filter(|of| of.uid != sale.uid);
        largest &= of.unwrap_or(sale).spec.combine == Combine::Max;
        if of.and_then(|of| of.status.ready_by.as_ref()).is_some_and(|ready_by| ready_by.0 > times.ready_by) {
            later = true;
        } else {
            earlier.push(extra);
        }
    }
    if later { (work.peak - work.baseline - demand::combined(earlier, largest)).max(0) } else { 0 }
}

fn all_ready(scope: &Scope<'_>, sale: &Sale, times: Option<Times>) -> bool {
    let ready = |w: &&WorkloadPlan| {
        let later = wanted_later(scope.seen, sale, times, w);
        w.stage == Stage::Holding && w.unplaced <= later && w.ready >= w.peak - later
    };
    scope.ours.len() == sale.spec.workloads.len() && scope.ours.iter().all(ready) && scope.seen.nodes.is_some()
}

fn waiting(scope: &Scope<'_>, index: usize, short: &dyn Fn(&WorkloadPlan) -> i32) -> Vec<Waiting> {
    let (seen, ours) = (scope.seen, &scope.ours);
    let sale = &seen.sales[index];
    let mut all: Vec<Waiting> = Vec::new();
    for (id, known) in sale.workload_ids().zip(seen.named(index)) {
        if known.is_none_or(|i| seen.workloads[i].target.is_none()) {
            all.push(demand::not_found(&id));
        }
    }
    for work in ours {
        if short(work) > 0 {
            let said = |w: &&Waiting| w.reason != Reason::WorkloadNotFound;
            all.extend(
                work.problems.iter().filter(said).map(|w| Waiting { message: format!("{}: {}", work.id.name, w.message), ..w.clone() }),
            );
        } else {
            let blocks = |w: &&Waiting| {
                matches!(
                    w.reason,
                    Reason::MaxReplicasTooLow
                        | Reason::RequestsMissing
                        | Reason::NoPool
                        | Reason::PlacementsDisagree
                        | Reason::GraceTooShort
                        | Reason::HeadroomMissing
                )
            };
            all.extend(work.problems.iter().filter(blocks).cloned());
        }
    }
    all.extend(seen.workloads_of(index).filter_map(|w| unstamped(w, sale, seen.now)));
    if sale.spec.on_shortfall == OnShortfall::Hold && ours.iter().any(|w| short(w) > 0) {
        let message =
            "onShortfall is Hold: what could be had is prepared, the rest waits for you to raise limits or budget, or to set Proceed"
                .to_owned();
        all.push(Waiting { reason: Reason::Held, message, until: None });
    }
    // The first one is told as the reason: not what only informs.
    all.sort_by_key(|w| matches!(w.reason, Reason::HeadroomMissing | Reason::GraceTooShort));
    all.dedup();
    all
}

/// The overlay is in force, and the newest pod came without its stamp: the admission policies do nothing for it.
fn unstamped(workload: &Workload, sale: &Sale, now: Timestamp) -> Option<Waiting> {
    /// Pods that were made while the overlay was being written may lack it.
    const WRITING: SignedDuration = SignedDuration::from_secs(5);
    /// By then stamped ones would be there beside them or in their place.
    const PATIENCE: SignedDuration = SignedDuration::from_secs(30);
    let since = sale.status.entered.preparing.as_ref()?.0;
    let newest = workload.pods.iter().filter(|p| !p.terminating && p.created_at >= since).max_by_key(|p| p.created_at)?;
    if newest.created_at <= since + WRITING && now.duration_since(newest.created_at) <= PATIENCE {
        return None;
    }
    let message = format!(
        "new pods of {} do not carry the stamp of its overlay: are the chart's admission policies installed (placement.policies)?",
        workload.id
    );
    (workload.overlay.is_some() && newest.revision.is_none()).then_some(Waiting { reason: Reason::PolicyIneffective, message, until: None })
}

/// Everything Ready: when it was; otherwise from what is on its way and what has yet to be called.
fn predicted(scope: &Scope<'_>, index: usize, draft: &Draft, times: Times, all_ready: bool) -> Timestamp {
    let seen = scope.seen;
    let now = seen.now;
    if let Some(ready) = draft.entered.ready.as_ref().filter(|_| draft.phase != Phase::Preparing) {
        return ready.0;
    }
    if all_ready {
        return now;
    }
    if draft.phase == Phase::Scheduled {
        let margin = 100 + seen.settings.margin_percent;
        let lead = times.ready_by.duration_since(times.starts_at);
        return times.starts_at.max(now) + SignedDuration::from_secs(lead.as_secs() * 100 / margin.max(1));
    }
    let of_nodes = draft.pools.iter().filter_map(|pool| scope.nodes_ready.get(pool.as_str())).max().copied();
    let of_pods = now + if scaled_by_hpa(seen, index) { seen.settings.hpa_sync } else { SignedDuration::from_secs(1) };
    of_nodes.map_or(of_pods, |t| t.max(of_pods))
}

/// When the nodes of each pool that a packing opens or that are on their way are Ready.
#[must_use]
pub fn nodes_ready<'a>(seen: &Indexed<'a>, packing: &Packing<'_>) -> BTreeMap<&'a str, Timestamp> {
    let mut opened: BTreeMap<&str, usize> = BTreeMap::new();
    for bin in packing.bins().iter().filter(|b| b.state == BinState::New && b.used()) {
        *opened.entry(&bin.pool).or_default() += 1;
    }
    let mut by_region: BTreeMap<&str, i64> = BTreeMap::new();
    for (region, n) in opened.iter().filter_map(|(pool, n)| Some((launch_rate::region(seen.pool(pool)?)?, *n))) {
        *by_region.entry(region).or_default() += i64::try_from(n).unwrap_or(i64::MAX);
    }
    let waits = |(region, n): (&'a str, i64)| (region, launch_rate::wait(seen, region, n, seen.now));
    let handed_out: BTreeMap<&str, SignedDuration> = by_region.into_iter().map(waits).collect();
    let of = |((pool, pace), have): ((&'a Pool, &Pace), &Have<'_>)| {
        let opened = opened.get(pool.name.as_str()).copied().unwrap_or_default();
        let handed_out = launch_rate::region(pool).and_then(|region| handed_out.get(region)).copied().unwrap_or_default();
        Some((pool.name.as_str(), pool_ready(seen.now, *pace, have, (opened, handed_out))?))
    };
    seen.snapshot().pools.iter().zip(&seen.paces).zip(&seen.have).filter_map(of).collect()
}

/// `opened`: nodes that are to be launched, and how long the cloud's API takes to hand them out.
fn pool_ready(now: Timestamp, pace: Pace, have: &Have<'_>, (opened, handed_out): (usize, SignedDuration)) -> Option<Timestamp> {
    // What was asked for and not answered is no nearer than what is asked for now: a cloud that is silent has made nothing, as far as anybody knows.
    let fresh = opened + have.unresolved.len();
    let fresh = (fresh > 0).then(|| now + handed_out + pace.until_all(count(fresh)));
    let launching = &have.launching;
    let together = pace.until_all(count(launching.len()));
    let soon = now + SignedDuration::from_secs(1);
    let under_way = launching.iter().map(|i| (i.launched_at + together).max(soon)).max();
    fresh.into_iter().chain(under_way).max()
}

/// Price per hour of the rented nodes that are at each sale's charge.
#[must_use]
pub fn hourly(packing: &Packing<'_>) -> BTreeMap<usize, Money> {
    let mut charges: BTreeMap<usize, Money> = BTreeMap::new();
    for bin in packing.bins().iter().filter(|b| b.used()) {
        if let Some((_, sale)) = &bin.owner {
            let charge = charges.entry(*sale).or_default();
            *charge = *charge + bin.hourly;
        }
    }
    charges
}

/// Started later than computed: created late, or nobody was there to start it.
fn late_start(sale: &Sale, draft: &Draft) -> bool {
    const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);
    let (Some(times), Some(started)) = (draft.times, &draft.entered.preparing) else { return false };
    sale.created_at > times.starts_at || started.0.duration_since(times.starts_at) > TOLERANCE
}

fn next(plan: &SalePlan, draft: &Draft, sale: &Sale, now: Timestamp) -> Option<(Timestamp, String)> {
    let times = plan.times?;
    match plan.phase {
        Phase::Scheduled => Some(match plan.looked_at_from {
            Some(at) => (at, "it is looked at whether everything can be had".to_owned()),
            None => (times.starts_at, "preparing starts".to_owned()),
        }),
        Phase::Preparing | Phase::Ready => Some((times.opens_at, "opens".to_owned())),
        Phase::Live => Some((times.ends_at, "the way back starts".to_owned())),
        Phase::Returning => draft.next_step(sale, now).map(|t| (t, "floors fall further".to_owned())),
        Phase::Completed | Phase::Missed | Phase::Cancelled | Phase::Invalid => None,
    }
}

/// Why the way back rests, if it does: nodes that hold pods of the sale are not Ready, or nobody knows. Their pods may still serve, and a scale-down
/// would take them first.
#[must_use]
pub fn frozen(seen: &Indexed<'_>, index: usize, draft: &Draft) -> Option<Waiting> {
    if draft.phase != Phase::Returning {
        return None;
    }
    let frozen = |message: String| Some(Waiting { reason: Reason::ReturnFrozen, message, until: None });
    if seen.nodes.is_none() {
        return frozen("the state of the nodes is not known yet".to_owned());
    }
    if let Some(unknown) = seen.pools.iter().find(|p| draft.pools.contains(&p.name) && p.instances.is_none()) {
        return frozen(format!("the cloud does not say which instances pool {} has: floors and nodes rest until it does", unknown.name));
    }
    let holds = |node: &str| {
        let there = |p: &crate::snapshot::Pod| !p.terminating && p.node.as_deref() == Some(node);
        seen.workloads_of(index).any(|w| w.pods.iter().any(there))
    };
    let lost = seen.known_nodes().find(|n| !n.ready && draft.pools.contains(&n.pool) && holds(&n.name))?;
    frozen(format!("node {} of pool {} is not Ready: floors rest until it is, or until its pods are gone", lost.name, lost.pool))
}

/// Whether nothing of the sale is left: no claim, and no node that only it would hold.
#[must_use]
pub fn all_back(index: usize, seen: &Indexed<'_>, pools: &[crate::plan::PoolPlan], draft: &Draft) -> bool {
    let sale = &seen.sales[index];
    let free =
        |w: &Workload| w.placement.as_ref().is_none_or(|p| !p.spec.claims.is_empty() && p.spec.claims.iter().all(|c| c.uid != sale.uid));
    let clean = |p: &crate::plan::PoolPlan| {
        p.surplus.is_empty() && p.draining == 0 && p.never_joined.is_empty() && (!p.released || p.launching == 0)
    };
    let known = |p: &&crate::plan::PoolPlan| seen.pool(&p.name).is_none_or(|p| p.instances.is_some());
    seen.nodes.is_some()
        && pools.iter().filter(|p| draft.pools.contains(&p.name)).all(|p| known(&p))
        && seen.workloads_of(index).all(free)
        && pools.iter().filter(|p| draft.pools.contains(&p.name)).all(clean)
}

/// Sales by opening, those without an instant last: the order in which they are started.
#[must_use]
pub fn in_order(seen: &Indexed<'_>, drafts: &[Draft]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..drafts.len()).collect();
    let key = |i: &usize| -> (bool, Option<Timestamp>, SaleId) {
        (drafts[*i].times.is_none(), drafts[*i].times.map(|t| t.opens_at), seen.sales[*i].id.clone())
    };
    order.sort_by_key(key);
    order
}
