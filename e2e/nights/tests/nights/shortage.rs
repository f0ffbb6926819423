//! Places that give less than was asked of them, beyond what `e2e/scenarios` show.

use std::time::Duration;

use onsale_cloud::CloudError;
use onsale_nights::{
    api::kinds,
    night::{
        at,
        build::{Start, subnet, tour},
        play,
    },
    sim::Inner,
};
use serde_json::json;

use crate::whole;

#[test]
fn a_zone_without_any_capacity_is_left_out() {
    for error in [
        CloudError::InsufficientCapacity { instance_type: "c6i.4xlarge".into(), place: "lz".into() },
        CloudError::AddressesExhausted { subnet: "subnet-0".into() },
        CloudError::Invalid { message: "no such template".into() },
    ] {
        let reason = error.reason();
        let start = tour(2).with(|inner| inner.cloud.refusals = vec![error.clone()]);
        let state = whole(start, async |stage| {
            stage.run_until("2026-12-05T16:50:00Z").await;
            assert_eq!(stage.state().ready("seat-map"), 70, "{reason}\n{}", stage.text());
        });
        state.assert_on_time();
        state.assert_clean(&[]);
    }
}

#[test]
fn a_launch_refused_for_a_quota_pauses_its_families_in_the_whole_region() {
    let refusal = CloudError::QuotaExhausted { instance_type: "c6i.4xlarge".into(), message: "20 vCPU".into() };
    let state = whole(tour(2).with(|inner| inner.cloud.refusals = vec![refusal]), async |stage| {
        stage.run_until("2026-12-05T16:50:00Z").await;
        let launches = stage.text().lines().filter(|line| line.contains(" launch ")).count();
        // That of the region was on its way already; nothing is asked for again before the pause is over, also not there.
        assert_eq!((launches, stage.state().cloud.machines.len()), (2, 1), "{}", stage.text());
        let risk = stage.state().condition(&kinds::SALES, "ticketing", "tour", "AtRisk").unwrap();
        assert_eq!(risk.0, "True", "{}", stage.text());
    });
    assert!(state.reached("seat-map", 70).is_some_and(|t| t <= at("2026-12-05T16:53:00Z")), "{}", state.journal.text());
    state.assert_clean(&[]);
}

#[test]
fn few_free_addresses_are_planned_with_and_nothing_is_asked_for_that_is_not_there() {
    let start = tour(10).with(|inner| {
        inner.cloud.addresses.insert(subnet("lz"), 1);
    });
    let state = whole(start, async |stage| {
        stage.run_until("2026-12-05T16:50:00Z").await;
        assert_eq!(stage.state().spread("seat-map"), "dc=22 zone-lz=16 zone-or=32", "{}", stage.text());
        assert!(!stage.text().contains("no free addresses"), "{}", stage.text());
        let pool = stage.state().store.get(&kinds::POOLS, "", "lz").cloned().unwrap();
        assert_eq!(pool["status"]["subnets"][0]["id"], json!(subnet("lz")), "{pool}");
    });
    state.assert_on_time();
    state.assert_clean(&[]);
}

#[test]
fn a_quota_that_is_too_small_is_a_no_go_before_anything_is_launched() {
    let start = tour(11).with(|inner| inner.cloud.quota = Some((40, 8)));
    let state = whole(start, async |stage| {
        stage.run_until("2026-12-05T16:35:00Z").await;
        let told = stage.state().condition(&kinds::SALES, "ticketing", "tour", "Feasible").unwrap();
        let sale = stage.state().store.get(&kinds::SALES, "ticketing", "tour").cloned().unwrap();
        let why = sale["status"]["waitingFor"].as_array().unwrap().iter().find(|w| w["reason"] == "QuotaExhausted");
        assert!(told.0 == "False" && why.is_some(), "{told:?} {sale}");
        stage.run_until("2026-12-05T17:00:00Z").await;
        assert_eq!(stage.state().spread("seat-map"), "dc=28 zone-lz=32", "{}", stage.text());
        assert!(!stage.text().contains("quota is used up"), "{}", stage.text());
    });
    state.assert_clean(&[]);
}
#[test]
fn nodes_that_register_without_label_and_taint_are_repaired() {
    let start = tour(4).with(|inner| inner.world.unmarked = 2);
    let state = whole(start, async |stage| {
        stage.run_until("2026-12-05T16:50:00Z").await;
        let nodes = stage.state();
        let bare = nodes
            .store
            .list(&kinds::NODES)
            .filter(|n| n["spec"]["providerID"].is_string() && n["spec"]["taints"].as_array().is_none_or(Vec::is_empty));
        assert_eq!(bare.count(), 0, "{}", stage.text());
    });
    state.assert_on_time();
    state.assert_clean(&[]);
}

/// When a sale starts to prepare, as its status says.
fn starts_at(state: &Inner, sale: &str) -> Option<jiff::Timestamp> {
    state.store.get(&kinds::SALES, "ticketing", sale)?["status"]["startsAt"].as_str().map(at)
}

#[test]
fn after_a_night_of_slow_boots_the_next_sale_of_the_same_places_starts_earlier() {
    let next = |start: Start| start.sale("next", "2026-12-05T19:00:00Z", &[("seat-map", 70, 3)], &json!({"duration": "10m"}));
    let slow = next(tour(3)).with(|inner| inner.cloud.settings.boots = (Duration::from_secs(60), Duration::from_secs(80)).into());
    play(slow.build(), async |stage| {
        stage.start();
        stage.run_until("2026-12-05T16:40:00Z").await;
        let before = starts_at(&stage.state(), "next").unwrap();
        stage.run_until("2026-12-05T17:05:00Z").await;
        for pool in ["lz", "or"] {
            let status = stage.state().store.get(&kinds::POOLS, "", pool).unwrap()["status"].clone();
            let measured: Vec<i64> = status["leadTimes"].as_array().unwrap().iter().map(|s| s["seconds"].as_i64().unwrap()).collect();
            let machines = stage.state().cloud.machines.values().filter(|m| m.pool_name == pool).count();
            assert!(measured.len() == machines && measured.iter().all(|s| (66..=100).contains(s)), "{pool}: {machines} {measured:?}");
        }
        stage.run_until("2026-12-05T18:00:00Z").await;
        assert_eq!((stage.state().phase("tour").as_str(), stage.state().cloud.alive()), ("Completed", 0), "{}", stage.text());
        let after = starts_at(&stage.state(), "next").unwrap();
        assert!(before.duration_since(after) > jiff::SignedDuration::from_secs(30), "{before} {after}\n{}", stage.text());
        stage.run_until("2026-12-05T18:50:00Z").await;
        assert_eq!((stage.state().phase("next").as_str(), stage.state().ready("seat-map")), ("Ready", 70), "{}", stage.text());
    });
}
