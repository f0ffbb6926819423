use onsale_api::Reason;

use super::*;
use crate::{
    distance::distances,
    snapshot::Pool,
    testing::{at, node, pool, sale, snapshot, vector, wish, workload},
};

const NOW: &str = "2026-12-05T16:00:00Z";

/// On-prem with two nodes of 16 CPU, a Local Zone, two zones of a region.
fn pools() -> Vec<Pool> {
    vec![
        pool("dc").rtt("phx", "200us").build(),
        pool("lz").rtt("phx", "1.6ms").rented("c6i.4xlarge", "0.85", 3).build(),
        pool("or-a").rtt("phx", "30ms").rented("m6i.4xlarge", "0.76", 20).build(),
        pool("or-b").rtt("phx", "30ms").rented("m6i.4xlarge", "0.76", 20).build(),
    ]
}

struct Scene {
    seen: Snapshot,
    works: Vec<Work>,
}

/// Workloads by name, running replicas and target, each calling `phx` `calls` times.
fn scene(pools: Vec<Pool>, wishes: &[(&str, i32, i32, i32)]) -> Scene {
    let nodes = vec![node("dc-1", "dc"), node("dc-2", "dc")];
    let workloads = wishes.iter().map(|(name, running, ..)| workload(name, *running, &["dc-1", "dc-2"])).collect();
    let sale = sale("tour", wishes.iter().map(|(name, _, target, calls)| wish(name, *target).calls("phx", *calls).build()).collect());
    let refs: Vec<&Pool> = pools.iter().collect();
    let works = sale.spec.workloads.iter().enumerate().map(|(index, wish)| Work {
        index,
        id: crate::testing::deployment(&wish.target.name),
        payers: vec![Payer { sale: 0, up_to: i32::MAX, opens: true, most_hourly: None }],
        requests: vector(1_000, 2, 1),
        distances: distances(wish, &refs, &refs).near_to_far,
        outside: BTreeSet::new(),
        closed: 0,
        stuck: BTreeSet::new(),
        target: wish.peak_replicas,
        reserve: 0,
        max_per_pool: None,
        zone_skew: None,
        node_terms: Vec::new(),
        opens: true,
        leaves_soon: true,
    });
    let works = works.collect();
    Scene { seen: snapshot(vec![sale], pools, nodes, workloads), works }
}

struct Outcome {
    bins: Vec<Bin>,
    works: BTreeMap<usize, Packed>,
}

impl Scene {
    fn pack(&self) -> Outcome {
        let seen = Indexed::new(&self.seen, at(NOW));
        let packing = pack(&seen, &self.works, Keep::Bound);
        Outcome { bins: packing.bins().to_vec(), works: packing.works }
    }
    fn spread(&self, index: usize) -> String {
        self.pack().works[&index].by_pool.iter().map(|(p, n)| format!("{p}={n}")).collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn fills_near_places_first_and_zones_of_a_rank_evenly() {
    let scene = scene(pools(), &[("seat-map", 10, 120, 3)]);
    // 2 x 16 on premises; 14 pods of 2 GiB on 28 GiB three times in the Local Zone; the rest evenly.
    assert_eq!(scene.spread(0), "dc=32 lz=42 or-a=23 or-b=23");
    let packing = scene.pack();
    let new = |pool: &str| packing.bins.iter().filter(|b| b.pool == pool && b.state == BinState::New).count();
    assert_eq!((new("lz"), new("or-a"), new("or-b")), (3, 2, 2));
}

#[test]
fn long_chains_get_the_near_places() {
    let scene = scene(pools(), &[("queue-page", 0, 40, 1), ("checkout", 0, 40, 12)]);
    assert_eq!(scene.spread(1), "dc=32 lz=8");
    assert_eq!(scene.spread(0), "lz=34 or-a=3 or-b=3");
}

#[test]
fn near_places_are_left_to_those_who_may_not_go_far() {
    // Sorted by what is lost from the nearest to the farthest pool, the queue's page would come first, and six of the checkout nowhere.
    let mut scene = scene(pools(), &[("queue-page", 0, 40, 1), ("checkout", 0, 40, 12)]);
    scene.works[1].distances.truncate(2);
    assert_eq!(scene.pack().works[&1].unplaced, 0);
    assert_eq!(scene.spread(1), "dc=32 lz=8");
    assert_eq!(scene.spread(0), "lz=34 or-a=3 or-b=3");
}

#[test]
fn who_pays_for_a_node_leaves_it_to_others_if_they_can_pay() {
    // Both are sent to one new node in the Local Zone; the seat map of one sale has room on premises, the checkout of the other must not go there.
    let spread = |budget: Option<&str>| {
        let mut scene = scene(pools(), &[("seat-map", 0, 1, 3), ("checkout", 0, 1, 12)]);
        scene.seen.sales.push(sale("presale", vec![wish("checkout", 1).calls("phx", 12).build()]));
        scene.seen.sales[1].spec.budget =
            budget.map(|most| onsale_api::onsale::Budget { max_hourly_cost: most.parse().ok(), ..Default::default() });
        scene.works[1].payers[0].sale = 1;
        let lz: Vec<_> = scene.works[1].distances.iter().filter(|d| d.pool == "lz").cloned().collect();
        scene.works[1].distances = lz.into();
        let seen = Indexed::new(&scene.seen, at(NOW));
        let mut packer = Packer::new(&seen, &scene.works, Keep::Bound, false);
        let order: Vec<&Work> = scene.works.iter().collect();
        let there = |n: i32| BTreeMap::from([("lz".to_owned(), n)]);
        let begun = packer.mark();
        packer.bins.expect(&seen, &scene.works);
        let placed = packer.guided(&order, begun, &[(0, there(1)), (1, there(1))].into());
        placed[&0].by_pool.iter().filter(|(_, n)| **n > 0).map(|(pool, _)| pool.clone()).collect::<Vec<_>>()
    };
    assert_eq!(spread(None), ["dc"]);
    assert_eq!(spread(Some("0.85")), ["dc"]);
    assert_eq!(spread(Some("0.84")), ["lz"], "nobody would pay for the node");
}

#[test]
fn each_sale_pays_for_its_own_part_and_for_what_an_earlier_one_cannot_pay() {
    // 32 on premises, then nodes of 14: two that the presale wants, too, and one that only the general sale wants.
    let payers = |most_nodes: Option<i32>| {
        let mut scene = scene(pools(), &[("seat-map", 0, 72, 3)]);
        scene.seen.sales.push(sale("general", vec![wish("seat-map", 72).calls("phx", 3).build()]));
        scene.seen.sales[0].spec.budget = most_nodes.map(|most| onsale_api::onsale::Budget { max_nodes: Some(most), ..Default::default() });
        let payer = |sale, up_to| Payer { sale, up_to, opens: true, most_hourly: None };
        scene.works[0].payers = vec![payer(0, 60), payer(1, 72)];
        let new = scene.pack().bins.into_iter().filter(|bin| bin.state == BinState::New && bin.used());
        new.filter_map(|bin| bin.owner.map(|(_, sale)| sale)).collect::<Vec<_>>()
    };
    assert_eq!(payers(None), [0, 0, 1]);
    assert_eq!(payers(Some(1)), [0, 1, 1]);
    assert_eq!(payers(Some(0)), [1, 1, 1]);
}

#[test]
fn a_sale_on_its_way_back_pays_for_what_is_there_and_for_nothing_new() {
    let mut work = scene(pools(), &[("seat-map", 0, 20, 3)]).works.remove(0);
    let payer = |sale, up_to, opens| Payer { sale, up_to, opens, most_hourly: None };
    work.payers = vec![payer(0, 10, true), payer(1, 20, false)];
    let of = |payers: Vec<&Payer>| payers.into_iter().map(|payer| payer.sale).collect::<Vec<_>>();
    assert_eq!((of(work.payers_beside(15).collect()), of(work.new_paid_by(15))), (vec![1], vec![0]));
    work.payers = vec![payer(0, 10, false), payer(1, 20, true)];
    assert_eq!((of(work.payers_beside(5).collect()), of(work.new_paid_by(5))), (vec![0, 1], vec![1]));
    work.payers = vec![payer(0, 10, false)];
    assert_eq!((of(work.payers_beside(50).collect()), of(work.new_paid_by(5))), (vec![0], vec![]));
}

#[test]
fn shares_limits_and_budget_leave_replicas_without_a_place_and_say_why() {
    let mut shared = scene(pools(), &[("seat-map", 0, 40, 3)]);
    shared.works[0].max_per_pool = Some(10);
    assert_eq!(shared.spread(0), "dc=10 lz=10 or-a=10 or-b=10");

    let mut small = pools();
    small.truncate(2);
    let mut limited = scene(small, &[("seat-map", 0, 90, 3)]);
    let packed = limited.pack().works[&0].clone();
    assert_eq!(packed.unplaced, 90 - 32 - 42);
    // Of several reasons that of what could be rented comes first, and that existing nodes are full last.
    let said = |packed: &Packed| (packed.waiting_for[0].clone(), packed.waiting_for.last().unwrap().message.clone());
    let (first, last) = said(&packed);
    assert!(first.reason == Reason::LimitReached && first.message.contains("maxNodes of pool lz (3)"), "{first:?}");
    assert_eq!(last, "the nodes of pool dc are full");

    limited.seen.sales[0].spec.budget =
        Some(onsale_api::onsale::Budget { max_hourly_cost: Some("1.70".parse().unwrap()), ..Default::default() });
    let packed = limited.pack().works[&0].clone();
    assert_eq!(packed.by_pool["lz"], 28);
    assert_eq!(said(&packed).0.reason, Reason::BudgetReached);
}

#[test]
fn a_pool_that_was_short_is_passed_over_while_others_have_room() {
    let mut short = pools();
    short[1].status.shortfalls.push(onsale_api::pool::Shortfall {
        instance_type: "c6i.4xlarge".into(),
        subnet: None,
        reason: Reason::InsufficientCapacity,
        message: "no capacity".into(),
        at: k8s_time("2026-12-05T15:50:00Z"),
        attempts: 1,
        retry_at: k8s_time("2026-12-05T15:53:00Z"),
    });
    assert_eq!(scene(short.clone(), &[("seat-map", 0, 60, 3)]).spread(0), "dc=32 or-a=14 or-b=14");
    // Nothing else has room: the pause is over, so it is asked again.
    short.truncate(2);
    assert_eq!(scene(short, &[("seat-map", 0, 60, 3)]).spread(0), "dc=32 lz=28");
}

#[test]
fn a_full_subnet_makes_a_pool_short_only_when_every_other_one_is_full_too() {
    let full = |subnet: &str| onsale_api::pool::Shortfall {
        instance_type: "*".into(),
        subnet: Some(subnet.into()),
        reason: Reason::AddressesExhausted,
        message: format!("subnet {subnet} has no free addresses"),
        at: k8s_time("2026-12-05T15:50:00Z"),
        attempts: 1,
        retry_at: k8s_time("2026-12-05T15:53:00Z"),
    };
    let mut some = pools();
    some[1].spec.nodes.ec2.as_mut().unwrap().subnets = vec!["subnet-0aaa111".into(), "subnet-0bbb222".into()];
    some[1].status.shortfalls.push(full("subnet-0aaa111"));
    assert_eq!(scene(some.clone(), &[("seat-map", 0, 60, 3)]).spread(0), scene(pools(), &[("seat-map", 0, 60, 3)]).spread(0));
    some[1].status.shortfalls.push(full("subnet-0bbb222"));
    assert_eq!(scene(some, &[("seat-map", 0, 60, 3)]).spread(0), "dc=32 or-a=14 or-b=14");
}

#[test]
fn own_zone_spread_and_node_labels_are_planned_for() {
    let mut spread = scene(pools(), &[("seat-map", 0, 16, 3)]);
    spread.works[0].zone_skew = Some(1);
    assert_eq!(spread.spread(0), "dc=4 lz=4 or-a=4 or-b=4");

    let mut labelled = scene(pools(), &[("seat-map", 0, 5, 3)]);
    let zone = Requirement { key: names_zone(), operator: "In".into(), values: vec!["zone-or-b".into()] };
    labelled.works[0].node_terms = vec![vec![zone]];
    assert_eq!(labelled.spread(0), "or-b=5");
}

#[test]
fn headroom_opens_nodes_and_counts_as_no_replica() {
    let mut scene = scene(pools(), &[("seat-map", 0, 32, 3)]);
    scene.works[0].reserve = 4;
    assert_eq!(scene.spread(0), "dc=32");
    assert!(scene.pack().bins.iter().any(|b| b.pool == "lz" && b.state == BinState::New && b.replicas.is_empty()));
}

#[test]
fn the_cheapest_type_that_holds_the_rest_is_opened() {
    let mut two = pools();
    let types = &mut two[1].spec.nodes.ec2.as_mut().unwrap().instance_types;
    let mut small = types[0].clone();
    small.name = "c6i.xlarge".into();
    small.hourly_cost = "0.22".parse().unwrap();
    small.allocatable.insert("cpu".into(), crate::testing::amount("4"));
    small.allocatable.insert("memory".into(), crate::testing::amount("7Gi"));
    types.push(small);
    let packing = scene(two, &[("seat-map", 0, 34, 3)]).pack();
    let new: Vec<_> = packing.bins.iter().filter(|b| b.state == BinState::New).filter_map(|b| b.instance_type.as_deref()).collect();
    assert_eq!(new, ["c6i.xlarge"]);
}

/// The pool of rented nodes offers nodes of 4 CPU beside those of 16, at a quarter of the price and a little less.
fn two_types(max_nodes: i32) -> Vec<Pool> {
    let mut two = pools();
    let types = &mut two[1].spec.nodes.ec2.as_mut().unwrap().instance_types;
    let mut small = types[0].clone();
    (small.name, small.hourly_cost) = ("c6i.xlarge".into(), "0.20".parse().unwrap());
    small.allocatable.insert("cpu".into(), crate::testing::amount("4"));
    small.allocatable.insert("memory".into(), crate::testing::amount("8Gi"));
    types.push(small);
    two[1].spec.limits.as_mut().unwrap().max_nodes = Some(max_nodes);
    two.truncate(2);
    two
}

fn opened(packing: &Outcome) -> Vec<&str> {
    let mut all: Vec<&str> =
        packing.bins.iter().filter(|b| b.state == BinState::New && b.used()).filter_map(|b| b.instance_type.as_deref()).collect();
    all.sort_unstable();
    all
}

#[test]
fn small_nodes_are_cheaper_and_do_not_use_up_the_limit() {
    let of = |max_nodes: i32, wishes: &[(&str, i32, i32, i32)]| {
        let packing = scene(two_types(max_nodes), wishes).pack();
        let unplaced: i32 = packing.works.values().map(|w| w.unplaced).sum();
        (unplaced, opened(&packing).into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let (large, small) = ("c6i.4xlarge".to_owned(), "c6i.xlarge".to_owned());
    assert_eq!(of(9, &[("seat-map", 0, 44, 3)]), (0, vec![small.clone(); 3]));
    // 17 beyond what is there: five small ones would cost 1.00, and a large and a small one 1.05.
    assert_eq!(of(9, &[("seat-map", 0, 49, 3)]), (0, vec![small.clone(); 5]));
    assert_eq!(of(2, &[("seat-map", 0, 46, 3)]), (0, vec![large.clone()]));
    assert_eq!(of(2, &[("checkout", 0, 35, 12), ("seat-map", 0, 14, 3)]), (0, vec![large, small]));
}

#[test]
fn a_node_is_of_a_type_that_the_pods_own_terms_let_them_run_on() {
    let with = |name: &str, max_nodes: i32| {
        let mut scene = scene(two_types(max_nodes), &[("seat-map", 0, 44, 3)]);
        let term = Requirement { key: onsale_api::names::INSTANCE_TYPE.into(), operator: "In".into(), values: vec![name.into()] };
        scene.works[0].node_terms = vec![vec![term]];
        scene.seen.workloads[0].target.as_mut().unwrap().node_terms = scene.works[0].node_terms.clone();
        let packing = scene.pack();
        (packing.works[&0].unplaced, opened(&packing).into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    // Nodes on premises are of neither type: 44 in all, 4 and 14 to a node.
    assert_eq!(with("c6i.4xlarge", 9), (0, vec!["c6i.4xlarge".to_owned(); 4]), "although small ones are cheaper");
    assert_eq!(with("c6i.xlarge", 3), (44 - 3 * 4, vec!["c6i.xlarge".to_owned(); 3]), "although large ones would hold more");
}

fn names_zone() -> String {
    onsale_api::names::ZONE.to_owned()
}

fn k8s_time(text: &str) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(text))
}

#[test]
fn nodes_that_keep_the_pods_away_are_no_room() {
    let taint = crate::snapshot::Taint { key: "dedicated".into(), value: "databases".into(), effect: "NoSchedule".into() };
    let mut scene = scene(pools(), &[("checkout", 2, 30, 12)]);
    assert_eq!(scene.spread(0), "dc=30");
    scene.seen.nodes.as_mut().unwrap()[1].taints.push(taint);
    assert_eq!(scene.spread(0), "dc=17 lz=13", "one of the two that run was on the other node");
    let tolerates = crate::snapshot::Toleration { key: Some("dedicated".into()), value: None, effect: None };
    scene.seen.workloads[0].target.as_mut().unwrap().tolerations.push(tolerates);
    assert_eq!(scene.spread(0), "dc=30");
    scene.works[0].node_terms = vec![vec![Requirement { key: "rack".into(), operator: "NotIn".into(), values: vec!["dc".into()] }]];
    scene.seen.workloads[0].target.as_mut().unwrap().node_terms = scene.works[0].node_terms.clone();
    assert_eq!(scene.spread(0), "dc=2 lz=28", "labels are asked node by node, too");
}
