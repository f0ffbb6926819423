//! Controllers that are two, blind, late or without rights.

use std::time::Duration;

use onsale_nights::{
    api::kinds,
    night::{
        at,
        build::{NAMESPACE, delete, put, tour},
        play,
    },
    sim::{Fate, Inner},
};
use serde_json::json;

use crate::whole;

fn assert_well(state: &Inner, by: &str) {
    let reached = state.reached("seat-map", 70);
    assert!(reached.is_some_and(|t| t <= at(by)), "{reached:?}\n{}", state.journal.text());
    assert_eq!(state.phase("tour"), "Completed", "{}", state.journal.text());
    assert_eq!(state.cloud.machines.len(), 3, "launched twice\n{}", state.journal.text());
    state.assert_clean(&[]);
}

#[test]
fn two_leaders_at_once_launch_nothing_twice() {
    let state = whole(tour(1), async |stage| {
        stage.start();
    });
    assert_well(&state, "2026-12-05T16:50:00Z");
}

#[test]
fn restarted_every_few_seconds_it_still_is_in_time() {
    let state = whole(tour(2), async |stage| {
        stage.run_until("2026-12-05T16:48:00Z").await;
        for _ in 0..300 {
            stage.run_for(Duration::from_millis(1_300)).await;
            stage.restart().await;
        }
    });
    assert_well(&state, "2026-12-05T16:50:00Z");
}

#[test]
fn watches_that_are_cut_and_expire_all_the_time_cost_nothing() {
    let state = whole(tour(4), async |stage| {
        stage.run_until("2026-12-05T16:47:30Z").await;
        for second in 0..300_u32 {
            stage.run_for(Duration::from_secs(1)).await;
            if second % 20 == 0 {
                stage.sim.hub(|hub| hub.compact());
            } else if second % 7 == 0 {
                stage.sim.hub(|hub| hub.cut());
            }
        }
    });
    assert_well(&state, "2026-12-05T16:50:00Z");
}

#[test]
fn events_that_come_late_launch_nothing_twice_and_end_nothing_early() {
    for kind in [&kinds::NODES, &kinds::POOLS, &kinds::PLACEMENTS, &kinds::PODS, &kinds::DEPLOYMENTS, &kinds::POD_TEMPLATES, &kinds::SALES]
    {
        let state = whole(tour(5), async |stage| {
            stage.run_until("2026-12-05T16:48:00Z").await;
            stage.sim.hub(|hub| hub.withhold(kind));
            stage.run_until("2026-12-05T16:49:00Z").await;
            stage.sim.hub(|hub| hub.release());
        });
        let reached = state.reached("seat-map", 70);
        assert!(reached.is_some_and(|t| t <= at("2026-12-05T16:50:00Z")), "{}: {reached:?}\n{}", kind.kind, state.journal.text());
        let faults = state.faults(&[]);
        assert!(faults.is_empty() && state.cloud.machines.len() == 3, "{}: {faults:#?}\n{}", kind.kind, state.journal.text());
    }
}

#[test]
fn a_status_never_lands_on_a_namesake() {
    play(tour(5).build(), async |stage| {
        stage.start();
        stage.run_until("2026-12-05T16:45:00Z").await;
        assert_eq!(stage.state().phase("tour"), "Scheduled", "{}", stage.text());
        // Behind the controller's back the sale goes, and another of its name comes.
        stage.sim.hub(|hub| hub.withhold(&kinds::SALES));
        stage.sim.with(|inner| {
            let old = (**inner.store.get(&kinds::SALES, NAMESPACE, "tour").unwrap()).clone();
            let new = json!({"apiVersion": old["apiVersion"], "kind": "OnSale", "metadata": {"name": "tour"}, "spec": old["spec"]});
            inner.store.remove(&kinds::SALES, old);
            put(inner, &new, "kubectl");
        });
        stage.run_until("2026-12-05T16:49:00Z").await;
        let told = stage.state().store.get(&kinds::SALES, NAMESPACE, "tour").unwrap()["status"].clone();
        assert!(told.is_null(), "{told}\n{}", stage.text());
        stage.sim.hub(|hub| hub.release());
        stage.run_until("2026-12-05T16:50:00Z").await;
        assert!(!stage.state().phase("tour").is_empty(), "once it is seen it is told of\n{}", stage.text());
    });
}

#[test]
fn rights_that_are_missing_for_a_while_delay_and_are_told() {
    for kind in [&kinds::PLACEMENTS, &kinds::DEPLOYMENTS, &kinds::NODES, &kinds::POOLS] {
        let state = whole(tour(6), async |stage| {
            stage.run_until("2026-12-05T16:47:00Z").await;
            stage.sim.forbid(kind, true);
            stage.run_until("2026-12-05T16:49:00Z").await;
            stage.sim.forbid(kind, false);
        });
        let reached = state.reached("seat-map", 70);
        assert!(reached.is_some_and(|t| t <= at("2026-12-05T16:52:00Z")), "{}: {reached:?}\n{}", kind.kind, state.journal.text());
        let faults = state.faults(&[]);
        assert!(faults.is_empty() && state.cloud.machines.len() == 3, "{}: {faults:#?}\n{}", kind.kind, state.journal.text());
    }
}

#[test]
fn an_api_server_that_loses_a_third_of_all_writes_is_overcome() {
    for fate in [Fate::Refuse, Fate::Lose] {
        let state = whole(tour(7), async |stage| {
            let mut random = onsale_nights::random::Random::new(7);
            stage.sim.set_oracle(Box::new(move |_, _| if random.next().is_multiple_of(3) { fate } else { Fate::Happen }));
        });
        assert_well(&state, "2026-12-05T16:50:00Z");
    }
}

#[test]
fn a_sale_that_cannot_be_read_blocks_no_other() {
    let start = tour(8).with(|inner| {
        let broken = json!({"metadata": {"name": "broken", "namespace": "ticketing"}, "spec": {"opensAt": 7}});
        inner.store.create(&kinds::SALES, broken, inner.now).unwrap();
    });
    let state = whole(start, async |stage| {
        stage.run_until("2026-12-05T16:50:00Z").await;
        assert_eq!(stage.state().phase("tour"), "Ready", "{}", stage.text());
        stage.run_until("2026-12-05T17:25:00Z").await;
        // Nothing is given back while a sale is unknown.
        stage.sim.with(|inner| delete(inner, &kinds::SALES, "broken"));
    });
    assert_well(&state, "2026-12-05T16:50:00Z");
}
