//! The state that a night begins with.

use std::{collections::BTreeMap, sync::Arc};

use onsale_api::names;
use serde_json::{Value, json};

use super::at;
use crate::{
    api::{
        kinds::{self, Kind},
        request::{Ask, PatchKind, Verb},
        write,
    },
    cloud,
    journal::Journal,
    sim::Inner,
    world,
};

/// Namespace of what the builders make.
pub const NAMESPACE: &str = "ticketing";
/// Namespace of the operator, where its Lease is.
pub const OPERATOR: &str = "onsale-system";
/// The manager that wrote what the builders make.
pub const OWNER: &str = "kubectl-client-side-apply";

/// Builds the state that a night begins with.
pub struct Start(Inner);

/// A night that begins at an instant.
#[must_use]
pub fn night(now: &str, seed: u64) -> Start {
    let inner = Inner {
        now: at(now),
        store: Default::default(),
        cloud: cloud::State::new(seed),
        world: world::State::new(seed ^ 0x5DEE_CE66),
        journal: Journal::default(),
        broken: Vec::new(),
        origin: Arc::default(),
    };
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    Start(inner)
        .object(&namespace("default"))
        .object(&namespace(OPERATOR))
        .object(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {"team": NAMESPACE}}}))
}

/// A small shop: two nodes in the data centre, a Local Zone for 2 instances, a region for 10, and two Deployments, `checkout` with 4 and `seat-map`
/// with 6 pods of 1 CPU. At 70 replicas the seat map needs all of that Local Zone and one instance of the region.
#[must_use]
pub fn shop(now: &str, seed: u64) -> Start {
    night(now, seed)
        .nodes("dc", 2)
        .existing("dc", "200us")
        .rented("lz", "1.6ms", "c6i.4xlarge", 2)
        .rented("or", "30ms", "m6i.4xlarge", 10)
        .deployment("checkout", 4, "1")
        .deployment("seat-map", 6, "1")
}

/// The shop's sale: opens at 17:00 for ten minutes, returns over five, and is to be Ready at 16:50.
#[must_use]
pub fn tour(seed: u64) -> Start {
    let spec = json!({"duration": "10m", "returnOver": "5m"});
    shop("2026-12-05T16:30:00Z", seed).sale("tour", "2026-12-05T17:00:00Z", &[("checkout", 10, 12), ("seat-map", 70, 3)], &spec)
}

/// Somebody writes a Deployment's replicas, whatever they are.
pub fn scale(inner: &mut Inner, deployment: &str, replicas: i64, manager: &str) {
    let metadata = json!({"name": deployment, "namespace": NAMESPACE});
    put(inner, &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}}), manager);
}

/// Somebody deletes an object, if it is there; finalizers hold it as ever.
pub fn delete(inner: &mut Inner, kind: Kind, name: &str) {
    let namespace = if kind.namespaced { NAMESPACE } else { "" };
    if let Some(object) = inner.store.get(kind, namespace, name).cloned() {
        inner.store.delete(kind, &object, inner.now);
    }
}

/// Puts an object there in the name of a manager: creates it, or applies it by merge as `kubectl apply` does.
///
/// # Panics
/// When it is refused: tests write what is valid.
pub fn put(inner: &mut Inner, object: &Value, manager: &str) {
    let written = try_put(inner, object, manager);
    assert!(written.is_ok(), "{object} is refused: {written:?}");
}

/// The same, for objects that others wrote.
///
/// # Errors
/// What the API says against it.
pub fn try_put(inner: &mut Inner, object: &Value, manager: &str) -> Result<(), String> {
    let (version, kind) = (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
    let kind = kinds::of(version, kind).ok_or_else(|| format!("this API does not serve {kind:?} of {version:?}"))?;
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let namespace = if kind.namespaced && text("namespace").is_empty() { NAMESPACE.to_owned() } else { text("namespace") };
    let there = inner.store.get(kind, &namespace, &text("name")).is_some();
    let verb = if there { Verb::Patch(PatchKind::Merge) } else { Verb::Create };
    let name = if there { text("name") } else { String::new() };
    let query = BTreeMap::from([("fieldManager".to_owned(), manager.to_owned())]);
    let ask = Ask { verb, kind, namespace, name, sub: None, query, body: object.clone() };
    write::write(&mut inner.store, &ask, inner.now).map(drop).map_err(|failure| failure.message)
}

impl Start {
    /// The state.
    #[must_use]
    pub fn build(mut self) -> Inner {
        world::settle(&mut self.0);
        self.0.origin = Arc::new(self.0.store.clone());
        self.0
    }

    /// Changes anything.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(&mut self.0);
        self
    }

    /// Adds an object.
    #[must_use]
    pub fn object(mut self, object: &Value) -> Self {
        put(&mut self.0, object, OWNER);
        self
    }

    /// Adds every document of a manifest.
    ///
    /// # Panics
    /// When it is no YAML.
    #[must_use]
    #[expect(clippy::unwrap_used, reason = "manifests are constants of tests")]
    pub fn manifests(mut self, yaml: &str) -> Self {
        use serde::Deserialize;
        for document in serde_yaml::Deserializer::from_str(yaml) {
            let object = Value::deserialize(document).unwrap();
            if !object.is_null() {
                self = self.object(&object);
            }
        }
        self
    }

    /// Adds Ready nodes of the pool of existing nodes `pool`, in a zone of that name, 16 CPU and 64 GiB each.
    #[must_use]
    pub fn nodes(mut self, pool: &str, count: usize) -> Self {
        for i in 1..=count {
            let name = format!("{pool}-{i}");
            let labels = json!({"rack": pool, names::ZONE: pool, "kubernetes.io/hostname": name});
            let allocatable = json!({"cpu": "16", "memory": "64Gi", "pods": "110"});
            let status = json!({"allocatable": allocatable, "capacity": allocatable, "conditions": [{"type": "Ready", "status": "True"}]});
            self = self.object(
                &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}, "status": status}),
            );
        }
        self
    }

    /// Adds the pool of those nodes.
    #[must_use]
    pub fn existing(self, pool: &str, rtt: &str) -> Self {
        self.object(&json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "CapacityPool", "metadata": {"name": pool}, "spec": {
            "tier": "OnPrem", "zone": pool, "latency": [{"site": "dc", "rtt": rtt}],
            "nodes": {"existing": {"selector": {"matchLabels": {"rack": pool}}}}, "allowedNamespaces": {"from": "All"}}}))
    }

    /// Adds a rented pool in a zone of its own: one instance type of 16 CPU and 28 GiB, lead time 30 to 60 s.
    #[must_use]
    pub fn rented(self, pool: &str, rtt: &str, instance_type: &str, max_nodes: i32) -> Self {
        self.rented_in("us-west-2", pool, rtt, instance_type, max_nodes)
    }

    /// The same in another region.
    #[must_use]
    pub fn rented_in(mut self, region: &str, pool: &str, rtt: &str, instance_type: &str, max_nodes: i32) -> Self {
        let (subnet, zone) = (subnet(pool), format!("zone-{pool}"));
        self.0.cloud.zones.insert(subnet.clone(), zone.clone());
        self.object(&json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "CapacityPool", "metadata": {"name": pool}, "spec": {
            "tier": "LocalZone", "zone": zone, "latency": [{"site": "dc", "rtt": rtt}], "leadTime": {"p50": "30s", "p95": "60s"},
            "nodes": {"ec2": {"region": region, "launchTemplate": {"name": format!("burst-{pool}"), "version": "3"}, "subnets": [subnet],
                "instanceTypes": [{"name": instance_type, "hourlyCost": "0.85", "allocatable": {"cpu": "16", "memory": "28Gi"}}]}},
            "limits": {"maxNodes": max_nodes}, "allowedNamespaces": {"from": "All"}}}))
    }

    /// Adds a Deployment whose pods ask for CPU and 1 GiB each.
    #[must_use]
    pub fn deployment(self, name: &str, replicas: i32, cpu: &str) -> Self {
        let container = json!({"name": "main", "image": "shop", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}});
        let template = json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}});
        let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template});
        self.object(
            &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}),
        )
    }

    /// Adds an HPA of that name for the Deployment.
    #[must_use]
    pub fn hpa(self, deployment: &str, min: i32, max: i32) -> Self {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment});
        let spec = json!({"scaleTargetRef": target, "minReplicas": min, "maxReplicas": max});
        let metadata = json!({"name": deployment, "namespace": NAMESPACE});
        self.object(&json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": spec}))
    }

    /// Something that somebody does at an instant.
    #[must_use]
    pub fn at(mut self, instant: &str, act: fn(&mut Inner)) -> Self {
        self.0.world.at(at(instant), act);
        self
    }

    /// Adds a PodDisruptionBudget for the Deployment's pods.
    #[must_use]
    pub fn budget(self, deployment: &str, max_unavailable: &Value) -> Self {
        let spec = json!({"selector": {"matchLabels": {"app": deployment}}, "maxUnavailable": max_unavailable});
        let metadata = json!({"name": deployment, "namespace": NAMESPACE});
        self.object(&json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}))
    }

    /// Adds a sale of these Deployments (name, peak, serial calls to `dc`); `more` is merged into its spec.
    #[must_use]
    pub fn sale(self, name: &str, opens_at: &str, workloads: &[(&str, i32, i32)], more: &Value) -> Self {
        let one = |(name, peak, calls): &(&str, i32, i32)| json!({"target": {"kind": "Deployment", "name": name}, "peakReplicas": peak, "dependencies": [{"site": "dc", "serialCalls": calls}]});
        let mut spec = json!({"opensAt": opens_at, "workloads": workloads.iter().map(one).collect::<Vec<_>>()});
        crate::api::patch::merge(&mut spec, more);
        self.object(&json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "OnSale", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}))
    }
}

/// The subnet of a pool made by [`Start::rented`].
#[must_use]
pub fn subnet(pool: &str) -> String {
    let digits: String = pool.bytes().map(|b| format!("{b:02x}")).collect();
    format!("subnet-{digits:0>8}").chars().take(39).collect()
}
