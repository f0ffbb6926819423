//! kube-scheduler: required terms, taints, room; then the sum of preferred weights, then the least used node.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use onsale_api::{Amount, names};
use onsale_planner::{resources::Resources, snapshot::Requirement};
use serde_json::{Value, json};

use super::admission;
use crate::{
    api::{
        evict::is_ready,
        kinds,
        store::{is_leaving, key_of},
    },
    sim::Inner,
};

struct Node {
    name: String,
    labels: BTreeMap<String, String>,
    taints: Vec<Value>,
    free: Resources,
}

/// A map of quantities.
#[must_use]
pub fn resources(map: &Value) -> Resources {
    let amounts: BTreeMap<String, Amount> = serde_json::from_value(map.clone()).unwrap_or_default();
    Resources::of(&amounts)
}

fn requests(pod: &Value) -> Resources {
    let mut all = Resources { pods: 1, ..Resources::default() };
    for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
        all.add(&resources(&container["resources"]["requests"]), 1);
    }
    all
}

/// Binds what can be bound.
pub fn follow(inner: &mut Inner) {
    let ours = |p: &Value| p["spec"]["schedulerName"].as_str().is_none_or(|name| name == "default-scheduler");
    let unbound = |p: &&Arc<Value>| !p["spec"]["nodeName"].is_string() && !is_leaving(p) && ours(p);
    let mut waiting: Vec<Arc<Value>> = inner.store.list(&kinds::PODS).filter(unbound).cloned().collect();
    if waiting.is_empty() {
        return;
    }
    waiting.sort_by_key(|p| p["metadata"]["uid"].as_str().map(str::to_owned));
    let mut nodes = nodes(inner);
    for pod in waiting {
        let asks = requests(&pod);
        let best = nodes.iter().enumerate().filter(|(_, n)| fits(&pod, &asks, n));
        let best = best.max_by_key(|(_, n)| (score(&pod, n), n.free.cpu, Reverse(n.name.clone()))).map(|(i, _)| i);
        match best {
            Some(index) => {
                nodes[index].free.add(&asks, -1);
                bind(inner, &pod, &nodes[index]);
            }
            None => refuse(inner, &pod),
        }
    }
}

/// Nodes that take pods, with what is free on them.
fn nodes(inner: &Inner) -> Vec<Node> {
    let takes = |n: &&Arc<Value>| is_ready(n) && n["spec"]["unschedulable"] != true;
    let node = |n: &Arc<Value>| Node {
        name: key_of(n).1,
        labels: serde_json::from_value(n["metadata"]["labels"].clone()).unwrap_or_default(),
        taints: n["spec"]["taints"].as_array().cloned().unwrap_or_default(),
        free: resources(&n["status"]["allocatable"]),
    };
    let mut nodes: Vec<Node> = inner.store.list(&kinds::NODES).filter(takes).map(node).collect();
    for pod in inner.store.list(&kinds::PODS) {
        if let Some(node) = nodes.iter_mut().find(|n| pod["spec"]["nodeName"] == n.name.as_str()) {
            node.free.add(&requests(pod), -1);
        }
    }
    nodes
}

fn tolerated(pod: &Value, taint: &Value) -> bool {
    if taint["effect"] == "PreferNoSchedule" {
        return true;
    }
    pod["spec"]["tolerations"].as_array().into_iter().flatten().any(|t| {
        let key = t["key"].is_null() || t["key"] == taint["key"];
        let value = t["operator"] == "Exists" || t["value"] == taint["value"];
        key && value && (t["effect"].is_null() || t["effect"] == taint["effect"])
    })
}

fn term_holds(term: &Value, labels: &BTreeMap<String, String>) -> bool {
    let all: Vec<Requirement> = term["matchExpressions"].as_array().into_iter().flatten().map(requirement).collect();
    !all.is_empty() && all.iter().all(|r| r.holds(labels))
}

fn requirement(value: &Value) -> Requirement {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let values = value["values"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    Requirement { key: text("key"), operator: text("operator"), values }
}

fn fits(pod: &Value, asks: &Resources, node: &Node) -> bool {
    let selector = pod["spec"]["nodeSelector"].as_object();
    let selected = selector.into_iter().flatten().all(|(k, v)| node.labels.get(k).map(String::as_str) == v.as_str());
    let terms = pod.pointer("/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms");
    let required = terms.and_then(Value::as_array).is_none_or(|all| all.iter().any(|t| term_holds(t, &node.labels)));
    selected && required && node.taints.iter().all(|t| tolerated(pod, t)) && node.free.count_of(asks) > 0
}

fn score(pod: &Value, node: &Node) -> i64 {
    let terms = pod.pointer("/spec/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution").and_then(Value::as_array);
    let met = terms.into_iter().flatten().filter(|t| term_holds(&t["preference"], &node.labels));
    met.filter_map(|t| t["weight"].as_i64()).sum()
}

fn bind(inner: &mut Inner, pod: &Value, node: &Node) {
    let zone = node.labels.get(names::ZONE).cloned().unwrap_or_default();
    let cost = admission::bind(inner, pod, &zone);
    let (namespace, name) = key_of(pod);
    inner.store.update(&kinds::PODS, &namespace, &name, |pod| {
        pod["spec"]["nodeName"] = json!(node.name);
        pod["metadata"]["labels"][names::ZONE] = json!(zone);
        if let Some(cost) = cost {
            pod["metadata"]["annotations"][names::POD_DELETION_COST] = json!(cost);
        }
        pod["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]});
    });
}

fn refuse(inner: &mut Inner, pod: &Value) {
    let (namespace, name) = key_of(pod);
    inner.store.update(&kinds::PODS, &namespace, &name, |pod| {
        pod["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]});
    });
}
