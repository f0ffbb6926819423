//! The planner's own nights once more, every plan and every list of steps in them judged by the checker.
//!
//! The planner's test files are compiled into this crate; what they call `plan` and `due` are the planner's, with a judge behind them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "clippy sees tests only in functions with #[test], and all of this file is one")]

use jiff::Timestamp;
use onsale_checker::Violation;
use onsale_planner::{resources, snapshot};

#[path = "../../planner/src/nights/mod.rs"]
mod nights;
#[expect(dead_code, reason = "some builders are for the planner's other tests")]
#[path = "../../planner/src/testing/mod.rs"]
mod testing;

mod plan {
    pub use onsale_planner::plan::*;

    /// The planner's plan, which breaks no rule.
    pub fn plan(seen: &onsale_planner::Snapshot, now: super::Timestamp) -> Plan {
        let made = onsale_planner::plan(seen, now);
        super::clean(&onsale_checker::check(seen, &made, now), now);
        made
    }
}

mod steps {
    pub use onsale_planner::steps::*;

    /// The planner's steps, which break no rule.
    pub fn due(plan: &onsale_planner::Plan, seen: &onsale_planner::Snapshot, now: super::Timestamp) -> Vec<Chain> {
        let chains = onsale_planner::due(plan, seen, now);
        super::clean(&onsale_checker::check_steps(seen, plan, now, &chains), now);
        chains
    }
}

#[track_caller]
fn clean(found: &[Violation], now: Timestamp) {
    assert!(found.is_empty(), "at {now}:\n{}", found.iter().map(|v| format!("  {v}\n")).collect::<String>());
}

/// What planner and checker cost: `cargo test -p onsale-checker --test nights cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement for people, not a law"]
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn cost_of_1300_pods_on_100_nodes() {
    use testing::{node, pool, sale, snapshot, wish, workload, world::World};
    let pools = vec![
        pool("dc").rtt("phx", "200us").build(),
        pool("lz").rtt("phx", "1.6ms").rented("c6i.4xlarge", "0.85", 60).build(),
        pool("or-a").rtt("phx", "30ms").rented("m6i.4xlarge", "0.76", 20).build(),
        pool("or-b").rtt("phx", "30ms").rented("m6i.4xlarge", "0.76", 20).build(),
    ];
    let names = ["checkout", "seat-map", "cart", "search", "queue"];
    let nodes: Vec<_> = (0..20).map(|i| node(&format!("dc-{i:02}"), "dc")).collect();
    let works = names.iter().map(|name| workload(name, 20, &["dc-00", "dc-01", "dc-02", "dc-03", "dc-04", "dc-05", "dc-06"]));
    let wishes = names.iter().map(|name| wish(name, 260).calls("phx", 3).build()).collect();
    let mut world = World::new(snapshot(vec![sale("tour", wishes)], pools, nodes, works.collect()), "2026-12-05T10:00:00Z");
    for until in ["2026-12-05T16:45:00Z", "2026-12-05T17:30:00Z", "2026-12-05T18:20:00Z"] {
        world.run_until(until);
        let (seen, now) = (&world.seen, world.now);
        let clock = std::time::Instant::now();
        let made = onsale_planner::plan(seen, now);
        let planned = clock.elapsed();
        let chains = onsale_planner::due(&made, seen, now);
        let due = clock.elapsed() - planned;
        let found = onsale_checker::check(seen, &made, now).len() + onsale_checker::check_steps(seen, &made, now, &chains).len();
        let pods: usize = seen.workloads.iter().map(|w| w.pods.len()).sum();
        let nodes = seen.known_nodes().count();
        println!(
            "{now}: {pods} pods, {nodes} nodes: plan {planned:?}, due {due:?}, checker {:?} ({found})",
            clock.elapsed() - planned - due
        );
    }
}
