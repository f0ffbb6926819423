//! `cargo bench -p onsale-cli --bench start`: how long the release binary takes to plan the example of the README, from its start to its end, beside two floors of the
//! same run: a process that does nothing, and the binary that only says its version. A number after `--` is how often each is run.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on has failed, and its figures are for people")]
#![expect(clippy::disallowed_methods, reason = "a bench measures on the real clock")]

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const EXAMPLE: [&str; 11] = [
    "plan",
    "-f",
    "examples/pools.yaml",
    "-f",
    "examples/shop.yaml",
    "-f",
    "examples/stadium-tour.yaml",
    "--nodes",
    "phx-dc=20,cpu=20,memory=96Gi",
    "--at",
    "2026-11-21T08:00:00Z",
];

fn main() {
    let times = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(40);
    let own = env!("CARGO_BIN_EXE_kubectl-onsale");
    let runs: [(&str, &str, &[&str]); 3] = [
        ("a process that does nothing (true)", "true", &[]),
        ("--version", own, &["--version"]),
        ("plan of the README's example", own, &EXAMPLE),
    ];
    // In turn, so that what the machine does besides meets all of them.
    let mut took: [Vec<Duration>; 3] = Default::default();
    for _ in 0..times {
        for ((_, program, args), took) in runs.iter().zip(&mut took) {
            took.push(run(program, args));
        }
    }
    took.iter_mut().for_each(|took| took.sort_unstable());
    let fastest = took[0][0];
    println!("{:<38}{:>14}{:>14}{:>10}", "", "fastest", "median", "ratio");
    for ((what, ..), took) in runs.iter().zip(&took) {
        let ratio = took[0].as_secs_f64() / fastest.as_secs_f64();
        println!("{what:<38}{:>11.1} ms{:>11.1} ms{ratio:>10.1}", millis(took[0]), millis(took[took.len() / 2]));
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn run(program: &str, args: &[&str]) -> Duration {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(program);
    command.args(args).current_dir(checkout).stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let status = command.status().unwrap();
    let took = begun.elapsed();
    assert!(status.success(), "{program} {args:?}: {status}");
    took
}
