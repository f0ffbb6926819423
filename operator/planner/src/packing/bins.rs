//! Nodes as bins, and what is in them.

use std::{
    borrow::Borrow,
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use onsale_api::{Money, onsale::Budget};

use super::{
    Keep, Work, add,
    bounds::Bounds,
    budget,
    nodes::{may_be_on_new, of_pool},
};
use crate::{fleet::Bound, index::Indexed, resources::Resources, shared::Shared};

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
    /// The pool's index in [`crate::Snapshot::pools`].
    pub place: usize,
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
    /// The sale that is to pay for it, of those of the workload that it was opened for.
    pub payer: Option<usize>,
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

    /// Is used by `n` more, at the charge of the first sale that uses the node, if any is to be charged.
    fn serve(&mut self, work: &Work, n: i32, payer: Option<usize>) {
        self.takes += n;
        if let Some(sale) = payer {
            self.owner.get_or_insert_with(|| (work.id.namespace.clone(), sale));
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

/// Replicas of a workload by pool.
pub type Held = Shared<BTreeMap<String, i32>>;

/// All bins, in the order in which they are filled.
#[derive(Clone, Debug, Default)]
pub struct Bins {
    /// All bins; indices stay valid.
    pub all: Vec<Bin>,
    /// By the pool's index.
    by_pool: Vec<InPool>,
    least: Resources,
    /// Indices of the pools that the workloads of each sale with a budget may use, by its own.
    reach: BTreeMap<usize, BTreeSet<usize>>,
    /// Replicas by workload and pool; under the empty name those that run on nodes of no pool.
    held: BTreeMap<usize, Held>,
}

impl Bins {
    /// The bins of a snapshot, with the pods in them that stay.
    #[must_use]
    pub(super) fn of(bounds: &Bounds<'_>, works: &[Work], keep: Keep) -> Self {
        let seen = bounds.seen;
        let by_pool = vec![InPool::default(); seen.pools.len()];
        let mut bins = Self { least: seen.least.clone(), by_pool, ..Self::default() };
        let mut found: Vec<Bin> = (0..seen.pools.len()).flat_map(|place| of_pool(place, seen)).collect();
        match keep {
            Keep::Bound => found.sort_by_key(|bin| bin.state),
            Keep::Existing => {
                // What is fullest is kept: coming home then moves the fewest pods.
                let mut pods: BTreeMap<usize, i32> = BTreeMap::new();
                let bound = seen.bound.iter().flatten().filter_map(|on| Some((on.node?, on)));
                bound.for_each(|(node, on)| *pods.entry(node).or_default() += on.stay + on.leave);
                let pods = |bin: &Bin| seen.node_index(&bin.node).and_then(|node| pods.get(&node)).copied().unwrap_or_default();
                found.sort_by_cached_key(|bin| (bin.state, Reverse(pods(bin)), bin.node.clone()));
            }
            Keep::Home => found.retain(|bin| bin.instance_type.is_none()),
        }
        for bin in found {
            bins.add(bin);
        }
        let by_node = bins.all.iter().enumerate().filter_map(|(at, bin)| Some((seen.node_index(&bin.node)?, at))).collect();
        for work in works {
            bins.settle(bounds, &by_node, work, keep);
        }
        bins
    }

    /// Notes which pools the workloads of a sale may use: only its budget has to know.
    pub fn expect(&mut self, seen: &Indexed<'_>, works: &[Work]) {
        for work in works {
            for payer in work.payers.iter().filter(|payer| budget(seen, payer.sale) != Budget::default()) {
                self.reach.entry(payer.sale).or_default().extend(work.distances.iter().filter_map(|d| seen.index_of(&d.pool)));
            }
        }
    }

    /// Indices of the pools that some workload of a sale with a budget may use.
    #[must_use]
    pub fn reach(&self, sale: usize) -> Option<&BTreeSet<usize>> {
        self.reach.get(&sale)
    }

    /// Adds a bin at the end of its pool's order.
    pub fn add(&mut self, bin: Bin) -> usize {
        self.by_pool[bin.place].bins.push(self.all.len());
        self.all.push(bin);
        self.all.len() - 1
    }

    /// Indices of the bins of the pool of this index, in the order in which they are filled.
    #[must_use]
    pub fn in_pool(&self, place: usize) -> &[usize] {
        &self.by_pool[place].bins
    }

    /// Bins of a pool.
    pub fn of_pool(&self, place: usize) -> impl Iterator<Item = &Bin> {
        self.in_pool(place).iter().map(|i| &self.all[*i])
    }

    /// The first bin of the pool, from the `from`-th on, with room for one more replica: its place in the pool's order.
    #[must_use]
    pub fn with_room(&mut self, seen: &Indexed<'_>, place: usize, from: usize, work: &Work, keep: Keep) -> Option<usize> {
        let InPool { bins, open } = &mut self.by_pool[place];
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
                    None => bin.instance_type.as_ref().is_none_or(|of| may_be_on_new(&work.node_terms, &seen.pools[place], of)),
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
    pub fn held(&self, work: usize) -> Option<&Held> {
        self.held.get(&work)
    }

    /// How many they are in all.
    #[must_use]
    pub fn placed(&self, work: usize) -> i32 {
        self.held(work).map_or(0, |held| held.values().sum())
    }

    /// Plans so many replicas in a bin, or only keeps their room; the first of them, which is at the charge of its sale if it is the first that uses the node.
    pub fn take(&mut self, bin: usize, work: &Work, replica: bool, n: i32) -> Taken {
        let placed = self.placed(work.index);
        let (at, bin) = (bin, &mut self.all[bin]);
        let (first, unowned) = (!bin.used(), bin.owner.is_none());
        bin.free.add(&work.requests, -i64::from(n));
        let chosen = bin.payer.filter(|sale| work.is_paid_by(*sale));
        bin.serve(work, n, chosen.or_else(|| work.payers_beside(placed).next().map(|payer| payer.sale)));
        let taken = Taken { bin: at, work: work.index, replica, first, charged: unowned && bin.owner.is_some() };
        if replica {
            *bin.replicas.entry(work.index).or_default() += n;
            add(self.held.entry(work.index).or_default(), &bin.pool, n);
        } else {
            *bin.headroom.entry(work.index).or_default() += n;
        }
        taken
    }

    /// Undoes [`Bins::take`], for so many of them.
    pub fn give_back(&mut self, taken: Taken, n: i32, requests: &Resources) {
        let bin = &mut self.all[taken.bin];
        self.by_pool[bin.place].open = 0;
        bin.free.add(requests, n.into());
        bin.takes -= n;
        if !bin.used() {
            bin.owner = None;
        }
        if taken.replica {
            less(&mut bin.replicas, &taken.work, n);
            self.held.get_mut(&taken.work).into_iter().for_each(|held| less(held, bin.pool.as_str(), n));
        } else {
            less(&mut bin.headroom, &taken.work, n);
        }
    }

    /// Forgets bins from this one on, which hold nothing.
    pub fn truncate(&mut self, bins: usize) {
        self.all.truncate(bins);
        for pool in &mut self.by_pool {
            pool.bins.truncate(pool.bins.partition_point(|bin| *bin < bins));
            pool.open = pool.open.min(pool.bins.len());
        }
    }

    /// A bin that is charged to one of these sales is charged to the next, of the same namespace.
    pub fn hand_over(&mut self, bin: usize, from: &[usize], to: usize) {
        if let Some((_, sale)) = self.all[bin].owner.as_mut().filter(|(_, sale)| from.contains(sale)) {
            *sale = to;
        }
    }

    /// Bins as they were, by index, those at the end that are not there any more included; and what workloads held.
    pub(super) fn restore(&mut self, bins: Vec<(usize, Bin)>, held: Vec<(usize, Held)>) {
        for (at, bin) in bins {
            match self.all.get_mut(at) {
                Some(there) => *there = bin,
                None => drop(self.add(bin)),
            }
        }
        self.held.extend(held);
    }

    /// Puts the workload's bound pods into their bins. A pod that is going counts for nothing, and takes its room unless it is gone soon.
    fn settle(&mut self, bounds: &Bounds<'_>, by_node: &BTreeMap<usize, usize>, work: &Work, keep: Keep) {
        let rank = |at: &usize| work.distances.iter().find(|d| d.pool == self.all[*at].pool).map_or(i32::MAX, |d| d.rank);
        // The nearest first: those are the replicas of the sale that opens first.
        let mut bound: Vec<&Bound> = bounds.seen.bound[work.index].iter().collect();
        if work.payers.len() > 1 {
            bound.sort_by_cached_key(|on| on.node.and_then(|node| by_node.get(&node)).map(rank));
        }
        let mut placed = 0;
        for on in bound {
            let Some(at) = on.node.and_then(|node| by_node.get(&node)).copied() else {
                // On a node of no pool it is at home already; on a node that this packing leaves out it is nowhere.
                if on.stay > 0 && (keep == Keep::Bound || on.node.is_none()) {
                    add(self.held.entry(work.index).or_default(), "", on.stay);
                    placed += on.stay;
                }
                continue;
            };
            let bin = &mut self.all[at];
            if keep != Keep::Bound && bin.instance_type.is_some() {
                continue;
            }
            let hourly = bin.hourly;
            let takes_room = if work.leaves_soon { on.stay } else { on.stay + on.leave };
            bin.free.add(&work.requests, -i64::from(takes_room));
            if on.stay > 0 {
                *bin.replicas.entry(work.index).or_default() += on.stay;
                *bin.running.entry(work.index).or_default() += on.stay;
                // Pods that only happen to run there charge nobody.
                let may_be_here = work.outside.contains(&bin.pool) || work.distances.iter().any(|d| d.pool == bin.pool);
                let payer = if may_be_here { bounds.who_keeps(work, placed, hourly, self) } else { None };
                let bin = &mut self.all[at];
                bin.serve(work, on.stay, payer);
                placed += on.stay;
                add(self.held.entry(work.index).or_default(), &bin.pool, on.stay);
            }
        }
    }
}

/// Counts so many less; what comes to nothing is not there.
fn less<K: Ord + Borrow<Q>, Q: Ord + ?Sized>(counts: &mut BTreeMap<K, i32>, key: &Q, n: i32) {
    if let Some(count) = counts.get_mut(key) {
        *count -= n;
        if *count <= 0 {
            counts.remove(key);
        }
    }
}
