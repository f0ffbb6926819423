//! Where replicas are at home: what is there already and what it costs to come back.

use onsale_api::{Phase, Reason};

use crate::{
    snapshot::{Node, Pool, Workload},
    testing::{node, pool, sale, snapshot, wish, workload, world::World},
};

fn local_zone(rtt: &str) -> Pool {
    let mut pool = pool("lz").rtt("phx", rtt).rented("c6i.4xlarge", "0.85", 20).build();
    pool.protected = false;
    pool
}

fn world(pools: Vec<Pool>, nodes: Vec<Node>, work: Workload) -> World {
    let wishes = vec![wish("seat-map", 40).calls("phx", 1).build()];
    World::new(snapshot(vec![sale("tour", wishes)], pools, nodes, vec![work]), "2026-12-05T10:00:00Z")
}

#[test]
fn what_runs_on_nodes_of_no_pool_stays_there_and_all_that_is_rented_goes_back() {
    let mut world = world(vec![local_zone("1.6ms")], Vec::new(), workload("seat-map", 8, &["elsewhere"]));
    world.run_until("2026-12-05T16:50:00Z");
    assert_eq!((world.phase("tour"), world.rented()), (Phase::Ready, 3), "{}", world.log.join("\n"));
    world.run_until("2026-12-05T19:00:00Z");
    assert_eq!((world.phase("tour"), world.rented()), (Phase::Completed, 0), "{}", world.log.join("\n"));
    world.assert_clean(&[("seat-map", 8)]);
}

#[test]
fn a_baseline_without_a_home_keeps_its_nodes_and_says_so() {
    let pools = vec![pool("dc").rtt("phx", "200us").build(), local_zone("1.6ms")];
    let mut world = world(pools, Vec::new(), workload("seat-map", 8, &[]));
    world.run_until("2026-12-05T16:50:00Z");
    assert_eq!(world.phase("tour"), Phase::Ready, "{}", world.log.join("\n"));
    let plan = world.run_until("2026-12-05T19:00:00Z");
    assert_eq!((world.phase("tour"), world.rented()), (Phase::Returning, 1), "{}", world.log.join("\n"));
    let why = plan.sales[0].frozen.as_ref();
    assert!(why.is_some_and(|why| why.reason == Reason::NoHome && why.message.contains("pool lz")), "{why:?}");
    // Room at home ends it.
    world.seen.nodes.get_or_insert_default().insert(0, node("dc-1", "dc"));
    world.run_until("2026-12-05T20:00:00Z");
    assert_eq!((world.phase("tour"), world.rented()), (Phase::Completed, 0), "{}", world.log.join("\n"));
}

#[test]
fn nothing_is_rented_a_little_nearer_while_existing_nodes_have_room() {
    let nodes = ["dc-1", "dc-2", "dc-3"].map(|name| node(name, "dc")).to_vec();
    let pools = vec![pool("dc").rtt("phx", "1.1ms").build(), local_zone("1ms")];
    let mut world = world(pools, nodes, workload("seat-map", 8, &["dc-1"]));
    world.run_until("2026-12-05T16:50:00Z");
    assert_eq!((world.phase("tour"), world.spread("seat-map").as_str(), world.rented()), (Phase::Ready, "dc=40", 0));
}

#[test]
fn pods_that_wait_for_nodes_on_their_way_close_no_pool() {
    let pools = vec![
        pool("dc").rtt("phx", "200us").build(),
        local_zone("1.6ms"),
        pool("or").rtt("phx", "30ms").rented("m6i.4xlarge", "0.76", 20).build(),
    ];
    // Four of them run nowhere when the sale begins.
    let mut world = world(pools, vec![node("dc-1", "dc")], workload("seat-map", 20, &["dc-1"]));
    for pod in &mut world.seen.workloads[0].pods[16..] {
        (pod.node, pod.ready) = (None, false);
    }
    world.run_until("2026-12-05T16:50:00Z");
    assert_eq!((world.phase("tour"), world.spread("seat-map").as_str()), (Phase::Ready, "dc=16 lz=24"), "{}", world.log.join("\n"));
    assert!(!world.log.iter().any(|line| line.contains("or: launch")), "{}", world.log.join("\n"));
}
