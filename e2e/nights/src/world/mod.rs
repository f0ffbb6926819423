//! The rest of the cluster in virtual time: what kube-controller-manager, kube-scheduler, kubelets, the HPA controller and the cloud's own
//! controllers do, reduced to what the operator can see of it.
//!
//! - [`workloads`]: Deployments and StatefulSets to pods; [`admission`], [`pattern`]: the two admission policies
//! - [`scheduler`]: pods to nodes; [`kubelet`]: pods that get Ready and go; [`nodes`]: instances that become nodes
//! - [`hpa`]: HPAs under a load that tests set

pub mod admission;
pub mod hpa;
pub mod kubelet;
pub mod nodes;
pub mod pattern;
pub mod scheduler;
pub mod workloads;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use onsale_controller::Clock;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::{
    api::{kinds, store::Key},
    random::{Delay, Random},
    sim::{Inner, Sim},
};

/// How fast the world is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From a bound pod to a Ready one.
    pub starts: Delay,
    /// From a deleted pod to one that is gone.
    pub stops: Delay,
    /// From a running instance to a node.
    pub joins: Delay,
    /// From a node to a Ready node.
    pub node_ready: Delay,
    /// From a terminated instance to a node that is gone.
    pub node_gone: Duration,
    /// Admission policies see an overlay this much later.
    pub policy_lag: Duration,
    /// Sync period of the HPA controller.
    pub hpa_sync: Duration,
    /// How long an HPA remembers higher recommendations before it scales down.
    pub hpa_memory: Duration,
    /// Controllers of the cluster react to a change after this time.
    pub reacts: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let (secs, millis) = (Duration::from_secs, Duration::from_millis);
        Self {
            starts: (millis(800), secs(3)).into(),
            stops: (millis(500), secs(2)).into(),
            joins: (secs(5), secs(12)).into(),
            node_ready: (secs(1), secs(4)).into(),
            node_gone: secs(10),
            policy_lag: millis(60),
            hpa_sync: secs(15),
            hpa_memory: secs(60),
            reacts: millis(20),
        }
    }
}

/// Something that happens at an instant.
#[derive(Clone, Debug)]
pub(crate) enum Timer {
    /// An instance becomes a node.
    Join(String),
    /// A node is Ready.
    NodeReady(String),
    /// A node is gone.
    NodeGone(String),
    /// A pod is Ready: key and UID.
    PodReady(Key, String),
    /// A pod is gone: key and UID.
    PodGone(Key, String),
    /// The policies see the overlay of this key as it is now.
    Overlay(Key),
    /// HPAs look at their load.
    HpaSync,
    /// Somebody does something.
    Act(fn(&mut Inner)),
}

/// Timers and memory of the cluster's own controllers.
#[derive(Clone, Debug)]
pub struct State {
    /// How fast the world is.
    pub settings: Settings,
    /// Replicas that the load would keep busy, by key of the HPA.
    pub loads: BTreeMap<Key, i64>,
    /// Instances from now on that never become nodes.
    pub never_join: usize,
    /// Nodes from now on that register without the pool's label and taint.
    pub unmarked: usize,
    /// The policies are not in force: pods pass unchanged.
    pub policies_off: bool,
    /// Something changed that is no object.
    pub stirred: bool,
    /// How many pods were Ready since when, by key of the workload.
    pub ready: BTreeMap<Key, Vec<(Timestamp, usize)>>,
    pub(crate) timers: BTreeMap<(Timestamp, u64), Timer>,
    pub(crate) random: Random,
    pub(crate) recommended: BTreeMap<Key, Vec<(Timestamp, i64)>>,
    pub(crate) overlays: BTreeMap<Key, Arc<Value>>,
    pub(crate) overlays_seen: BTreeMap<Key, String>,
    pub(crate) machines: BTreeSet<String>,
    pub(crate) ended: BTreeSet<String>,
    pub(crate) starting: BTreeSet<String>,
    pub(crate) stopping: BTreeSet<String>,
    settled: u64,
    count: u64,
}

impl State {
    /// A world in which nothing has happened yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            settings: Settings::default(),
            loads: BTreeMap::new(),
            never_join: 0,
            unmarked: 0,
            policies_off: false,
            stirred: false,
            ready: BTreeMap::new(),
            timers: BTreeMap::new(),
            random: Random::new(seed),
            recommended: BTreeMap::new(),
            overlays: BTreeMap::new(),
            overlays_seen: BTreeMap::new(),
            machines: BTreeSet::new(),
            ended: BTreeSet::new(),
            starting: BTreeSet::new(),
            stopping: BTreeSet::new(),
            settled: 0,
            count: 0,
        }
    }

    /// Something that somebody does at an instant: it is part of the state, so nights that go on from a copy meet it too.
    pub fn at(&mut self, instant: Timestamp, act: fn(&mut Inner)) {
        self.count += 1;
        self.timers.insert((instant, self.count), Timer::Act(act));
    }

    pub(crate) fn after(&mut self, now: Timestamp, time: Duration, timer: Timer) {
        self.count += 1;
        self.timers.insert((now.checked_add(time).unwrap_or(now), self.count), timer);
    }

    /// A number that was not used before.
    pub(crate) const fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

/// Everything that is due, until nothing is; returns when the next thing is.
pub fn settle(inner: &mut Inner) -> Option<Timestamp> {
    loop {
        nodes::follow(inner);
        admission::follow(inner);
        while let Some(timer) = due(inner) {
            happen(inner, timer);
        }
        if touched(inner) != inner.world.settled {
            workloads::follow(inner);
            scheduler::follow(inner);
            kubelet::follow(inner);
            inner.world.settled = touched(inner);
        }
        let next = inner.world.timers.first_key_value().map(|((at, _), _)| *at);
        if next.is_none_or(|at| at > inner.now) {
            return next;
        }
    }
}

/// The last change of anything that pods depend on.
fn touched(inner: &Inner) -> u64 {
    let kinds = [&kinds::PODS, &kinds::NODES, &kinds::DEPLOYMENTS, &kinds::STATEFUL_SETS];
    kinds.iter().map(|kind| inner.store.touched(kind)).max().unwrap_or_default()
}

fn due(inner: &mut Inner) -> Option<Timer> {
    let entry = inner.world.timers.first_entry()?;
    (entry.key().0 <= inner.now).then(|| entry.remove())
}

fn happen(inner: &mut Inner, timer: Timer) {
    match timer {
        Timer::Join(instance) => nodes::join(inner, &instance),
        Timer::NodeReady(node) => nodes::ready(inner, &node, true),
        Timer::NodeGone(node) => nodes::gone(inner, &node),
        Timer::PodReady(key, uid) => kubelet::ready(inner, &key, &uid),
        Timer::PodGone(key, uid) => kubelet::gone(inner, &key, &uid),
        Timer::Overlay(key) => admission::see(inner, &key),
        Timer::HpaSync => hpa::sync(inner),
        Timer::Act(act) => act(inner),
    }
}

/// Lets the world go on for ever.
pub async fn drive(sim: Sim) {
    sim.with(|inner| {
        if !inner.world.timers.values().any(|t| matches!(t, Timer::HpaSync)) {
            inner.world.after(inner.now, Duration::ZERO, Timer::HpaSync);
        }
    });
    let reacts = sim.with(|inner| inner.world.settings.reacts);
    loop {
        let next = sim.with(settle);
        let wake = sim.clock().instant(next.unwrap_or_else(|| sim.clock().now() + Duration::from_secs(3600)));
        tokio::select! {
            // In order, not by chance: nights are to be the same each time.
            biased;
            () = sim.changed() => sleep_until(Instant::now() + reacts).await,
            () = sleep_until(wake) => {}
        }
    }
}
