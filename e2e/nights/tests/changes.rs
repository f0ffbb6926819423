//! People and tools that change things in the middle of a night.

use onsale_nights::{
    api::kinds,
    night::{
        Stage, at,
        build::{Start, delete, put, scale, tour},
        play,
    },
    sim::Inner,
};
use serde_json::{Value, json};

fn whole(start: Start, script: impl AsyncFnOnce(&mut Stage)) -> Inner {
    play(start.build(), async |stage| {
        stage.start();
        script(stage).await;
        stage.state()
    })
}

fn edit(stage: &Stage, spec: Value) {
    stage.sim.with(|inner| put(inner, &json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "OnSale", "metadata": {"name": "tour", "namespace": "ticketing"}, "spec": spec}), "kubectl"));
}

fn replicas(stage: &Stage, name: &str) -> i64 {
    stage.state().replicas(name).unwrap_or_default()
}

#[test]
fn deleted_in_each_phase_everything_goes_back() {
    // Scheduled, as preparing begins, half-way, Ready, Live, Returning, Completed; and how long it may take to be gone.
    for (when, phase, gone_by) in [
        ("2026-12-05T16:40:00Z", "Scheduled", "2026-12-05T16:40:01Z"),
        ("2026-12-05T16:47:05.400Z", "Preparing", "2026-12-05T16:48:00Z"),
        ("2026-12-05T16:47:06.600Z", "Preparing", "2026-12-05T16:48:30Z"),
        ("2026-12-05T16:47:30.500Z", "Preparing", "2026-12-05T16:48:40Z"),
        ("2026-12-05T16:55:00Z", "Ready", "2026-12-05T16:57:00Z"),
        ("2026-12-05T17:05:00Z", "Live", "2026-12-05T17:12:00Z"),
        ("2026-12-05T17:12:00Z", "Returning", "2026-12-05T17:17:00Z"),
        ("2026-12-05T17:30:00Z", "Completed", "2026-12-05T17:30:01Z"),
    ] {
        let state = whole(tour(1), async |stage| {
            stage.run_until(when).await;
            assert_eq!(stage.state().phase("tour"), phase, "at {when}\n{}", stage.text());
            stage.sim.with(|inner| delete(inner, &kinds::SALES, "tour"));
            let gone = stage.run_while_not(at(gone_by), |inner| inner.store.get(&kinds::SALES, "ticketing", "tour").is_none()).await;
            assert!(gone, "{phase}: not gone by {gone_by}: {}\n{}", stage.state().sale("tour"), stage.text());
            stage.run_for(std::time::Duration::from_secs(400)).await;
        });
        let faults = state.faults(&[]);
        assert!(faults.is_empty(), "{phase}: {faults:#?}\n{}", state.journal.text());
    }
}

#[test]
fn live_buyers_keep_their_carts_unless_it_is_to_return_now() {
    let state = whole(tour(2), async |stage| {
        stage.run_until("2026-12-05T17:05:00Z").await;
        stage.sim.with(|inner| delete(inner, &kinds::SALES, "tour"));
        stage.run_until("2026-12-05T17:06:00Z").await;
        assert!(replicas(stage, "seat-map") > 40, "{}", stage.text());
        stage.sim.with(|inner| {
            inner.store.update(&kinds::SALES, "ticketing", "tour", |s| s["metadata"]["annotations"] = json!({"onsale.dev/return": "Now"}))
        });
        stage.run_until("2026-12-05T17:07:00Z").await;
        assert_eq!((replicas(stage, "seat-map"), stage.state().cloud.alive()), (6, 0), "{}", stage.text());
        stage.run_until("2026-12-05T17:30:00Z").await;
    });
    state.assert_clean(&[]);
}

#[test]
fn suspended_it_goes_back_and_taken_up_again_it_comes_again() {
    let state = whole(tour(3), async |stage| {
        stage.run_until("2026-12-05T16:49:00Z").await;
        edit(stage, json!({"suspend": true}));
        stage.run_until("2026-12-05T16:51:00Z").await;
        assert_eq!(
            (stage.state().phase("tour").as_str(), stage.state().cloud.alive(), replicas(stage, "seat-map")),
            ("Cancelled", 0, 6),
            "{}",
            stage.text()
        );
        edit(stage, json!({"suspend": false}));
        stage.run_until("2026-12-05T16:58:00Z").await;
        assert_eq!((stage.state().phase("tour").as_str(), stage.state().ready("seat-map")), ("Ready", 70), "{}", stage.text());
        stage.run_until("2026-12-05T17:30:00Z").await;
    });
    assert_eq!(state.phase("tour"), "Completed");
    state.assert_clean(&[]);
}

#[test]
fn moved_away_it_gives_its_nodes_back_and_comes_again() {
    let state = whole(tour(4), async |stage| {
        stage.run_until("2026-12-05T16:55:00Z").await;
        edit(stage, json!({"opensAt": "2026-12-05T20:00:00Z"}));
        stage.run_until("2026-12-05T16:58:00Z").await;
        assert_eq!((stage.state().phase("tour").as_str(), stage.state().cloud.alive()), ("Scheduled", 0), "{}", stage.text());
        stage.run_until("2026-12-05T19:50:00Z").await;
        assert_eq!((stage.state().phase("tour").as_str(), stage.state().ready("seat-map")), ("Ready", 70), "{}", stage.text());
        stage.run_until("2026-12-05T20:30:00Z").await;
    });
    assert_eq!(state.phase("tour"), "Completed");
    state.assert_clean(&[]);
}

#[test]
fn raised_and_extended_while_live_it_follows() {
    let state = whole(tour(5), async |stage| {
        stage.run_until("2026-12-05T17:02:00Z").await;
        edit(
            stage,
            json!({"duration": "30m", "workloads": [
            {"target": {"kind": "Deployment", "name": "seat-map"}, "peakReplicas": 100, "dependencies": [{"site": "dc", "serialCalls": 3}]}]}),
        );
        stage.run_until("2026-12-05T17:05:00Z").await;
        assert_eq!((stage.state().ready("seat-map"), replicas(stage, "checkout")), (100, 4), "{}", stage.text());
        stage.run_until("2026-12-05T17:25:00Z").await;
        assert_eq!(stage.state().phase("tour"), "Live");
        stage.run_until("2026-12-05T17:45:00Z").await;
    });
    assert_eq!(state.phase("tour"), "Completed", "{}", state.journal.text());
    state.assert_clean(&[]);
}

#[test]
fn a_foreign_raise_is_respected_until_the_end() {
    let state = whole(tour(6), async |stage| {
        stage.run_until("2026-12-05T17:02:00Z").await;
        stage.sim.with(|inner| scale(inner, "checkout", 14, "kubectl-edit"));
        stage.run_until("2026-12-05T17:09:00Z").await;
        assert_eq!(replicas(stage, "checkout"), 14, "{}", stage.text());
        stage.run_until("2026-12-05T17:45:00Z").await;
    });
    assert_eq!(state.phase("tour"), "Completed", "{}", state.journal.text());
    state.assert_clean(&[(&kinds::DEPLOYMENTS, "checkout", 4)]);
}

#[test]
fn a_lower_value_is_written_again_reported_and_becomes_what_is_restored() {
    let state = whole(tour(7), async |stage| {
        stage.run_until("2026-12-05T17:02:00Z").await;
        stage.sim.with(|inner| scale(inner, "seat-map", 5, "argocd-controller"));
        stage.run_until("2026-12-05T17:02:20Z").await;
        assert_eq!(replicas(stage, "seat-map"), 70, "{}", stage.text());
        stage.sim.with(|inner| scale(inner, "seat-map", 5, "argocd-controller"));
        stage.run_until("2026-12-05T17:02:21Z").await;
        let told = stage.state().condition(&kinds::SALES, "ticketing", "tour", "Contested").unwrap();
        assert_eq!(told.0, "True", "{}", stage.text());
        stage.run_until("2026-12-05T17:45:00Z").await;
    });
    assert_eq!(state.phase("tour"), "Completed", "{}", state.journal.text());
    assert_eq!(state.cloud.machines.len(), 3, "nothing is rented for pods that are only going\n{}", state.journal.text());
    state.assert_clean(&[(&kinds::DEPLOYMENTS, "seat-map", 5)]);
}

#[test]
fn a_tool_that_writes_its_value_all_night_is_never_obeyed_and_gets_it_back() {
    fn argo(inner: &mut Inner) {
        scale(inner, "seat-map", 6, "argocd-controller");
        let next = inner.now + std::time::Duration::from_secs(180);
        inner.world.at(next, argo);
    }
    let state = whole(tour(8).at("2026-12-05T16:31:00Z", argo), async |stage| {
        stage.run_until("2026-12-05T17:45:00Z").await;
    });
    assert_eq!(state.phase("tour"), "Completed", "{}", state.journal.text());
    state.assert_clean(&[(&kinds::DEPLOYMENTS, "seat-map", 6)]);
}

#[test]
fn a_workload_that_is_deleted_live_leaves_nothing_behind() {
    let state = whole(tour(9), async |stage| {
        stage.run_until("2026-12-05T17:02:00Z").await;
        stage.sim.with(|inner| delete(inner, &kinds::DEPLOYMENTS, "seat-map"));
        stage.run_until("2026-12-05T17:45:00Z").await;
    });
    assert_eq!(state.phase("tour"), "Completed", "{}", state.journal.text());
    state.assert_clean(&[]);
}

#[test]
fn a_pool_that_is_deleted_live_is_emptied_before_it_goes() {
    let state = whole(tour(10), async |stage| {
        stage.run_until("2026-12-05T17:02:00Z").await;
        stage.sim.with(|inner| delete(inner, &kinds::POOLS, "lz"));
        stage.run_until("2026-12-05T17:45:00Z").await;
        assert!(stage.state().store.get(&kinds::POOLS, "", "lz").is_none(), "{}", stage.text());
    });
    assert_eq!(state.phase("tour"), "Completed", "{}", state.journal.text());
    state.assert_clean(&[]);
}
