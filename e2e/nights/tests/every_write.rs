//! Short nights, disturbed at every write: what Sieve calls intermediate states, and lost or refused writes.

use onsale_nights::{
    api::kinds,
    night::{
        at,
        build::{night, scale, subnet},
        loops::Script,
    },
    rules::is_protected,
    sim::{Fate, Inner},
};
use serde_json::json;

/// One workload, one Local Zone, two instances; open for a minute.
fn plain() -> Inner {
    night("2026-12-05T16:57:00Z", 3)
        .nodes("dc", 1)
        .existing("dc", "200us")
        .rented("lz", "1.6ms", "c6i.4xlarge", 3)
        .deployment("seat-map", 2, "4")
        .sale("tour", "2026-12-05T17:00:00Z", &[("seat-map", 10, 3)], &json!({"readyBefore": "30s", "duration": "1m", "returnOver": "6s"}))
        .build()
}

/// A Local Zone that gives one instance of two, a node that registers without its marks, an instance that never joins, an HPA, and a person who scales a
/// workload down while the sale is Live.
fn rough() -> Inner {
    fn meddle(inner: &mut Inner) {
        scale(inner, "checkout", 1, "kubectl-scale");
    }
    let spec = json!({"readyBefore": "30s", "duration": "1m", "returnOver": "10s"});
    night("2026-12-05T16:55:00Z", 4)
        .nodes("dc", 1)
        .existing("dc", "200us")
        .rented("lz", "1.6ms", "c6i.4xlarge", 3)
        .rented("or", "30ms", "m6i.4xlarge", 3)
        .deployment("checkout", 2, "1")
        .deployment("seat-map", 2, "4")
        .hpa("seat-map", 2, 20)
        .sale("tour", "2026-12-05T17:00:00Z", &[("checkout", 4, 12), ("seat-map", 10, 3)], &spec)
        .with(|inner| {
            inner.cloud.capacity.insert(("c6i.4xlarge".into(), subnet("lz")), 1);
            (inner.world.unmarked, inner.world.never_join) = (1, 1);
        })
        .at("2026-12-05T17:00:20Z", meddle)
        .build()
}

fn over(state: &Inner) -> bool {
    state.phase("tour") == "Completed" && !state.store.list(&kinds::POOLS).any(|p| is_protected(p))
}

fn plain_faults(state: &Inner) -> Vec<String> {
    let mut faults = state.faults(&[]);
    let reached = state.reached("seat-map", 10);
    if reached.is_none_or(|t| t > at("2026-12-05T16:59:30Z")) {
        faults.push(format!("10 replicas were Ready at {reached:?}"));
    }
    if state.cloud.machines.len() != 2 {
        faults.push(format!("{} instances were launched", state.cloud.machines.len()));
    }
    faults
}

/// Faults on top of a rough night cost seconds that it does not have: it may be Ready a little after the opening, and all else must hold.
fn rougher_faults(state: &Inner) -> Vec<String> {
    let mut faults = state.faults(&[(&kinds::DEPLOYMENTS, "checkout", 1)]);
    let reached = state.reached("seat-map", 10);
    if reached.is_none_or(|t| t > at("2026-12-05T17:00:45Z")) {
        faults.push(format!("10 replicas were Ready at {reached:?}"));
    }
    faults
}

fn rough_faults(state: &Inner) -> Vec<String> {
    let mut faults = state.faults(&[(&kinds::DEPLOYMENTS, "checkout", 1)]);
    let reached = state.reached("seat-map", 10);
    if reached.is_none_or(|t| t > at("2026-12-05T17:00:00Z")) {
        faults.push(format!("10 replicas were Ready at {reached:?}"));
    }
    // The HPA's sync after the floors are down is at 17:01:15: until then it holds them all.
    let fewest = state.fewest("seat-map", at("2026-12-05T17:00:00Z"), at("2026-12-05T17:01:14Z"));
    if fewest < 10 {
        faults.push(format!("seat-map fell to {fewest} while its HPA wanted 10"));
    }
    // One in each place, one for the one that never joins, and one more at most while pods that are going still take their room.
    if state.cloud.machines.len() > 4 {
        faults.push(format!("{} instances were launched", state.cloud.machines.len()));
    }
    faults
}

fn plain_night() -> Script<'static> {
    Script { start: plain(), last: at("2026-12-05T17:10:00Z"), over: &over, faults: &plain_faults }
}

fn rough_night() -> Script<'static> {
    Script { start: rough(), last: at("2026-12-05T17:15:00Z"), over: &over, faults: &rough_faults }
}

#[test]
fn undisturbed_both_nights_end_well() {
    for (name, script) in [("plain", plain_night()), ("rough", rough_night())] {
        let (state, shots) = script.undisturbed();
        println!("{name}: {} writes, {} instances\n{}", shots.len() / 2, state.cloud.machines.len(), state.journal.text());
        assert_eq!((script.faults)(&state), [""; 0], "{name}\n{}", state.journal.text());
    }
}

#[test]
fn died_just_before_or_after_any_write_a_fresh_process_goes_on() {
    let report = plain_night().restarted_at_every_write(1);
    println!("{} restarts", report.cases);
    report.assert_all_well();
    assert!(report.cases > 120, "{} restarts", report.cases);
}

#[test]
fn died_in_a_rough_night_a_fresh_process_goes_on() {
    let report = rough_night().restarted_at_every_write(5);
    println!("{} restarts", report.cases);
    report.assert_all_well();
}

#[test]
fn every_write_that_fails_once_is_made_up_for() {
    plain_night().with_every_write_met(Fate::Refuse, 6).assert_all_well();
    Script { faults: &rougher_faults, ..rough_night() }.with_every_write_met(Fate::Refuse, 4).assert_all_well();
}

#[test]
fn every_answer_that_is_lost_once_does_nothing_twice() {
    plain_night().with_every_write_met(Fate::Lose, 6).assert_all_well();
    Script { faults: &rougher_faults, ..rough_night() }.with_every_write_met(Fate::Lose, 4).assert_all_well();
}
