//! People and tools that change things in the middle of a night, beyond what `e2e/scenarios` show.

use onsale_nights::{
    api::kinds,
    night::{
        Stage, at,
        build::{delete, scale, tour},
    },
};
use serde_json::json;

use crate::after;

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
        let state = after(tour(1), async |stage| {
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
    let state = after(tour(2), async |stage| {
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
fn a_lower_value_is_written_again_reported_and_becomes_what_is_restored() {
    let state = after(tour(7), async |stage| {
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
