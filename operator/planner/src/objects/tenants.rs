//! Pods by what they mean: those of the snapshot's workloads, and what all others ask for on each node.

use std::collections::{HashMap, HashSet};

use onsale_api::onsale::TargetKind;

use super::{node::Tenants, pod::PodRecord};
use crate::{
    resources::Resources,
    snapshot::{Pod, PodRef, WorkloadId},
};

/// Pods sorted by what they mean.
#[derive(Debug, Default)]
pub struct Pods {
    ours: HashMap<WorkloadId, Vec<Pod>>,
    others: HashMap<String, Resources>,
    evictable: HashMap<String, Vec<PodRef>>,
}

impl Pods {
    /// Sorts pods (namespace, name, UID, record), which come in order of namespace and name. `nodes` are the names of the nodes that exist, where they
    /// are known: a pod whose node is gone counts as terminating. Only from nodes that are `rented` anybody is ever evicted.
    #[must_use]
    pub fn sort<'a>(
        all: impl Iterator<Item = (&'a str, &'a str, &'a str, &'a PodRecord)>,
        workloads: &[WorkloadId],
        nodes: Option<&HashSet<String>>,
        rented: &HashSet<&str>,
    ) -> Self {
        let mut sorted = Self::default();
        let known: HashMap<(&str, TargetKind, &str), &WorkloadId> =
            workloads.iter().map(|w| ((w.namespace.as_str(), w.kind, w.name.as_str()), w)).collect();
        let gone = |node: &Option<String>| nodes.zip(node.as_ref()).is_some_and(|(all, node)| !all.contains(node));
        for (namespace, name, uid, pod) in all.filter(|(.., pod)| !pod.finished) {
            if let Some(node) = pod.node.as_ref().filter(|node| rented.contains(&***node) && pod.is_evictable()) {
                let (namespace, name, uid) = (namespace.to_owned(), name.to_owned(), uid.to_owned());
                let pod = PodRef { namespace, name, uid, terminating: pod.terminating };
                sorted.evictable.entry(node.to_string()).or_default().push(pod);
            }
            match pod.workload().and_then(|(kind, owner)| known.get(&(namespace, kind, owner))) {
                Some(workload) => {
                    let brief = pod.brief(name, uid);
                    let lost = gone(&brief.node);
                    let brief = Pod { ready: brief.ready && !lost, terminating: brief.terminating || lost, ..brief };
                    sorted.ours.entry((*workload).clone()).or_default().push(brief);
                }
                None => sorted.add_other(pod),
            }
        }
        sorted
    }

    fn add_other(&mut self, pod: &PodRecord) {
        if let Some(node) = &pod.node {
            self.others.entry(node.to_string()).or_default().add(&pod.kin.requests, 1);
        }
    }

    /// The pods of a workload, once.
    pub fn take(&mut self, workload: &WorkloadId) -> Vec<Pod> {
        self.ours.remove(workload).unwrap_or_default()
    }

    /// Who else is on a node, once.
    pub fn tenants(&mut self, node: &str) -> Tenants {
        Tenants { others: self.others.remove(node).unwrap_or_default(), evictable: self.evictable.remove(node).unwrap_or_default() }
    }
}
