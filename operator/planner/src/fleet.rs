//! What each pool has now: its nodes and instances, told apart by what they are good for.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use onsale_api::names;

use crate::{
    lead,
    shared::Shared,
    snapshot::{Instance, Node, Pool, Snapshot, Workload},
};

/// The nodes and instances of one pool. Every instance that is not leaving is in exactly one of the lists but `unresolved`.
#[derive(Clone, Debug, Default)]
pub struct Have<'a> {
    /// Nodes that are Ready and take pods.
    pub ready: Vec<&'a Node>,
    /// Nodes that we cordoned and that are on their way out.
    pub draining: Vec<&'a Node>,
    /// Instances that are no Ready node yet, and still in time.
    pub launching: Vec<&'a Instance>,
    /// Instances that are no Ready node although most would be: they are made up for, and welcome when they come after all.
    pub overdue: Vec<&'a Instance>,
    /// Instances that run and never became nodes in time.
    pub never_joined: Vec<&'a Instance>,
    /// Rented nodes that were there and are no longer Ready, or that somebody else cordoned: no room, and not given up.
    pub lost: Vec<&'a Node>,
    /// Instance types of launches that have not been answered, one entry an instance.
    pub unresolved: Vec<&'a str>,
}

/// What `pool` has.
#[must_use]
pub fn have<'a>(pool: &'a Pool, seen: &'a Snapshot, now: Timestamp) -> Have<'a> {
    let mut found = Have::default();
    let nodes: Vec<&Node> = seen.known_nodes().filter(|n| n.pool == pool.name).collect();
    if pool.spec.nodes.ec2.is_none() {
        found.ready = nodes.into_iter().filter(|n| n.ready && !n.cordoned).collect();
        return found;
    }
    let joined: HashMap<&str, &Node> = nodes.into_iter().filter_map(|n| Some((n.instance.as_deref()?, n))).collect();
    let (overdue_after, given_up_after) = (lead::overdue_after(pool), lead::given_up_after(pool));
    for instance in pool.instances.iter().flatten().filter(|i| !i.leaving) {
        // While the nodes are unknown, nobody is too late.
        let age = now.duration_since(instance.launched_at);
        let in_time = seen.nodes.is_none() || age <= given_up_after;
        let overdue = seen.nodes.is_some() && age > overdue_after;
        match joined.get(instance.id.as_str()) {
            Some(node) if node.draining => found.draining.push(node),
            Some(node) if node.ready && !node.cordoned && node.labelled && node.tainted => found.ready.push(node),
            Some(node) if node.cordoned => found.lost.push(node),
            Some(_) | None if in_time && !overdue => found.launching.push(instance),
            Some(_) | None if in_time => found.overdue.push(instance),
            Some(node) => found.lost.push(node),
            None => found.never_joined.push(instance),
        }
    }
    for launch in pool.status.launches.iter().filter(|l| !l.resolved) {
        found.unresolved.extend((0..launch.count).map(|_| launch.instance_type.as_str()));
    }
    found
}

/// The pods of one workload that are bound and not going, by pool; under the empty name those on nodes of no pool.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// All of them.
    pub bound: Shared<BTreeMap<String, i32>>,
    /// Those that are Ready.
    pub ready: Shared<BTreeMap<String, i32>>,
}

/// The pods of one workload that are bound to one node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bound {
    /// The node's number among those that are known; `None`: a node of no pool, or any number of them.
    pub node: Option<usize>,
    /// Pods that are not going.
    pub stay: i32,
    /// Those of them that are Ready.
    pub ready: i32,
    /// Pods that are going.
    pub leave: i32,
}

/// The workload's bound pods by node; `number` tells the number of a known node.
#[must_use]
pub fn bound(workload: &Workload, number: impl Fn(&str) -> Option<usize>) -> Vec<Bound> {
    let mut nodes: BTreeMap<Option<usize>, Bound> = BTreeMap::new();
    for (pod, node) in workload.pods.iter().filter_map(|p| Some((p, p.node.as_deref()?))) {
        let node = number(node);
        let on = nodes.entry(node).or_insert(Bound { node, ..Bound::default() });
        match pod.terminating {
            true => on.leave += 1,
            false => (on.stay, on.ready) = (on.stay + 1, on.ready + i32::from(pod.ready)),
        }
    }
    nodes.into_values().collect()
}

/// Where a workload's pods run that are bound so; `pool_of` tells the pool of a node.
#[must_use]
pub fn running<'a>(bound: &[Bound], pool_of: impl Fn(usize) -> &'a str) -> Running {
    let by_pool = |of: fn(&Bound) -> i32| -> BTreeMap<String, i32> {
        let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
        for on in bound.iter().filter(|on| of(on) > 0) {
            *counts.entry(on.node.map(&pool_of).unwrap_or_default()).or_default() += of(on);
        }
        counts.into_iter().map(|(pool, n)| (pool.to_owned(), n)).collect()
    };
    let all: Shared<BTreeMap<String, i32>> = by_pool(|on| on.stay).into();
    let some_are_not = bound.iter().any(|on| on.ready < on.stay);
    Running { ready: if some_are_not { by_pool(|on| on.ready).into() } else { all.clone() }, bound: all }
}

/// Labels that a node of the type will have once it joins, as far as they are known before; `None`: nothing is launched in the pool.
#[must_use]
pub fn labels_of_new(pool: &Pool, instance_type: &str) -> Option<BTreeMap<String, String>> {
    let ec2 = pool.spec.nodes.ec2.as_ref()?;
    let labels = [
        (names::POOL, pool.name.as_str()),
        (names::ZONE, &pool.spec.zone),
        (names::REGION, &ec2.region),
        (names::INSTANCE_TYPE, instance_type),
        (names::OS, "linux"),
        (names::ARCH, architecture(instance_type)),
    ];
    Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
}

/// The CPU architecture of an EC2 instance type, by its name: a `g` among the letters behind the generation is Graviton, and so is all of the family a1.
/// Source: Amazon EC2 instance type naming conventions.
fn architecture(instance_type: &str) -> &'static str {
    let family = instance_type.split('.').next().unwrap_or_default();
    let processor = family.trim_start_matches(|c: char| !c.is_ascii_digit()).trim_start_matches(|c: char| c.is_ascii_digit());
    if processor.contains('g') || family == "a1" { "arm64" } else { "amd64" }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_architecture_follows_from_the_name_of_the_type() {
        for name in ["c6g.large", "m7gd.xlarge", "c7gn.metal", "t4g.small", "is4gen.large", "hpc7g.4xlarge", "g5g.xlarge", "a1.large"] {
            assert_eq!(super::architecture(name), "arm64", "{name}");
        }
        for name in ["c6i.4xlarge", "m6a.large", "g5.xlarge", "g4dn.xlarge", "p4de.24xlarge", "x2iedn.large", "u-6tb1.metal", "t3.small"] {
            assert_eq!(super::architecture(name), "amd64", "{name}");
        }
    }
}
