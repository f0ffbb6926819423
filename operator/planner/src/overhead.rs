//! What pods that are no sale's take on a node that is to be launched: those of DaemonSets, as their own words tell; and what they are seen to take, where
//! that is more.

use std::collections::BTreeMap;

use onsale_api::names;

use crate::{
    fleet::labels_of_new,
    resources::Resources,
    snapshot::{DaemonSet, Pool, Snapshot, Taint},
};

/// The most that others take on a node of each pool, resource by resource, in the snapshot's order. What device plugins offer is as declared.
#[must_use]
pub fn of(seen: &Snapshot) -> Vec<Resources> {
    let mut measured: BTreeMap<&str, Resources> = BTreeMap::new();
    for node in seen.known_nodes().filter(|n| n.instance.is_some() && n.ready) {
        measured.entry(&node.pool).or_default().raise_to(&node.others);
    }
    let pool = |pool: &Pool| {
        let mut most = declared(seen, pool);
        measured.get(pool.name.as_str()).into_iter().for_each(|there| most.raise_to(there));
        Resources { extended: BTreeMap::new(), ..most }
    };
    seen.pools.iter().map(pool).collect()
}

/// What the pods of all DaemonSets ask for that run on a new node of the pool, of whichever type.
fn declared(seen: &Snapshot, pool: &Pool) -> Resources {
    let mut most = Resources::default();
    let taint = Taint { key: names::POOL.to_owned(), value: pool.name.clone(), effect: "NoSchedule".to_owned() };
    for instance_type in pool.spec.nodes.ec2.iter().flat_map(|ec2| &ec2.instance_types) {
        let Some(labels) = labels_of_new(pool, &instance_type.name) else { continue };
        let offer = Resources::offered(&instance_type.allocatable);
        let mut sum = Resources::default();
        // A pod that is too large for the type waits for ever, and takes nothing.
        let there = seen.daemon_sets.iter().filter(|set| offer.holds(&set.requests) && runs(set, &labels, &taint));
        there.for_each(|set| sum.add(&set.requests, 1));
        most.raise_to(&sum);
    }
    most
}

fn runs(set: &DaemonSet, labels: &BTreeMap<String, String>, taint: &Taint) -> bool {
    let labelled = set.node_terms.is_empty() || set.node_terms.iter().any(|term| term.iter().all(|r| r.holds(labels)));
    labelled && set.tolerations.iter().any(|t| t.tolerates(taint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        snapshot::{Requirement, Toleration},
        testing::{node, pool, snapshot, vector},
    };

    fn set(cpu: i64, terms: &[(&str, &str, &str)], tolerates: bool) -> DaemonSet {
        let all = Toleration { key: None, value: None, effect: None };
        let term = |(key, operator, value): &(&str, &str, &str)| Requirement {
            key: (*key).to_owned(),
            operator: (*operator).to_owned(),
            values: vec![(*value).to_owned()],
        };
        let node_terms = if terms.is_empty() { Vec::new() } else { vec![terms.iter().map(term).collect()] };
        DaemonSet { requests: vector(cpu, 1, 1), node_terms, tolerations: Vec::from_iter(tolerates.then_some(all)) }
    }

    fn overhead(sets: Vec<DaemonSet>) -> Vec<i64> {
        let pools = vec![
            pool("dc").build(),
            pool("lz").rented("c6i.4xlarge", "0.85", 4).build(),
            pool("or").rented("m6i.4xlarge", "0.76", 4).build(),
        ];
        let mut seen = snapshot(Vec::new(), pools, Vec::new(), Vec::new());
        seen.daemon_sets = sets;
        of(&seen).iter().map(|o| o.cpu).collect()
    }

    #[test]
    fn daemon_sets_count_where_their_own_words_let_them_run() {
        assert_eq!(overhead(vec![set(200, &[], true), set(50, &[], true)]), [0, 250, 250], "nothing is launched on premises");
        assert_eq!(overhead(vec![set(200, &[], false)]), [0, 0, 0], "the pool's taint keeps it away");
        assert_eq!(overhead(vec![set(200, &[("topology.kubernetes.io/zone", "In", "zone-lz")], true)]), [0, 200, 0]);
        assert_eq!(overhead(vec![set(200, &[("kubernetes.io/os", "In", "windows")], true)]), [0, 0, 0]);
        assert_eq!(overhead(vec![set(200, &[("eks.amazonaws.com/compute-type", "NotIn", "fargate")], true)]), [0, 200, 200]);
        assert_eq!(overhead(vec![set(200, &[("nvidia.com/gpu.present", "In", "true")], true)]), [0, 0, 0]);
        assert_eq!(overhead(vec![set(200, &[("kubernetes.io/arch", "In", "amd64")], true)]), [0, 200, 200]);
        assert_eq!(overhead(vec![set(200, &[("kubernetes.io/arch", "In", "arm64")], true)]), [0, 0, 0]);
        assert_eq!(overhead(vec![set(64_000, &[], true), set(50, &[], true)]), [0, 50, 50], "it fits on none of them");
    }

    #[test]
    fn what_is_measured_counts_where_it_is_more() {
        let pools = vec![pool("lz").rented("c6i.4xlarge", "0.85", 4).build(), pool("or").rented("m6i.4xlarge", "0.76", 4).build()];
        let mut there = node("lz-1", "lz");
        (there.instance, there.others) = (Some("i-1".to_owned()), vector(300, 0, 2));
        let mut seen = snapshot(Vec::new(), pools, vec![there], Vec::new());
        seen.daemon_sets = vec![set(200, &[], true)];
        let most = |cpu, pods| Resources { cpu, memory: 1 << 30, pods, extended: BTreeMap::new() };
        assert_eq!(of(&seen), [most(300, 2), most(200, 1)], "and in its own pool");
    }
}
