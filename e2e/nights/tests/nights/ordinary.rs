//! Nights on which nothing goes wrong, beyond what `e2e/scenarios` show.

use onsale_nights::{
    api::kinds,
    night::{
        at,
        build::{Start, put, shop, tour},
    },
    sim::Inner,
};
use serde_json::json;

use crate::after;

fn sale(start: Start) -> Start {
    start.sale(
        "tour",
        "2026-12-05T17:00:00Z",
        &[("checkout", 10, 12), ("seat-map", 70, 3)],
        &json!({"duration": "10m", "returnOver": "5m"}),
    )
}

fn assert_on_time(state: &Inner, workload: &str, peak: usize) {
    let reached = state.reached(workload, peak);
    assert!(reached.is_some_and(|t| t <= at("2026-12-05T16:50:00Z")), "{workload} {reached:?}\n{}", state.journal.text());
    let fewest = state.fewest(workload, at("2026-12-05T16:50:00Z"), at("2026-12-05T17:10:00Z"));
    assert!(fewest >= peak, "{workload} fell to {fewest}\n{}", state.journal.text());
}

#[test]
fn a_night_ends_as_it_began_and_then_nothing_more_is_written() {
    let state = after(tour(1), async |stage| {
        stage.run_until("2026-12-05T16:45:00Z").await;
        assert_eq!((stage.state().phase("tour").as_str(), stage.state().cloud.alive()), ("Scheduled", 0));
        stage.run_until("2026-12-05T16:50:00Z").await;
        assert_eq!(stage.state().phase("tour"), "Ready", "{}", stage.text());
        assert_eq!(
            (stage.state().spread("checkout").as_str(), stage.state().spread("seat-map").as_str()),
            ("dc=10", "dc=22 zone-lz=32 zone-or=16")
        );
        stage.run_until("2026-12-05T17:09:00Z").await;
        assert_eq!((stage.state().phase("tour").as_str(), stage.state().cloud.alive()), ("Live", 3));
        stage.run_until("2026-12-05T17:13:00Z").await;
        assert!(!stage.state().spread("seat-map").contains("zone-or"), "the farthest go first: {}", stage.state().spread("seat-map"));
        stage.run_until("2026-12-05T17:20:00Z").await;
        let lines = stage.state().journal.lines.len();
        stage.run_until("2026-12-05T20:20:00Z").await;
        assert_eq!(stage.state().journal.lines.len(), lines, "nothing is written after the end\n{}", stage.text());
    });
    assert_eq!(state.phase("tour"), "Completed");
    assert_on_time(&state, "seat-map", 70);
    assert_on_time(&state, "checkout", 10);
    assert_eq!(state.cloud.machines.len(), 3);
    state.assert_clean(&[]);
}

#[test]
fn the_owners_next_apply_finds_everything_as_it_left_it() {
    let state = after(tour(1), async |stage| {
        stage.run_until("2026-12-05T17:30:00Z").await;
    });
    for name in ["checkout", "seat-map"] {
        let version = |s: &Inner| s.store.get(&kinds::DEPLOYMENTS, "ticketing", name).unwrap()["metadata"]["resourceVersion"].clone();
        let mut again = state.clone();
        let origin = state.origin.get(&kinds::DEPLOYMENTS, "ticketing", name).unwrap();
        put(
            &mut again,
            &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "ticketing"}, "spec": origin["spec"]}),
            "kubectl-client-side-apply",
        );
        assert_eq!(version(&again), version(&state), "unchanged");
    }
}

#[test]
fn a_scaled_object_holds_the_floor_where_it_owns_the_hpa() {
    let scaled = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "seats", "namespace": "ticketing"},
        "spec": {"scaleTargetRef": {"name": "seat-map"}, "minReplicaCount": 6, "maxReplicaCount": 100}});
    // KEDA copies the count to the HPA that it owns.
    fn keda(inner: &mut Inner) {
        let min = inner.store.get(&kinds::SCALED_OBJECTS, "ticketing", "seats").unwrap()["spec"]["minReplicaCount"].clone();
        inner.store.update(&kinds::SCALERS, "ticketing", "seat-map", |hpa| hpa["spec"]["minReplicas"] = min);
        let next = inner.now + std::time::Duration::from_secs(5);
        inner.world.at(next, keda);
    }
    let owner = json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "seats", "uid": "x", "controller": true}]);
    let start = sale(shop("2026-12-05T16:30:00Z", 4).object(&scaled).hpa("seat-map", 6, 100));
    let start =
        start.with(|inner| inner.store.update(&kinds::SCALERS, "ticketing", "seat-map", |hpa| hpa["metadata"]["ownerReferences"] = owner));
    let state = after(start.at("2026-12-05T16:30:01Z", keda), async |stage| {
        stage.run_until("2026-12-05T17:05:00Z").await;
        assert_eq!(stage.state().store.get(&kinds::SCALED_OBJECTS, "ticketing", "seats").unwrap()["spec"]["minReplicaCount"], 70);
        stage.run_until("2026-12-05T17:40:00Z").await;
    });
    assert_on_time(&state, "seat-map", 70);
    assert_eq!(state.phase("tour"), "Completed");
    state.assert_clean(&[]);
}

#[test]
fn plan_mode_changes_nothing_and_what_is_over_is_missed() {
    let start = sale(shop("2026-12-05T16:30:00Z", 6).sale("last-year", "2025-12-05T17:00:00Z", &[("seat-map", 30, 3)], &json!({})));
    let start = start.with(|inner| inner.store.update(&kinds::SALES, "ticketing", "tour", |sale| sale["spec"]["mode"] = json!("Plan")));
    let state = after(start, async |stage| {
        stage.run_until("2026-12-05T16:55:00Z").await;
        let alarm = stage.state().condition(&kinds::SALES, "ticketing", "tour", "AtRisk");
        assert_eq!(alarm.map(|a| a.0).as_deref(), Some("True"), "Plan inside its lead time alarms\n{}", stage.text());
        stage.run_until("2026-12-05T18:00:00Z").await;
    });
    assert_eq!(state.phase("last-year"), "Missed");
    assert_eq!((state.cloud.machines.len(), state.ready("seat-map")), (0, 6));
    assert!(state.journal.lines.iter().all(|l| l.what.place.ends_with(" status")), "{}", state.journal.text());
}

#[test]
fn what_opens_too_late_to_look_at_is_told_so_once_and_looked_at_when_its_time_comes() {
    let start = shop("2026-12-05T16:30:00Z", 6).sale("next-year", "2027-01-10T17:00:00Z", &[("seat-map", 30, 3)], &json!({}));
    let edit = |inner: &mut Inner| {
        let workloads = json!([{"target": {"kind": "Deployment", "name": "checkout"}, "peakReplicas": 8}]);
        let metadata = json!({"name": "next-year", "namespace": "ticketing"});
        put(
            inner,
            &json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "OnSale", "metadata": metadata, "spec": {"workloads": workloads}}),
            "owner",
        );
    };
    let state = after(start.at("2026-12-05T16:40:00Z", edit), async |stage| {
        for (until, workload, baseline) in [("2026-12-05T16:39:00Z", "seat-map", 6), ("2026-12-05T16:41:00Z", "checkout", 4)] {
            stage.run_until(until).await;
            let feasible = stage.state().condition(&kinds::SALES, "ticketing", "next-year", "Feasible");
            assert_eq!(feasible, Some(("Unknown".to_owned(), "TooFarAhead".to_owned())), "{}", stage.text());
            let sale = stage.state().store.get(&kinds::SALES, "ticketing", "next-year").cloned().unwrap_or_default();
            let (status, work) = (&sale["status"], &sale["status"]["workloads"][0]);
            assert_eq!((&status["observedGeneration"], &status["workloads"][1]), (&sale["metadata"]["generation"], &json!(null)));
            assert_eq!((&work["name"], &work["baseline"], &work["peak"]), (&json!(workload), &json!(baseline), &json!(baseline)));
            assert_eq!(status["next"], "it is looked at whether everything can be had at 2026-12-10T16:50:00Z");
        }
        let lines = stage.state().journal.lines.len();
        stage.run_until("2026-12-10T16:49:00Z").await;
        assert_eq!(stage.state().journal.lines.len(), lines, "it was told\n{}", stage.text());
        stage.run_until("2026-12-10T16:56:00Z").await;
    });
    assert_eq!(state.phase("next-year"), "Scheduled");
    let feasible = state.condition(&kinds::SALES, "ticketing", "next-year", "Feasible");
    assert_eq!(feasible.map(|f| f.0).as_deref(), Some("True"), "{}", state.journal.text());
}

#[test]
fn an_object_that_this_very_pass_removed_gets_no_status() {
    let state = after(tour(12), async |stage| {
        stage.run_until("2026-12-05T17:45:00Z").await;
    });
    assert_eq!(state.phase("tour"), "Completed", "{}", state.journal.text());
    let missed: Vec<String> = state.journal.lines.iter().filter(|l| l.told.starts_with("404")).map(ToString::to_string).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}
