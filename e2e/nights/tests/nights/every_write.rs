//! Short nights, disturbed at every write: what Sieve calls intermediate states, and lost or refused writes.

use onsale_nights::{
    night::{
        at,
        loops::Script,
        short::{Short, over, plain, reached, rough},
    },
    sim::{Fate, Inner},
};

fn plain_faults(state: &Inner) -> Vec<String> {
    let mut faults = state.faults(&[]);
    let reached = reached(state);
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
    let mut faults = state.faults(rough().changed);
    let reached = reached(state);
    if reached.is_none_or(|t| t > at("2026-12-05T17:00:45Z")) {
        faults.push(format!("10 replicas were Ready at {reached:?}"));
    }
    faults
}

fn rough_faults(state: &Inner) -> Vec<String> {
    let mut faults = state.faults(rough().changed);
    let reached = reached(state);
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

fn script(night: Short, faults: &'static (dyn Fn(&Inner) -> Vec<String> + Sync)) -> Script<'static> {
    Script { start: night.start, last: night.last, over: &over, faults }
}

fn plain_night() -> Script<'static> {
    script(plain(), &plain_faults)
}

fn rough_night() -> Script<'static> {
    script(rough(), &rough_faults)
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
fn died_just_before_or_after_a_write_a_fresh_process_goes_on() {
    let report = plain_night().restarted_at_every_write(3);
    println!("{} restarts", report.cases);
    report.assert_all_well();
    assert!(report.cases > 40, "{} restarts", report.cases);
}

#[test]
fn died_in_a_rough_night_a_fresh_process_goes_on() {
    let report = rough_night().restarted_at_every_write(11);
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

#[test]
fn every_write_that_is_sent_twice_is_done_once() {
    plain_night().with_every_write_met(Fate::Repeat, 3).assert_all_well();
    rough_night().with_every_write_met(Fate::Repeat, 2).assert_all_well();
}
