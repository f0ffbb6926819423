//! A cluster and a cloud as one data structure: carries out steps at once, lets instances join after a delay and schedules pods as overlays say. What the planner
//! believes about the world is thus played against it in microseconds; whether the world is so, the end-to-end tests show.

mod pods;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use onsale_api::{
    Phase, Reason,
    placement::{Contest, FloorKind},
    pool::Shortfall,
};

use super::vector;
use crate::{
    plan::{Plan, plan},
    snapshot::{Instance, Node, Placement, Snapshot, WorkloadId},
    steps::{ChainKey, Step, due},
};

/// The world and its clock.
pub struct World {
    /// What the planner sees.
    pub seen: Snapshot,
    /// Now.
    pub now: Timestamp,
    /// From launch to Ready node.
    pub join: SignedDuration,
    /// Instances that may exist at once, by pool.
    pub capacity: BTreeMap<String, usize>,
    /// How many of the next instances never join.
    pub never_join: usize,
    /// The admission policies are installed.
    pub policies: bool,
    /// A workload whose ReplicaSet may not create pods, as a ResourceQuota does it.
    pub no_pods_for: Option<String>,
    /// One line for each step, with its time.
    pub log: Vec<String>,
    next: usize,
}

impl World {
    /// The world of a snapshot at an instant; nodes join 60 s after their launch.
    pub fn new(seen: Snapshot, now: &str) -> Self {
        Self {
            seen,
            now: super::at(now),
            join: SignedDuration::from_secs(60),
            capacity: BTreeMap::new(),
            never_join: 0,
            policies: true,
            no_pods_for: None,
            log: Vec::new(),
            next: 0,
        }
    }

    /// Plans and acts until `until`, waking when the plan says so or something joins; each instant until nothing is due any more.
    pub fn run_until(&mut self, until: &str) -> Plan {
        let until = super::at(until);
        loop {
            let plan = self.settle();
            let joins = self.joins().into_iter().map(|(at, ..)| at);
            let wake = plan.next_change.into_iter().chain(joins).filter(|t| *t > self.now).min();
            match wake.filter(|t| *t <= until) {
                Some(wake) => self.now = wake,
                None => {
                    self.now = until;
                    return self.settle();
                }
            }
        }
    }

    /// Passes at this instant until nothing is due.
    pub fn settle(&mut self) -> Plan {
        for _ in 0..200 {
            self.join_nodes();
            self.schedule();
            let plan = plan(&self.seen, self.now);
            assert_eq!(plan, crate::plan::plan(&self.seen, self.now), "equal inputs give equal plans");
            let chains = due(&plan, &self.seen, self.now);
            let changed = self.remember(&plan);
            if chains.is_empty() && !changed {
                return plan;
            }
            for chain in chains {
                for step in chain.steps {
                    self.log(&chain.key, &step);
                    self.carry_out(&chain.key, step);
                }
            }
        }
        panic!("never settles at {}:\n{}", self.now, self.log.iter().rev().take(30).cloned().collect::<Vec<_>>().join("\n"));
    }

    /// Status writes.
    fn remember(&mut self, plan: &Plan) -> bool {
        let mut changed = false;
        for sale_plan in &plan.sales {
            let sale = self.seen.sales.iter_mut().find(|s| s.id == sale_plan.id).unwrap();
            let mut status = sale.status.clone();
            status.phase = Some(sale_plan.phase);
            status.entered = sale_plan.entered.clone();
            status.opens_at = sale_plan.times.map(|t| Time(t.opens_at));
            status.starts_at = sale_plan.times.map(|t| Time(t.starts_at));
            status.ready_by = sale_plan.times.map(|t| Time(t.ready_by));
            status.ends_at = sale_plan.times.map(|t| Time(t.ends_at));
            status.cost = Some(sale_plan.cost.clone());
            if status.phase != sale.status.phase {
                self.log.push(format!("{} {} {:?}", self.now, sale.id.name, sale_plan.phase));
            }
            changed |= status != sale.status;
            sale.status = status;
        }
        changed
    }

    fn log(&mut self, key: &ChainKey, step: &Step) {
        let whose = match key {
            ChainKey::Sale(id) => id.name.clone(),
            ChainKey::Pool(name) => name.clone(),
            ChainKey::Workload(id) => id.name.clone(),
        };
        let what = match step {
            Step::WriteFloor { from, to, .. } => format!("floor {from} -> {to}"),
            Step::Launch { instance_type, count, .. } => format!("launch {count} {instance_type}"),
            Step::Terminate { instances, reason } => format!("terminate {} ({reason})", instances.len()),
            Step::WriteOverlay { overlay } => format!("overlay {}", overlay.stamp),
            Step::Evict { .. } => "evict".to_owned(),
            Step::ReplacePod { .. } => "replace a pod".to_owned(),
            other => format!("{other:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
        };
        let line = format!("{} {whose}: {what}", self.now);
        if self.log.last() != Some(&line) {
            self.log.push(line);
        }
    }

    fn carry_out(&mut self, key: &ChainKey, step: Step) {
        match (key, step) {
            (ChainKey::Sale(id), step) => {
                let protect = matches!(step, Step::ProtectSale);
                self.seen.sales.iter_mut().find(|s| s.id == *id).unwrap().protected = protect;
                self.seen.sales.retain(|s| !s.deleting || s.protected);
            }
            (ChainKey::Pool(name), step) => self.pool_step(&name.clone(), step),
            (ChainKey::Workload(id), step) => self.workload_step(&id.clone(), step),
        }
    }

    fn pool_step(&mut self, name: &str, step: Step) {
        let now = self.now;
        let alive: usize = self.seen.pool(name).unwrap().instances.as_ref().unwrap().len();
        let pool = self.seen.pools.iter_mut().find(|p| p.name == name).unwrap();
        match step {
            Step::ProtectPool => pool.protected = true,
            Step::ReleasePool => pool.protected = false,
            Step::Launch { instance_type, count, .. } => {
                assert!(pool.protected, "nothing is rented before the finalizer");
                let room = self.capacity.get(name).map_or(usize::MAX, |c| c.saturating_sub(alive));
                let made = room.min(count as usize);
                pool.status.last_sequence += 1;
                for _ in 0..made {
                    self.next += 1;
                    let id = format!("i-{:04}", self.next);
                    let launched_at = now;
                    let instance_type = instance_type.clone();
                    pool.instances.as_mut().unwrap().push(Instance { id, instance_type, leaving: false, stopped: false, launched_at });
                }
                if made < count as usize {
                    let short = shortfall(&instance_type, Reason::InsufficientCapacity, now);
                    pool.status.shortfalls.retain(|s| s.instance_type != instance_type);
                    pool.status.shortfalls.push(short);
                }
            }
            Step::Terminate { instances, reason } => {
                pool.instances.as_mut().unwrap().retain(|i| !instances.contains(&i.id));
                if reason == Reason::NeverJoined {
                    self.never_join = 0;
                    pool.status.shortfalls.push(shortfall("*", reason, now));
                }
                self.remove_nodes(&instances);
            }
            Step::Tidy { shortfalls: true, .. } => pool.status.shortfalls.clear(),
            Step::Cordon { node, .. } => self.node(&node, |n| (n.cordoned, n.draining) = (true, true)),
            Step::Uncordon { node, .. } => self.node(&node, |n| (n.cordoned, n.draining) = (false, false)),
            Step::RepairNode { node, .. } => self.node(&node, |n| (n.labelled, n.tainted) = (true, true)),
            Step::Evict { pod, .. } => self.seen.workloads.iter_mut().for_each(|w| w.pods.retain(|p| p.uid != pod.uid)),
            other => panic!("{other:?} is no step of a pool here"),
        }
    }

    fn node(&mut self, name: &str, change: impl Fn(&mut Node)) {
        self.seen.nodes.as_mut().unwrap().iter_mut().filter(|n| n.name == name).for_each(change);
    }

    /// Nodes of these instances are gone, and their pods with them.
    pub fn remove_nodes(&mut self, instances: &[String]) {
        let gone = |n: &Node| n.instance.as_ref().is_some_and(|i| instances.contains(i));
        let names: Vec<String> = self.seen.known_nodes().filter(|n| gone(n)).map(|n| n.name.clone()).collect();
        self.seen.nodes.as_mut().unwrap().retain(|n| !names.contains(&n.name));
        for work in &mut self.seen.workloads {
            work.pods.retain(|p| p.node.as_ref().is_none_or(|n| !names.contains(n)));
        }
    }

    fn workload_step(&mut self, id: &WorkloadId, step: Step) {
        let now = self.now;
        let work = self.seen.workloads.iter_mut().find(|w| w.id == *id).unwrap();
        match step {
            Step::Record { spec } => {
                let status = work.placement.as_ref().map(|p| p.status.clone()).unwrap_or_default();
                work.placement = Some(Placement { spec: *spec, status });
            }
            Step::WriteOverlay { overlay } => work.overlay = overlay.stamp.rsplit('.').next().and_then(|r| r.parse().ok()),
            Step::WriteFloor { from, to, field, manager } => {
                let target = work.target.as_mut().unwrap();
                assert_eq!(from, target.value);
                let recorded = work.placement.as_ref().unwrap();
                assert_eq!(recorded.spec.intended, to, "the intent is recorded before the write");
                target.value = to;
                target.manager = Some(manager.unwrap_or_else(|| "onsale-operator".to_owned()));
                if field.kind == FloorKind::Replicas {
                    target.replicas = to;
                }
            }
            Step::NoteContest { manager, value } => {
                let status = &mut work.placement.as_mut().unwrap().status;
                let count = status.contest.as_ref().map_or(1, |c| c.count + 1);
                status.contest = Some(Contest { manager, value, count, last: Time(now) });
            }
            Step::ReplacePod { pod } => work.pods.retain(|p| p.uid != pod.uid),
            Step::RemoveOverlay => work.overlay = None,
            Step::RemoveRecord => work.placement = None,
            other => panic!("{other:?} is no step of a workload"),
        }
    }

    /// Instances without a node: when they join, their pool and ID.
    fn joins(&self) -> Vec<(Timestamp, String, String)> {
        let known = |id: &String| self.seen.known_nodes().any(|n| n.instance.as_ref() == Some(id));
        let of = |pool: &crate::snapshot::Pool| {
            let waiting = pool.instances.iter().flatten().filter(|i| !known(&i.id));
            waiting.map(|i| (i.launched_at + self.join, pool.name.clone(), i.id.clone())).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = self.seen.pools.iter().flat_map(of).collect();
        all.drain(..self.never_join.min(all.len()));
        all
    }

    fn join_nodes(&mut self) {
        for (at, pool, id) in self.joins() {
            if at > self.now {
                continue;
            }
            let labels = BTreeMap::from([("onsale.dev/pool".to_owned(), pool.clone())]);
            let allocatable = vector(16_000, 28, 110);
            let node = Node { instance: Some(id.clone()), labels, allocatable, ..super::node(&format!("node-{id}"), &pool) };
            self.seen.nodes.as_mut().unwrap().push(node);
        }
    }

    /// Rented instances that exist.
    pub fn rented(&self) -> usize {
        self.seen.pools.iter().filter_map(|p| p.instances.as_ref()).map(Vec::len).sum()
    }

    /// Pods of a workload by pool, as one line.
    pub fn spread(&self, name: &str) -> String {
        let work = self.seen.workloads.iter().find(|w| w.id.name == name).unwrap();
        let pool = |node: &Option<String>| match node {
            Some(name) => self.seen.known_nodes().find(|n| n.name == *name).map_or("gone".to_owned(), |n| n.pool.clone()),
            None => "unbound".to_owned(),
        };
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for pod in &work.pods {
            *counts.entry(pool(&pod.node)).or_default() += 1;
        }
        counts.into_iter().map(|(p, n)| format!("{p}={n}")).collect::<Vec<_>>().join(" ")
    }

    /// The phase of a sale.
    pub fn phase(&self, name: &str) -> Phase {
        self.seen.sales.iter().find(|s| s.id.name == name).and_then(|s| s.status.phase).unwrap_or_default()
    }

    /// Nothing is left of any sale: no instance, no record, every field as it was.
    pub fn assert_clean(&self, fields: &[(&str, i32)]) {
        let log = || self.log.join("\n");
        assert_eq!(self.rented(), 0, "instances are left\n{}", log());
        for work in &self.seen.workloads {
            assert!(work.placement.is_none() && work.overlay.is_none(), "{} keeps a record\n{}", work.id, log());
        }
        for (name, value) in fields {
            let work = self.seen.workloads.iter().find(|w| w.id.name == *name).unwrap();
            assert_eq!(work.target.as_ref().unwrap().value, *value, "{name} is not restored\n{}", log());
        }
        assert!(self.seen.sales.iter().all(|s| !s.protected), "a sale keeps its finalizer");
        assert!(self.seen.pools.iter().all(|p| !p.protected || p.spec.nodes.ec2.is_none()), "a pool keeps its finalizer");
    }
}

fn shortfall(instance_type: &str, reason: Reason, now: Timestamp) -> Shortfall {
    Shortfall {
        instance_type: instance_type.to_owned(),
        subnet: None,
        reason,
        message: format!("{reason} for {instance_type}"),
        at: Time(now),
        attempts: 1,
        retry_at: Time(now + SignedDuration::from_secs(180)),
    }
}
