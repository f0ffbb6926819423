//! Nodes as bins: those that exist, those on their way, and new ones.

use std::collections::BTreeMap;

use jiff::Timestamp;
use onsale_api::{Money, pool::InstanceType};

use super::{Keep, NO_SALE, Work};
use crate::{
    fleet,
    resources::{DEFAULT_PODS, Resources},
    snapshot::{Node, Pool, Snapshot},
};

/// How real a bin is. The order is the order of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BinState {
    /// A Ready node.
    Ready,
    /// A node on its way out, that could be taken back.
    Draining,
    /// An instance, or a launch without an answer yet, that is no node.
    Launching,
    /// A node that is to be launched.
    New,
}

/// One node and what it holds.
#[derive(Clone, Debug)]
pub struct Bin {
    /// Node name; `new-<type>-<n>` and the like where there is no node.
    pub node: String,
    /// Pool.
    pub pool: String,
    /// Instance type, for rented nodes.
    pub instance_type: Option<String>,
    /// Instance, where there is one.
    pub instance: Option<String>,
    /// How real it is.
    pub state: BinState,
    /// Free for the workloads before any of them is placed.
    pub room: Resources,
    /// Free now.
    pub free: Resources,
    /// Replicas by workload index, running ones included.
    pub replicas: BTreeMap<usize, i32>,
    /// Replicas that run there already.
    pub running: BTreeMap<usize, i32>,
    /// Price per hour, zero for existing nodes.
    pub hourly: Money,
    /// Namespace and sale that the node is charged to: the first that uses it.
    pub owner: Option<(String, usize)>,
    /// It is planned to hold something, headroom included.
    pub used: bool,
}

impl Bin {
    /// Puts one replica in.
    pub fn put(&mut self, work: &Work) {
        *self.replicas.entry(work.index).or_default() += 1;
        self.reserve(work);
    }

    /// Keeps room for one replica.
    pub fn reserve(&mut self, work: &Work) {
        self.free.add(&work.requests, -1);
        self.serve(work);
    }

    /// Is used, at the charge of the first sale that uses it and may: pods that only happen to run there charge nobody.
    fn serve(&mut self, work: &Work) {
        self.used = true;
        if work.sale != NO_SALE && work.distances.iter().any(|d| d.pool == self.pool) {
            self.owner.get_or_insert_with(|| (work.id.namespace.clone(), work.sale));
        }
    }
}

/// All bins, in the order in which they are filled.
#[derive(Clone, Debug, Default)]
pub struct Bins {
    /// All bins; indices stay valid.
    pub all: Vec<Bin>,
    by_pool: BTreeMap<String, Vec<usize>>,
    nowhere: BTreeMap<usize, i32>,
}

impl Bins {
    /// The bins of a snapshot, with the pods in them that stay.
    #[must_use]
    pub fn of(seen: &Snapshot, works: &[Work], keep: Keep, now: Timestamp) -> Self {
        let mut bins = Self::default();
        let mut found: Vec<Bin> = seen.pools.iter().flat_map(|pool| of_pool(pool, seen, now)).collect();
        if keep == Keep::Existing {
            // What is fullest is kept: coming home then moves the fewest pods.
            let pods = |bin: &Bin| seen.workloads.iter().flat_map(|w| &w.pods).filter(|p| p.node.as_deref() == Some(&bin.node)).count();
            found.sort_by_cached_key(|bin| (bin.state, std::cmp::Reverse(pods(bin)), bin.node.clone()));
        } else {
            found.sort_by_key(|bin| bin.state);
        }
        for bin in found {
            bins.add(bin);
        }
        for work in works {
            bins.settle(seen, work, keep);
        }
        bins
    }

    /// Adds a bin at the end of its pool's order.
    pub fn add(&mut self, bin: Bin) -> usize {
        self.by_pool.entry(bin.pool.clone()).or_default().push(self.all.len());
        self.all.push(bin);
        self.all.len() - 1
    }

    /// Bins of a pool.
    pub fn of_pool(&self, pool: &str) -> impl Iterator<Item = &Bin> {
        self.by_pool.get(pool).into_iter().flatten().map(|i| &self.all[*i])
    }

    /// The first bin of the pool with room for one more replica.
    #[must_use]
    pub fn with_room(&self, pool: &str, work: &Work, keep: Keep) -> Option<usize> {
        let usable = |i: &usize| work.may_use(self.all[*i].state, keep) && self.all[*i].free.count_of(&work.requests) > 0;
        self.by_pool.get(pool)?.iter().copied().find(usable)
    }

    /// Replicas of a workload that run and stay, by pool; under the empty name those on nodes of no pool.
    #[must_use]
    pub fn running(&self, work: usize) -> BTreeMap<String, i32> {
        let mut counts = BTreeMap::new();
        for bin in &self.all {
            if let Some(n) = bin.running.get(&work).filter(|n| **n > 0) {
                *counts.entry(bin.pool.clone()).or_default() += n;
            }
        }
        if let Some(n) = self.nowhere.get(&work) {
            counts.insert(String::new(), *n);
        }
        counts
    }

    /// Puts the workload's bound pods into their bins. A pod that is going counts for nothing, and takes its room unless it is gone soon.
    fn settle(&mut self, seen: &Snapshot, work: &Work, keep: Keep) {
        for pod in &seen.workloads[work.index].pods {
            let Some(node) = &pod.node else { continue };
            let Some(bin) = self.all.iter_mut().find(|b| b.node == *node) else {
                if keep == Keep::Bound && !pod.terminating {
                    *self.nowhere.entry(work.index).or_default() += 1;
                }
                continue;
            };
            if keep == Keep::Existing && bin.instance_type.is_some() {
                continue;
            }
            if !pod.terminating || !work.leaves_soon {
                bin.free.add(&work.requests, -1);
            }
            if !pod.terminating {
                *bin.replicas.entry(work.index).or_default() += 1;
                *bin.running.entry(work.index).or_default() += 1;
                bin.serve(work);
            }
        }
    }
}

fn of_pool(pool: &Pool, seen: &Snapshot, now: Timestamp) -> Vec<Bin> {
    let have = fleet::have(pool, seen, now);
    let type_of = |node: &Node| {
        let id = node.instance.as_deref()?;
        pool.instances.iter().flatten().find(|i| i.id == id).map(|i| i.instance_type.clone())
    };
    let real = |node: &&Node, state| Bin {
        instance: node.instance.clone(),
        state,
        ..empty(pool, node.name.clone(), type_of(node), room_of(node))
    };
    let mut bins: Vec<Bin> = have.ready.iter().map(|n| real(n, BinState::Ready)).collect();
    bins.extend(have.draining.iter().map(|n| real(n, BinState::Draining)));
    // Lost nodes hold what runs there and offer nothing: those that still serve keep counting.
    bins.extend(have.lost.iter().map(|n| Bin { room: Resources::default(), free: Resources::default(), ..real(n, BinState::Ready) }));
    for instance in &have.launching {
        let node = seen.known_nodes().find(|n| n.instance.as_deref() == Some(&instance.id));
        let name = node.map_or_else(|| format!("launching-{}", instance.id), |n| n.name.clone());
        let room = joining(shape(pool, &instance.instance_type, seen), node);
        let bin = empty(pool, name, Some(instance.instance_type.clone()), room);
        bins.push(Bin { instance: Some(instance.id.clone()), state: BinState::Launching, ..bin });
    }
    for (n, instance_type) in have.unresolved.iter().enumerate() {
        let room = shape(pool, instance_type, seen);
        let bin = empty(pool, format!("asked-{}-{n}", pool.name), Some((*instance_type).to_owned()), room);
        bins.push(Bin { state: BinState::Launching, ..bin });
    }
    bins
}

fn empty(pool: &Pool, node: String, instance_type: Option<String>, room: Resources) -> Bin {
    let hourly = instance_type.as_deref().and_then(|t| declared(pool, t)).map(|t| t.hourly_cost).unwrap_or_default();
    Bin {
        node,
        pool: pool.name.clone(),
        instance_type,
        instance: None,
        state: BinState::New,
        free: room.clone(),
        room,
        replicas: BTreeMap::new(),
        running: BTreeMap::new(),
        hourly,
        owner: None,
        used: false,
    }
}

/// The room of a node that may have joined and is not Ready yet: no more than it offers already. What device plugins add comes later, and is as declared.
fn joining(mut room: Resources, node: Option<&Node>) -> Resources {
    if let Some(real) = node.map(room_of) {
        (room.cpu, room.memory, room.pods) = (room.cpu.min(real.cpu), room.memory.min(real.memory), room.pods.min(real.pods));
    }
    room
}

/// A bin for a node that is to be launched.
#[must_use]
pub fn new_bin(pool: &Pool, instance_type: &InstanceType, seen: &Snapshot, n: usize) -> Bin {
    let room = shape(pool, &instance_type.name, seen);
    empty(pool, format!("new-{}-{}-{n}", pool.name, instance_type.name), Some(instance_type.name.clone()), room)
}

/// The pool's declaration of an instance type; an instance of a type that was removed from the spec has none.
#[must_use]
pub fn declared<'p>(pool: &'p Pool, instance_type: &str) -> Option<&'p InstanceType> {
    pool.spec.nodes.ec2.as_ref()?.instance_types.iter().find(|t| t.name == instance_type)
}

fn room_of(node: &Node) -> Resources {
    let mut room = node.allocatable.clone();
    room.add(&node.others, -1);
    room
}

/// What a node of the type that has not joined yet will offer: its allocatable less the most that other pods (DaemonSets first of all) take on
/// nodes of rented pools that have joined.
#[must_use]
pub fn shape(pool: &Pool, instance_type: &str, seen: &Snapshot) -> Resources {
    let Some(declared) = declared(pool, instance_type) else { return Resources::default() };
    let mut room = Resources::of(&declared.allocatable);
    if room.pods == 0 {
        room.pods = DEFAULT_PODS;
    }
    room.add(&overhead(seen), -1);
    room
}

fn overhead(seen: &Snapshot) -> Resources {
    let others = || seen.known_nodes().filter(|n| n.instance.is_some() && n.ready).map(|n| &n.others);
    Resources {
        cpu: others().map(|o| o.cpu).max().unwrap_or_default(),
        memory: others().map(|o| o.memory).max().unwrap_or_default(),
        pods: others().map(|o| o.pods).max().unwrap_or_default(),
        extended: BTreeMap::new(),
    }
}
