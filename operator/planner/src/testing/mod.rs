//! Builders for tests: they start valid, with names unlike any constant. [`world`]: a cluster small enough to be a data structure.

pub mod world;

use std::collections::BTreeMap;

use jiff::Timestamp;
use onsale_api::{
    Amount, CapacityPoolSpec, OnSaleSpec,
    onsale::{SaleWorkload, TargetKind},
    placement::{FloorField, FloorKind},
};
use serde_json::{Value, json};

use crate::{
    resources::Resources,
    snapshot::{Node, Pod, Pool, Sale, SaleId, Settings, Snapshot, TargetState, Workload, WorkloadId},
};

/// Namespace of everything that the builders make.
pub const NAMESPACE: &str = "ticketing";

/// An instant.
#[must_use]
pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// One workload of a sale.
pub struct WishBuilder(Value);

/// A wish for `peak` replicas of the Deployment `name`.
#[must_use]
pub fn wish(name: &str, peak: i32) -> WishBuilder {
    WishBuilder(json!({"target": {"kind": "Deployment", "name": name}, "peakReplicas": peak, "dependencies": []}))
}

impl WishBuilder {
    /// Adds a dependency.
    #[must_use]
    pub fn calls(mut self, site: &str, serial_calls: i32) -> Self {
        self.0["dependencies"].as_array_mut().unwrap().push(json!({"site": site, "serialCalls": serial_calls}));
        self
    }
    /// Sets `maxLatency`.
    #[must_use]
    pub fn max_latency(mut self, text: &str) -> Self {
        self.0["maxLatency"] = json!(text);
        self
    }
    /// The wish.
    #[must_use]
    pub fn build(self) -> SaleWorkload {
        serde_json::from_value(self.0).unwrap()
    }
}

/// A pool.
pub struct PoolBuilder {
    name: String,
    spec: Value,
}

/// A pool of existing nodes in a zone of its own name, open to every namespace.
#[must_use]
pub fn pool(name: &str) -> PoolBuilder {
    let spec = json!({
        "tier": "OnPrem", "zone": format!("zone-{name}"), "latency": [],
        "nodes": {"existing": {"selector": {"matchLabels": {"rack": name}}}},
        "allowedNamespaces": {"from": "All"},
    });
    PoolBuilder { name: name.to_owned(), spec }
}

impl PoolBuilder {
    /// Adds a latency figure.
    #[must_use]
    pub fn rtt(mut self, site: &str, rtt: &str) -> Self {
        self.spec["latency"].as_array_mut().unwrap().push(json!({"site": site, "rtt": rtt}));
        self
    }
    /// Makes it a rented pool with one instance type of 16 CPU, 28 GiB and 110 pods.
    #[must_use]
    pub fn rented(mut self, instance_type: &str, hourly: &str, max_nodes: i32) -> Self {
        self.spec["tier"] = json!("LocalZone");
        self.spec["nodes"] = json!({"ec2": {
            "region": "us-west-2", "launchTemplate": {"name": "burst", "version": "3"}, "subnets": ["subnet-0a1b2c"],
            "instanceTypes": [{"name": instance_type, "hourlyCost": hourly, "allocatable": {"cpu": "16", "memory": "28Gi"}}],
        }});
        self.spec["limits"] = json!({"maxNodes": max_nodes});
        self
    }
    /// Declares lead times.
    #[must_use]
    pub fn lead(mut self, p50: &str, p95: &str) -> Self {
        self.spec["leadTime"] = json!({"p50": p50, "p95": p95});
        self
    }
    /// Its subnets.
    #[must_use]
    pub fn subnets(mut self, ids: &[&str]) -> Self {
        self.spec["nodes"]["ec2"]["subnets"] = json!(ids);
        self
    }
    /// The pool.
    #[must_use]
    pub fn build(self) -> Pool {
        let spec: CapacityPoolSpec = serde_json::from_value(self.spec).unwrap();
        Pool { uid: format!("uid-{}", self.name), protected: true, ..Pool::new(&self.name, spec) }
    }
}

/// `cpu` millicores, `gib` GiB of memory, `pods` pods.
#[must_use]
pub fn vector(cpu: i64, gib: i64, pods: i64) -> Resources {
    Resources { cpu, memory: gib << 30, pods, extended: BTreeMap::new() }
}

/// A Ready node of `pool` with 16 CPU, 64 GiB and 110 pods.
#[must_use]
pub fn node(name: &str, pool: &str) -> Node {
    Node {
        uid: format!("uid-{name}"),
        labels: BTreeMap::from([("rack".to_owned(), pool.to_owned()), ("topology.kubernetes.io/zone".to_owned(), format!("zone-{pool}"))]),
        allocatable: vector(16_000, 64, 110),
        ..Node::new(name, pool)
    }
}

/// The id of the Deployment `name`.
#[must_use]
pub fn deployment(name: &str) -> WorkloadId {
    WorkloadId { namespace: NAMESPACE.to_owned(), kind: TargetKind::Deployment, name: name.to_owned() }
}

/// A Deployment without an HPA whose pods ask for 1 CPU and 2 GiB; `nodes[i % len]` holds its i-th pod.
#[must_use]
pub fn workload(name: &str, replicas: i32, nodes: &[&str]) -> Workload {
    let pods = (0..replicas).map(|i| pod(name, i, nodes.get(i as usize % nodes.len().max(1)).copied())).collect();
    let field = FloorField { kind: FloorKind::Replicas, name: name.to_owned() };
    let manager = Some("kubectl-client-side-apply".to_owned());
    let target = TargetState { manager, ..TargetState::new(field, replicas, vector(1_000, 2, 1)) };
    Workload { id: deployment(name), target: Some(target), placement: None, overlay: None, pods }
}

/// The i-th pod of a workload; Ready when it has a node.
#[must_use]
pub fn pod(workload: &str, i: i32, node: Option<&str>) -> Pod {
    Pod { uid: format!("uid-{workload}-{i:04}"), ..Pod::new(&format!("{workload}-{i:04}"), node, at("2026-12-01T00:00:00Z")) }
}

/// A sale that opens on 2026-12-05 at 17:00 UTC, created a day before, with the defaults of the API.
#[must_use]
pub fn sale(name: &str, workloads: Vec<SaleWorkload>) -> Sale {
    let spec: OnSaleSpec = serde_json::from_value(json!({"opensAt": "2026-12-05T17:00:00Z", "workloads": workloads})).unwrap();
    let id = SaleId { namespace: NAMESPACE.to_owned(), name: name.to_owned() };
    Sale { uid: format!("uid-{name}"), ..Sale::new(id, spec, at("2026-12-04T00:00:00Z")) }
}

/// A snapshot of these.
#[must_use]
pub fn snapshot(sales: Vec<Sale>, pools: Vec<Pool>, nodes: Vec<Node>, workloads: Vec<Workload>) -> Snapshot {
    let namespaces = BTreeMap::from([(NAMESPACE.to_owned(), BTreeMap::from([("team".to_owned(), NAMESPACE.to_owned())]))]);
    Snapshot { sales, pools, workloads, nodes: Some(nodes), daemon_sets: Vec::new(), namespaces, settings: Settings::default() }
}

/// What the cloud says of subnets at an instant, as recorded in the pool.
pub fn free_addresses(pool: &mut Pool, at: &str, free: &[(&str, i32)]) {
    let fact = |(id, n): &(&str, i32)| json!({"id": id, "zone": pool.spec.zone, "freeAddresses": n, "at": at});
    pool.status.subnets = serde_json::from_value(free.iter().map(fact).collect()).unwrap();
}

/// What the cloud says of the Standard quota at an instant, as recorded in the pool.
pub fn standard_quota(pool: &mut Pool, at: &str, limit: i32, used_by_others: i32) {
    let fact = json!([{"code": "L-1216C47A", "name": "Standard", "limit": limit, "usedByOthers": used_by_others, "at": at}]);
    pool.status.quotas = serde_json::from_value(fact).unwrap();
}

/// An amount.
#[must_use]
pub fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}
