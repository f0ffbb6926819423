//! End-to-end tests: beside each other on one bed where they have shops of their own, alone on another where they touch what all share.
//!
//! - `harness.rs`: cases, and what a test stands on; `stage.rs`: the beds, and who may be on which; `tidy.rs`: what tests leave is taken away;
//!   `scene.rs`: what helps when one fails
//! - `workloads.rs`: fleets of nodes, workloads, and waiting for their pods
//! - `shop.rs`: a small ticket shop with an operator, sales that last seconds; `clean.rs`: how they must end; `wall.rs`: writes that
//!   are refused for a while
//! - one file per subject: `bed` (the bed itself), `leftovers` (nothing outlives it), `emulator` (EC2's own tests), `refusals` (bad manifests), `conformance` (the API server, as nights have it), `nights` (whole sales), `examples` (those of `examples/`), `edits` (deleted,
//!   suspended, changed), `faults` (cloud, nodes, wishes), `hpa`, `neighbours` (what is left alone), `preview` (`kubectl onsale plan`), `restarts` (operators that die)
//!
//! A new subject: a file with `pub fn cases() -> Vec<Case>`, and its line in `main`.
#![expect(clippy::disallowed_methods, reason = "end-to-end tests wait for real processes on the real clock")]

mod bed;
mod clean;
mod conformance;
mod edits;
mod emulator;
mod examples;
mod faults;
mod harness;
mod hpa;
mod leftovers;
mod neighbours;
mod nights;
mod preview;
mod refusals;
mod restarts;
mod scene;
mod shop;
mod stage;
mod tidy;
mod wall;
mod workloads;

use std::process::ExitCode;

fn main() -> ExitCode {
    let subjects = [
        bed::cases(),
        refusals::cases(),
        conformance::cases(),
        leftovers::cases(),
        emulator::cases(),
        faults::cases(),
        hpa::cases(),
        nights::cases(),
        edits::cases(),
        neighbours::cases(),
        preview::cases(),
        restarts::cases(),
        examples::cases(),
    ];
    harness::run(subjects.into_iter().flatten().collect())
}
