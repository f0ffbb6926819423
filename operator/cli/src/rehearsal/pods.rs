//! ReplicaSets, the admission policies and the scheduler in one: as many pods as are wanted, each where its stamp allows.

use std::collections::{BTreeMap, HashMap};

use onsale_planner::{
    resources::Resources,
    snapshot::{Pod, PodRef, TargetState, Workload},
};

use super::Stage;

/// Pods that its controller keeps.
fn wanted(target: &TargetState) -> usize {
    usize::try_from(target.replicas.max(target.value)).unwrap_or_default()
}

impl Stage {
    pub(super) fn schedule(&mut self) {
        let at_rest = |w: &Workload| {
            let wanted = w.target.as_ref().map_or(w.pods.len(), wanted);
            w.pods.len() == wanted && w.pods.iter().all(|p| p.node.is_some())
        };
        if !std::mem::take(&mut self.moved) && self.seen.workloads.iter().all(at_rest) {
            return;
        }
        let mut free = self.free();
        for index in 0..self.seen.workloads.len() {
            self.scale(index, &mut free);
            self.bind(index, &mut free);
        }
        self.count_evictable();
    }

    /// What is free on each node that takes pods.
    fn free(&self) -> HashMap<String, Resources> {
        let room = |n: &onsale_planner::snapshot::Node| {
            let mut room = n.allocatable.clone();
            room.add(&n.others, -1);
            (n.name.clone(), room)
        };
        let mut free: HashMap<String, Resources> = self.seen.known_nodes().filter(|n| n.ready).map(room).collect();
        for work in &self.seen.workloads {
            let Some(target) = &work.target else { continue };
            for node in work.pods.iter().filter_map(|p| p.node.as_ref()) {
                if let Some(room) = free.get_mut(node) {
                    room.add(&target.requests, -1);
                }
            }
        }
        free
    }

    /// Unbound pods go first, then those on the farthest nodes: pod-deletion-cost.
    fn scale(&mut self, index: usize, free: &mut HashMap<String, Resources>) {
        let Some(work) = self.seen.workloads.get_mut(index) else { return };
        let Some(target) = &work.target else { return };
        let wanted = wanted(target);
        if work.pods.len() > wanted {
            let pools: HashMap<&str, &str> = self.seen.nodes.iter().flatten().map(|n| (n.name.as_str(), n.pool.as_str())).collect();
            // On nodes of no pool they go last.
            let ranks: HashMap<&str, i32> =
                work.placement.iter().flat_map(|p| &p.spec.distances).map(|d| (d.pool.as_str(), d.rank)).collect();
            let rank = |node: &str| pools.get(node).and_then(|pool| ranks.get(pool)).copied().unwrap_or(-1);
            work.pods.sort_by_cached_key(|p| (p.node.is_some(), p.node.as_ref().map(|n| -rank(n))));
            let surplus = work.pods.len() - wanted;
            for gone in work.pods.drain(..surplus) {
                if let Some(room) = gone.node.and_then(|node| free.get_mut(&node)) {
                    room.add(&target.requests, 1);
                }
            }
        }
        while work.pods.len() < wanted {
            self.next += 1;
            let name = format!("{}-new-{}", work.id.name, self.next);
            let (revision, created_at) = (work.overlay, self.now);
            work.pods.push(Pod { revision, ..Pod::new(&name, None, created_at) });
        }
    }

    fn bind(&mut self, index: usize, free: &mut HashMap<String, Resources>) {
        let work = &self.seen.workloads[index];
        let Some(target) = &work.target else { return };
        let spec = work.placement.as_ref().map(|p| &p.spec);
        let rank = |revision: Option<i64>, pool: &str, rented: bool| match (spec, revision) {
            // A stale stamp keeps a pod where the overlay of its time sent it: nowhere, as far as anybody knows.
            (Some(spec), Some(stamp)) if stamp == spec.revision => {
                spec.distances.iter().find(|d| d.pool == pool && spec.permitted.contains(&d.pool)).map(|d| d.rank)
            }
            (_, Some(_)) => None,
            (_, None) => (!rented).then_some(0),
        };
        let meets = |labels: &BTreeMap<String, String>| {
            target.node_terms.is_empty() || target.node_terms.iter().any(|term| term.iter().all(|r| r.holds(labels)))
        };
        let nodes: Vec<_> = self.seen.known_nodes().filter(|n| n.ready && !n.cordoned && meets(&n.labels)).collect();
        let mut bound = Vec::new();
        for (n, pod) in work.pods.iter().enumerate().filter(|(_, p)| p.node.is_none() && !p.terminating) {
            let candidates = nodes.iter().filter_map(|node| {
                let rank = rank(pod.revision, &node.pool, node.instance.is_some())?;
                let room = free.get(&node.name).filter(|room| room.count_of(&target.requests) > 0)?;
                Some((rank, std::cmp::Reverse(room.cpu), node.name.as_str()))
            });
            let Some((.., node)) = candidates.min() else { continue };
            if let Some(room) = free.get_mut(node) {
                room.add(&target.requests, -1);
            }
            bound.push((n, node.to_owned()));
        }
        for (n, node) in bound {
            let pod = &mut self.seen.workloads[index].pods[n];
            (pod.node, pod.ready) = (Some(node), true);
        }
    }

    /// On rented nodes: what a drain would have to evict.
    fn count_evictable(&mut self) {
        let rented = self.seen.nodes.iter().flatten().filter(|n| n.instance.is_some());
        let mut here: HashMap<String, Vec<PodRef>> = rented.map(|n| (n.name.clone(), Vec::new())).collect();
        for work in &self.seen.workloads {
            for pod in &work.pods {
                let Some(here) = pod.node.as_ref().and_then(|node| here.get_mut(node)) else { continue };
                let (namespace, name, uid) = (work.id.namespace.clone(), pod.name.clone(), pod.uid.clone());
                here.push(PodRef { namespace, name, uid, terminating: pod.terminating });
            }
        }
        for node in self.seen.nodes.iter_mut().flatten().filter(|n| n.instance.is_some()) {
            node.evictable = here.remove(&node.name).unwrap_or_default();
        }
    }
}
