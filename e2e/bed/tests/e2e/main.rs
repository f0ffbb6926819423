//! End-to-end tests: one shared bed, one test after the other.
//!
//! - `harness.rs`: brings the bed up for the first test, tidies up after each, prints what helps when one fails
//! - `workloads.rs`: fleets of nodes, workloads, and waiting for their pods
//! - one file per subject: `bed.rs` (the bed itself), `leftovers.rs` (nothing outlives it)
//!
//! A new subject: a file with `pub fn cases() -> Vec<Case>`, and its line in `main`.
#![expect(clippy::disallowed_methods, reason = "end-to-end tests wait for real processes on the real clock")]

mod bed;
mod harness;
mod leftovers;
mod nights;
mod refusals;
mod shop;
mod workloads;

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::run([bed::cases(), leftovers::cases(), refusals::cases(), nights::cases()].into_iter().flatten().collect())
}
