//! From plan and rehearsal to what is told.

use std::{cell::OnceCell, collections::BTreeMap};

use jiff::Timestamp;
use onsale_api::{GoDuration, Phase, onsale::Mode, placement::Distance};
use onsale_planner::{
    Plan,
    packing::nodes,
    plan::{Forecast, SalePlan, WorkloadPlan},
    snapshot::{Pool, Sale, SaleId, WorkloadId},
};

use super::{
    PoolPreview, Preview, Rented, SalePreview, Share, Times, Verdict, WorkloadPreview, changes, clock,
    timeline::{self, span},
};
use crate::{
    rehearsal::{self, Cut, Night, Play},
    world::World,
};

/// What would happen to the sales named, seen at an instant.
#[must_use]
pub fn preview(world: &World, wanted: &[SaleId], at: Timestamp) -> Preview {
    let plan = onsale_planner::plan(&world.seen, at);
    // What is only looked at does nothing to those that are live: there are two nights, each played if somebody asks for it.
    let (all, live) = (OnceCell::new(), OnceCell::new());
    let rehearse = |play| rehearsal::rehearse(world, &plan, at, play);
    let all_live = world.seen.sales.iter().all(|sale| sale.spec.mode == Mode::Live);
    let mut sales: Vec<SalePreview> = Vec::new();
    for (index, told) in plan.sales.iter().enumerate().filter(|(_, s)| wanted.contains(&s.id)) {
        let sale = &world.seen.sales[index];
        let apart = sale.spec.mode == Mode::Live && !all_live;
        let night = if apart { live.get_or_init(|| rehearse(Play::Live)) } else { all.get_or_init(|| rehearse(Play::All)) };
        let view = View { world, plan: &plan, night, sale, told, at };
        sales.push(view.preview(index));
    }
    sales.sort_by_key(|s| s.times.map(|t| t.opens_at));
    let verdict = sales.iter().map(|s| s.verdict).max().unwrap_or(Verdict::Go);
    let mut assumptions = world.assumptions.clone();
    let zone = sales.first().map_or("UTC", |sale| sale.time_zone.as_str());
    let cut = all.get().into_iter().chain(live.get()).find_map(|night| night.cut);
    assumptions.extend(cut.map(|cut| cut_short(cut, zone)));
    Preview { at, verdict, cluster: world.cluster.clone(), sales, assumptions }
}

fn cut_short(cut: Cut, zone: &str) -> String {
    match cut {
        Cut::TooLarge => "The sale is too large to be rehearsed in a moment: the times between start and return are left out, and in the cost what other sales leave to it."
            .to_owned(),
        Cut::Restless(at) => format!("The rehearsal finds no rest at {}: what happens after that is left out.", clock::stamp(at, zone)),
    }
}

/// One sale, with all that is known of it.
pub(super) struct View<'a> {
    pub(super) world: &'a World,
    pub(super) plan: &'a Plan,
    pub(super) night: &'a Night,
    pub(super) sale: &'a Sale,
    pub(super) told: &'a SalePlan,
    pub(super) at: Timestamp,
}

/// Nothing is done for a sale in this phase any more.
pub(super) const fn is_over(phase: Phase) -> bool {
    matches!(phase, Phase::Completed | Phase::Cancelled | Phase::Missed | Phase::Invalid)
}

impl View<'_> {
    fn preview(&self, index: usize) -> SalePreview {
        let over = is_over(self.told.phase);
        let workloads: Vec<&WorkloadPlan> = if over { Vec::new() } else { self.workloads() };
        let missing = if over { Vec::new() } else { self.missing(&workloads) };
        let (verdict, summary) = self.verdict();
        let times = timeline::times(self.told, self.night).filter(|_| !over);
        let pools: Vec<PoolPreview> = if over { Vec::new() } else { self.pools(&workloads) };
        let short = self.told.unplaced > 0 && self.night.cut.is_none();
        SalePreview {
            namespace: self.sale.id.namespace.clone(),
            name: self.sale.id.name.clone(),
            verdict,
            summary,
            phase: self.told.phase,
            time_zone: self.zone(),
            timeline: times.map(|t| timeline::moments(&t, &self.scope(&t, &workloads, &pools))).unwrap_or_default(),
            workloads: workloads.iter().map(|w| self.workload(w)).collect(),
            cost: self.cost(&pools),
            pools,
            changes: match (short, verdict) {
                (true, _) => changes::changes(&self.world.seen, self.at, index, &missing),
                (false, Verdict::NoGo) => changes::in_time(&self.world.seen, self.at, index, self.told).into_iter().collect(),
                (false, Verdict::Go) => Vec::new(),
            },
            remarks: self.remarks(&workloads, &missing),
            missing,
            samples: times.map(|t| self.samples(t.starts_at, t.back_at)).unwrap_or_default(),
            times,
        }
    }

    fn scope(&self, times: &Times, workloads: &[&WorkloadPlan], pools: &[PoolPreview]) -> timeline::Scope<'_> {
        timeline::Scope {
            night: self.night,
            mine: self.sale.workload_ids().collect(),
            pools: pools.iter().map(|p| p.name.clone()).collect(),
            related: self.related().map(|told| &told.id).chain([&self.sale.id]).collect(),
            short: self.told.unplaced > 0,
            back: times.back_at.map(|at| self.back(at, workloads)).unwrap_or_default(),
            stays: self.night.stays.get(&self.told.id).map(|stay| self.stays(stay)).unwrap_or_default(),
        }
    }

    fn forecast(&self) -> Option<&Forecast> {
        self.plan.forecasts.iter().find(|f| f.sale == self.sale.id)
    }

    /// The sale's workloads at its peak, in the order in which it names them.
    fn workloads(&self) -> Vec<&WorkloadPlan> {
        let all = self.forecast().map_or(&self.plan.workloads, |f| &f.workloads);
        self.sale.workload_ids().filter_map(|id| all.iter().find(|w| w.id == id)).collect()
    }

    pub(super) fn zone(&self) -> String {
        let spec = &self.sale.spec;
        let offset = spec.opens_at.rfind(['+', '-']).filter(|at| *at > 10).map_or("UTC", |at| &spec.opens_at[at..]);
        spec.time_zone.clone().unwrap_or_else(|| offset.to_owned())
    }

    fn workload(&self, plan: &WorkloadPlan) -> WorkloadPreview {
        let latency = |pool: &str| plan.distances.iter().find(|d: &&Distance| d.pool == pool).map(|d| d.latency);
        let order = |pool: &String| plan.distances.iter().position(|d| d.pool == *pool).unwrap_or(usize::MAX);
        let mut names: Vec<&String> = plan.by_pool.keys().chain(plan.bound.keys()).collect();
        names.sort_by_key(|pool| (order(pool), (*pool).clone()));
        names.dedup();
        let count = |counts: &BTreeMap<String, i32>, pool: &String| counts.get(pool).copied().unwrap_or_default();
        let share = |pool: &String| Share {
            pool: pool.clone(),
            now: count(&plan.bound, pool),
            at_peak: count(&plan.by_pool, pool),
            latency: latency(pool),
        };
        WorkloadPreview {
            kind: plan.id.kind,
            name: plan.id.name.clone(),
            baseline: plan.baseline,
            peak: plan.peak.max(self.wish(&plan.id)),
            placed: plan.by_pool.values().sum(),
            latency_now: mean(plan, &plan.bound),
            latency_at_peak: mean(plan, &plan.by_pool),
            best_latency: plan.distances.iter().map(|d| d.latency).min(),
            pools: names.into_iter().map(share).filter(|s| s.now > 0 || s.at_peak > 0).collect(),
        }
    }

    fn wish(&self, id: &WorkloadId) -> i32 {
        self.sale.workload_ids().zip(&self.sale.spec.workloads).find(|(w, _)| w == id).map_or(0, |(_, wish)| wish.peak_replicas)
    }

    fn pools(&self, workloads: &[&WorkloadPlan]) -> Vec<PoolPreview> {
        let nearest = |pool: &&Pool| workloads.iter().flat_map(|w| &w.distances).filter(|d| d.pool == pool.name).map(|d| d.latency).min();
        let mut pools: Vec<&Pool> = self.world.seen.pools.iter().filter(|p| self.told.pools.contains(&p.name)).collect();
        pools.sort_by_key(|p| (nearest(p).is_none(), nearest(p), p.name.clone()));
        pools.into_iter().map(|pool| self.pool(pool)).collect()
    }

    fn pool(&self, pool: &Pool) -> PoolPreview {
        let wanted = self.plan.pools.iter().find(|p| p.name == pool.name).map(|p| p.wanted.clone());
        let rented = match self.forecast() {
            Some(forecast) => forecast.nodes.get(&pool.name).cloned().unwrap_or_default(),
            None => wanted.unwrap_or_default(),
        };
        let hourly = |(instance_type, n): (&String, &i32)| nodes::declared(pool, instance_type).map(|t| t.hourly_cost.times((*n).into()));
        let existing = i32::try_from(self.world.seen.known_nodes().filter(|n| n.pool == pool.name && n.instance.is_none()).count()).ok();
        let launched = |e: &&rehearsal::Event| matches!(&e.what, rehearsal::What::Launched { pool: p, .. } if *p == pool.name);
        let short = pool.status.shortfalls.iter().map(|s| {
            format!(
                "{} of {}, {} ago, tried {} times: {}",
                s.reason,
                s.instance_type,
                span(self.at.duration_since(s.at.0)),
                s.attempts,
                s.message
            )
        });
        PoolPreview {
            name: pool.name.clone(),
            tier: pool.spec.tier,
            existing_nodes: existing.filter(|_| pool.spec.nodes.ec2.is_none() && !self.world.blind.contains(&pool.name)),
            hourly: rented.iter().filter_map(hourly).sum(),
            starts_at: (!rented.is_empty()).then(|| self.night.events.iter().find(launched).map(|e| e.at)).flatten(),
            rented: rented.into_iter().map(|(instance_type, count)| Rented { instance_type, count }).collect(),
            max_nodes: pool.spec.limits.as_ref().and_then(|l| l.max_nodes).filter(|_| pool.spec.nodes.ec2.is_some()),
            recorded: short.collect(),
        }
    }

    fn samples(&self, from: Timestamp, to: Option<Timestamp>) -> Vec<(Timestamp, rehearsal::Sample)> {
        let all = &self.night.samples;
        // The one before it too: how things are on an ordinary day.
        let first = all.iter().rposition(|(at, _)| *at < from).unwrap_or(0);
        all.iter().skip(first).filter(|(at, _)| to.is_none_or(|to| onsale_api::time::whole_seconds(*at) <= to)).cloned().collect()
    }
}

/// Mean over the replicas in pools with a known distance.
fn mean(plan: &WorkloadPlan, counts: &BTreeMap<String, i32>) -> Option<GoDuration> {
    let latency = |pool: &str| plan.distances.iter().find(|d| d.pool == pool).map(|d| d.latency.micros());
    let pairs = counts.iter().filter_map(|(pool, count)| Some((latency(pool)?, i64::from(*count))));
    let (sum, count) = pairs.fold((0_i64, 0_i64), |(s, n), (l, c)| (s.saturating_add(l.saturating_mul(c)), n + c));
    (count > 0).then(|| GoDuration::from_micros(sum / count))
}
