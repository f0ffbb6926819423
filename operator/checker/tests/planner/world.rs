//! Random fleets as small numbers, so that a failing case is short to read, and the snapshot that they stand for.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use onsale_api::{
    Reason,
    onsale::TargetKind,
    placement::{FloorField, FloorKind},
    pool::{QuotaFacts, SubnetFacts, Tier},
};
use onsale_planner::{
    Snapshot,
    resources::Resources,
    snapshot::{Instance, Node, Pod, Pool, Requirement, Sale, SaleId, Taint, TargetState, Toleration, Workload, WorkloadId},
};
use proptest::{collection::vec, option, prelude::*};
use serde_json::{from_value, json};

/// Tiers by their bit.
const TIERS: [Tier; 3] = [Tier::OnPrem, Tier::LocalZone, Tier::Region];

/// The bits of a set.
fn bits(set: u8) -> impl Iterator<Item = u8> {
    (0..4).filter(move |bit| set & (1 << bit) != 0)
}

/// The tiers of a set of bits.
pub fn tiers(set: u8) -> Vec<Tier> {
    bits(set).map(|bit| TIERS[usize::from(bit)]).collect()
}

/// The instant that offsets count from.
pub const T: &str = "2026-12-05T12:00:00Z";

/// Everything random about a fleet.
#[derive(Clone, Debug)]
pub struct World {
    /// Places.
    pub pools: Vec<PoolSeed>,
    /// Workloads.
    pub works: Vec<WorkSeed>,
    /// Sales.
    pub sales: Vec<SaleSeed>,
    /// Nodes are unknown.
    pub blind: bool,
    /// What the cloud said of three subnets.
    pub subnets: [Option<Said>; 3],
    /// What it said of the Standard quota of two regions.
    pub quotas: [Option<Said>; 2],
}

/// What the cloud said: minutes ago, and a number of addresses or vCPUs.
pub type Said = (i64, i32);

/// One pool.
#[derive(Clone, Debug)]
pub struct PoolSeed {
    /// Existing nodes, or rented ones.
    pub rented: bool,
    /// Nodes that exist; of rented pools every second has not joined yet.
    pub nodes: usize,
    /// CPU of a node in cores.
    pub cores: i64,
    /// Round trip to `dc` in microseconds.
    pub rtt: i64,
    /// Round trip to `db`, where it is declared.
    pub second: Option<i64>,
    /// `limits.maxNodes`.
    pub limit: i32,
    /// `maxNodesEach`.
    pub each: Option<i32>,
    /// Who may use it: 0 nobody, 1 `shop` by labels, else all.
    pub open: u8,
    /// Label `fleet`.
    pub fleet: u8,
    /// Zone.
    pub zone: u8,
    /// Tier: 0 on premises, 1 Local Zone, else region.
    pub tier: u8,
    /// A shortfall of the first type: minutes until it may be tried again.
    pub short: Option<i64>,
    /// The cloud did not answer.
    pub unknown: bool,
    /// One node in the pool is cordoned by somebody else.
    pub cordoned: bool,
    /// The first of its existing nodes carries a taint of somebody else's.
    pub tainted: bool,
    /// Region, of two.
    pub region: usize,
    /// Subnets, as a set of bits.
    pub subnets: u8,
    /// Addresses that a node takes.
    pub addresses: i32,
}

/// One workload.
#[derive(Clone, Debug)]
pub struct WorkSeed {
    /// Namespace `other` instead of `shop`.
    pub other: bool,
    /// Requests of a pod in hundredths of a core.
    pub cpu: i64,
    /// Replicas before any sale.
    pub baseline: i32,
    /// An HPA with this maximum.
    pub hpa: Option<i32>,
    /// Own zone spread.
    pub skew: Option<i32>,
    /// Own node term: the zone that it must be in.
    pub zone: Option<u8>,
    /// Tolerates that taint.
    pub tolerates: bool,
    /// The node that each replica is on, as far as it has room; none: unbound.
    pub on: Vec<Option<usize>>,
}

/// One sale.
#[derive(Clone, Debug)]
pub struct SaleSeed {
    /// In namespace `other` instead of `shop`.
    pub other: bool,
    /// Opens so many minutes after the start.
    pub opens: i64,
    /// Peak of each workload of the namespace; none: not named.
    pub peaks: Vec<Option<i32>>,
    /// `maxNodes`.
    pub nodes: Option<i32>,
    /// `maxHourlyCost`.
    pub cost: Option<i32>,
    /// `maxSharePerPool`.
    pub share: Option<u16>,
    /// `maxLatency` in milliseconds.
    pub latency: Option<i64>,
    /// Fleet that it selects.
    pub fleet: Option<u8>,
    /// Tiers that it allows, as a set of bits: on premises, Local Zone, region.
    pub tiers: Option<u8>,
    /// Zones that its first workload is kept to, as a set of bits.
    pub zones: Option<u8>,
    /// Calls to `dc`; none: no dependencies.
    pub calls: Option<i32>,
    /// Combine as Max.
    pub max: bool,
    /// 0 Hold, 1 Plan, 2 suspended, else none of these.
    pub mode: u8,
}

/// Random fleets.
pub fn worlds() -> impl Strategy<Value = World> {
    let said = |most: i32| option::weighted(0.4, (0..=80_i64, 0..=most));
    let facts = ([said(9), said(9), said(9)], [said(90), said(90)]);
    (vec(pools(), 1..=6), vec(works(), 1..=5), vec(sales(), 0..=3), prop::bool::weighted(0.05), facts)
        .prop_map(|(pools, works, sales, blind, (subnets, quotas))| World { pools, works, sales, blind, subnets, quotas })
}

fn pools() -> impl Strategy<Value = PoolSeed> {
    let rtt = prop::sample::select(vec![0_i64, 200, 700, 1_600, 2_000, 2_400, 3_000, 30_000, 60_000]);
    let shape = (any::<bool>(), 0..=3_usize, prop::sample::select(vec![4_i64, 8, 16]), 0..=6_i32, option::weighted(0.2, 0..=4_i32));
    let place = (rtt, option::weighted(0.7, 0..=9_000_i64), prop::sample::select(vec![3_u8, 3, 3, 1, 0]), 0..=1_u8, 0..=3_u8, 0..=2_u8);
    let state = (option::weighted(0.2, -20..=20_i64), prop::bool::weighted(0.05), prop::bool::weighted(0.1), prop::bool::weighted(0.15));
    let cloud = (0..=1_usize, 1..=7_u8, prop::sample::select(vec![1, 1, 1, 2, 3]));
    (shape, place, state, cloud).prop_map(|(shape, place, state, (region, subnets, addresses))| {
        let (rented, nodes, cores, limit, each) = shape;
        let (rtt, second, open, fleet, zone, tier) = place;
        let (short, unknown, cordoned, tainted) = state;
        PoolSeed {
            rented,
            nodes,
            cores,
            rtt,
            second,
            limit,
            each,
            open,
            fleet,
            zone,
            tier,
            short,
            unknown,
            cordoned,
            tainted,
            region,
            subnets,
            addresses,
        }
    })
}

fn works() -> impl Strategy<Value = WorkSeed> {
    let shape = (prop::bool::weighted(0.2), prop::sample::select(vec![25_i64, 50, 100, 150, 300]), 0..=8_i32);
    let own =
        (option::weighted(0.3, 5..=60_i32), option::weighted(0.15, 1..=3_i32), option::weighted(0.15, 0..=3_u8), prop::bool::weighted(0.3));
    (shape, own, vec(option::weighted(0.9, 0..=17_usize), 8)).prop_map(|((other, cpu, baseline), (hpa, skew, zone, tolerates), on)| {
        WorkSeed { other, cpu, baseline, hpa, skew, zone, tolerates, on }
    })
}

fn sales() -> impl Strategy<Value = SaleSeed> {
    let wish = (prop::bool::weighted(0.2), -150..=300_i64, vec(option::weighted(0.7, 1..=60_i32), 5));
    let bounds = (option::weighted(0.3, 0..=6_i32), option::weighted(0.3, 0..=4_i32), option::weighted(0.3, 20..=100_u16));
    let reach = (option::weighted(0.3, 1..=300_i64), option::weighted(0.2, 0..=1_u8), option::weighted(0.7, 1..=12_i32), any::<bool>());
    let residency = (option::weighted(0.2, 1..=7_u8), option::weighted(0.2, 1..=15_u8));
    (wish, bounds, reach, residency, 0..=12_u8).prop_map(|(wish, bounds, (latency, fleet, calls, max), (tiers, zones), mode)| {
        let ((other, opens, peaks), (nodes, cost, share)) = (wish, bounds);
        SaleSeed { other, opens, peaks, nodes, cost, share, latency, fleet, tiers, zones, calls, max, mode }
    })
}

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
        pools: world.pools.iter().enumerate().map(|(i, seed)| told(world, pool(i, seed), seed)).collect(),
        workloads,
        nodes: (!world.blind).then_some(nodes),
        namespaces: ["shop", "other"].map(|n| (n.to_owned(), BTreeMap::from([("name".to_owned(), n.to_owned())]))).into(),
        ..Snapshot::default()
    };
    seen.workloads.sort_by(|a, b| a.id.cmp(&b.id));
    seen
}

/// Type of the nodes of a pool.
pub fn kind(i: usize) -> String {
    format!("c{i}.large")
}

/// What a node with so many cores offers.
pub fn offer(cores: i64) -> Resources {
    Resources { cpu: cores * 1_000, memory: cores << 31, pods: 110, extended: BTreeMap::new() }
}

fn pool(i: usize, seed: &PoolSeed) -> Pool {
    let mut latency = vec![json!({"site": "dc", "rtt": format!("{}us", seed.rtt)})];
    latency.extend(seed.second.map(|rtt| json!({"site": "db", "rtt": format!("{rtt}us")})));
    let types = json!([{"name": kind(i), "hourlyCost": format!("0.{}", i + 1), "allocatable": {"cpu": seed.cores.to_string(), "memory": format!("{}Gi", seed.cores * 2)}, "addressesPerNode": seed.addresses}]);
    let subnets: Vec<String> = bits(seed.subnets).map(|bit| subnet(usize::from(bit))).collect();
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
        name: format!("pool-{i}"),
        uid: format!("uid-{i}"),
        labels: [("fleet".to_owned(), seed.fleet.to_string())].into(),
        spec: from_value(spec).unwrap(),
        status: from_value(json!({"shortfalls": shortfalls})).unwrap(),
        deleting: false,
        protected: seed.rented && seed.nodes > 0,
        instances: (!(seed.unknown && seed.rented)).then_some(instances),
    }
}

/// The `n`th subnet.
pub fn subnet(n: usize) -> String {
    format!("subnet-0abc1{n}")
}

/// A pool with what the cloud said of its subnets and its quota.
fn told(world: &World, mut pool: Pool, seed: &PoolSeed) -> Pool {
    for (n, (ago, free)) in world.subnets.iter().enumerate().filter_map(|(n, said)| Some((n, (*said)?))) {
        tell_subnet(&mut pool, n, free, at(-ago));
    }
    if let Some((ago, left)) = world.quotas[seed.region] {
        tell_quota(&mut pool, left, at(-ago));
    }
    pool
}

/// The cloud says how many addresses of the `n`th subnet are free, if it is the pool's.
pub fn tell_subnet(pool: &mut Pool, n: usize, free_addresses: i32, at: Timestamp) {
    let id = subnet(n);
    pool.status.subnets.retain(|s| s.id != id);
    if pool.spec.nodes.ec2.as_ref().is_some_and(|ec2| ec2.subnets.contains(&id)) {
        pool.status.subnets.push(SubnetFacts { id, zone: pool.spec.zone.clone(), free_addresses, at: Time(at) });
    }
}

/// The cloud says how many vCPUs of the Standard quota others leave.
pub fn tell_quota(pool: &mut Pool, left: i32, at: Timestamp) {
    if pool.spec.nodes.ec2.is_some() {
        let fact = QuotaFacts { code: "L-1216C47A".into(), name: "Standard".into(), limit: left + 10, used_by_others: 10, at: Time(at) };
        pool.status.quotas = vec![fact];
    }
}

/// The `n`th instance of a pool.
pub fn instance(pool: usize, n: usize, launched_at: Timestamp) -> Instance {
    Instance { id: format!("i-{pool}-{n:04}"), instance_type: kind(pool), leaving: false, stopped: false, launched_at }
}

/// The node of a pool, and the instance below it.
pub fn node(pool: usize, seed: &PoolSeed, name: String, instance: Option<String>) -> Node {
    let place = if seed.rented { "onsale.dev/pool" } else { "place" };
    let labels = [(place, format!("pool-{pool}")), ("topology.kubernetes.io/zone", format!("zone-{}", seed.zone))];
    Node {
        uid: format!("uid-{name}"),
        name,
        pool: format!("pool-{pool}"),
        instance,
        labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
        ready: true,
        cordoned: false,
        draining: false,
        labelled: true,
        tainted: true,
        taints: Vec::new(),
        allocatable: offer(seed.cores),
        others: Resources { cpu: 250, memory: 1 << 28, pods: 3, extended: BTreeMap::new() },
        evictable: Vec::new(),
    }
}

fn nodes(i: usize, seed: &PoolSeed) -> Vec<Node> {
    let joined = (0..seed.nodes).filter(|n| !seed.rented || n % 2 == 0);
    let node = |n: usize| {
        let id = seed.rented.then(|| instance(i, n, at(-5)).id);
        let taint = Taint { key: "dedicated".into(), value: "others".into(), effect: "NoSchedule".into() };
        let taints = if seed.tainted && !seed.rented && n == 0 { vec![taint] } else { Vec::new() };
        Node { cordoned: seed.cordoned && n == 0, taints, ..node(i, seed, format!("node-{i}-{n:04}"), id) }
    };
    joined.map(node).collect()
}

fn workload(i: usize, seed: &WorkSeed, nodes: &mut [Node]) -> Workload {
    let id = WorkloadId { namespace: space(seed.other).into(), kind: TargetKind::Deployment, name: format!("work-{i}") };
    let requests = Resources { cpu: seed.cpu * 10, memory: 1 << 27, pods: 1, extended: BTreeMap::new() };
    let term = |zone: u8| {
        vec![Requirement { key: "topology.kubernetes.io/zone".into(), operator: "In".into(), values: vec![format!("zone-{zone}")] }]
    };
    let field = if seed.hpa.is_some() { FloorKind::HpaMinReplicas } else { FloorKind::Replicas };
    let target = TargetState {
        requests,
        requests_missing: false,
        replicas: seed.baseline,
        field: FloorField { kind: field, name: format!("work-{i}") },
        value: seed.baseline,
        manager: Some("kubectl".into()),
        max: seed.hpa.map(|max| max.max(seed.baseline)),
        grace: SignedDuration::from_secs(30),
        zone_skew: seed.skew,
        node_terms: seed.zone.map(term).into_iter().collect(),
        tolerations: seed.tolerates.then(|| Toleration { key: Some("dedicated".into()), value: None, effect: None }).into_iter().collect(),
        own_deletion_cost: false,
    };
    let mut free: Vec<Resources> = nodes.iter().map(|n| n.allocatable.clone()).collect();
    let taken = |n: &Node| i64::try_from(n.evictable.len()).unwrap();
    // Eight pods of three cores are the most that earlier workloads may have put there; half of every node is theirs to share.
    nodes.iter().zip(&mut free).for_each(|(n, free)| free.cpu = (free.cpu - 250) / 2 - taken(n) * 500);
    let pods = (0..seed.baseline).zip(&seed.on).map(|(n, on)| {
        let name = format!("work-{i}-{n:04}");
        let place = on.map(|on| on % nodes.len().max(1)).filter(|on| free.get(*on).is_some_and(|f| f.cpu >= target.requests.cpu * 5));
        if let Some(place) = place {
            free[place].cpu -= target.requests.cpu * 5;
        }
        let pod = Pod {
            uid: format!("uid-{name}"),
            node: place.map(|p| nodes[p].name.clone()),
            ready: place.is_some(),
            name,
            revision: None,
            created_at: at(-600),
            terminating: false,
        };
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

fn sale(world: &World, i: usize, seed: &SaleSeed) -> Option<Sale> {
    let named = world.works.iter().enumerate().zip(&seed.peaks).filter(|((_, work), peak)| work.other == seed.other && peak.is_some());
    let workloads: Vec<_> = named
        .map(|((n, _), peak)| {
            let mut wish = json!({"target": {"kind": "Deployment", "name": format!("work-{n}")}, "peakReplicas": peak});
            if let Some(calls) = seed.calls {
                wish["dependencies"] = json!([{"site": "dc", "serialCalls": calls}]);
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
    let mut budget = json!({});
    if let Some(nodes) = seed.nodes {
        budget["maxNodes"] = json!(nodes);
    }
    if let Some(cost) = seed.cost {
        budget["maxHourlyCost"] = json!(format!("0.{cost}"));
    }
    if seed.nodes.is_some() || seed.cost.is_some() {
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
    match seed.mode {
        0 => spec["onShortfall"] = json!("Hold"),
        1 => spec["mode"] = json!("Plan"),
        2 => spec["suspend"] = json!(true),
        _ => {}
    }
    Some(Sale {
        id: SaleId { namespace: space(seed.other).into(), name: format!("sale-{i}") },
        uid: format!("uid-sale-{i}"),
        generation: 1,
        created_at: at(-600),
        spec: from_value(spec).unwrap(),
        status: from_value(json!({})).unwrap(),
        deleting: false,
        protected: false,
        return_now: false,
    })
}
