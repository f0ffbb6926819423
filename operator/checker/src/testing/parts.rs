//! What the night is made of, as it should be: the world, the record of the intent, and the plan.

use std::collections::BTreeMap;

use jiff::Timestamp;
use onsale_api::{
    Money, Phase, WorkloadPlacementSpec,
    onsale::{Cost, Entered, Spent, TargetKind},
    placement::{FloorField, FloorKind},
};
use onsale_planner::{
    overlay::{Overlay, Term},
    plan::{Fill, PoolPlan, SalePlan, Stage, Times, WorkloadPlan},
    resources::Resources,
    snapshot::{Node, Pod, Pool, Requirement, Sale, SaleId, TargetState, Workload, WorkloadId},
};
use serde_json::{Value, from_value, json};

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn time(text: &str) -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> {
    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(text)))
}

pub fn id() -> WorkloadId {
    WorkloadId { namespace: "shop".into(), kind: TargetKind::Deployment, name: "seat-map".into() }
}

pub fn cores(n: i64) -> Resources {
    Resources { cpu: n * 1_000, memory: n << 30, pods: 110, extended: Default::default() }
}

pub fn floor_field() -> FloorField {
    FloorField { kind: FloorKind::Replicas, name: "seat-map".into() }
}

pub fn sale() -> Sale {
    let spec = json!({
        "opensAt": "2026-12-05T17:00:00Z",
        "workloads": [{"target": {"kind": "Deployment", "name": "seat-map"}, "peakReplicas": 40, "dependencies": [{"site": "phx-dc", "serialCalls": 10}]}],
    });
    let id = SaleId { namespace: "shop".into(), name: "tour".into() };
    let new = Sale::new(id, from_value(spec).unwrap(), at("2026-12-01T00:00:00Z"));
    Sale { uid: "sale-1".into(), protected: true, ..new }
}

pub fn pool(name: &str, rtt: &str, nodes: Value) -> Pool {
    let spec = json!({
        "tier": "Region", "zone": format!("zone-{name}"), "latency": [{"site": "phx-dc", "rtt": rtt}], "nodes": nodes,
        "limits": {"maxNodes": 4}, "allowedNamespaces": {"from": "All"},
    });
    let labels = [("fleet".to_owned(), "tickets".to_owned())].into();
    Pool { uid: format!("uid-{name}"), labels, protected: true, ..Pool::new(name, from_value(spec).unwrap()) }
}

pub fn near_pool() -> Pool {
    pool("near", "0.2ms", json!({"existing": {"selector": {"matchLabels": {"site": "near"}}}}))
}

pub fn far_pool() -> Pool {
    let types = json!([{"name": "c6i.4xlarge", "hourlyCost": "0.85", "allocatable": {"cpu": "15890m", "memory": "28Gi"}}]);
    let ec2 = json!({"region": "us-west-2", "launchTemplate": {"name": "burst", "version": "7"}, "subnets": ["subnet-0abc12"], "instanceTypes": types});
    pool("far", "1.6ms", json!({"ec2": ec2}))
}

pub fn node(name: &str, pool: &str, instance: Option<String>) -> Node {
    let own = if instance.is_some() { ("onsale.dev/pool", "far") } else { ("site", "near") };
    let labels = [own, ("topology.kubernetes.io/zone", if pool == "near" { "zone-near" } else { "zone-far" })];
    Node {
        uid: format!("uid-{name}"),
        instance,
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        allocatable: cores(14),
        others: Resources { pods: 4, ..cores(2) },
        ..Node::new(name, pool)
    }
}

pub fn pod(i: i32, node: Option<&str>) -> Pod {
    Pod { uid: format!("pod-seat-map-{i}"), ..Pod::new(&format!("seat-map-{i}"), node, at("2026-12-01T00:00:00Z")) }
}

pub fn workload() -> Workload {
    let target = TargetState::new(floor_field(), 10, Resources { pods: 1, ..cores(1) });
    Workload { id: id(), target: Some(target), placement: None, overlay: None, pods: (0..10).map(|i| pod(i, Some("near-1"))).collect() }
}

/// The intent as the plan has it.
pub fn record() -> WorkloadPlacementSpec {
    from_value(json!({
        "target": {"kind": "Deployment", "name": "seat-map"}, "field": {"kind": "Replicas", "name": "seat-map"},
        "baseline": 10, "before": 10, "intended": 40, "claims": [{"sale": "tour", "uid": "sale-1", "extra": 30}],
        "distances": [{"pool": "near", "latency": "2ms", "rank": 0}, {"pool": "far", "latency": "16ms", "rank": 1}],
        "released": 2, "permitted": ["near", "far"], "revision": 1,
    }))
    .unwrap()
}

pub fn sale_plan() -> SalePlan {
    SalePlan {
        looked_at_from: None,
        id: SaleId { namespace: "shop".into(), name: "tour".into() },
        phase: Phase::Live,
        entered: Entered { preparing: time("2026-12-05T15:50:00Z"), live: time("2026-12-05T17:00:00Z"), ..Entered::default() },
        times: Some(Times {
            opens_at: at("2026-12-05T17:00:00Z"),
            ready_by: at("2026-12-05T16:50:00Z"),
            starts_at: at("2026-12-05T15:50:00Z"),
            ends_at: at("2026-12-05T18:00:00Z"),
        }),
        predicted_ready_at: None,
        all_ready: false,
        invalid: None,
        waiting_for: Vec::new(),
        unplaced: 0,
        // More than the nodes of any test cost: what is there is paid for.
        cost: Cost {
            spent: Some(Spent {
                until: time("2026-12-05T17:30:00Z").unwrap(),
                amount: Money::default(),
                hourly: Money::from_micros(99_000_000),
            }),
            ..Cost::default()
        },
        pools: vec!["near".into(), "far".into()].into(),
        late_start: false,
        frozen: None,
        next: None,
    }
}

pub fn workload_plan() -> WorkloadPlan {
    let record = record();
    let term = |key: &str, value: &str| -> Term {
        vec![Requirement { key: key.into(), operator: "In".into(), values: vec![value.into()] }].into()
    };
    let required = vec![term("site", "near"), term("onsale.dev/pool", "far")];
    let overlay = Overlay {
        owner_kind: "ReplicaSet",
        owner_pattern: "^seat-map-[a-z0-9]+$".into(),
        pod_pattern: "^seat-map-[a-z0-9]+-[a-z0-9]{5}$".into(),
        zone_costs: vec![("zone-near".into(), 2), ("zone-far".into(), 1)].into(),
        stamp: "seat-map.1".into(),
        preferred: vec![(100, required[0].clone()), (50, required[1].clone())],
        required,
        tolerated: vec!["far".into()],
    };
    WorkloadPlan {
        id: id(),
        stage: Stage::Holding,
        field: floor_field(),
        baseline: 10,
        baseline_manager: None,
        claims: record.claims,
        distances: record.distances.into(),
        peak: 40,
        floor: 40,
        by_pool: BTreeMap::from([("near".to_owned(), 24), ("far".to_owned(), 16)]).into(),
        unplaced: 0,
        headroom: 0,
        released: 2,
        permitted: record.permitted,
        overlay: Some(overlay),
        revision: 1,
        trial: 40,
        ready: 10,
        bound: BTreeMap::from([("near".to_owned(), 10)]).into(),
        ready_by_pool: BTreeMap::from([("near".to_owned(), 10)]).into(),
        misplaced: 0,
        foreign: None,
        problems: Vec::new(),
    }
}

pub fn pool_plans() -> Vec<PoolPlan> {
    let fill = |node: &str, rented: bool, room: Resources, n: i32| Fill {
        node: node.into(),
        instance_type: rented.then(|| "c6i.4xlarge".to_owned()),
        room,
        replicas: [(0, n)].into(),
        headroom: Default::default(),
    };
    let near = Resources { pods: 106, ..cores(12) };
    let far = Resources { cpu: 15_890, memory: 28 << 30, pods: 110, extended: Default::default() };
    vec![
        PoolPlan {
            name: "near".into(),
            fills: vec![fill("near-1", false, near.clone(), 12), fill("near-2", false, near, 12)],
            ..Default::default()
        },
        PoolPlan {
            name: "far".into(),
            wanted: [("c6i.4xlarge".to_owned(), 2)].into(),
            planned: 2,
            fills: vec![fill("new-c6i.4xlarge-0", true, far.clone(), 15), fill("new-c6i.4xlarge-1", true, far, 1)],
            ..Default::default()
        },
    ]
}
