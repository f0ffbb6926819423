//! Nodes as bins: those that exist, those on their way, and new ones.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use onsale_api::{Money, onsale::Budget, pool::InstanceType};

use super::{Keep, NO_SALE, Work, add, budget};
use crate::{
    fleet::{Have, labels_of_new},
    index::Indexed,
    resources::Resources,
    shared::Shared,
    snapshot::{Node, Pool, Requirement},
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
    /// Node name; `new-<pool>-<type>-<n>` and the like where there is no node.
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
    /// Headroom that is kept there, in replicas by workload index.
    pub headroom: BTreeMap<usize, i32>,
    /// Price per hour, zero for existing nodes.
    pub hourly: Money,
    /// Namespace and sale that the node is charged to: the first that uses it.
    pub owner: Option<(String, usize)>,
    /// An existing node whose labels or taints may keep some pods away.
    pub picky: bool,
    /// How many replicas it is planned to hold, those of the headroom included.
    pub takes: i32,
}

impl Bin {
    /// It is planned to hold something.
    #[must_use]
    pub const fn used(&self) -> bool {
        self.takes > 0
    }

    /// It counts against limits and budgets: a new node that nothing is planned on any more does not.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.instance_type.is_some() && (self.state != BinState::New || self.used())
    }

    /// Takes the room of one replica, at the charge of the first sale that uses the node.
    fn take(&mut self, work: &Work) {
        self.free.add(&work.requests, -1);
        self.serve(work, true);
    }

    /// Is used, and charged where the workload may be here at all: pods that only happen to run there charge nobody.
    fn serve(&mut self, work: &Work, charged: bool) {
        self.takes += 1;
        if charged && work.sale != NO_SALE {
            self.owner.get_or_insert_with(|| (work.id.namespace.clone(), work.sale));
        }
    }
}

/// Room that was taken for one replica.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// The bin.
    pub bin: usize,
    /// The workload.
    pub work: usize,
    /// A replica, and not only headroom.
    pub replica: bool,
    /// It was the first in the bin.
    pub first: bool,
    /// It made its sale the one that is charged.
    pub charged: bool,
}

/// The bins of one pool, in the order in which they are filled.
#[derive(Clone, Debug, Default)]
struct InPool {
    bins: Vec<usize>,
    /// None before this one has room for any pod at all.
    open: usize,
}

/// All bins, in the order in which they are filled.
#[derive(Clone, Debug, Default)]
pub struct Bins {
    /// All bins; indices stay valid.
    pub all: Vec<Bin>,
    by_pool: BTreeMap<String, InPool>,
    least: Resources,
    /// Pools that the workloads of each sale with a budget may use, by its index.
    reach: BTreeMap<usize, BTreeSet<String>>,
    /// Replicas by workload and pool; under the empty name those that run on nodes of no pool.
    held: BTreeMap<usize, Shared<BTreeMap<String, i32>>>,
}

impl Bins {
    /// The bins of a snapshot, with the pods in them that stay.
    #[must_use]
    pub fn of(seen: &Indexed<'_>, works: &[Work], keep: Keep) -> Self {
        let mut bins = Self { least: seen.least.clone(), ..Self::default() };
        let mut found: Vec<Bin> = seen.pools.iter().zip(&seen.have).flat_map(|(pool, have)| of_pool(pool, have, seen)).collect();
        match keep {
            Keep::Bound => found.sort_by_key(|bin| bin.state),
            Keep::Existing => {
                // What is fullest is kept: coming home then moves the fewest pods.
                let mut pods: HashMap<&str, usize> = HashMap::new();
                let bound = seen.workloads.iter().flat_map(|w| &w.pods).filter_map(|p| p.node.as_deref());
                bound.for_each(|node| *pods.entry(node).or_default() += 1);
                let pods = |bin: &Bin| pods.get(bin.node.as_str()).copied().unwrap_or_default();
                found.sort_by_cached_key(|bin| (bin.state, Reverse(pods(bin)), bin.node.clone()));
            }
            Keep::Home => found.retain(|bin| bin.instance_type.is_none()),
        }
        for bin in found {
            bins.add(bin);
        }
        let by_node: HashMap<String, usize> = bins.all.iter().enumerate().map(|(i, bin)| (bin.node.clone(), i)).collect();
        for work in works {
            bins.settle(seen, &by_node, work, keep);
        }
        bins
    }

    /// Notes which pools the workloads of a sale may use: only its budget has to know.
    pub fn expect(&mut self, seen: &Indexed<'_>, works: &[Work]) {
        for work in works.iter().filter(|work| budget(seen, work.sale) != Budget::default()) {
            self.reach.entry(work.sale).or_default().extend(work.distances.iter().map(|d| d.pool.clone()));
        }
    }

    /// Pools that some workload of a sale with a budget may use.
    pub fn reach(&self, sale: usize) -> impl Iterator<Item = &String> {
        self.reach.get(&sale).into_iter().flatten()
    }

    /// Adds a bin at the end of its pool's order.
    pub fn add(&mut self, bin: Bin) -> usize {
        self.by_pool.entry(bin.pool.clone()).or_default().bins.push(self.all.len());
        self.all.push(bin);
        self.all.len() - 1
    }

    /// Indices of the bins of a pool, in the order in which they are filled.
    #[must_use]
    pub fn in_pool(&self, pool: &str) -> &[usize] {
        self.by_pool.get(pool).map_or(&[], |pool| pool.bins.as_slice())
    }

    /// Bins of a pool.
    pub fn of_pool(&self, pool: &str) -> impl Iterator<Item = &Bin> {
        self.in_pool(pool).iter().map(|i| &self.all[*i])
    }

    /// The first bin of the pool, from the `from`-th on, with room for one more replica: its place in the pool's order.
    #[must_use]
    pub fn with_room(&mut self, seen: &Indexed<'_>, pool: &str, from: usize, work: &Work, keep: Keep) -> Option<usize> {
        let InPool { bins, open } = self.by_pool.get_mut(pool)?;
        while bins.get(*open).is_some_and(|i| !self.all[*i].free.holds(&self.least)) {
            *open += 1;
        }
        let from = from.max(*open);
        let target = seen.workloads[work.index].target.as_ref();
        let admitted = |bin: &Bin| {
            let plain = !bin.picky && work.node_terms.is_empty();
            plain
                || match seen.node(&bin.node).zip(target) {
                    Some((node, target)) => target.may_be_on(node),
                    None => seen
                        .pool(&bin.pool)
                        .zip(bin.instance_type.as_ref())
                        .is_none_or(|(pool, of)| may_be_on_new(&work.node_terms, pool, of)),
                }
        };
        let usable = |i: &usize| {
            let bin = &self.all[*i];
            work.may_use(bin.state, keep) && bin.free.holds(&work.requests) && admitted(bin)
        };
        bins.iter().skip(from).position(usable).map(|n| from + n)
    }

    /// Replicas of a workload that have a place, by pool; under the empty name those that run on nodes of no pool.
    #[must_use]
    pub fn held(&self, work: usize) -> Option<&Shared<BTreeMap<String, i32>>> {
        self.held.get(&work)
    }

    /// How many they are in all.
    #[must_use]
    pub fn placed(&self, work: usize) -> i32 {
        self.held(work).map_or(0, |held| held.values().sum())
    }

    /// Plans one replica in a bin, or only keeps its room.
    pub fn take(&mut self, bin: usize, work: &Work, replica: bool) -> Taken {
        let (at, bin) = (bin, &mut self.all[bin]);
        let (first, unowned) = (!bin.used(), bin.owner.is_none());
        bin.take(work);
        let taken = Taken { bin: at, work: work.index, replica, first, charged: unowned && bin.owner.is_some() };
        if replica {
            *bin.replicas.entry(work.index).or_default() += 1;
            add(self.held.entry(work.index).or_default(), &bin.pool, 1);
        } else {
            *bin.headroom.entry(work.index).or_default() += 1;
        }
        taken
    }

    /// Undoes [`Bins::take`].
    pub fn give_back(&mut self, taken: Taken, requests: &Resources) {
        let bin = &mut self.all[taken.bin];
        if let Some(pool) = self.by_pool.get_mut(&bin.pool) {
            pool.open = 0;
        }
        bin.free.add(requests, 1);
        bin.takes -= 1;
        if !bin.used() {
            bin.owner = None;
        }
        if taken.replica {
            bin.replicas.entry(taken.work).and_modify(|n| *n -= 1);
            let held = self.held.get_mut(&taken.work).and_then(|pools| pools.get_mut(&bin.pool));
            held.into_iter().for_each(|n| *n -= 1);
        } else {
            bin.headroom.entry(taken.work).and_modify(|n| *n -= 1);
        }
    }

    /// Forgets bins from this one on, which hold nothing.
    pub fn truncate(&mut self, bins: usize) {
        self.all.truncate(bins);
        for pool in self.by_pool.values_mut() {
            pool.bins.retain(|bin| *bin < bins);
        }
        self.tidy();
    }

    /// Forgets that anything was ever held that is not any more.
    pub fn tidy(&mut self) {
        self.all.iter_mut().for_each(|bin| bin.replicas.retain(|_, n| *n > 0));
        let stale = self.held.values_mut().filter(|pools| pools.values().any(|n| *n <= 0));
        stale.for_each(|pools| pools.retain(|_, n| *n > 0));
    }

    /// Puts the workload's bound pods into their bins. A pod that is going counts for nothing, and takes its room unless it is gone soon.
    fn settle(&mut self, seen: &Indexed<'_>, by_node: &HashMap<String, usize>, work: &Work, keep: Keep) {
        for pod in &seen.workloads[work.index].pods {
            let Some(node) = &pod.node else { continue };
            let Some(bin) = by_node.get(node).map(|i| &mut self.all[*i]) else {
                // On a node of no pool it is at home already; on a node that this packing leaves out it is nowhere.
                if !pod.terminating && (keep == Keep::Bound || seen.node(node).is_none()) {
                    add(self.held.entry(work.index).or_default(), "", 1);
                }
                continue;
            };
            if keep != Keep::Bound && bin.instance_type.is_some() {
                continue;
            }
            if !pod.terminating || !work.leaves_soon {
                bin.free.add(&work.requests, -1);
            }
            if !pod.terminating {
                *bin.replicas.entry(work.index).or_default() += 1;
                *bin.running.entry(work.index).or_default() += 1;
                bin.serve(work, work.outside.contains(&bin.pool) || work.distances.iter().any(|d| d.pool == bin.pool));
                add(self.held.entry(work.index).or_default(), &bin.pool, 1);
            }
        }
    }
}

fn of_pool(pool: &Pool, have: &Have<'_>, seen: &Indexed<'_>) -> Vec<Bin> {
    let type_of = |node: &Node| {
        let id = node.instance.as_deref()?;
        pool.instances.iter().flatten().find(|i| i.id == id).map(|i| i.instance_type.clone())
    };
    let real = |node: &&Node, state| Bin {
        instance: node.instance.clone(),
        state,
        picky: !node.taints.is_empty(),
        ..empty(pool, node.name.clone(), type_of(node), room_of(node))
    };
    let mut bins: Vec<Bin> = have.ready.iter().map(|n| real(n, BinState::Ready)).collect();
    bins.extend(have.draining.iter().map(|n| real(n, BinState::Draining)));
    // Lost nodes hold what runs there and offer nothing: those that still serve keep counting.
    bins.extend(have.lost.iter().map(|n| Bin { room: Resources::default(), free: Resources::default(), ..real(n, BinState::Ready) }));
    for instance in &have.launching {
        let node = seen.node_of(&instance.id);
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
        headroom: BTreeMap::new(),
        hourly,
        owner: None,
        picky: false,
        takes: 0,
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
pub fn new_bin(pool: &Pool, instance_type: &InstanceType, seen: &Indexed<'_>, n: usize) -> Bin {
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

/// Whether pods that require these node labels may be on a node of the type that has not joined yet.
#[must_use]
pub fn may_be_on_new(node_terms: &[Vec<Requirement>], pool: &Pool, instance_type: &str) -> bool {
    node_terms.is_empty()
        || labels_of_new(pool, instance_type).is_some_and(|labels| node_terms.iter().any(|term| term.iter().all(|r| r.holds(&labels))))
}

/// What a node of the type that has not joined yet will offer: its allocatable less what other pods (DaemonSets first of all) take there.
#[must_use]
pub fn shape(pool: &Pool, instance_type: &str, seen: &Indexed<'_>) -> Resources {
    let Some(declared) = declared(pool, instance_type) else { return Resources::default() };
    let mut room = Resources::offered(&declared.allocatable);
    seen.overhead(&pool.name).into_iter().for_each(|overhead| room.add(overhead, -1));
    room
}
