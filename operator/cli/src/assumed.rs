//! Nodes that a person says are there: `--nodes phx-dc=20,cpu=20,memory=96Gi`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::LabelSelector};
use onsale_api::{Amount, names, selector};
use onsale_planner::{
    objects::{
        node::{NodeRecord, Tenants},
        requests,
    },
    resources::{DEFAULT_PODS, Resources},
    snapshot::{Node, Pool},
};

use crate::{read::kubernetes, world::Facts};

/// The most nodes of one pool: Kubernetes' own bound for a cluster.
const MOST: usize = 5_000;

/// Equal nodes of one pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Assumed {
    /// Pool.
    pub pool: String,
    /// How many, up to 5000.
    pub count: usize,
    /// What each offers.
    pub allocatable: BTreeMap<String, Quantity>,
}

/// From the flag's text.
///
/// # Errors
/// What is wrong with it, and how to write it.
pub fn parse(text: &str) -> Result<Assumed, String> {
    let help = "write POOL=COUNT,cpu=20,memory=96Gi";
    let (pool, rest) = text.split_once('=').ok_or(help)?;
    let mut parts = rest.split(',');
    let count = parts
        .next()
        .and_then(|n| n.parse().ok())
        .filter(|n| *n <= MOST)
        .ok_or_else(|| format!("{help}; COUNT is a number up to {MOST}"))?;
    let mut allocatable = BTreeMap::from([("pods".to_owned(), Quantity(DEFAULT_PODS.to_string()))]);
    let mut named = BTreeSet::new();
    for part in parts {
        let (name, amount) = part.split_once('=').ok_or(help)?;
        if !kubernetes::is_resource(name) {
            return Err(kubernetes::no_resource(name));
        }
        amount.parse::<Amount>().map_err(|e| format!("{name}: {e}"))?;
        if !named.insert(name) {
            return Err(format!("{name} is there twice: write it once"));
        }
        allocatable.insert(name.to_owned(), Quantity(amount.to_owned()));
    }
    if !allocatable.contains_key("cpu") || !allocatable.contains_key("memory") {
        return Err(format!("{help}: cpu and memory must both be there"));
    }
    Ok(Assumed { pool: pool.to_owned(), count, allocatable })
}

/// Adds the nodes. Tells everything that is wrong with them: a pool that there is not, unless it is there and `unread`, or that has no existing nodes.
pub fn add(facts: &mut Facts, all: &[Assumed], unread: impl Fn(&str) -> bool) -> Vec<String> {
    let pools: BTreeSet<String> = facts.pools.keys().cloned().collect();
    let mut mistakes = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for assumed in all.iter().filter(|a| pools.contains(&a.pool) || !unread(&a.pool)) {
        match record_of(facts, assumed) {
            Ok(record) => {
                // Several kinds of nodes in one pool: names go on where those before ended.
                let before = known.entry(&assumed.pool).or_default();
                let names = (*before + 1..=*before + assumed.count).map(|n| format!("{}-{n:04}", assumed.pool));
                facts.nodes.extend(names.map(|name| (name, record.clone())));
                *before += assumed.count;
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
    mistakes
}

fn record_of(facts: &Facts, assumed: &Assumed) -> Result<NodeRecord, String> {
    let name = &assumed.pool;
    let Some(pool) = facts.pools.get(name) else {
        let can = facts.pools.iter().filter(|(_, pool)| pool.spec.nodes.existing.is_some());
        let can: Vec<&str> = can.map(|(name, _)| name.as_str()).collect();
        let hint = if can.is_empty() { String::new() } else { format!("; nodes can be assumed for {}", can.join(", ")) };
        return Err(format!("--nodes {name}: there is no such CapacityPool{hint}"));
    };
    let Some(existing) = &pool.spec.nodes.existing else {
        return Err(format!(
            "--nodes {name}: the operator rents the nodes of this pool; only those of pools with nodes.existing can be assumed"
        ));
    };
    let labels = labels(&existing.selector, &pool.spec.zone)
        .ok_or_else(|| format!("--nodes {name}: no node can be assumed for its selector: give Node manifests instead"))?;
    Ok(record(labels, requests::resources(&assumed.allocatable)))
}

/// A node of a pool that nobody told us of, without any room yet.
#[must_use]
pub fn node(pool: &Pool) -> Option<Node> {
    let labels = labels(&pool.spec.nodes.existing.as_ref()?.selector, &pool.spec.zone)?;
    let name = format!("{}-unknown", pool.name);
    Some(record(labels, Resources::default()).node(&name, &name, &pool.name, false, Tenants::default()))
}

/// A Ready node that is there for everybody.
fn record(labels: BTreeMap<String, String>, allocatable: Resources) -> NodeRecord {
    NodeRecord {
        instance: None,
        labels,
        ready: true,
        ready_since: None,
        cordoned: false,
        draining: false,
        taint: None,
        taints: Vec::new(),
        allocatable,
    }
}

/// Labels that a selector asks for, and the zone's; `None` where there is no telling.
fn labels(selector: &LabelSelector, zone: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = selector.match_labels.clone().unwrap_or_default();
    for wish in selector.match_expressions.iter().flatten() {
        let value = wish.values.as_ref().and_then(|v| v.first()).cloned().unwrap_or_default();
        if matches!(wish.operator.as_str(), "In" | "Exists") {
            labels.entry(wish.key.clone()).or_insert(value);
        }
    }
    labels.entry(names::ZONE.to_owned()).or_insert_with(|| zone.to_owned());
    selector::matches(selector, &labels).then_some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write_and_says_how_to_write_it() {
        let good = parse("phx-dc=20,cpu=20,memory=96Gi").unwrap();
        assert_eq!((good.pool.as_str(), good.count, good.allocatable["pods"].0.as_str()), ("phx-dc", 20, "110"));
        for bad in [
            "phx-dc",
            "phx-dc=x,cpu=1,memory=1Gi",
            "phx-dc=2,cpu=1",
            "phx-dc=2,cpu=one,memory=1Gi",
            "p=9000,cpu=1,memory=1Gi",
            "p=2,cpu=1,cpu=2,memory=1Gi",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("p=2,cpu=1,memory=1Gi,memry=3").unwrap_err().contains("there is no such resource; did you mean memory?"));
        assert!(parse("p=2,cpu=1,memory=1Gi,nvidia.com/gpu=3,hugepages-2Mi=4,ephemeral-storage=9Gi,pods=20").is_ok());
    }
}
