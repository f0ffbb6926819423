//! `cargo bench -p onsale-planner`: what one plan costs as sales grow, on 40 pools, in CPU time of its thread. Numbers after `--` are
//! other numbers of sales.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on has failed, and its figures are for people")]

use std::{collections::BTreeMap, hint::black_box, time::Duration};

use cpu_time::ThreadTime;
use jiff::{SignedDuration, Timestamp};
use onsale_api::{
    names,
    onsale::TargetKind,
    placement::{FloorField, FloorKind},
};
use onsale_planner::{
    Snapshot, due, plan,
    resources::Resources,
    snapshot::{Node, Pod, Pool, Sale, SaleId, Settings, TargetState, Workload, WorkloadId},
};
use peak_alloc::PeakAlloc;
use serde_json::{from_value, json};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const POOLS: usize = 40;
const OPENS_AT: &str = "2026-12-05T17:00:00Z";
/// Two of them a sale, as many replicas more each at the peak.
const REPLICAS: i32 = 20;

fn main() {
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![1, 10, 100, 1_000] } else { asked };
    println!("{:<34}{:>8}{:>12}{:>12}{:>12}{:>14}", "", "sales", "plan", "due", "peak MiB", "over n log n");
    for (title, hours) in [("scheduled, days ahead", 48), ("starting, all at once", 0)] {
        let mut before: Option<(f64, Duration)> = None;
        for sales in sizes.iter().copied() {
            let seen = world(sales);
            let now = OPENS_AT.parse::<Timestamp>().unwrap() - SignedDuration::from_mins(11) - SignedDuration::from_hours(hours);
            let measured = measure(&seen, now);
            let work = sales as f64 * (sales as f64).log2().max(1.0);
            let growth = before.map(|(less, took)| measured.plan.as_secs_f64() / took.as_secs_f64() / (work / less));
            let growth = growth.map_or_else(|| "-".to_owned(), |growth| format!("{growth:.2}"));
            let Measured { plan, due, mib } = measured;
            println!("{title:<34}{sales:>8}{:>10.2} ms{:>9.2} ms{mib:>12.1}{growth:>14}", millis(plan), millis(due));
            before = Some((work, plan));
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

struct Measured {
    plan: Duration,
    due: Duration,
    mib: f32,
}

/// The fastest of several: what the machine did besides only ever adds.
fn measure(seen: &Snapshot, now: Timestamp) -> Measured {
    let mut best = Measured { plan: Duration::MAX, due: Duration::MAX, mib: 0.0 };
    let begun = ThreadTime::now();
    for round in 0..20 {
        if round > 0 && begun.elapsed() > Duration::from_secs(1) {
            break;
        }
        let held = MEMORY.current_usage_as_mb();
        MEMORY.reset_peak_usage();
        let start = ThreadTime::now();
        let made = black_box(plan(black_box(seen), now));
        best.plan = best.plan.min(start.elapsed());
        best.mib = MEMORY.peak_usage_as_mb() - held;
        let start = ThreadTime::now();
        black_box(due(&made, seen, now));
        best.due = best.due.min(start.elapsed());
    }
    best
}

/// `sales` sales of two workloads each that open at the same instant, on 8 pools of 5 servers and 32 pools to rent from.
fn world(sales: usize) -> Snapshot {
    let pools: Vec<Pool> = (0..POOLS).map(pool).collect();
    let nodes: Vec<Node> = pools.iter().filter(|p| p.spec.nodes.ec2.is_none()).flat_map(|p| (0..5).map(|n| node(&p.name, n))).collect();
    let workloads = (0..sales).flat_map(|n| ["web", "checkout"].map(|name| workload(n, name, &nodes))).collect();
    let namespaces = (0..sales).map(|n| (namespace(n), BTreeMap::new())).collect();
    Snapshot {
        sales: (0..sales).map(sale).collect(),
        pools,
        workloads,
        nodes: Some(nodes),
        daemon_sets: Vec::new(),
        namespaces,
        settings: Settings::default(),
    }
}

fn namespace(sale: usize) -> String {
    format!("shop-{sale:04}")
}

fn pool(n: usize) -> Pool {
    let name = format!("pool-{n:02}");
    let nodes = if n < 8 {
        json!({"existing": {"selector": {"matchLabels": {"rack": name}}}})
    } else {
        json!({"ec2": {
            "region": "us-west-2", "launchTemplate": {"name": name, "version": "1"}, "subnets": ["subnet-0a1b2c"],
            "instanceTypes": [{"name": "m6i.4xlarge", "hourlyCost": "0.77", "allocatable": {"cpu": "15890m", "memory": "58Gi"}}],
        }})
    };
    let spec = json!({
        "tier": if n < 8 { "OnPrem" } else { "Region" }, "zone": format!("zone-{n:02}"), "nodes": nodes, "limits": {"maxNodes": 500},
        // Five distances.
        "latency": [{"site": "dc", "rtt": format!("{}ms", 1 + n / 8 * 5)}], "allowedNamespaces": {"from": "All"},
    });
    Pool { protected: true, ..Pool::new(&name, from_value(spec).unwrap()) }
}

fn node(pool: &str, n: usize) -> Node {
    Node {
        labels: BTreeMap::from([("rack".to_owned(), pool.to_owned()), (names::ZONE.to_owned(), pool.replace("pool", "zone"))]),
        allocatable: Resources { cpu: 128_000, memory: 512 << 30, pods: 250, extended: BTreeMap::new() },
        ..Node::new(&format!("{pool}-{n}"), pool)
    }
}

fn workload(sale: usize, name: &str, nodes: &[Node]) -> Workload {
    let id = WorkloadId { namespace: namespace(sale), kind: TargetKind::Deployment, name: name.to_owned() };
    let created_at = "2026-12-01T00:00:00Z".parse().unwrap();
    let pod = |n: usize| Pod::new(&format!("{name}-{sale}-{n}"), Some(&nodes[(sale * 4 + n) % nodes.len()].name), created_at);
    let requests = Resources { cpu: 900, memory: 2 << 30, pods: 1, extended: BTreeMap::new() };
    let target = TargetState::new(FloorField { kind: FloorKind::Replicas, name: name.to_owned() }, 4, requests);
    Workload { target: Some(target), placement: None, overlay: None, pods: (0..4).map(pod).collect(), id }
}

fn sale(n: usize) -> Sale {
    let workload = |(name, calls): (&str, i32)| json!({"target": {"kind": "Deployment", "name": name}, "peakReplicas": 4 + REPLICAS, "dependencies": [{"site": "dc", "serialCalls": calls}]});
    let spec = json!({"opensAt": OPENS_AT, "workloads": [workload(("web", 2)), workload(("checkout", 12))]});
    let id = SaleId { namespace: namespace(n), name: "tour".to_owned() };
    Sale { protected: true, ..Sale::new(id, from_value(spec).unwrap(), "2026-12-01T00:00:00Z".parse().unwrap()) }
}
