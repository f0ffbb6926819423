//! From plan and rehearsal to what is told.

use std::collections::BTreeMap;

use jiff::Timestamp;
use onsale_api::{GoDuration, Money, Phase, onsale::Mode, placement::Distance};
use onsale_planner::{
    Plan,
    packing::bins,
    plan::{Forecast, SalePlan, WorkloadPlan},
    snapshot::{Pool, Sale, SaleId, WorkloadId},
};

use super::{
    CostPreview, Missing, PoolPreview, Preview, Rented, SalePreview, Share, Verdict, WorkloadPreview, changes, missing,
    timeline::{self, span},
};
use crate::{
    rehearsal::{self, Night},
    world::World,
};

/// What would happen to the sales named, seen at an instant.
#[must_use]
pub fn preview(world: &World, wanted: &[SaleId], at: Timestamp) -> Preview {
    let plan = onsale_planner::plan(&world.seen, at);
    let night = rehearsal::rehearse(world, &plan, at);
    let mut sales: Vec<SalePreview> = Vec::new();
    for (index, told) in plan.sales.iter().enumerate().filter(|(_, s)| wanted.contains(&s.id)) {
        let view = View { world, plan: &plan, night: &night, sale: &world.seen.sales[index], told, at };
        sales.push(view.preview(index));
    }
    sales.sort_by_key(|s| s.times.map(|t| t.opens_at));
    let verdict = sales.iter().map(|s| s.verdict).max().unwrap_or(Verdict::Go);
    let mut assumptions = world.assumptions.clone();
    assumptions.extend(night.cut.iter().map(|cut| format!("{}.", cut)));
    Preview { at, verdict, cluster: world.cluster.clone(), sales, assumptions }
}

struct View<'a> {
    world: &'a World,
    plan: &'a Plan,
    night: &'a Night,
    sale: &'a Sale,
    told: &'a SalePlan,
    at: Timestamp,
}

/// Nothing is done for a sale in this phase any more.
const fn is_over(phase: Phase) -> bool {
    matches!(phase, Phase::Completed | Phase::Cancelled | Phase::Missed | Phase::Invalid)
}

impl View<'_> {
    fn preview(&self, index: usize) -> SalePreview {
        let over = is_over(self.told.phase);
        let workloads: Vec<&WorkloadPlan> = if over { Vec::new() } else { self.workloads() };
        let missing = if over { Vec::new() } else { missing::missing(self.world, self.told, &workloads) };
        let (verdict, summary) = self.verdict();
        let times = timeline::times(self.told, self.night).filter(|_| !over);
        let mine: Vec<WorkloadId> = self.sale.workload_ids().collect();
        let pools: Vec<PoolPreview> = if over { Vec::new() } else { self.pools(&workloads) };
        let near: Vec<String> = pools.iter().map(|p| p.name.clone()).collect();
        let short = self.told.unplaced > 0 && self.night.cut.is_none();
        SalePreview {
            namespace: self.sale.id.namespace.clone(),
            name: self.sale.id.name.clone(),
            verdict,
            summary,
            phase: self.told.phase,
            time_zone: self.zone(),
            timeline: times.map(|t| timeline::moments(&t, self.night, &mine, &near, self.told.unplaced > 0)).unwrap_or_default(),
            workloads: workloads.iter().map(|w| self.workload(w)).collect(),
            cost: self.cost(&pools),
            pools,
            changes: match (short, verdict) {
                (true, _) => changes::changes(&self.world.seen, self.at, index),
                (false, Verdict::NoGo) => changes::in_time(&self.world.seen, self.at, index, self.told).into_iter().collect(),
                (false, Verdict::Go) => Vec::new(),
            },
            remarks: self.remarks(&missing),
            missing,
            samples: times.map(|t| self.samples(t.starts_at, t.back_at)).unwrap_or_default(),
            times,
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

    fn zone(&self) -> String {
        let spec = &self.sale.spec;
        let offset = spec.opens_at.rfind(['+', '-']).filter(|at| *at > 10).map_or("UTC", |at| &spec.opens_at[at..]);
        spec.time_zone.clone().unwrap_or_else(|| offset.to_owned())
    }

    /// As the condition `Feasible` says it; besides, a sale that opened before it was seen is too late.
    fn verdict(&self) -> (Verdict, String) {
        let told = self.told;
        let go = |text: &str| (Verdict::Go, text.to_owned());
        let late = told.times.zip(told.predicted_ready_at).filter(|(times, at)| *at > times.ready_by);
        match told.phase {
            Phase::Invalid => (Verdict::NoGo, told.invalid.as_ref().map_or_else(String::new, |w| w.message.clone())),
            Phase::Missed => {
                let ended = told.times.map_or_else(String::new, |t| format!(" at {}", t.ends_at));
                (Verdict::NoGo, format!("its window was over{ended}: nothing would be done. Correct opensAt, or remove the sale"))
            }
            Phase::Completed => go("it is over, and everything is back"),
            Phase::Cancelled => go("it is suspended: nothing is done"),
            _ if told.unplaced > 0 => (Verdict::NoGo, format!("{} replicas find no place", told.unplaced)),
            Phase::Scheduled | Phase::Preparing | Phase::Ready | Phase::Live if late.is_some() && !told.all_ready => {
                let (by, at) = late.map_or((self.at, self.at), |(times, at)| (times.ready_by, at));
                (Verdict::NoGo, format!("too late: everything is Ready {} after ready-by", span(at.duration_since(by))))
            }
            Phase::Returning => go("it is on its way back"),
            _ if self.night.unplaced.contains_key(&told.id) => {
                let (n, at) = self.night.unplaced[&told.id];
                (Verdict::NoGo, format!("it finds room by itself, but not together with other sales: {n} replicas have no place at {at}"))
            }
            _ => go("everything it needs can be had in time"),
        }
    }

    fn remarks(&self, missing: &[Missing]) -> Vec<String> {
        let mut all: Vec<String> = self.told.waiting_for.iter().filter(|w| missing::remarks(w)).map(|w| w.message.clone()).collect();
        if self.sale.spec.mode == Mode::Plan {
            all.push("mode is Plan: nothing of this is done before it is Live".to_owned());
        }
        if self.told.late_start {
            all.push("its start has passed already: it starts at once, and everything is later than it could have been".to_owned());
        }
        all.extend(self.shared());
        all.retain(|r| !missing.iter().any(|m| m.message == *r));
        all
    }

    /// Floors that rise above this sale's own peak, because another sale is on too.
    fn shared(&self) -> Vec<String> {
        let highest = |id: &WorkloadId| self.night.samples.iter().filter_map(|(_, s)| s.floors.get(id)).max().copied().unwrap_or_default();
        let wish = |(id, wish): (WorkloadId, &onsale_api::onsale::SaleWorkload)| {
            let others = self.world.seen.sales.iter().filter(|s| s.id != self.sale.id && s.workload_ids().any(|w| w == id));
            let names: Vec<String> = others.map(|s| s.id.to_string()).collect();
            let most = highest(&id);
            (most > wish.peak_replicas && !names.is_empty()).then(|| {
                format!(
                    "{} is also raised by {}: its floor reaches {most} when both are on. The tables count this sale alone",
                    id.name,
                    names.join(", ")
                )
            })
        };
        self.sale.workload_ids().zip(&self.sale.spec.workloads).filter_map(wish).collect()
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
        let hourly = |(instance_type, n): (&String, &i32)| bins::declared(pool, instance_type).map(|t| t.hourly_cost.times((*n).into()));
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

    fn cost(&self, pools: &[PoolPreview]) -> CostPreview {
        let budget = self.sale.spec.budget.clone().unwrap_or_default();
        let zero = is_over(self.told.phase);
        CostPreview {
            hourly: if zero { Money::default() } else { self.told.cost.hourly },
            window: if zero { Money::default() } else { self.told.cost.window },
            max_hourly: budget.max_hourly_cost,
            max_total: budget.max_total_cost,
            nodes: pools.iter().flat_map(|p| &p.rented).map(|r| r.count).sum(),
            max_nodes: budget.max_nodes,
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
