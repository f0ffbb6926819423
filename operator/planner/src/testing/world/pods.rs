//! The ReplicaSet controller, the admission policy and the scheduler in one.

use std::collections::BTreeMap;

use super::{super::pod, World};
use crate::{
    resources::Resources,
    snapshot::{Node, PodRef},
};

impl World {
    /// Makes pods and takes them away, and binds those that may go somewhere.
    pub(super) fn schedule(&mut self) {
        for index in 0..self.seen.workloads.len() {
            self.scale(index);
            let Some(work) = self.seen.workloads.get(index).filter(|w| w.target.is_some()) else { continue };
            let requests = work.target.as_ref().unwrap().requests.clone();
            let unbound: Vec<usize> = (0..work.pods.len()).filter(|i| work.pods[*i].node.is_none()).collect();
            for pod in unbound {
                if let Some(node) = self.place(index, pod, &requests) {
                    let pod = &mut self.seen.workloads[index].pods[pod];
                    (pod.node, pod.ready) = (Some(node), true);
                }
            }
        }
        self.count_evictable();
    }

    fn scale(&mut self, index: usize) {
        let distance: BTreeMap<String, i32> = {
            let work = &self.seen.workloads[index];
            let pools: BTreeMap<&str, i32> =
                work.placement.iter().flat_map(|p| &p.spec.distances).map(|d| (d.pool.as_str(), d.rank)).collect();
            self.seen.known_nodes().map(|n| (n.name.clone(), pools.get(n.pool.as_str()).copied().unwrap_or(0))).collect()
        };
        let now = self.now;
        let work = &mut self.seen.workloads[index];
        let Some(target) = &mut work.target else { return };
        target.replicas = target.replicas.max(target.value);
        let (replicas, revision) = (target.replicas as usize, work.overlay.filter(|_| self.policies));
        // Unbound pods go first, then those on the farthest nodes: pod-deletion-cost.
        work.pods.sort_by_key(|p| (p.node.is_some(), p.node.as_ref().map(|n| -distance.get(n).copied().unwrap_or(-1))));
        if work.pods.len() > replicas {
            work.pods.drain(..work.pods.len() - replicas);
        }
        let allowed = self.no_pods_for.as_ref() != Some(&work.id.name);
        while allowed && work.pods.len() < replicas {
            self.next += 1;
            let mut new = pod(&work.id.name, i32::try_from(self.next).unwrap(), None);
            (new.revision, new.created_at) = (revision, now);
            work.pods.push(new);
        }
    }

    fn place(&self, index: usize, pod: usize, requests: &Resources) -> Option<String> {
        let work = &self.seen.workloads[index];
        let stamped = work.pods[pod].revision.is_some();
        let spec = work.placement.as_ref().map(|p| &p.spec);
        let current = spec.is_some_and(|s| work.pods[pod].revision == Some(s.revision));
        let rank = |n: &Node| {
            let rented = n.instance.is_some();
            match spec {
                Some(spec) if stamped && current => {
                    spec.distances.iter().find(|d| d.pool == n.pool && spec.permitted.contains(&d.pool)).map(|d| d.rank)
                }
                // A stale stamp keeps the pod where the overlay of its time sent it: nowhere, as far as this world knows.
                _ if stamped => None,
                _ => (!rented).then_some(0),
            }
        };
        let fits = |n: &&Node| n.ready && !n.cordoned && self.free(n).count_of(requests) > 0;
        let candidates =
            self.seen.known_nodes().filter(fits).filter_map(|n| Some((rank(n)?, std::cmp::Reverse(self.free(n).cpu), n.name.clone())));
        candidates.min().map(|(.., name)| name)
    }

    fn free(&self, node: &Node) -> Resources {
        let mut free = node.allocatable.clone();
        free.add(&node.others, -1);
        for work in &self.seen.workloads {
            if let Some(target) = &work.target {
                let here = work.pods.iter().filter(|p| p.node.as_ref() == Some(&node.name)).count();
                free.add(&target.requests, -(here as i64));
            }
        }
        free
    }

    fn count_evictable(&mut self) {
        let pods: Vec<(String, PodRef)> = self
            .seen
            .workloads
            .iter()
            .flat_map(|w| w.pods.iter().map(move |p| (w, p)))
            .filter_map(|(w, p)| {
                let reference =
                    PodRef { namespace: w.id.namespace.clone(), name: p.name.clone(), uid: p.uid.clone(), terminating: p.terminating };
                Some((p.node.clone()?, reference))
            })
            .collect();
        for node in self.seen.nodes.iter_mut().flatten() {
            node.evictable = pods.iter().filter(|(n, _)| *n == node.name).map(|(_, p)| p.clone()).collect();
        }
    }
}
