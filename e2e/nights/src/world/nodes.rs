//! The cloud's controllers and node registration: running instances become nodes after a while, or never; nodes of ended instances go.

use std::{sync::Arc, time::Duration};

use onsale_api::names;
use serde_json::{Value, json};

use super::{Timer, kubelet};
use crate::{
    api::{
        kinds,
        store::{Key, key_of, stamp},
    },
    sim::Inner,
};

/// Name of an instance's node.
#[must_use]
pub fn name_of(instance: &str) -> String {
    format!("ip-{}", instance.trim_start_matches("i-").trim_start_matches('0'))
}

/// Sees what became of instances.
pub fn follow(inner: &mut Inner) {
    let now = inner.now;
    let machines: Vec<(String, jiff::Timestamp, bool)> =
        inner.cloud.machines.iter().map(|(id, m)| (id.clone(), m.runs_at, m.is_alive())).collect();
    for (id, runs_at, alive) in machines {
        if inner.world.machines.insert(id.clone()) {
            if inner.world.never_join > 0 {
                inner.world.never_join -= 1;
            } else {
                let joins = inner.world.random.draw(inner.world.settings.joins);
                let wait = runs_at.duration_since(now).unsigned_abs() + joins;
                inner.world.after(now, wait, Timer::Join(id.clone()));
            }
        }
        if !alive && inner.world.ended.insert(id.clone()) {
            inner.world.after(now, inner.world.settings.node_gone, Timer::NodeGone(name_of(&id)));
        }
    }
}

/// An instance registers as a node, with what its pool declares for the type.
pub fn join(inner: &mut Inner, id: &str) {
    let Some(machine) = inner.cloud.machines.get(id).filter(|m| m.is_alive()).cloned() else { return };
    let pool = inner.store.get(&kinds::POOLS, "", &machine.pool_name).cloned();
    let types = pool.as_ref().and_then(|p| p.pointer("/spec/nodes/ec2/instanceTypes")).and_then(Value::as_array);
    let declared = types.into_iter().flatten().find(|t| t["name"] == machine.instance.instance_type.as_str());
    let mut allocatable = declared.map(|t| t["allocatable"].clone()).unwrap_or_default();
    if allocatable["pods"].is_null() {
        allocatable["pods"] = json!("110");
    }
    let (name, zone) = (name_of(id), machine.instance.zone.clone());
    let (instance_type, region) = (&machine.instance.instance_type, &machine.region);
    let mut labels = json!({"kubernetes.io/hostname": name, names::ZONE: zone, "topology.kubernetes.io/region": region,
        "node.kubernetes.io/instance-type": instance_type});
    let mut spec = json!({"providerID": format!("aws:///{zone}/{id}")});
    if inner.world.unmarked > 0 {
        inner.world.unmarked -= 1;
    } else {
        labels[names::POOL] = json!(machine.pool_name);
        spec["taints"] = json!([{"key": names::POOL, "value": machine.pool_name, "effect": "NoSchedule"}]);
    }
    let status = json!({"allocatable": allocatable, "capacity": allocatable, "conditions": [condition(inner, false)]});
    let node = json!({"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status});
    if inner.store.create(&kinds::NODES, node, inner.now).is_ok() {
        let ready = inner.world.random.draw(inner.world.settings.node_ready);
        inner.world.after(inner.now, ready, Timer::NodeReady(name));
    }
}

fn condition(inner: &Inner, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    json!({"type": "Ready", "status": status, "reason": "Kubelet", "lastTransitionTime": stamp(inner.now)})
}

fn pods_on(inner: &Inner, node: &str) -> Vec<Key> {
    inner.store.list(&kinds::PODS).filter(|p| p["spec"]["nodeName"] == node).map(|p: &Arc<Value>| key_of(p)).collect()
}

/// A node is Ready, or is not any more; then its pods are not either.
pub fn ready(inner: &mut Inner, name: &str, ready: bool) {
    let condition = condition(inner, ready);
    inner.store.update(&kinds::NODES, "", name, |node| node["status"]["conditions"] = json!([condition]));
    if !ready {
        for pod in pods_on(inner, name) {
            kubelet::set_ready(inner, &pod, false);
        }
    }
}

/// A node is gone, and its pods with it.
pub fn gone(inner: &mut Inner, name: &str) {
    if let Some(node) = inner.store.get(&kinds::NODES, "", name).cloned() {
        for pod in pods_on(inner, name) {
            kubelet::remove(inner, &pod);
        }
        inner.store.remove(&kinds::NODES, (*node).clone());
    }
}

/// A host fails: the node is not Ready at once, and goes after a while.
pub fn lose(inner: &mut Inner, instance: &str) {
    let now = inner.now;
    inner.cloud.lose(instance, now);
    inner.world.ended.insert(instance.to_owned());
    ready(inner, &name_of(instance), false);
    inner.world.after(now, Duration::from_secs(60), Timer::NodeGone(name_of(instance)));
    inner.world.stirred = true;
}
