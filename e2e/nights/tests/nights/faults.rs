//! Faults by construction: at every so many-th write something goes wrong, in another night each. All of it, at every write, is
//! `cargo bench -p onsale-nights --bench faults`.

use onsale_nights::night::{
    faults::{Fault, WATCHED, strike},
    short,
    table::{AROUND, Table, edits, past},
};

#[test]
fn whatever_goes_wrong_around_a_write_the_night_ends_well() {
    let mut table = Table::default();
    table.strike(&short::plain(), &AROUND, 41);
    table.strike(&short::rough(), &AROUND, 127);
    println!("{}", table.text());
    table.assert_all_well();
}

#[test]
fn whatever_is_edited_between_two_writes_the_night_ends_well() {
    let mut table = Table::default();
    for (night, every) in [(short::plain(), 41), (short::rough(), 61)] {
        table.strike(&night, &edits(&night), every);
    }
    println!("{}", table.text());
    table.assert_all_well();
}

#[test]
fn every_step_taken_twice_and_clocks_put_forward_or_back_change_nothing() {
    let mut table = Table::default();
    table.whole_nights(&[short::plain(), short::rough()]);
    println!("{}", table.text());
    table.assert_all_well();
}

#[test]
fn a_list_that_knows_no_record_yet_makes_no_floor_the_value_to_restore() {
    let (night, number) = (short::plain(), 12);
    assert_eq!(WATCHED[number % WATCHED.len()].kind, "WorkloadPlacement", "whose list is old at this write, while replicas have risen");
    let verdict = strike(&night, Fault::RebornOne, number, &past(&night)).unwrap();
    assert!(verdict.wrong.is_empty(), "{}", verdict.text);
}

#[test]
fn an_old_list_that_makes_a_first_batch_too_small_holds_nothing_up() {
    let night = short::plain();
    let verdict = strike(&night, Fault::Outdated, 21, &past(&night)).unwrap();
    assert!(verdict.wrong.is_empty(), "{}", verdict.text);
}
