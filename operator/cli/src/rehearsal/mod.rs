//! The night, rehearsed: the planner's own plans and steps, carried out against a cluster and a cloud that are only a data structure.
//!
//! - this file: time; [`steps`]: what each step does; [`pods`]: ReplicaSets, the admission policies and the scheduler in one
//! - [`night`]: what came of it
//!
//! What it takes for granted: the cloud gives what it is asked for, every node joins in its pool's p95, pods are Ready as soon as they are bound, an HPA
//! wants what it wants today, and nothing refuses an eviction.

mod night;
mod pods;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use onsale_api::{OnSaleStatus, Phase, onsale::Mode};
use onsale_planner::{
    Plan, Snapshot, due, lead,
    plan::{SalePlan, plan},
    snapshot::{Workload, WorkloadId},
};

use crate::world::World;

pub use night::{Cut, Event, Night, Sample, Shortage, Spending, Stay, What};

/// Plans at one instant; the test bed's nights need a handful.
const MOST_AT_ONCE: usize = 60;
/// Plans in all.
const MOST: usize = 3_000;
/// Replicas times nodes at the peak that are rehearsed in a moment; what is larger is told from the plan alone.
const LARGEST: usize = 1_000_000;

/// Which sales take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Play {
    /// All of them: what would happen to those that are only looked at, too.
    All,
    /// Those that are live.
    Live,
}

/// Rehearses until every sale is over; `first` is what is planned for this world at this instant.
#[must_use]
pub fn rehearse(world: &World, first: &Plan, now: Timestamp, play: Play) -> Night {
    if weight(first) > LARGEST {
        return Night { cut: Some(Cut::TooLarge), ..Night::default() };
    }
    let mut stage = Stage::new(world, now, play);
    stage.arrive();
    // Nothing is planned twice where everybody is live and every pod has its node already.
    let first = if stage.seen == world.seen { first.clone() } else { plan(&stage.seen, now) };
    stage.run(first);
    stage.night
}

fn weight(plan: &Plan) -> usize {
    let most = |of: &dyn Fn(&onsale_planner::plan::Forecast) -> i64| plan.forecasts.iter().map(of).max().unwrap_or_default();
    let replicas = most(&|f| f.workloads.iter().map(|w| i64::from(w.peak)).sum());
    let nodes = most(&|f| f.nodes.values().flat_map(BTreeMap::values).map(|n| i64::from(*n)).sum());
    let active: i64 = plan.workloads.iter().map(|w| i64::from(w.peak)).sum();
    usize::try_from(replicas.max(active).saturating_mul(nodes.max(1))).unwrap_or(usize::MAX)
}

struct Stage {
    seen: Snapshot,
    now: Timestamp,
    next: usize,
    /// Pods or nodes came or went since the scheduler looked.
    moved: bool,
    ordinary: BTreeMap<WorkloadId, i32>,
    night: Night,
}

impl Stage {
    fn new(world: &World, now: Timestamp, play: Play) -> Self {
        let mut seen = world.seen.clone();
        if play == Play::All {
            seen.sales.iter_mut().for_each(|s| s.spec.mode = Mode::Live);
        }
        Self { seen, now, next: 0, moved: true, ordinary: world.ordinary.clone(), night: Night::default() }
    }

    fn run(&mut self, first: Plan) {
        let (mut plans, mut next) = (0, first);
        loop {
            let Some(plan) = self.settle(next, &mut plans) else {
                self.night.cut = Some(Cut::Restless(self.now));
                return;
            };
            self.sample(&plan);
            self.note_shortages(&plan);
            if plan.sales.iter().all(|s| is_over(s.phase)) {
                return;
            }
            let joins = self.joins().into_iter().map(|(at, ..)| at);
            match plan.next_change.into_iter().chain(joins).filter(|t| *t > self.now).min() {
                Some(wake) => self.now = wake,
                None => return self.note_stays(&plan),
            }
            next = self.plan();
        }
    }

    /// The worst instant of each sale that lacks a place once it has to be ready, with all that the plan said of it.
    fn note_shortages(&mut self, plan: &Plan) {
        let due = |told: &&SalePlan| told.times.is_none_or(|times| self.now >= times.ready_by);
        for told in plan.sales.iter().filter(|s| s.phase.holds() && s.unplaced > 0).filter(due) {
            if self.night.unplaced.get(&told.id).is_some_and(|worst| worst.told.unplaced >= told.unplaced) {
                continue;
            }
            let beside =
                |other: &&SalePlan| other.id != told.id && other.phase.is_active() && other.pools.iter().any(|p| told.pools.contains(p));
            let shortage = Shortage {
                at: self.now,
                told: told.clone(),
                workloads: plan.workloads.clone(),
                others: plan.sales.iter().filter(beside).map(|other| other.id.clone()).collect(),
            };
            self.night.unplaced.insert(told.id.clone(), shortage);
        }
    }

    /// Nothing more happens: a sale that is not back by now never will be.
    fn note_stays(&mut self, plan: &Plan) {
        let replicas = self.on_rented_nodes();
        for told in plan.sales.iter().filter(|s| s.phase.is_active()) {
            let mut stay = Stay { since: self.now, nodes: BTreeMap::new(), replicas: replicas.clone(), frozen: told.frozen.clone() };
            for pool in self.seen.pools.iter().filter(|p| told.pools.contains(&p.name)) {
                let rented = pool.instances.iter().flatten().filter(|i| !i.leaving).count();
                if rented > 0 {
                    stay.nodes.insert(pool.name.clone(), rented);
                }
            }
            self.night.stays.insert(told.id.clone(), stay);
        }
    }

    /// Replicas there, by workload; those without any are left out.
    fn on_rented_nodes(&self) -> BTreeMap<WorkloadId, usize> {
        let rented: BTreeSet<&str> = self.seen.known_nodes().filter(|n| n.instance.is_some()).map(|n| n.name.as_str()).collect();
        let there = |work: &Workload| work.pods.iter().filter(|p| p.node.as_deref().is_some_and(|node| rented.contains(node))).count();
        self.seen.workloads.iter().map(|work| (work.id.clone(), there(work))).filter(|(_, n)| *n > 0).collect()
    }

    /// What comes by itself: nodes join, pods find their places.
    fn arrive(&mut self) {
        self.join();
        self.schedule();
    }

    /// What is planned once everything has come that comes by now.
    fn plan(&mut self) -> Plan {
        self.arrive();
        plan(&self.seen, self.now)
    }

    /// Acts and plans again at this instant until nothing is due.
    fn settle(&mut self, mut plan: Plan, plans: &mut usize) -> Option<Plan> {
        for _ in 0..MOST_AT_ONCE {
            *plans += 1;
            if *plans > MOST {
                return None;
            }
            let chains = due(&plan, &self.seen, self.now);
            let moved = self.remember(&plan);
            if chains.is_empty() && !moved {
                return Some(plan);
            }
            for chain in chains {
                for step in chain.steps {
                    self.carry_out(&chain.key, step);
                }
            }
            plan = self.plan();
        }
        None
    }

    /// The status writes, as far as the next plan depends on them; whether a sale moved on in its life, for what waits for that is due now.
    fn remember(&mut self, plan: &Plan) -> bool {
        let mut moved = false;
        for told in &plan.sales {
            let Some(sale) = self.seen.sales.iter_mut().find(|s| s.id == told.id) else { continue };
            if let Some(spent) = &told.cost.spent {
                let night = self.night.spent.entry(told.id.clone()).or_default();
                (night.amount, night.hourly) = (night.amount.max(spent.amount), night.hourly.max(spent.hourly));
            }
            let mut status = sale.status.clone();
            status.phase = Some(told.phase);
            status.entered = told.entered.clone();
            status.cost = Some(told.cost.clone());
            status.opens_at = told.times.map(|t| k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(t.opens_at));
            status.ready_by = told.times.map(|t| k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(t.ready_by));
            status.starts_at = told.times.map(|t| k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(t.starts_at));
            if status.phase != sale.status.phase {
                self.night.events.push(Event { at: self.now, what: What::Phase(told.id.clone(), told.phase) });
            }
            let life = |status: &OnSaleStatus| (status.phase.unwrap_or(Phase::Scheduled), status.entered.clone());
            moved |= life(&status) != life(&sale.status);
            sale.status = status;
        }
        moved
    }

    fn tell(&mut self, what: What) {
        self.night.events.push(Event { at: self.now, what });
    }

    fn sample(&mut self, plan: &Plan) {
        let floors =
            plan.workloads.iter().map(|w| (w.id.clone(), self.seen.workload(&w.id).and_then(|w| w.target.as_ref()).map_or(0, |t| t.value)));
        let sample = Sample {
            nodes: plan.pools.iter().map(|p| (p.name.clone(), p.ready)).collect(),
            launching: plan.pools.iter().map(|p| (p.name.clone(), p.launching)).collect(),
            floors: floors.collect(),
            ready: plan.workloads.iter().map(|w| (w.id.clone(), w.ready)).collect(),
        };
        if self.night.samples.last().is_none_or(|(_, last)| *last != sample) {
            self.night.samples.push((self.now, sample));
        }
    }

    /// Instances without a node: when they join, their pool and ID.
    fn joins(&self) -> Vec<(Timestamp, String, String)> {
        let known: BTreeSet<&str> = self.seen.known_nodes().filter_map(|n| n.instance.as_deref()).collect();
        let mut all = Vec::new();
        for pool in &self.seen.pools {
            let takes = lead::of(pool).p95.get();
            let waiting = pool.instances.iter().flatten().filter(|i| !i.leaving && !known.contains(i.id.as_str()));
            all.extend(waiting.filter_map(|i| Some((i.launched_at.checked_add(takes).ok()?, pool.name.clone(), i.id.clone()))));
        }
        all
    }
}

/// Nothing more will happen to it.
fn is_over(phase: Phase) -> bool {
    matches!(phase, Phase::Completed | Phase::Cancelled | Phase::Missed | Phase::Invalid)
}
