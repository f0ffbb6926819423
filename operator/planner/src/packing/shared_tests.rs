use onsale_api::Reason;

use crate::{
    plan::{Plan, plan},
    snapshot::{Instance, Pool, Snapshot},
    steps::{Step, due},
    testing::{at, free_addresses, node, pool, sale, snapshot, standard_quota, vector, wish, workload},
};

const NOW: &str = "2026-12-05T16:49:00Z";
const BEFORE: &str = "2026-12-05T16:46:00Z";
const AGES_AGO: &str = "2026-12-05T15:48:00Z";
const A: &str = "subnet-0aaaaa";
const B: &str = "subnet-0bbbbb";
const C: &str = "subnet-0ccccc";

/// On premises with 16 CPU, two Local Zones and a region, each with nodes of 16 CPU.
fn pools() -> Vec<Pool> {
    vec![
        pool("dc").rtt("phx", "200us").build(),
        pool("lz-a").rtt("phx", "1.6ms").rented("c6i.4xlarge", "0.85", 20).subnets(&[A, B]).lead("3m", "6m").build(),
        pool("lz-b").rtt("phx", "9ms").rented("m6i.4xlarge", "0.85", 20).subnets(&[B, C]).build(),
        pool("or").rtt("phx", "30ms").rented("g5.4xlarge", "1.20", 20).subnets(&["subnet-0ddddd"]).build(),
    ]
}

/// A sale that is preparing for 112 replicas of 1 CPU: 16 on premises, and six nodes more.
fn world(pools: Vec<Pool>) -> Snapshot {
    let sale = sale("tour", vec![wish("checkout", 112).calls("phx", 1).build()]);
    let mut checkout = workload("checkout", 8, &["dc-1"]);
    checkout.target.as_mut().unwrap().requests = vector(1_000, 1, 1);
    snapshot(vec![sale], pools, vec![node("dc-1", "dc")], vec![checkout])
}

fn nodes(plan: &Plan) -> String {
    let wanted = plan.pools.iter().filter(|p| !p.wanted.is_empty()).map(|p| format!("{}={} ", p.name, p.wanted.values().sum::<i32>()));
    wanted.collect::<String>() + &format!("none={}", plan.workloads[0].unplaced)
}

fn told(plan: &Plan) -> Vec<(Reason, &str)> {
    plan.sales[0].waiting_for.iter().map(|w| (w.reason, w.message.as_str())).collect()
}

fn planned(change: impl FnOnce(&mut [Pool])) -> Plan {
    let mut pools = pools();
    change(&mut pools);
    plan(&world(pools), at(NOW))
}

fn instance(n: usize, launched_at: &str) -> Instance {
    Instance { id: format!("i-{n}"), instance_type: "c6i.4xlarge".into(), leaving: false, stopped: false, launched_at: at(launched_at) }
}

#[test]
fn what_the_cloud_did_not_say_or_said_too_long_ago_bounds_nothing() {
    assert_eq!(nodes(&planned(|_| ())), "lz-a=6 none=0");
    let one_unknown = planned(|p| free_addresses(&mut p[1], BEFORE, &[(A, 1)]));
    let old = planned(|p| {
        free_addresses(&mut p[1], AGES_AGO, &[(A, 1), (B, 1)]);
        standard_quota(&mut p[1], AGES_AGO, 16, 0);
    });
    assert_eq!((nodes(&one_unknown), nodes(&old)), ("lz-a=6 none=0".into(), "lz-a=6 none=0".into()));
}

#[test]
fn an_instance_takes_an_address_and_the_rest_goes_to_the_next_place() {
    assert_eq!(nodes(&planned(|p| free_addresses(&mut p[1], BEFORE, &[(A, 2), (B, 1)]))), "lz-a=3 lz-b=3 none=0");
    let wide = |addresses: i32| {
        planned(|p| {
            p[1].spec.nodes.ec2.as_mut().unwrap().instance_types[0].addresses_per_node = addresses;
            free_addresses(&mut p[1], BEFORE, &[(A, 39), (B, 31)]);
        })
    };
    // All of an instance's addresses are in one subnet: 16 fit twice into 39 and once into 31.
    assert_eq!((nodes(&wide(16)), nodes(&wide(32))), ("lz-a=3 lz-b=3 none=0".into(), "lz-a=1 lz-b=5 none=0".into()));
}

#[test]
fn subnets_that_several_pools_name_are_counted_once() {
    let shared = |a, b, c| {
        planned(|p| {
            p[1].spec.limits.as_mut().unwrap().max_nodes = Some(4);
            free_addresses(&mut p[1], BEFORE, &[(A, a), (B, b)]);
            free_addresses(&mut p[2], BEFORE, &[(B, b), (C, c)]);
        })
    };
    // The near one takes those that only it can have, as far as the other needs the shared ones.
    assert_eq!(nodes(&shared(3, 3, 0)), "lz-a=4 lz-b=2 none=0");
    assert_eq!(nodes(&shared(4, 2, 0)), "lz-a=4 lz-b=2 none=0");
    assert_eq!(nodes(&shared(1, 3, 1)), "lz-a=4 lz-b=1 or=1 none=0");
}

#[test]
fn nothing_that_ran_when_the_cloud_was_asked_counts_twice_and_what_was_launched_since_counts_once() {
    let with = |since: &str, free: i32| {
        planned(|p| {
            p[1].instances = Some((0..3).map(|n| instance(n, since)).collect());
            free_addresses(&mut p[1], BEFORE, &[(A, free), (B, 0)]);
        })
    };
    assert_eq!(nodes(&with("2026-12-05T16:45:30Z", 2)), "lz-a=5 lz-b=1 none=0");
    assert_eq!(nodes(&with("2026-12-05T16:47:00Z", 5)), "lz-a=5 lz-b=1 none=0");
}

#[test]
fn a_quota_bounds_all_pools_of_its_families_in_the_region_together() {
    let quota = |limit, others| planned(|p| standard_quota(&mut p[2], BEFORE, limit, others));
    assert_eq!(nodes(&quota(96, 0)), "lz-a=6 none=0");
    // Whoever recorded it: lz-a and lz-b are of one quota, the region's g5 of another.
    assert_eq!(nodes(&quota(96, 20)), "lz-a=4 or=2 none=0");
    let bounded = planned(|p| {
        standard_quota(&mut p[1], BEFORE, 64, 32);
        p[1].instances = Some(vec![instance(1, BEFORE)]);
        p[3].spec.limits.as_mut().unwrap().max_nodes = Some(1);
    });
    assert_eq!(nodes(&bounded), "lz-a=2 or=1 none=48");
    let quota = told(&bounded).into_iter().find(|(reason, _)| *reason == Reason::QuotaExhausted).unwrap();
    assert!(quota.1.contains("quota L-1216C47A") && quota.1.contains("64 vCPUs, of which others use 32"), "{quota:?}");
    let elsewhere = planned(|p| {
        standard_quota(&mut p[1], BEFORE, 16, 0);
        p[2].spec.nodes.ec2.as_mut().unwrap().region = "us-east-1".into();
    });
    assert_eq!(nodes(&elsewhere), "lz-a=1 lz-b=5 none=0");
}

#[test]
fn declared_vcpus_count_instead_of_what_pods_can_use() {
    let declared = planned(|p| {
        p[1].spec.nodes.ec2.as_mut().unwrap().instance_types[0].vcpus = Some(32);
        standard_quota(&mut p[1], BEFORE, 96, 0);
    });
    assert_eq!(nodes(&declared), "lz-a=3 or=3 none=0");
}

#[test]
fn a_launch_refused_for_a_quota_pauses_its_families_in_the_whole_region() {
    let refused = |reason: Reason| {
        planned(|p| {
            let short = serde_json::json!({"instanceType": "c6i.4xlarge", "reason": reason, "message": "no", "at": BEFORE, "attempts": 1, "retryAt": "2026-12-05T16:59:00Z"});
            p[1].status.shortfalls = vec![serde_json::from_value(short).unwrap()];
        })
    };
    assert_eq!(nodes(&refused(Reason::InsufficientCapacity)), "lz-b=6 none=0");
    assert_eq!(nodes(&refused(Reason::QuotaExhausted)), "or=6 none=0");
}

#[test]
fn launches_go_where_addresses_are_free() {
    let mut pools = pools();
    free_addresses(&mut pools[1], BEFORE, &[(A, 2), (B, 5)]);
    let mut seen = world(pools);
    seen.sales[0].protected = true;
    let chains = due(&plan(&seen, at(NOW)), &seen, at(NOW));
    let launch = |step: &Step| match step {
        Step::Launch { subnet, count, .. } => Some((subnet.clone(), *count)),
        _ => None,
    };
    let launches: Vec<(String, i32)> = chains.iter().flat_map(|chain| &chain.steps).filter_map(launch).collect();
    assert_eq!(launches, [(B.to_owned(), 5), (A.to_owned(), 1)]);
}

/// The first sale's nodes are gone when the second comes, and what they took of the quota is there for others: a node that nobody uses any more is not taken
/// again without asking.
#[test]
fn what_an_earlier_sale_took_is_free_for_a_later_one_and_no_more_than_that() {
    let kept_to = |name: &str, peak: i32, zone: &str| {
        let mut wish = wish(name, peak).calls("phx", 1).build();
        wish.placement = Some(serde_json::from_value(serde_json::json!({"zones": [zone]})).unwrap());
        wish
    };
    let mut pools = pools();
    standard_quota(&mut pools[1], "2026-12-05T09:59:00Z", 64, 0);
    let first = sale("first", vec![kept_to("seat-map", 72, "zone-lz-a")]);
    let mut second = sale("second", vec![kept_to("checkout", 40, "zone-lz-b"), kept_to("seat-map", 72, "zone-lz-a")]);
    second.spec.opens_at = "2026-12-06T17:00:00Z".into();
    let mut works = [workload("checkout", 8, &["dc-1"]), workload("seat-map", 8, &["dc-1"])];
    works.iter_mut().for_each(|w| w.target.as_mut().unwrap().requests = vector(1_000, 1, 1));
    let plan = plan(&snapshot(vec![first, second], pools, vec![node("dc-1", "dc")], works.to_vec()), at("2026-12-05T10:00:00Z"));
    let unplaced = |sale: usize| plan.forecasts[sale].workloads.iter().map(|w| w.unplaced).collect::<Vec<_>>();
    assert_eq!((unplaced(0), unplaced(1)), (vec![0], vec![0, 32]));
    assert!(plan.sales[1].waiting_for.iter().any(|w| w.reason == Reason::QuotaExhausted), "{:#?}", plan.sales[1].waiting_for);
}
