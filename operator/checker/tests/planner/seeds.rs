//! Random fleets as small numbers, so that a failing case is short to read.

use proptest::{collection::vec, option, prelude::*};

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
    /// Instances that the cloud's API hands out at once in a region, and so many a second after that; none: more than there are.
    pub bucket: Option<(i64, i64)>,
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
    /// GPUs of a node.
    pub gpus: i64,
    /// What DaemonSets ask for on each of its nodes, in hundredths of a core beyond a quarter.
    pub daemons: i64,
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
    /// Tolerates that taint: 1 by its key, 2 by all of it, 3 another value of it, 4 everything; else not at all.
    pub tolerates: u8,
    /// GPUs that a pod asks for.
    pub gpus: i64,
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
    /// `maxTotalCost`, in tenths.
    pub total: Option<i32>,
    /// `maxSharePerPool`.
    pub share: Option<u16>,
    /// `headroom` in percent.
    pub headroom: Option<u16>,
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
    let facts = ([said(9), said(9), said(9)], [said(90), said(90)], option::weighted(0.3, (1..=6_i64, 1..=2_i64)));
    (vec(pools(), 1..=6), vec(works(), 1..=5), vec(sales(), 0..=3), prop::bool::weighted(0.05), facts)
        .prop_map(|(pools, works, sales, blind, (subnets, quotas, bucket))| World { pools, works, sales, blind, subnets, quotas, bucket })
}

fn pools() -> impl Strategy<Value = PoolSeed> {
    let rtt = prop::sample::select(vec![0_i64, 200, 700, 1_600, 2_000, 2_400, 3_000, 30_000, 60_000]);
    let shape = (any::<bool>(), 0..=3_usize, prop::sample::select(vec![4_i64, 8, 16]), 0..=6_i32, option::weighted(0.2, 0..=4_i32));
    let place = (rtt, option::weighted(0.7, 0..=9_000_i64), prop::sample::select(vec![3_u8, 3, 3, 1, 0]), 0..=1_u8, 0..=3_u8, 0..=2_u8);
    let state = (option::weighted(0.2, -20..=20_i64), prop::bool::weighted(0.05), prop::bool::weighted(0.1), prop::bool::weighted(0.15));
    let cloud = (0..=1_usize, 1..=7_u8, prop::sample::select(vec![1, 1, 1, 2, 3]));
    let nodes = (prop::sample::select(vec![0_i64, 0, 0, 1, 2, 4]), prop::sample::select(vec![0_i64, 0, 0, 10, 70, 200]));
    (shape, place, state, cloud, nodes).prop_map(|(shape, place, state, (region, subnets, addresses), (gpus, daemons))| {
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
            gpus,
            daemons,
            region,
            subnets,
            addresses,
        }
    })
}

fn works() -> impl Strategy<Value = WorkSeed> {
    let shape = (prop::bool::weighted(0.2), prop::sample::select(vec![25_i64, 50, 100, 150, 300]), 0..=8_i32);
    let gpus = prop::sample::select(vec![0_i64, 0, 0, 0, 0, 0, 1, 2]);
    let own = (option::weighted(0.3, 5..=60_i32), option::weighted(0.15, 1..=3_i32), option::weighted(0.15, 0..=3_u8), 0..=12_u8, gpus);
    let place = vec(option::weighted(0.9, 0..=17_usize), 8);
    (shape, own, place).prop_map(|((other, cpu, baseline), (hpa, skew, zone, tolerates, gpus), on)| WorkSeed {
        other,
        cpu,
        baseline,
        hpa,
        skew,
        zone,
        tolerates,
        gpus,
        on,
    })
}

fn sales() -> impl Strategy<Value = SaleSeed> {
    let wish = (prop::bool::weighted(0.2), -150..=300_i64, vec(option::weighted(0.7, 1..=60_i32), 5));
    let money = (option::weighted(0.3, 0..=4_i32), option::weighted(0.3, 0..=30_i32));
    let shares = (option::weighted(0.3, 20..=100_u16), option::weighted(0.3, 0..=150_u16));
    let bounds = (option::weighted(0.3, 0..=6_i32), money, shares);
    let reach = (option::weighted(0.3, 1..=300_i64), option::weighted(0.2, 0..=1_u8), option::weighted(0.7, 1..=12_i32), any::<bool>());
    let residency = (option::weighted(0.2, 1..=7_u8), option::weighted(0.2, 1..=15_u8));
    (wish, bounds, reach, residency, 0..=12_u8).prop_map(|(wish, bounds, (latency, fleet, calls, max), (tiers, zones), mode)| {
        let ((other, opens, peaks), (nodes, (cost, total), (share, headroom))) = (wish, bounds);
        SaleSeed { other, opens, peaks, nodes, cost, total, share, headroom, latency, fleet, tiers, zones, calls, max, mode }
    })
}
