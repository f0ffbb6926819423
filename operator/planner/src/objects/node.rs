//! Nodes in brief, and which pool each belongs to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self as core, Node};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use onsale_api::{names, selector};

use super::requests;
use crate::{
    resources::Resources,
    snapshot::{self, PodRef, Pool, Taint},
};

/// What is kept of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Instance ID at the end of its providerID.
    pub instance: Option<String>,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// Condition `Ready` is true.
    pub ready: bool,
    /// Since when it is; unset while it is not.
    pub ready_since: Option<Timestamp>,
    /// `spec.unschedulable`.
    pub cordoned: bool,
    /// We cordoned it.
    pub draining: bool,
    /// Pool named by the taint that keeps others away.
    pub taint: Option<String>,
    /// Every other taint that keeps pods away, but for those of `ready` and `cordoned`.
    pub taints: Vec<Taint>,
    /// What it offers.
    pub allocatable: Resources,
}

impl From<Node> for NodeRecord {
    fn from(object: Node) -> Self {
        let (meta, spec, status) = (object.metadata, object.spec.unwrap_or_default(), object.status.unwrap_or_default());
        let (ours, others): (Vec<_>, Vec<_>) = spec.taints.unwrap_or_default().into_iter().partition(|t| t.key == names::POOL);
        let ready = status.conditions.iter().flatten().find(|c| c.type_ == "Ready" && c.status == "True");
        Self {
            instance: spec.provider_id.as_deref().and_then(instance),
            labels: meta.labels.unwrap_or_default(),
            ready: ready.is_some(),
            ready_since: ready.and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0),
            cordoned: spec.unschedulable == Some(true),
            draining: meta.annotations.is_some_and(|a| a.get(names::DRAINING).is_some_and(|v| v == "true")),
            taint: ours.into_iter().find(|t| t.effect == "NoSchedule").and_then(|t| t.value),
            taints: others.into_iter().filter(keeps_away).map(taint).collect(),
            allocatable: status.allocatable.as_ref().map(requests::resources).unwrap_or_default(),
        }
    }
}

/// Taints that Kubernetes itself sets for what `ready` and `cordoned` say already.
const SAID: [&str; 3] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "node.kubernetes.io/unschedulable"];

fn keeps_away(taint: &core::Taint) -> bool {
    matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") && !SAID.contains(&taint.key.as_str())
}

fn taint(taint: core::Taint) -> Taint {
    Taint { key: taint.key, value: taint.value.unwrap_or_default(), effect: taint.effect }
}

/// What else is known of a node of a pool.
#[derive(Clone, Debug, Default)]
pub struct Tenants {
    /// What pods ask for there that belong to none of the snapshot's workloads.
    pub others: Resources,
    /// Pods there that a drain must evict.
    pub evictable: Vec<PodRef>,
}

impl NodeRecord {
    /// As the planner sees a node of `pool`, which rents its nodes or not.
    #[must_use]
    pub fn node(&self, name: &str, uid: &str, pool: &str, rented: bool, tenants: Tenants) -> snapshot::Node {
        let marked = |value: Option<&String>| !rented || value.is_some_and(|v| v == pool);
        snapshot::Node {
            name: name.to_owned(),
            uid: uid.to_owned(),
            pool: pool.to_owned(),
            instance: self.instance.clone().filter(|_| rented),
            labels: self.labels.clone(),
            ready: self.ready,
            ready_since: self.ready_since,
            cordoned: self.cordoned,
            draining: self.draining,
            labelled: marked(self.labels.get(names::POOL)),
            tainted: marked(self.taint.as_ref()),
            taints: if rented { Vec::new() } else { self.taints.clone() },
            allocatable: self.allocatable.clone(),
            others: tenants.others,
            evictable: if rented { tenants.evictable } else { Vec::new() },
        }
    }
}

/// The instance ID at the end of `aws:///us-west-2-phx-2a/i-0abc`.
fn instance(provider_id: &str) -> Option<String> {
    let last = provider_id.rsplit('/').next()?;
    last.starts_with("i-").then(|| last.to_owned())
}

/// How nodes are told to belong to pools.
#[derive(Default)]
pub struct Membership {
    /// Pool by instance ID: listed instances and those in launch ledgers.
    pub instances: BTreeMap<String, String>,
    /// Names of the pools that rent.
    pub rented: Vec<String>,
    /// Pools of existing nodes by their selector, sorted by name.
    pub existing: Vec<(String, LabelSelector)>,
}

impl Membership {
    /// That of these pools; `instances` are the IDs that are a rented pool's for certain.
    #[must_use]
    pub fn of<I: IntoIterator<Item = String>>(pools: &[Pool], instances: impl Fn(&Pool) -> I) -> Self {
        let mut members = Self::default();
        for pool in pools {
            if pool.spec.nodes.ec2.is_some() {
                members.rented.push(pool.name.clone());
                members.instances.extend(instances(pool).into_iter().map(|id| (id, pool.name.clone())));
            } else if let Some(existing) = &pool.spec.nodes.existing {
                members.existing.push((pool.name.clone(), existing.selector.clone()));
            }
        }
        members
    }

    /// Whether the pool rents its nodes.
    #[must_use]
    pub fn rents(&self, pool: &str) -> bool {
        self.rented.iter().any(|p| p == pool)
    }

    /// The pool of a node. Rented nodes are known by their instance only: a label is easily set, and says nothing about who pays. A node that
    /// carries a rented pool's label belongs to no pool of existing nodes, whatever that one's selector says.
    #[must_use]
    pub fn pool(&self, node: &NodeRecord) -> Option<&str> {
        if let Some(pool) = node.instance.as_ref().and_then(|i| self.instances.get(i)) {
            return Some(pool);
        }
        if node.labels.get(names::POOL).is_some_and(|pool| self.rented.contains(pool)) {
            return None;
        }
        self.existing.iter().find(|(_, selector)| selector::matches(selector, &node.labels)).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(provider_id: Option<&str>, labels: serde_json::Value) -> NodeRecord {
        let node = json!({
            "metadata": {"name": "n", "labels": labels, "annotations": {"onsale.dev/draining": "true"}},
            "spec": {"providerID": provider_id, "unschedulable": true, "taints": [{"key": "onsale.dev/pool", "value": "phx", "effect": "NoSchedule"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-12-05T16:41:00Z"}], "allocatable": {"cpu": "15890m", "memory": "28Gi", "pods": "58"}},
        });
        serde_json::from_value::<Node>(node).unwrap().into()
    }

    fn membership() -> Membership {
        let selector = serde_json::from_value(json!({"matchLabels": {"site": "dc"}})).unwrap();
        Membership {
            instances: BTreeMap::from([("i-0abc".to_owned(), "phx".to_owned())]),
            rented: vec!["phx".to_owned()],
            existing: vec![("onprem".to_owned(), selector)],
        }
    }

    #[test]
    fn folds_what_the_planner_needs() {
        let n = node(Some("aws:///us-west-2-phx-2a/i-0abc"), json!({}));
        assert_eq!((n.instance.as_deref(), n.ready, n.cordoned, n.draining), (Some("i-0abc"), true, true, true));
        assert_eq!(n.ready_since, Some("2026-12-05T16:41:00Z".parse().unwrap()));
        assert_eq!((n.taint.as_deref(), n.allocatable.cpu, n.allocatable.pods), (Some("phx"), 15_890, 58));
    }

    #[test]
    fn belongs_by_instance_or_by_selector_and_never_by_a_label_alone() {
        let members = membership();
        assert_eq!(members.pool(&node(Some("aws:///z/i-0abc"), json!({"site": "dc"}))), Some("phx"));
        assert_eq!(members.pool(&node(Some("aws:///z/i-0other"), json!({"onsale.dev/pool": "phx", "site": "dc"}))), None);
        assert_eq!(members.pool(&node(None, json!({"site": "dc"}))), Some("onprem"));
        assert_eq!(members.pool(&node(Some("eks-hybrid:///r/c/mi-0abc"), json!({"site": "dc"}))), Some("onprem"));
        assert_eq!(members.pool(&node(None, json!({"site": "elsewhere"}))), None);
    }
}
