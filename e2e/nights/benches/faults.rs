//! `cargo bench -p onsale-nights --bench faults`: everything that can go wrong at a write, once at every write of two short nights, as a table: how many of them
//! ended clean (nothing leaked, nothing unrestored, nothing launched twice, no rule of order broken), how many were on time, and in how many that was possible.
//! A number after `--` is every how many-th write. Fails when one did not end well.
#![expect(clippy::print_stdout, reason = "the table is for people")]

use onsale_nights::night::{
    short,
    table::{AROUND, ITSELF, Table, edits},
};

fn main() {
    let every = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1);
    let mut table = Table::default();
    let nights = [short::plain(), short::rough()];
    for faults in [&ITSELF[..], &AROUND[..]] {
        nights.iter().for_each(|night| table.strike(night, faults, every));
    }
    nights.iter().for_each(|night| table.strike(night, &edits(night), every));
    table.whole_nights(&nights);
    println!("{}", table.text());
    table.wrong().filter_map(|wrong| wrong.lines().next()).for_each(|line| println!("{line}"));
    table.assert_all_well();
}
