//! End-to-end tests: one shared bed, one test after the other.
//!
//! - `harness.rs`: brings the bed up for the first test, tidies up after each, prints what helps when one fails
//! - `workloads.rs`: fleets of nodes, workloads, and waiting for their pods
//! - `shop.rs`: a small ticket shop with an operator, sales that last seconds, and how they must end
//! - one file per subject: `bed` (the bed itself), `leftovers` (nothing outlives it), `emulator` (EC2's own tests), `refusals` (bad manifests), `nights` (whole sales), `examples` (those of `examples/`), `edits` (deleted,
//!   suspended, changed), `faults` (cloud, nodes, wishes), `hpa`, `neighbours` (what is left alone), `restarts` (operators that die)
//!
//! A new subject: a file with `pub fn cases() -> Vec<Case>`, and its line in `main`.
#![expect(clippy::disallowed_methods, reason = "end-to-end tests wait for real processes on the real clock")]

mod bed;
mod edits;
mod emulator;
mod examples;
mod faults;
mod harness;
mod hpa;
mod leftovers;
mod neighbours;
mod nights;
mod refusals;
mod restarts;
mod shop;
mod workloads;

use std::process::ExitCode;

fn main() -> ExitCode {
    let subjects = [
        bed::cases(),
        leftovers::cases(),
        emulator::cases(),
        refusals::cases(),
        nights::cases(),
        hpa::cases(),
        edits::cases(),
        faults::cases(),
        neighbours::cases(),
        restarts::cases(),
        examples::cases(),
    ];
    harness::run(subjects.into_iter().flatten().collect())
}
