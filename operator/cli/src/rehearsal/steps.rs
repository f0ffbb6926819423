//! What each step does to the data structure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use onsale_api::{
    names,
    placement::{Contest, FloorKind},
};
use onsale_planner::{
    fleet::labels_of_new,
    index::Indexed,
    packing::nodes,
    snapshot::{Instance, Node, Placement, PodRef, WorkloadId},
    steps::{ChainKey, Step},
};

use super::{Stage, What};

impl Stage {
    pub(super) fn carry_out(&mut self, key: &ChainKey, step: Step) {
        self.moved |= matches!(step, Step::Terminate { .. } | Step::Evict { .. } | Step::ReplacePod { .. } | Step::Uncordon { .. });
        match key {
            ChainKey::Sale(id) => {
                if let Some(sale) = self.seen.sales.iter_mut().find(|s| s.id == *id) {
                    sale.protected = matches!(step, Step::ProtectSale);
                }
            }
            ChainKey::Pool(name) => self.pool_step(name, step),
            ChainKey::Workload(id) => self.workload_step(id, step),
        }
    }

    fn pool_step(&mut self, name: &str, step: Step) {
        match step {
            Step::ProtectPool | Step::ReleasePool => {
                let protect = matches!(step, Step::ProtectPool);
                self.seen.pools.iter_mut().filter(|p| p.name == name).for_each(|p| p.protected = protect);
            }
            Step::Launch { instance_type, count, .. } => self.launch(name, &instance_type, count),
            Step::Replay { sequence } => self.replay(name, sequence),
            Step::Terminate { instances, .. } => self.terminate(name, &instances),
            Step::Tidy { sequences, shortfalls } => {
                for pool in self.seen.pools.iter_mut().filter(|p| p.name == name) {
                    pool.status.launches.retain(|l| !sequences.contains(&l.sequence));
                    if shortfalls {
                        pool.status.shortfalls.clear();
                    }
                }
            }
            Step::Cordon { node, .. } => self.node(&node, |n| (n.cordoned, n.draining) = (true, true)),
            Step::Uncordon { node, .. } => self.node(&node, |n| (n.cordoned, n.draining) = (false, false)),
            Step::RepairNode { node, .. } => self.node(&node, |n| (n.labelled, n.tainted) = (true, true)),
            Step::Evict { pod, .. } => self.delete(&pod),
            // Steps of sales and workloads come under their own keys.
            Step::ProtectSale
            | Step::ReleaseSale
            | Step::Record { .. }
            | Step::WriteOverlay { .. }
            | Step::WriteFloor { .. }
            | Step::NoteContest { .. }
            | Step::ReplacePod { .. }
            | Step::RemoveOverlay
            | Step::RemoveRecord => {}
        }
    }

    fn launch(&mut self, name: &str, instance_type: &str, count: i32) {
        let (now, first) = (self.now, self.next);
        let Some(pool) = self.seen.pools.iter_mut().find(|p| p.name == name) else { return };
        pool.status.last_sequence += 1;
        for n in 0..usize::try_from(count).unwrap_or_default() {
            let id = format!("i-{:06}", first + n);
            let new = Instance { id, instance_type: instance_type.to_owned(), leaving: false, stopped: false, launched_at: now };
            pool.instances.get_or_insert_default().push(new);
        }
        self.next += usize::try_from(count).unwrap_or_default();
        self.tell(What::Launched { pool: name.to_owned(), instance_type: instance_type.to_owned(), count });
    }

    /// A launch of the ledger that was never answered: it is answered now.
    fn replay(&mut self, name: &str, sequence: i64) {
        let Some(pool) = self.seen.pools.iter_mut().find(|p| p.name == name) else { return };
        let open = pool.status.launches.iter_mut().find(|l| l.sequence == sequence && !l.resolved);
        let Some((instance_type, count)) = open.map(|launch| {
            launch.resolved = true;
            (launch.instance_type.clone(), launch.count)
        }) else {
            return;
        };
        self.launch(name, &instance_type, count);
    }

    fn terminate(&mut self, name: &str, ids: &[String]) {
        let ids: BTreeSet<&String> = ids.iter().collect();
        for pool in self.seen.pools.iter_mut().filter(|p| p.name == name) {
            pool.instances.iter_mut().for_each(|all| all.retain(|i| !ids.contains(&i.id)));
        }
        let gone = |n: &Node| n.instance.as_ref().is_some_and(|i| ids.contains(i));
        let nodes: BTreeSet<String> = self.seen.known_nodes().filter(|n| gone(n)).map(|n| n.name.clone()).collect();
        self.seen.nodes.iter_mut().for_each(|all| all.retain(|n| !gone(n)));
        for work in &mut self.seen.workloads {
            work.pods.retain(|p| p.node.as_ref().is_none_or(|n| !nodes.contains(n)));
        }
        self.tell(What::Terminated { pool: name.to_owned(), count: i32::try_from(ids.len()).unwrap_or(i32::MAX) });
    }

    fn node(&mut self, name: &str, change: impl Fn(&mut Node)) {
        self.seen.nodes.iter_mut().flatten().filter(|n| n.name == name).for_each(change);
    }

    fn delete(&mut self, pod: &PodRef) {
        self.seen.workloads.iter_mut().for_each(|w| w.pods.retain(|p| p.uid != pod.uid));
        // A pod of somebody else goes elsewhere, which is none of our business.
        self.seen.nodes.iter_mut().flatten().for_each(|n| n.evictable.retain(|p| p.uid != pod.uid));
    }

    fn workload_step(&mut self, id: &WorkloadId, step: Step) {
        let now = self.now;
        let Some(work) = self.seen.workloads.iter_mut().find(|w| w.id == *id) else { return };
        match step {
            Step::Record { spec } => {
                let status = work.placement.as_ref().map(|p| p.status.clone()).unwrap_or_default();
                work.placement = Some(Placement { spec: *spec, status });
            }
            Step::WriteOverlay { overlay } => work.overlay = overlay.stamp.rsplit('.').next().and_then(|r| r.parse().ok()),
            Step::WriteFloor { from, to, field, manager } => {
                let Some(target) = work.target.as_mut() else { return };
                target.value = to;
                target.manager = Some(manager.unwrap_or_else(|| names::MANAGER.to_owned()));
                let ordinary = if field.kind == FloorKind::Replicas { 0 } else { self.ordinary.get(id).copied().unwrap_or_default() };
                target.replicas = to.max(ordinary);
                self.tell(What::Floor { workload: id.clone(), from, to });
            }
            Step::NoteContest { manager, value } => {
                if let Some(placement) = work.placement.as_mut() {
                    let count = placement.status.contest.as_ref().map_or(1, |c| c.count + 1);
                    placement.status.contest = Some(Contest { manager, value, count, last: Time(now) });
                }
            }
            Step::ReplacePod { pod } => work.pods.retain(|p| p.uid != pod.uid),
            Step::RemoveOverlay => work.overlay = None,
            Step::RemoveRecord => work.placement = None,
            // Steps of sales and pools come under their own keys.
            Step::ProtectSale
            | Step::ReleaseSale
            | Step::ProtectPool
            | Step::ReleasePool
            | Step::Replay { .. }
            | Step::Launch { .. }
            | Step::Tidy { .. }
            | Step::RepairNode { .. }
            | Step::Cordon { .. }
            | Step::Uncordon { .. }
            | Step::Evict { .. }
            | Step::Terminate { .. } => {}
        }
    }

    /// Instances whose time has come are Ready nodes.
    pub(super) fn join(&mut self) {
        let mut joined: BTreeMap<String, i32> = BTreeMap::new();
        let due: Vec<(String, String)> =
            self.joins().into_iter().filter(|(at, ..)| *at <= self.now).map(|(_, pool, id)| (pool, id)).collect();
        if due.is_empty() {
            return;
        }
        let seen = Indexed::new(&self.seen, self.now);
        let nodes: Vec<Node> = due.iter().filter_map(|(pool, id)| fresh_node(&seen, pool, id)).collect();
        nodes.iter().for_each(|node| *joined.entry(node.pool.clone()).or_default() += 1);
        self.seen.nodes.get_or_insert_default().extend(nodes);
        self.moved |= !joined.is_empty();
        for (pool, count) in joined {
            self.tell(What::Joined { pool, count });
        }
    }
}

fn fresh_node(seen: &Indexed<'_>, pool: &str, id: &str) -> Option<Node> {
    let pool = seen.pool(pool)?;
    let instance = pool.instances.iter().flatten().find(|i| i.id == id)?;
    Some(Node {
        instance: Some(id.to_owned()),
        labels: labels_of_new(pool, &instance.instance_type)?,
        allocatable: nodes::shape(pool, &instance.instance_type, seen),
        ..Node::new(&format!("node-{id}"), &pool.name)
    })
}
