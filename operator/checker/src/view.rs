//! Facts of a snapshot and a plan that several rules need, computed once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use onsale_api::{Phase, onsale::Mode, onsale::SaleWorkload, pool::InstanceType};
use onsale_planner::{
    Plan, Snapshot,
    plan::{PoolPlan, SalePlan, Stage, WorkloadPlan},
    resources::{DEFAULT_PODS, Resources},
    snapshot::{Node, Pool, Sale, Workload},
};

use crate::{Rule, Violation};

/// A snapshot, a plan and what follows from both.
pub struct View<'a> {
    /// The world.
    pub seen: &'a Snapshot,
    /// The plan for it.
    pub plan: &'a Plan,
    /// The instant.
    pub now: Timestamp,
    nodes: BTreeMap<&'a str, &'a Node>,
    /// Bound pods, terminating ones included, by workload and node.
    on_node: BTreeMap<(usize, &'a str), i32>,
    /// The same by workload and pool; nodes of no pool under the empty name.
    in_pool: BTreeMap<(usize, &'a str), i32>,
}

/// One sale and what is planned for it.
pub type SaleView<'a> = (&'a Sale, &'a SalePlan);

/// The plan's lists are the snapshot's, in its order; everything else relies on it.
pub fn mirrors(seen: &Snapshot, plan: &Plan) -> Result<(), Violation> {
    let same = |what: &str, equal: bool| {
        if equal { Ok(()) } else { Err(Violation::new(Rule::Mirror, what, "the plan does not list what the snapshot lists, in its order")) }
    };
    same("sales", seen.sales.iter().map(|s| &s.id).eq(plan.sales.iter().map(|s| &s.id)))?;
    same("workloads", seen.workloads.iter().map(|w| &w.id).eq(plan.workloads.iter().map(|w| &w.id)))?;
    same("pools", seen.pools.iter().map(|p| &p.name).eq(plan.pools.iter().map(|p| &p.name)))
}

impl<'a> View<'a> {
    /// Reads both; the plan mirrors the snapshot.
    pub fn new(seen: &'a Snapshot, plan: &'a Plan, now: Timestamp) -> Self {
        let nodes: BTreeMap<&str, &Node> = seen.known_nodes().map(|n| (n.name.as_str(), n)).collect();
        let (mut on_node, mut in_pool) = (BTreeMap::new(), BTreeMap::new());
        for (index, workload) in seen.workloads.iter().enumerate() {
            for name in workload.pods.iter().filter_map(|pod| pod.node.as_deref()) {
                let pool = nodes.get(name).map_or("", |n| n.pool.as_str());
                *on_node.entry((index, name)).or_default() += 1;
                *in_pool.entry((index, pool)).or_default() += 1;
            }
        }
        Self { seen, plan, now, nodes, on_node, in_pool }
    }

    /// Sales with what is planned for them.
    pub fn sales(&self) -> impl Iterator<Item = SaleView<'a>> {
        self.seen.sales.iter().zip(&self.plan.sales)
    }
    /// Sales that raise floors and hold nodes.
    pub fn holding(&self) -> impl Iterator<Item = SaleView<'a>> {
        self.sales().filter(|(sale, plan)| plan.phase.holds() && sale.spec.mode == Mode::Live)
    }
    /// Workloads by index, with what is planned for them.
    pub fn works(&self) -> impl Iterator<Item = (usize, &'a Workload, &'a WorkloadPlan)> {
        self.seen.workloads.iter().zip(&self.plan.workloads).enumerate().map(|(i, (w, p))| (i, w, p))
    }
    /// Workloads that are on their way up or up.
    pub fn held_works(&self) -> impl Iterator<Item = (usize, &'a Workload, &'a WorkloadPlan)> {
        self.works().filter(|(_, _, plan)| matches!(plan.stage, Stage::Preparing | Stage::Holding))
    }
    /// Pools with what is planned for them.
    pub fn pools(&self) -> impl Iterator<Item = (&'a Pool, &'a PoolPlan)> {
        self.seen.pools.iter().zip(&self.plan.pools)
    }
    /// One pool with its plan.
    pub fn pool(&self, name: &str) -> Option<(&'a Pool, &'a PoolPlan)> {
        self.pools().find(|(pool, _)| pool.name == name)
    }
    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&'a Node> {
        self.nodes.get(name).copied()
    }

    /// Who decides about a workload: the holding sales that name it; without any the returning, then the scheduled ones.
    pub fn deciders(&self, work: &WorkloadPlan) -> Vec<(&'a Sale, &'a SaleWorkload)> {
        let naming = |wanted: &dyn Fn(&SaleView<'a>) -> bool| -> Vec<(&'a Sale, &'a SaleWorkload)> {
            let naming = self.sales().filter(|s| wanted(s)).filter_map(|(sale, _)| Some((sale, named(sale, work)?)));
            naming.collect()
        };
        let holding = naming(&|(sale, plan)| plan.phase.holds() && sale.spec.mode == Mode::Live);
        if !holding.is_empty() {
            return holding;
        }
        let returning = naming(&|(_, plan)| plan.phase == Phase::Returning);
        if returning.is_empty() { naming(&|(_, plan)| plan.phase == Phase::Scheduled) } else { returning }
    }

    /// Whose bounds hold for a workload: those of every active sale that names it, for buyers of each meet any of its pods; without any, of whoever decides.
    pub fn bounding(&self, work: &WorkloadPlan) -> Vec<(&'a Sale, &'a SaleWorkload)> {
        let active = self.sales().filter(|(_, plan)| plan.phase.is_active()).filter_map(|(sale, _)| Some((sale, named(sale, work)?)));
        let active: Vec<_> = active.collect();
        if active.is_empty() { self.deciders(work) } else { active }
    }

    /// The same, and those of sales that were active until this pass: they may bind still.
    pub fn may_bind(&self, work: &WorkloadPlan) -> Vec<(&'a Sale, &'a SaleWorkload)> {
        let was = self.seen.sales.iter().filter(|sale| sale.status.phase.is_some_and(Phase::is_active));
        self.bounding(work).into_iter().chain(was.filter_map(|sale| Some((sale, named(sale, work)?)))).collect()
    }

    /// Pods of a workload that are bound to a node, terminating ones included.
    pub fn on_node(&self, workload: usize, node: &str) -> i32 {
        self.on_node.get(&(workload, node)).copied().unwrap_or_default()
    }
    /// Pods of a workload that are bound in a pool, terminating ones included.
    pub fn in_pool(&self, workload: usize, pool: &str) -> i32 {
        self.in_pool.get(&(workload, pool)).copied().unwrap_or_default()
    }
    /// Pods of a workload that run where the plan fills no node: in no pool, or on nodes that are lost, closed or unknown.
    pub fn adrift(&self, workload: usize) -> i32 {
        let filled: BTreeSet<&str> = self.plan.pools.iter().flat_map(|p| &p.fills).map(|f| f.node.as_str()).collect();
        self.on_node.iter().filter(|((index, name), _)| *index == workload && !filled.contains(name)).map(|(_, n)| n).sum()
    }
    /// Replicas that the plan puts into a pool beyond those that are there.
    pub fn fresh(&self, workload: usize, pool: &str, planned: i32) -> i32 {
        (planned - self.in_pool(workload, pool)).max(0)
    }
    /// Requests of one pod, where they are known.
    pub fn requests(&self, workload: usize) -> Option<&'a Resources> {
        self.seen.workloads.get(workload)?.target.as_ref().map(|t| &t.requests)
    }
}

/// The wish of a sale for a workload, if it names it.
pub fn named<'a>(sale: &'a Sale, work: &WorkloadPlan) -> Option<&'a SaleWorkload> {
    let same = |w: &&SaleWorkload| w.target.kind == work.id.kind && w.target.name == work.id.name;
    sale.spec.workloads.iter().filter(|_| sale.id.namespace == work.id.namespace).find(same)
}

/// Instance types that a pool declares; none for existing nodes.
pub fn declared(pool: &Pool) -> &[InstanceType] {
    pool.spec.nodes.ec2.as_ref().map_or(&[], |ec2| &ec2.instance_types)
}

/// What a node of this type offers.
pub fn offer(kind: &InstanceType) -> Resources {
    let mut all = Resources::of(&kind.allocatable);
    if !kind.allocatable.contains_key("pods") {
        all.pods = DEFAULT_PODS;
    }
    all
}

/// Instances of the pool that are of use, by type.
pub fn existing(pool: &Pool) -> BTreeMap<&str, i32> {
    let mut count = BTreeMap::new();
    for instance in pool.instances.iter().flatten().filter(|i| !i.leaving) {
        *count.entry(instance.instance_type.as_str()).or_default() += 1;
    }
    count
}

/// Instances that launches in the ledger have made or may be making and that are not seen yet, by type.
pub fn underway(pool: &Pool) -> BTreeMap<&str, i32> {
    let seen: BTreeSet<&str> = pool.instances.iter().flatten().map(|i| i.id.as_str()).collect();
    let mut count = BTreeMap::new();
    for launch in &pool.status.launches {
        let unseen = launch.instances.iter().filter(|id| !seen.contains(id.as_str())).count();
        let n = if launch.resolved { i32::try_from(unseen).unwrap_or(i32::MAX) } else { launch.count };
        *count.entry(launch.instance_type.as_str()).or_default() += n;
    }
    count
}

/// `used` fits into `room`; what is not asked for fits everywhere.
pub fn within(used: &Resources, room: &Resources) -> bool {
    let fits = |used: i64, room: i64| used <= 0 || used <= room;
    fits(used.cpu, room.cpu)
        && fits(used.memory, room.memory)
        && fits(used.pods, room.pods)
        && used.extended.iter().all(|(name, n)| fits(*n, room.extended.get(name).copied().unwrap_or_default()))
}

/// `all` less `part`.
pub fn less(all: &Resources, part: &Resources) -> Resources {
    let mut rest = all.clone();
    rest.add(part, -1);
    rest
}
