//! What several of these tests do.

use clap::Parser;
use onsale_cli::{
    flags::{Command, Flags},
    run::{Outcome, run},
    text::Style,
};

/// What `kubectl onsale plan -f - -o OUTPUT` says of these manifests at an instant, without a cluster.
pub fn plan(mut manifests: &[u8], output: &str, at: &str) -> Outcome {
    let Command::Plan(flags) = Flags::parse_from(["kubectl-onsale", "plan", "-f", "-", "-o", output]).command;
    run(&flags, None, "default", at.parse().unwrap(), &mut manifests, Style { colour: false })
}
