//! Fleets as plain numbers, the snapshot that one stands for, and what a plan for it comes to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use onsale_api::{
    onsale::TargetKind,
    placement::{FloorField, FloorKind},
};
use onsale_planner::{
    Plan, Snapshot,
    resources::Resources,
    snapshot::{Node, Pod, Pool, Sale, SaleId, TargetState, Workload, WorkloadId},
};
use serde_json::{from_value, json};

/// When every plan of a fleet is made: the latest instant at which every sale has started.
pub const NOW: &str = "2026-12-05T16:50:00Z";

/// Name of the second type of a place.
const SMALL: &str = "m6i.xlarge";

/// Places and the workloads of one sale.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// In the order of their names.
    pub places: Vec<Place>,
    /// In the order of their names.
    pub works: Vec<Work>,
}

/// A pool whose nodes are all alike.
#[derive(Clone, Debug)]
pub struct Place {
    /// Nodes are rented, and there is none yet.
    pub rented: bool,
    /// Nodes that exist, or `maxNodes`.
    pub nodes: i64,
    /// Millicores of a node.
    pub cpu: i64,
    /// Memory of a node in MiB.
    pub mib: i64,
    /// Round trip to each site in microseconds.
    pub rtts: Vec<i64>,
    /// Cents per node and hour.
    pub cents: i64,
    /// Millicores and cents of a second, smaller type of nodes.
    pub small: Option<(i64, i64)>,
}

/// A Deployment that the sale raises.
#[derive(Clone, Debug)]
pub struct Work {
    /// Millicores of a pod.
    pub cpu: i64,
    /// Memory of a pod in MiB.
    pub mib: i64,
    /// Replicas at the peak.
    pub peak: i64,
    /// Serial calls to each site.
    pub calls: Vec<i64>,
    /// Replicas that run already, in the first place.
    pub running: i64,
    /// `maxLatency` in milliseconds.
    pub max_latency: Option<i64>,
    /// `maxSharePerPool` in percent.
    pub share: Option<i64>,
}

impl Work {
    /// Microseconds of one request in the place; `None` where `maxLatency` forbids it.
    pub fn cost(&self, place: &Place) -> Option<i64> {
        let cost = self.calls.iter().zip(&place.rtts).map(|(calls, rtt)| calls * rtt).sum();
        self.max_latency.is_none_or(|most| cost <= most * 1_000).then_some(cost)
    }

    /// Most replicas in one place.
    pub fn most(&self) -> i64 {
        self.share.map_or(self.peak, |percent| (self.peak * percent / 100).max(1))
    }
}

/// What a plan comes to, in the order in which less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Worth {
    /// Replicas without a place.
    pub unplaced: i64,
    /// Microseconds over all replicas.
    pub latency: i64,
    /// Cents per hour.
    pub cents: i64,
}

impl Fleet {
    /// The snapshot, with what runs already on the first place's nodes in turn.
    pub fn snapshot(&self) -> Snapshot {
        let nodes: Vec<Node> = self.places.iter().enumerate().filter(|(_, p)| !p.rented).flat_map(|(i, p)| nodes(i, p)).collect();
        let first = nodes.iter().filter(|n| n.pool == pool_name(0)).count();
        let mut turn = 0;
        let workloads = self.works.iter().enumerate().map(|(i, work)| workload(i, work, first, &mut turn)).collect();
        Snapshot {
            sales: vec![self.sale()],
            pools: self.places.iter().enumerate().map(|(i, place)| pool(i, place)).collect(),
            workloads,
            nodes: Some(nodes),
            namespaces: BTreeMap::from([("shop".to_owned(), BTreeMap::new())]),
            ..Snapshot::default()
        }
    }

    /// What the plan makes of it.
    pub fn worth(&self, plan: &Plan) -> Worth {
        let mut worth = Worth { unplaced: 0, latency: 0, cents: 0 };
        for (work, planned) in self.works.iter().zip(&plan.workloads) {
            worth.unplaced += i64::from(planned.unplaced);
            for (i, place) in self.places.iter().enumerate() {
                let replicas = planned.by_pool.get(&pool_name(i)).copied().unwrap_or_default();
                worth.latency += i64::from(replicas) * work.cost(place).unwrap_or_default();
            }
        }
        for (place, planned) in self.places.iter().zip(&plan.pools) {
            let cents = |name: &String| if name == SMALL { place.small.map_or(0, |(_, cents)| cents) } else { place.cents };
            worth.cents += planned.wanted.iter().map(|(name, n)| i64::from(*n) * cents(name)).sum::<i64>();
        }
        worth
    }

    fn sale(&self) -> Sale {
        let wish = |(i, work): (usize, &Work)| {
            let calls: Vec<_> = (0..).zip(&work.calls).filter(|(_, n)| **n > 0).collect();
            let dependencies: Vec<_> = calls.iter().map(|(site, n)| json!({"site": format!("site-{site}"), "serialCalls": n})).collect();
            let mut wish = json!({"target": {"kind": "Deployment", "name": work_name(i)}, "peakReplicas": work.peak, "dependencies": dependencies, "headroom": "0%"});
            if let Some(most) = work.max_latency {
                wish["maxLatency"] = json!(format!("{most}ms"));
            }
            if let Some(percent) = work.share {
                wish["maxSharePerPool"] = json!(format!("{percent}%"));
            }
            wish
        };
        let spec = json!({"opensAt": "2026-12-05T17:00:00Z", "workloads": self.works.iter().enumerate().map(wish).collect::<Vec<_>>()});
        let id = SaleId { namespace: "shop".into(), name: "tour".into() };
        Sale { protected: true, ..Sale::new(id, from_value(spec).unwrap(), "2026-12-01T00:00:00Z".parse().unwrap()) }
    }
}

/// The instant of [`NOW`].
pub fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn pool_name(i: usize) -> String {
    format!("pool-{i}")
}

fn work_name(i: usize) -> String {
    format!("work-{i}")
}

fn pool(i: usize, place: &Place) -> Pool {
    let latency: Vec<_> =
        place.rtts.iter().enumerate().map(|(site, rtt)| json!({"site": format!("site-{site}"), "rtt": format!("{rtt}us")})).collect();
    let of_type = |name: &str, cpu: i64, cents: i64| {
        let price = format!("{}.{:02}", cents / 100, cents % 100);
        json!({"name": name, "hourlyCost": price, "allocatable": {"cpu": format!("{cpu}m"), "memory": format!("{}Mi", place.mib)}})
    };
    let mut types = vec![of_type("m6i.4xlarge", place.cpu, place.cents)];
    types.extend(place.small.map(|(cpu, cents)| of_type(SMALL, cpu, cents)));
    let nodes = if place.rented {
        json!({"ec2": {
            "region": "us-west-2", "launchTemplate": {"name": "burst", "version": "7"}, "subnets": ["subnet-0abc12"],
            "instanceTypes": types,
        }})
    } else {
        json!({"existing": {"selector": {"matchLabels": {"rack": pool_name(i)}}}})
    };
    let mut spec =
        json!({"tier": "Region", "zone": format!("zone-{i}"), "latency": latency, "nodes": nodes, "allowedNamespaces": {"from": "All"}});
    if place.rented {
        spec["limits"] = json!({"maxNodes": place.nodes});
    }
    Pool { protected: true, ..Pool::new(&pool_name(i), from_value(spec).unwrap()) }
}

fn nodes(i: usize, place: &Place) -> impl Iterator<Item = Node> {
    let allocatable = Resources { cpu: place.cpu, memory: place.mib << 20, pods: 110, extended: BTreeMap::new() };
    (0..place.nodes).map(move |n| Node {
        labels: BTreeMap::from([("rack".to_owned(), pool_name(i)), ("topology.kubernetes.io/zone".to_owned(), format!("zone-{i}"))]),
        allocatable: allocatable.clone(),
        ..Node::new(&format!("node-{i}-{n:04}"), &pool_name(i))
    })
}

fn workload(i: usize, work: &Work, nodes: usize, turn: &mut usize) -> Workload {
    let requests = Resources { cpu: work.cpu, memory: work.mib << 20, pods: 1, extended: BTreeMap::new() };
    let running = i32::try_from(work.running).unwrap();
    let target = TargetState::new(FloorField { kind: FloorKind::Replicas, name: work_name(i) }, running, requests);
    let mut pod = |n: i32| {
        *turn += 1;
        let node = format!("node-0-{:04}", *turn % nodes.max(1));
        Pod::new(&format!("{}-{n:04}", work_name(i)), Some(&node), "2026-12-01T00:00:00Z".parse().unwrap())
    };
    let pods = (0..running).map(&mut pod).collect();
    let id = WorkloadId { namespace: "shop".into(), kind: TargetKind::Deployment, name: work_name(i) };
    Workload { id, target: Some(target), placement: None, overlay: None, pods }
}
