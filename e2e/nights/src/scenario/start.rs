//! The state that a scenario begins with.

use std::fs;

use onsale_api::names;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Scenario,
    file::{Existing, File, Rented, Sale, Workload},
    time::std_of,
};
use crate::{
    api::{
        kinds,
        patch::merge,
        store::{Key, key_of},
    },
    night::build::{NAMESPACE, OWNER, night, subnet, try_put},
    sim::Inner,
};

/// The namespace and name of `name` or `namespace/name`.
#[must_use]
pub fn key(name: &str) -> Key {
    let (namespace, name) = name.split_once('/').unwrap_or((NAMESPACE, name));
    (namespace.to_owned(), name.to_owned())
}

/// Builds the state.
///
/// # Errors
/// Which field of the file makes no sense, why, and what to write.
pub fn state(scenario: &Scenario) -> Result<Inner, String> {
    let file = &scenario.file;
    let mut wrong = Ok(());
    let start = night(&file.begins.to_string(), file.seed).with(|inner| wrong = fill(inner, scenario));
    wrong.map(|()| start.build())
}

fn fill(inner: &mut Inner, scenario: &Scenario) -> Result<(), String> {
    let file = &scenario.file;
    delays(inner, file);
    for (i, path) in file.manifests.iter().enumerate() {
        let field = format!("manifests[{i}]");
        let text = fs::read_to_string(scenario.root.join(path)).map_err(|e| format!("{field}: {path}: {e}"))?;
        for document in serde_yaml::Deserializer::from_str(&text) {
            let object = Value::deserialize(document).map_err(|e| format!("{field}: {path}: {e}"))?;
            if !object.is_null() {
                put(inner, &object, &field)?;
            }
        }
    }
    for (name, labels) in &file.namespaces {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        put(inner, &object, &format!("namespaces.{name}"))?;
    }
    for (i, existing) in file.fleet.existing.iter().enumerate() {
        nodes(inner, existing, &format!("fleet.existing[{i}]"))?;
    }
    for (i, rented) in file.fleet.rented.iter().enumerate() {
        put(inner, &pool(rented), &format!("fleet.rented[{i}]"))?;
    }
    for (i, workload) in file.workloads.iter().enumerate() {
        workload_of(inner, workload, &format!("workloads[{i}]"))?;
    }
    for (i, Sale { name, spec }) in file.sales.iter().enumerate() {
        put_sale(inner, name, spec, OWNER).map_err(|e| format!("sales[{i}]{e}"))?;
    }
    zones(inner);
    Ok(())
}

fn put(inner: &mut Inner, object: &Value, field: &str) -> Result<(), String> {
    try_put(inner, object, OWNER).map_err(|e| format!("{field}: {e}"))
}

fn delays(inner: &mut Inner, file: &File) {
    if let Some(time) = file.fleet.listed_after {
        inner.cloud.settings.visible_after = std_of(time);
    }
    let world = &mut inner.world.settings;
    for (settings, wanted) in [
        (&mut inner.cloud.settings.boots, file.fleet.boot),
        (&mut world.joins, file.fleet.join),
        (&mut world.node_ready, file.fleet.node_ready),
        (&mut world.starts, file.fleet.pod_start),
        (&mut world.stops, file.fleet.pod_stop),
    ] {
        if let Some(takes) = wanted {
            *settings = takes.0;
        }
    }
}

/// Nodes, Ready, and their pool, where it is not there yet.
fn nodes(inner: &mut Inner, existing: &Existing, field: &str) -> Result<(), String> {
    let Existing { pool: name, nodes, cpu, memory, rtt } = existing;
    if let Some(rtt) = rtt {
        let spec = json!({"tier": "OnPrem", "zone": name, "latency": [{"site": "dc", "rtt": rtt}],
            "nodes": {"existing": {"selector": {"matchLabels": {"rack": name}}}}, "allowedNamespaces": {"from": "All"}});
        put(inner, &json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "CapacityPool", "metadata": {"name": name}, "spec": spec}), field)?;
    }
    let pool = inner.store.get(&kinds::POOLS, "", name).cloned();
    let labels = pool.as_ref().and_then(|p| p.pointer("/spec/nodes/existing/selector/matchLabels")?.as_object().cloned());
    let (Some(pool), Some(labels)) = (pool, labels) else {
        return Err(format!("{field}.rtt: no manifest has a pool {name:?} of existing nodes chosen by matchLabels: write the round trip"));
    };
    for i in 1..=*nodes {
        let node = format!("{name}-{i}");
        let mut labels: Map<String, Value> = labels.clone();
        labels.insert(names::ZONE.to_owned(), pool["spec"]["zone"].clone());
        labels.insert("kubernetes.io/hostname".to_owned(), json!(node));
        let allocatable = json!({"cpu": cpu, "memory": memory, "pods": "110"});
        let status = json!({"allocatable": allocatable, "capacity": allocatable, "conditions": [{"type": "Ready", "status": "True"}]});
        let object =
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}, "spec": {}, "status": status});
        put(inner, &object, field)?;
    }
    Ok(())
}

fn pool(rented: &Rented) -> Value {
    let Rented { pool, rtt, max_nodes, max_nodes_each, types, region, lead_time } = rented;
    let types: Vec<Value> = types
        .iter()
        .map(|(name, m)| json!({"name": name, "hourlyCost": m.hourly_cost, "allocatable": {"cpu": m.cpu, "memory": m.memory}}))
        .collect();
    let ec2 = json!({"region": region, "launchTemplate": {"name": format!("burst-{pool}"), "version": "3"}, "subnets": [subnet(pool)], "instanceTypes": types});
    let mut spec = json!({"tier": "LocalZone", "zone": pool, "latency": [{"site": "dc", "rtt": rtt}],
        "leadTime": {"p50": lead_time.p50, "p95": lead_time.p95}, "nodes": {"ec2": ec2}, "limits": {"maxNodes": max_nodes},
        "allowedNamespaces": {"from": "All"}});
    if let Some(each) = max_nodes_each {
        spec["allowedNamespaces"]["maxNodesEach"] = json!(each);
    }
    json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "CapacityPool", "metadata": {"name": pool}, "spec": spec})
}

fn workload_of(inner: &mut Inner, workload: &Workload, field: &str) -> Result<(), String> {
    let (namespace, name) = key(&workload.name);
    let metadata = json!({"name": name, "namespace": namespace});
    let container = json!({"name": "main", "image": "shop", "resources": {"requests": {"cpu": workload.cpu, "memory": workload.memory}}});
    let mut pods = json!({"containers": [container]});
    if let Some(more) = &workload.pod_spec {
        merge(&mut pods, more);
    }
    let (selector, template) = (json!({"matchLabels": {"app": name}}), json!({"metadata": {"labels": {"app": name}}, "spec": pods}));
    let spec = json!({"replicas": workload.replicas, "selector": selector, "template": template});
    put(inner, &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}), field)?;
    if let Some(hpa) = &workload.hpa {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
        let spec = json!({"scaleTargetRef": target, "minReplicas": hpa.min, "maxReplicas": hpa.max});
        let object = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": spec});
        put(inner, &object, field)?;
        inner.world.loads.insert((namespace, name), hpa.load);
    }
    if let Some(most) = &workload.max_unavailable {
        let spec = json!({"selector": selector, "maxUnavailable": most});
        put(inner, &json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}), field)?;
    }
    Ok(())
}

/// Creates or changes a sale; a field that OnSales do not have is refused, where the API server would only drop it.
///
/// # Errors
/// Which field it is.
pub fn put_sale(inner: &mut Inner, name: &str, spec: &Value, by: &str) -> Result<(), String> {
    let (namespace, name) = key(name);
    let metadata = json!({"name": name, "namespace": namespace});
    let object = json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "OnSale", "metadata": metadata, "spec": spec});
    try_put(inner, &object, by).map_err(|e| format!(": {e}"))?;
    let stored = inner.store.get(&kinds::SALES, &namespace, &name).map(|s| s["spec"].clone()).unwrap_or_default();
    stray(spec, &stored, "spec")
        .map_or(Ok(()), |path| Err(format!(".{path}: OnSales have no such field: see `kubectl explain onsale.spec`")))
}

/// The first field that was given and not kept.
fn stray(given: &Value, kept: &Value, path: &str) -> Option<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => given.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match kept.get(name) {
                Some(kept) => stray(value, kept, &path),
                None => (!value.is_null() && value != &json!([])).then_some(path),
            }
        }),
        (Value::Array(given), Value::Array(kept)) => {
            given.iter().zip(kept).enumerate().find_map(|(i, (given, kept))| stray(given, kept, &format!("{path}[{i}]")))
        }
        _ => None,
    }
}

/// Subnets are where their pools are.
fn zones(inner: &mut Inner) {
    let of = |pool: &Value| {
        let subnets = pool["spec"]["nodes"]["ec2"]["subnets"].as_array().cloned().unwrap_or_default();
        let zone = pool["spec"]["zone"].as_str().unwrap_or_default().to_owned();
        subnets.into_iter().filter_map(|s| Some((s.as_str()?.to_owned(), zone.clone()))).collect::<Vec<_>>()
    };
    let zones: Vec<(String, String)> = inner.store.list(&kinds::POOLS).flat_map(|p| of(p)).collect();
    inner.cloud.zones.extend(zones);
}

/// A pool that a scenario names.
///
/// # Errors
/// When there is none; says which there are.
pub fn pool_named(inner: &Inner, name: &str, field: &str) -> Result<Value, String> {
    let all = || inner.store.list(&kinds::POOLS).map(|p| key_of(p).1).collect::<Vec<_>>().join(", ");
    let found = inner.store.get(&kinds::POOLS, "", name).map(|p| (**p).clone());
    found.ok_or_else(|| format!("{field}: no pool is called {name:?}: write one of {}", all()))
}
