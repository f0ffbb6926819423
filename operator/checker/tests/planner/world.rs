//! The snapshot that a random fleet stands for.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use onsale_api::{
    Reason,
    onsale::TargetKind,
    placement::{FloorField, FloorKind},
    pool::Tier,
};
use onsale_planner::{
    Snapshot,
    resources::Resources,
    snapshot::{
        DaemonSet, Instance, Node, Pod, Pool, Requirement, Sale, SaleId, Settings, Taint, TargetState, Toleration, Workload, WorkloadId,
    },
};
use serde_json::{from_value, json};

use crate::{
    cloud,
    seeds::{PoolSeed, SaleSeed, WorkSeed, World},
};

/// Tiers by their bit.
const TIERS: [Tier; 3] = [Tier::OnPrem, Tier::LocalZone, Tier::Region];

/// The bits of a set.
pub fn bits(set: u8) -> impl Iterator<Item = u8> {
    (0..4).filter(move |bit| set & (1 << bit) != 0)
}

/// The tiers of a set of bits.
pub fn tiers(set: u8) -> Vec<Tier> {
    bits(set).map(|bit| TIERS[usize::from(bit)]).collect()
}

/// The instant that offsets count from.
pub const T: &str = "2026-12-05T12:00:00Z";

/// An instant, in minutes from the start.
pub fn at(minutes: i64) -> Timestamp {
    T.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes)
}

/// The snapshot that a world stands for.
pub fn snapshot(world: &World) -> Snapshot {
    let mut nodes: Vec<Node> = world.pools.iter().enumerate().flat_map(|(i, seed)| nodes(i, seed)).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let workloads = world.works.iter().enumerate().map(|(i, seed)| workload(i, seed, &mut nodes)).collect();
    let mut sales: Vec<Sale> = world.sales.iter().enumerate().filter_map(|(i, seed)| sale(world, i, seed)).collect();
    sales.sort_by(|a, b| a.id.cmp(&b.id));
    let mut seen = Snapshot {
        sales,
        pools: world.pools.iter().enumerate().map(|(i, seed)| cloud::told(world, pool(i, seed), seed)).collect(),
        workloads,
        nodes: (!world.blind).then_some(nodes),
        daemon_sets: world.pools.iter().filter(|seed| seed.daemons > 0).map(daemon_set).collect(),
        namespaces: ["shop", "other"].map(|n| (n.to_owned(), BTreeMap::from([("name".to_owned(), n.to_owned())]))).into(),
        settings: world.bucket.map_or_else(Settings::default, |(launch_burst, launch_rate)| Settings {
            launch_burst,
            launch_rate,
            ..Settings::default()
        }),
    };
    seen.workloads.sort_by(|a, b| a.id.cmp(&b.id));
    seen
}

/// One that runs in the pool's zone, wherever it is let.
fn daemon_set(seed: &PoolSeed) -> DaemonSet {
    let zone =
        Requirement { key: "topology.kubernetes.io/zone".into(), operator: "In".into(), values: vec![format!("zone-{}", seed.zone)] };
    DaemonSet {
        requests: Resources { cpu: seed.daemons * 10, memory: 1 << 28, pods: 1, extended: BTreeMap::new() },
        node_terms: vec![vec![zone]],
        tolerations: vec![Toleration { key: None, value: None, effect: None }],
    }
}

/// Type of the nodes of a pool.
pub fn kind(i: usize) -> String {
    format!("c{i}.large")
}

/// Name of the extended resource that some nodes offer and some pods ask for.
const GPU: &str = "nvidia.com/gpu";

/// So many GPUs, if any.
fn gpus(n: i64) -> BTreeMap<String, i64> {
    (n > 0).then(|| (GPU.to_owned(), n)).into_iter().collect()
}

/// What a node of the pool offers.
fn offer(seed: &PoolSeed) -> Resources {
    Resources { cpu: seed.cores * 1_000, memory: seed.cores << 31, pods: 110, extended: gpus(seed.gpus) }
}

fn pool(i: usize, seed: &PoolSeed) -> Pool {
    let mut latency = vec![json!({"site": "dc", "rtt": format!("{}us", seed.rtt)})];
    latency.extend(seed.second.map(|rtt| json!({"site": "db", "rtt": format!("{rtt}us")})));
    let mut allocatable = json!({"cpu": seed.cores.to_string(), "memory": format!("{}Gi", seed.cores * 2)});
    if seed.gpus > 0 {
        allocatable[GPU] = json!(seed.gpus.to_string());
    }
    let types =
        json!([{"name": kind(i), "hourlyCost": format!("0.{}", i + 1), "allocatable": allocatable, "addressesPerNode": seed.addresses}]);
    let subnets: Vec<String> = bits(seed.subnets).map(|bit| cloud::subnet(usize::from(bit))).collect();
    let region = ["us-west-2", "us-east-1"][seed.region];
    let ec2 =
        json!({"ec2": {"region": region, "launchTemplate": {"name": "burst", "version": "7"}, "subnets": subnets, "instanceTypes": types}});
    let existing = json!({"existing": {"selector": {"matchLabels": {"place": format!("pool-{i}")}}}});
    let mut allowed =
        if seed.open == 1 { json!({"from": "Selector", "selector": {"matchLabels": {"name": "shop"}}}) } else { json!({"from": "All"}) };
    if let Some(each) = seed.each {
        allowed["maxNodesEach"] = json!(each);
    }
    let mut spec = json!({"tier": TIERS[usize::from(seed.tier)], "zone": format!("zone-{}", seed.zone), "latency": latency, "nodes": if seed.rented { ec2 } else { existing }});
    if seed.rented {
        spec["limits"] = json!({"maxNodes": seed.limit});
    }
    if seed.open > 0 {
        spec["allowedNamespaces"] = allowed;
    }
    let shortfalls: Vec<_> = seed.short.filter(|_| seed.rented).map(|minutes| {
        json!({"instanceType": kind(i), "reason": Reason::InsufficientCapacity, "message": "none left", "at": at(-30), "attempts": 1, "retryAt": at(minutes)})
    }).into_iter().collect();
    let instances = (0..if seed.rented { seed.nodes } else { 0 }).map(|n| instance(i, n, at(-5))).collect();
    Pool {
        uid: format!("uid-{i}"),
        labels: [("fleet".to_owned(), seed.fleet.to_string())].into(),
        status: from_value(json!({"shortfalls": shortfalls})).unwrap(),
        protected: seed.rented && seed.nodes > 0,
        instances: (!(seed.unknown && seed.rented)).then_some(instances),
        ..Pool::new(&format!("pool-{i}"), from_value(spec).unwrap())
    }
}

/// The `n`th instance of a pool.
pub fn instance(pool: usize, n: usize, launched_at: Timestamp) -> Instance {
    Instance { id: format!("i-{pool}-{n:04}"), instance_type: kind(pool), leaving: false, stopped: false, launched_at }
}

/// The node of a pool, and the instance below it.
pub fn node(pool: usize, seed: &PoolSeed, name: &str, instance: Option<String>) -> Node {
    let place = if seed.rented { "onsale.dev/pool" } else { "place" };
    let labels = [(place, format!("pool-{pool}")), ("topology.kubernetes.io/zone", format!("zone-{}", seed.zone))];
    Node {
        uid: format!("uid-{name}"),
        instance,
        labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
        allocatable: offer(seed),
        others: Resources { cpu: 250 + seed.daemons * 10, memory: 1 << 28, pods: 3, extended: BTreeMap::new() },
        ..Node::new(name, &format!("pool-{pool}"))
    }
}

fn nodes(i: usize, seed: &PoolSeed) -> Vec<Node> {
    let joined = (0..seed.nodes).filter(|n| !seed.rented || n % 2 == 0);
    let node = |n: usize| {
        let id = seed.rented.then(|| instance(i, n, at(-5)).id);
        let taint = Taint { key: "dedicated".into(), value: "others".into(), effect: "NoSchedule".into() };
        let taints = if seed.tainted && !seed.rented && n == 0 { vec![taint] } else { Vec::new() };
        Node { cordoned: seed.cordoned && n == 0, taints, ..node(i, seed, &format!("node-{i}-{n:04}"), id) }
    };
    joined.map(node).collect()
}

fn workload(i: usize, seed: &WorkSeed, nodes: &mut [Node]) -> Workload {
    let id = WorkloadId { namespace: space(seed.other).into(), kind: TargetKind::Deployment, name: format!("work-{i}") };
    let requests = Resources { cpu: seed.cpu * 10, memory: 1 << 27, pods: 1, extended: gpus(seed.gpus) };
    let kind = if seed.hpa.is_some() { FloorKind::HpaMinReplicas } else { FloorKind::Replicas };
    let target = TargetState {
        manager: Some("kubectl".into()),
        max: seed.hpa.map(|max| max.max(seed.baseline)),
        zone_skew: seed.skew,
        node_terms: seed.zone.map(in_zone).into_iter().collect(),
        tolerations: tolerations(seed.tolerates),
        ..TargetState::new(FloorField { kind, name: format!("work-{i}") }, seed.baseline, requests)
    };
    let mut free: Vec<Resources> = nodes.iter().map(|n| n.allocatable.clone()).collect();
    // What earlier workloads took of GPUs nobody knows here: only nodes without other pods have any left.
    nodes.iter().zip(&mut free).filter(|(n, _)| !n.evictable.is_empty()).for_each(|(_, free)| free.extended.clear());
    let has_gpus = |free: &Resources| seed.gpus == 0 || free.extended.get(GPU).is_some_and(|n| *n >= seed.gpus);
    let taken = |n: &Node| i64::try_from(n.evictable.len()).unwrap();
    // Eight pods of three cores are the most that earlier workloads may have put there; half of every node is theirs to share.
    nodes.iter().zip(&mut free).for_each(|(n, free)| free.cpu = (free.cpu - n.others.cpu) / 2 - taken(n) * 500);
    let pods = (0..seed.baseline).zip(&seed.on).map(|(n, on)| {
        let name = format!("work-{i}-{n:04}");
        let fits = |free: &Resources| free.cpu >= target.requests.cpu * 5 && has_gpus(free);
        let place = on.map(|on| on % nodes.len().max(1)).filter(|on| free.get(*on).is_some_and(fits));
        if let Some(place) = place {
            free[place].cpu -= target.requests.cpu * 5;
            free[place].extended.entry(GPU.to_owned()).and_modify(|n| *n -= seed.gpus);
        }
        let pod = Pod { uid: format!("uid-{name}"), ..Pod::new(&name, place.map(|p| nodes[p].name.as_str()), at(-600)) };
        (pod, place)
    });
    let pods: Vec<(Pod, Option<usize>)> = pods.collect();
    for (pod, place) in &pods {
        if let Some(place) = place {
            nodes[*place].evictable.push(reference(&id, pod));
        }
    }
    Workload { id, target: Some(target), placement: None, overlay: None, pods: pods.into_iter().map(|(pod, _)| pod).collect() }
}

/// The node term that a pod of one zone has.
fn in_zone(zone: u8) -> Vec<Requirement> {
    vec![Requirement { key: "topology.kubernetes.io/zone".into(), operator: "In".into(), values: vec![format!("zone-{zone}")] }]
}

fn tolerations(tolerates: u8) -> Vec<Toleration> {
    let (key, all) = (Some("dedicated".to_owned()), Some("NoSchedule".to_owned()));
    match tolerates {
        1 => vec![Toleration { key, value: None, effect: None }],
        2 => vec![Toleration { key, value: Some("others".into()), effect: all }],
        3 => vec![Toleration { key, value: Some("somebody".into()), effect: all }],
        4 => vec![Toleration { key: None, value: None, effect: None }],
        _ => Vec::new(),
    }
}

/// A pod as a drain names it.
pub fn reference(id: &WorkloadId, pod: &Pod) -> onsale_planner::snapshot::PodRef {
    onsale_planner::snapshot::PodRef {
        namespace: id.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        terminating: pod.terminating,
    }
}

fn space(other: bool) -> &'static str {
    if other { "other" } else { "shop" }
}

/// What a sale may cost, and where it may be.
fn bounds(spec: &mut serde_json::Value, seed: &SaleSeed) {
    let mut budget = json!({});
    if let Some(nodes) = seed.nodes {
        budget["maxNodes"] = json!(nodes);
    }
    if let Some(cost) = seed.cost {
        budget["maxHourlyCost"] = json!(format!("0.{cost}"));
    }
    if let Some(tenths) = seed.total {
        budget["maxTotalCost"] = json!(format!("{}.{}", tenths / 10, tenths % 10));
    }
    if budget != json!({}) {
        spec["budget"] = budget;
    }
    if let Some(fleet) = seed.fleet {
        spec["placement"] = json!({"poolSelector": {"matchLabels": {"fleet": fleet.to_string()}}});
    }
    if let Some(set) = seed.tiers {
        spec["placement"]["tiers"] = json!(tiers(set));
    }
    if let Some(zones) = seed.zones {
        spec["workloads"][0]["placement"] = json!({"zones": bits(zones).map(|bit| format!("zone-{bit}")).collect::<Vec<_>>()});
    }
}

fn sale(world: &World, i: usize, seed: &SaleSeed) -> Option<Sale> {
    let named = world.works.iter().enumerate().zip(&seed.peaks).filter(|((_, work), peak)| work.other == seed.other && peak.is_some());
    let workloads: Vec<_> = named
        .map(|((n, _), peak)| {
            let mut wish = json!({"target": {"kind": "Deployment", "name": format!("work-{n}")}, "peakReplicas": peak});
            if let Some(calls) = seed.calls {
                wish["dependencies"] = json!([{"site": "dc", "serialCalls": calls}]);
            }
            if let Some(headroom) = seed.headroom {
                wish["headroom"] = json!(format!("{headroom}%"));
            }
            if let Some(share) = seed.share {
                wish["maxSharePerPool"] = json!(format!("{share}%"));
            }
            if let Some(latency) = seed.latency {
                wish["maxLatency"] = json!(format!("{latency}ms"));
            }
            wish
        })
        .collect();
    if workloads.is_empty() {
        return None;
    }
    let mut spec = json!({"opensAt": at(seed.opens), "workloads": workloads, "combine": if seed.max { "Max" } else { "Sum" }});
    bounds(&mut spec, seed);
    match seed.mode {
        0 => spec["onShortfall"] = json!("Hold"),
        1 => spec["mode"] = json!("Plan"),
        2 => spec["suspend"] = json!(true),
        _ => {}
    }
    let id = SaleId { namespace: space(seed.other).into(), name: format!("sale-{i}") };
    Some(Sale { uid: format!("uid-sale-{i}"), ..Sale::new(id, from_value(spec).unwrap(), at(-600)) })
}
