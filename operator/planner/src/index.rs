//! A snapshot with what is looked up by name at hand, made once a plan: a plan then costs what the fleet holds, and not its square.

use std::{collections::HashMap, ops::Deref};

use jiff::Timestamp;
use onsale_api::onsale::SaleWorkload;

use crate::{
    addresses::Addresses,
    alike::{Alike, PoolList},
    fleet::{self, Bound, Have, Running},
    lead::Pace,
    overhead,
    overlay::{self, Term},
    quotas::Quotas,
    resources::Resources,
    snapshot::{Node, Pool, Snapshot, Workload, WorkloadId},
};

/// A snapshot at an instant. Dereferences to the [`Snapshot`]; its own methods of the same names are the fast ones.
#[derive(Debug)]
pub struct Indexed<'a> {
    seen: &'a Snapshot,
    /// The instant.
    pub now: Timestamp,
    /// What each pool has, in the snapshot's order.
    pub have: Vec<Have<'a>>,
    /// On which nodes the pods of each workload are, in the snapshot's order.
    pub bound: Vec<Vec<Bound>>,
    /// The same by pool.
    pub running: Vec<Running>,
    /// What pods of no sale's workload take on a new node of each pool, in the snapshot's order.
    overhead: Vec<Resources>,
    /// No pod of a workload asks for less of anything.
    pub least: Resources,
    /// While the cloud does not say what some pool has: its index.
    pub unknown: Vec<usize>,
    /// What subnets leave.
    pub addresses: Addresses,
    /// What the account's quotas leave.
    pub quotas: Quotas<'a>,
    /// What is alike for many.
    pub alike: Alike,
    /// The labels of each pool's nodes, in the snapshot's order.
    terms: Vec<Term>,
    /// How fast each pool is, in the snapshot's order.
    pub paces: Vec<Pace>,
    pools: HashMap<&'a str, usize>,
    all: Vec<&'a Node>,
    nodes: HashMap<&'a str, usize>,
    instances: HashMap<&'a str, &'a Node>,
    named: Vec<Vec<Option<usize>>>,
    wishes: Vec<Vec<(usize, &'a SaleWorkload)>>,
}

impl Deref for Indexed<'_> {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        self.seen
    }
}

impl<'a> Indexed<'a> {
    /// Indexes a snapshot.
    #[must_use]
    pub fn new(seen: &'a Snapshot, now: Timestamp) -> Self {
        let workloads: HashMap<&WorkloadId, usize> = seen.workloads.iter().enumerate().map(|(i, w)| (&w.id, i)).collect();
        let named: Vec<Vec<Option<usize>>> =
            seen.sales.iter().map(|sale| sale.workload_ids().map(|id| workloads.get(&id).copied()).collect()).collect();
        let mut wishes = vec![Vec::new(); seen.workloads.len()];
        for (sale, names) in named.iter().enumerate() {
            for (workload, wish) in names.iter().zip(&seen.sales[sale].spec.workloads) {
                if let Some(workload) = *workload {
                    wishes[workload].push((sale, wish));
                }
            }
        }
        let all: Vec<&Node> = seen.known_nodes().collect();
        let nodes: HashMap<&str, usize> = all.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
        let bound: Vec<Vec<Bound>> = seen.workloads.iter().map(|work| fleet::bound(work, |node| nodes.get(node).copied())).collect();
        Self {
            seen,
            now,
            have: seen.pools.iter().map(|pool| fleet::have(pool, seen, now)).collect(),
            running: bound.iter().map(|work| fleet::running(work, |node| all[node].pool.as_str())).collect(),
            bound,
            overhead: overhead::of(seen),
            least: seen
                .workloads
                .iter()
                .filter_map(|w| w.target.as_ref())
                .map(|t| t.requests.clone())
                .reduce(|a, b| a.least(&b))
                .unwrap_or_default(),
            unknown: (0..seen.pools.len()).filter(|i| seen.pools[*i].instances.is_none()).collect(),
            addresses: Addresses::of(seen, now),
            quotas: Quotas::of(seen, now),
            alike: Alike::default(),
            terms: seen.pools.iter().map(overlay::term).collect(),
            paces: seen.pools.iter().map(Pace::of).collect(),
            pools: seen.pools.iter().enumerate().map(|(i, p)| (p.name.as_str(), i)).collect(),
            all,
            nodes,
            instances: seen.known_nodes().filter_map(|n| Some((n.instance.as_deref()?, n))).collect(),
            named,
            wishes,
        }
    }

    /// The snapshot itself.
    #[must_use]
    pub const fn snapshot(&self) -> &'a Snapshot {
        self.seen
    }

    /// What pods of no sale's workload take on a new node of the pool.
    #[must_use]
    pub fn overhead(&self, pool: &str) -> Option<&Resources> {
        self.pools.get(pool).map(|i| &self.overhead[*i])
    }

    /// The pool, if there is one.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&'a Pool> {
        self.pools.get(name).map(|i| &self.seen.pools[*i])
    }

    /// The pools of the snapshot for which `which` holds.
    #[must_use]
    pub fn pools_where(&self, which: impl Fn(&Pool) -> bool) -> PoolList {
        self.alike.list(&self.seen.pools, (0..self.seen.pools.len()).filter(|i| which(&self.seen.pools[*i])).collect())
    }

    /// Those pools of a list for which `which` holds.
    #[must_use]
    pub fn pools_among(&self, list: &PoolList, which: impl Fn(&Pool) -> bool) -> PoolList {
        self.alike.list(&self.seen.pools, list.at().iter().copied().filter(|i| which(&self.seen.pools[*i])).collect())
    }

    /// The pool's index in [`Snapshot::pools`], if there is one.
    #[must_use]
    pub fn index_of(&self, pool: &str) -> Option<usize> {
        self.pools.get(pool).copied()
    }

    /// The labels of the pool's nodes.
    #[must_use]
    pub fn term_of(&self, pool: &str) -> Option<&Term> {
        self.pools.get(pool).map(|i| &self.terms[*i])
    }

    /// What the pool has.
    #[must_use]
    pub fn have_of(&self, pool: &str) -> Option<&Have<'a>> {
        self.pools.get(pool).map(|i| &self.have[*i])
    }

    /// The node, if it is known.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&'a Node> {
        self.nodes.get(name).map(|i| self.all[*i])
    }

    /// The node's number among those that are known, if it is.
    #[must_use]
    pub fn node_index(&self, name: &str) -> Option<usize> {
        self.nodes.get(name).copied()
    }

    /// The node that an instance became, if it did.
    #[must_use]
    pub fn node_of(&self, instance: &str) -> Option<&'a Node> {
        self.instances.get(instance).copied()
    }

    /// The workloads that a sale names, in the order of its spec: their indices, where they are in the snapshot.
    #[must_use]
    pub fn named(&self, sale: usize) -> &[Option<usize>] {
        &self.named[sale]
    }

    /// The workloads that a sale names and that are in the snapshot.
    pub fn workloads_of(&self, sale: usize) -> impl Iterator<Item = &'a Workload> {
        self.named[sale].iter().flatten().map(|i| &self.seen.workloads[*i])
    }

    /// The sales that name a workload, and what they want of it.
    #[must_use]
    pub fn wishes(&self, workload: usize) -> &[(usize, &'a SaleWorkload)] {
        &self.wishes[workload]
    }
}
