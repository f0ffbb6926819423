//! A cloud that is slow, full or stubborn in one place, while everything else has to go on.

use std::time::Duration;

use onsale_nights::{
    api::kinds,
    night::{
        at,
        build::{Start, delete, night, scale, shop, subnet, tour},
    },
    sim::Inner,
};
use serde_json::json;

use crate::whole;

const FAR: &str = "us-east-1";

/// The tour of the shop that may also use a third pool, the farthest one, in a region of its own.
fn two_regions(seed: u64) -> Start {
    shop("2026-12-05T16:30:00Z", seed).rented_in(FAR, "va", "60ms", "m7i.4xlarge", 5).sale(
        "tour",
        "2026-12-05T17:00:00Z",
        &[("checkout", 10, 12), ("seat-map", 70, 3)],
        &json!({"duration": "10m", "returnOver": "5m"}),
    )
}

#[test]
fn a_region_whose_lists_take_their_time_holds_nothing_up() {
    let start = two_regions(1).with(|inner| inner.cloud.slow = [(FAR.to_owned(), Duration::from_secs(20))].into());
    let state = whole(start, async |stage| {
        // At any moment of the region's pauses and calls.
        for instant in ["2026-12-05T17:02:00Z", "2026-12-05T17:02:37Z", "2026-12-05T17:03:11Z", "2026-12-05T17:04:03Z"] {
            stage.run_until(instant).await;
            stage.sim.with(|inner| scale(inner, "checkout", 20, "kubectl-scale"));
            stage.run_for(Duration::from_secs(10)).await;
            stage.sim.with(|inner| scale(inner, "checkout", 5, "kubectl-scale"));
            stage.run_for(Duration::from_millis(2_500)).await;
            assert_eq!(stage.state().replicas("checkout"), Some(10), "at {instant}\n{}", stage.text());
        }
    });
    state.assert_on_time();
}

#[test]
fn a_region_whose_launches_take_their_time_delays_nobody_elsewhere() {
    // The data centre, the Local Zone and then the slow region, which is nearer than the other one.
    let start = shop("2026-12-05T16:30:00Z", 2)
        .rented_in(FAR, "va", "20ms", "m7i.4xlarge", 5)
        .sale("tour", "2026-12-05T17:00:00Z", &[("checkout", 10, 12), ("seat-map", 70, 3)], &json!({"duration": "10m", "returnOver": "5m"}))
        .with(|inner| inner.cloud.slow = [(FAR.to_owned(), Duration::from_secs(20))].into());
    let open = |inner: &Inner| inner.journal.count("CapacityPool va status ledger 1, open 1") > 0;
    let state = whole(start, async |stage| {
        assert!(stage.run_while_not(at("2026-12-05T16:49:00Z"), open).await, "{}", stage.text());
        assert!(stage.run_while_not(at("2026-12-05T16:49:00Z"), |inner| inner.replicas("checkout") == Some(10)).await, "{}", stage.text());
        stage.sim.with(|inner| scale(inner, "checkout", 5, "kubectl-scale"));
        stage.run_for(Duration::from_millis(2_500)).await;
        let state = stage.state();
        assert_eq!(state.replicas("checkout"), Some(10), "{}", stage.text());
        assert_eq!(
            state.cloud.machines.values().filter(|m| m.pool_name == "va").count(),
            0,
            "the launch is still on its way\n{}",
            stage.text()
        );
    });
    assert_eq!(state.cloud.machines.values().filter(|m| m.pool_name == "va").count(), 1, "{}", state.journal.text());
    assert_eq!(state.cloud.machines.len(), 3, "{}", state.journal.text());
    state.assert_on_time();
    state.assert_clean(&[(&kinds::DEPLOYMENTS, "checkout", 5)]);
}

/// The Local Zone is all there is beside the data centre; the first instance never becomes a node, and all three of them are protected by a person.
fn stubborn(seed: u64) -> Start {
    fn protect(inner: &mut Inner) {
        inner.cloud.kept = inner.cloud.machines.keys().cloned().collect();
    }
    let spec = json!({"duration": "10m", "returnOver": "5m"});
    night("2026-12-05T16:30:00Z", seed)
        .nodes("dc", 2)
        .existing("dc", "200us")
        .rented("lz", "1.6ms", "c6i.4xlarge", 4)
        .deployment("checkout", 4, "1")
        .deployment("seat-map", 6, "1")
        .sale("tour", "2026-12-05T17:00:00Z", &[("checkout", 10, 12), ("seat-map", 65, 3)], &spec)
        .with(|inner| inner.world.never_join = 1)
        .at("2026-12-05T16:47:40Z", protect)
}

#[test]
fn an_instance_that_cannot_be_terminated_stops_neither_launches_nor_other_terminations() {
    let state = whole(stubborn(3), async |stage| {
        stage.run_until("2026-12-05T16:52:00Z").await;
        assert_eq!(stage.state().cloud.kept.len(), 3, "{}", stage.text());
        let told = stage.state().condition(&kinds::POOLS, "", "lz", "CapacityReady").unwrap();
        assert_eq!(told.0, "False", "{}", stage.text());
        // It was made up for as soon as it was overdue, and counts against the limit all the same.
        stage.run_until("2026-12-05T16:56:00Z").await;
        assert_eq!((stage.state().ready("seat-map"), stage.state().cloud.alive()), (65, 4), "{}", stage.text());
        // The return is over but for those that are kept.
        stage.run_until("2026-12-05T17:20:00Z").await;
        let state = stage.state();
        let left: Vec<&String> = state.cloud.machines.iter().filter(|(_, m)| m.is_alive()).map(|(id, _)| id).collect();
        assert_eq!(left, state.cloud.kept.iter().collect::<Vec<_>>(), "{}", stage.text());
        let told = state.condition(&kinds::POOLS, "", "lz", "CapacityReady").unwrap();
        assert_eq!(told, ("False".into(), "InvalidConfiguration".into()), "{}", stage.text());
        let calls = state.journal.count(" terminate ");
        stage.sim.with(|inner| inner.cloud.kept.clear());
        assert!(calls < 60, "{calls} calls\n{}", stage.text());
    });
    assert_eq!(state.phase("tour"), "Completed", "{}", state.journal.text());
    state.assert_clean(&[]);
}

/// The tour of the shop whose Local Zone has two subnets; these of them are full.
fn two_subnets(seed: u64, full: &[&str]) -> Start {
    let subnets = [subnet("lz"), "subnet-0bbb222".to_owned()];
    let pool = json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "CapacityPool", "metadata": {"name": "lz"}, "spec": {"nodes": {"ec2": {"subnets": subnets}}}});
    tour(seed).object(&pool).with(|inner| {
        inner.cloud.zones.insert("subnet-0bbb222".into(), "zone-lz".into());
        inner.cloud.full = full.iter().map(|s| (*s).to_owned()).collect();
    })
}

#[test]
fn a_full_subnet_is_passed_over_and_the_type_had_in_another_one() {
    let state = whole(two_subnets(4, &[&subnet("lz")]), async |stage| {
        stage.run_until("2026-12-05T16:50:00Z").await;
        assert_eq!(stage.state().spread("seat-map"), "dc=22 zone-lz=32 zone-or=16", "{}", stage.text());
        let told = stage.state().condition(&kinds::POOLS, "", "lz", "CapacityReady").unwrap();
        assert_eq!(told.0, "True", "{}", stage.text());
    });
    assert_eq!(state.journal.count(&format!("in {} ", subnet("lz"))), 1, "it is asked once\n{}", state.journal.text());
    state.assert_on_time();
    state.assert_clean(&[]);
}

#[test]
fn a_pool_whose_subnets_are_all_full_is_made_up_for_elsewhere() {
    let state = whole(two_subnets(5, &[&subnet("lz"), "subnet-0bbb222"]), async |stage| {
        stage.run_until("2026-12-05T16:50:00Z").await;
        assert_eq!(stage.state().spread("seat-map"), "dc=22 zone-or=48", "{}", stage.text());
        let told = stage.state().condition(&kinds::POOLS, "", "lz", "CapacityReady").unwrap();
        assert_eq!(told, ("False".into(), "AddressesExhausted".into()), "{}", stage.text());
    });
    state.assert_on_time();
    state.assert_clean(&[]);
}

#[test]
fn instances_of_a_pool_that_went_by_force_are_found_in_a_region_that_no_pool_is_in() {
    let start = shop("2026-12-05T16:30:00Z", 6).rented_in(FAR, "va", "20ms", "m7i.4xlarge", 5).sale(
        "tour",
        "2026-12-05T17:00:00Z",
        &[("checkout", 10, 12), ("seat-map", 70, 3)],
        &json!({"duration": "10m", "returnOver": "5m"}),
    );
    whole(start, async |stage| {
        stage.run_until("2026-12-05T17:01:00Z").await;
        let there = |inner: &Inner| inner.cloud.machines.values().filter(|m| m.region == FAR && m.is_alive()).count();
        assert_eq!(there(&stage.state()), 1, "{}", stage.text());
        // Nobody remembers the region: the process is another one.
        stage.stop().await;
        stage.sim.with(|inner| {
            inner.store.update(&kinds::POOLS, "", "va", |pool| pool["metadata"]["finalizers"] = json!([]));
            delete(inner, &kinds::POOLS, "va");
            assert!(inner.store.get(&kinds::POOLS, "", "va").is_none());
        });
        stage.start();
        stage.run_until("2026-12-05T17:02:00Z").await;
        assert_eq!(there(&stage.state()), 0, "{}", stage.text());
    });
}
