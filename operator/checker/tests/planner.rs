//! The planner against the checker: on random fleets and through whole random nights no plan and no step breaks a rule.
//!
//! Every run plays the same worlds, so that what fails here fails everywhere. `ONSALE_CASES=20000 ONSALE_SEED=7 cargo test -p onsale-checker --test planner` looks
//! harder, and elsewhere; a failure says its seed.
#![expect(clippy::unwrap_used, clippy::panic, reason = "clippy sees tests only in functions with #[test], and all of this file is one")]

#[path = "planner/cloud.rs"]
mod cloud;
#[path = "planner/event.rs"]
mod event;
#[path = "planner/night.rs"]
mod night;
#[path = "planner/seeds.rs"]
mod seeds;
#[path = "planner/world.rs"]
mod world;

use event::{Event, moments};
use jiff::Timestamp;
use night::Night;
use onsale_api::Phase;
use onsale_checker::{Violation, check, check_steps};
use onsale_planner::{Chain, Plan, Snapshot, Step, due, plan};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner},
};
use seeds::worlds;

/// Where every run begins unless the environment says otherwise.
const SEED: u64 = 1;

/// A number from the environment.
fn asked<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|n| n.parse().unwrap_or_else(|_| panic!("{name} is no number: {n}")))
}

/// So many cases of a seed, or as many as the environment asks for.
fn runner(cases: u32, seed: u64) -> TestRunner {
    let cases = asked("ONSALE_CASES").unwrap_or(cases);
    TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..Config::default()
    })
}

/// Runs the law on random worlds; a failure shows the smallest world that breaks it, in words.
fn law<S: Strategy>(cases: u32, strategy: &S, holds: impl Fn(S::Value) -> Result<(), String>)
where
    S::Value: std::fmt::Debug + Clone,
{
    let seed = asked("ONSALE_SEED").unwrap_or(SEED);
    let outcome = runner(cases, seed).run(strategy, |world| holds(world).map_err(TestCaseError::fail));
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, world)) => panic!("{why}\nin the smallest such world of seed {seed}:\n{world:?}"),
        Err(TestError::Abort(why)) => panic!("given up: {why}"),
    }
}

/// The rule to look at alone, for shrinking one fault among several: `ONSALE_RULE=NodeLimit`.
fn looked_at(violation: &Violation) -> bool {
    std::env::var("ONSALE_RULE").map_or(true, |rule| rule.split(',').any(|r| r == format!("{:?}", violation.rule)))
}

/// What is wrong with what the planner does now.
fn judged(seen: &Snapshot, now: Timestamp) -> Result<(Plan, Vec<Chain>), String> {
    let made = plan(seen, now);
    if made != plan(seen, now) {
        return Err(format!("at {now} two plans differ"));
    }
    let steps = due(&made, seen, now);
    if steps != due(&made, seen, now) {
        return Err(format!("at {now} two lists of steps differ"));
    }
    let mut found = check(seen, &made, now);
    found.extend(check_steps(seen, &made, now, &steps));
    found.retain(looked_at);
    if found.is_empty() {
        return Ok((made, steps));
    }
    let list: String = found.iter().map(|v| format!("  {v}\n")).collect();
    Err(format!("at {now}:\n{list}{}", words(seen, &made, &steps)))
}

/// The plan in one line per sale, workload, pool and chain.
fn words(seen: &Snapshot, plan: &Plan, chains: &[Chain]) -> String {
    let mut text = String::new();
    for p in &plan.sales {
        let phase = seen.sale(&p.id).and_then(|s| s.status.phase);
        text += &format!(
            "sale {} {phase:?} -> {:?}, unplaced {}, times {:?}\n",
            p.id,
            p.phase,
            p.unplaced,
            p.times.map(|t| (t.starts_at, t.opens_at, t.ends_at))
        );
    }
    for (w, p) in seen.workloads.iter().zip(&plan.workloads) {
        let target = w.target.as_ref().map(|t| (t.value, t.replicas, t.max));
        let record = w.placement.as_ref().map(|p| (p.spec.baseline, p.spec.intended, p.spec.released, &p.spec.permitted));
        let distances: Vec<_> = p.distances.iter().map(|d| format!("{} {} {}", d.pool, d.latency, d.rank)).collect();
        let unbound = w.pods.iter().filter(|p| p.node.is_none()).count();
        text += &format!(
            "work {} value/replicas/max {target:?} record {record:?} {:?}: baseline {} floor {} peak {} unplaced {} by_pool {:?} bound {:?} unbound {unbound} permitted {:?} released {} distances {distances:?} problems {:?}\n",
            p.id,
            p.stage,
            p.baseline,
            p.floor,
            p.peak,
            p.unplaced,
            p.by_pool,
            p.bound,
            p.permitted,
            p.released,
            p.problems.iter().map(|p| p.reason).collect::<Vec<_>>(),
        );
    }
    for (s, p) in seen.pools.iter().zip(&plan.pools) {
        let instances = s.instances.as_ref().map(Vec::len);
        let fills: Vec<_> = p.fills.iter().map(|f| format!("{} {} mCPU {:?}", f.node, f.room.cpu, f.replicas)).collect();
        text += &format!(
            "pool {} instances {instances:?} wanted {:?} surplus {:?} never joined {:?} idle {} released {} fills {fills:?}\n",
            p.name, p.wanted, p.surplus, p.never_joined, p.idle, p.released
        );
    }
    for node in seen.known_nodes().filter(|n| !n.ready || n.cordoned) {
        text += &format!("node {} ready {} cordoned {} draining {}\n", node.name, node.ready, node.cordoned, node.draining);
    }
    text + &chains.iter().map(|c| format!("chain {c:?}\n")).collect::<String>()
}

#[test]
fn no_first_plan_breaks_a_rule() {
    law(8_000, &worlds(), |world| {
        let mut night = Night::new(world);
        let (seen, now, _) = night.moment(0, Event::Calm);
        judged(&seen, now).map(drop)
    });
}

#[test]
fn no_plan_of_a_whole_night_breaks_a_rule() {
    law(2_000, &(worlds(), moments()), |(world, moments)| {
        let mut night = Night::new(world);
        for (minutes, event) in moments {
            let (seen, now, crash) = night.moment(minutes, event);
            let (made, steps) = judged(&seen, now).map_err(|why| format!("after {event:?} {why}"))?;
            night.act(&made, steps, crash);
        }
        Ok(())
    });
}

/// More passes than anything takes that is done step by step: ranks, pools, batches, the wanderings of a moment's fault.
const MOST_PASSES: usize = 60;

/// Acts and plans again until nothing is due any more, at one and the same instant; what was done.
fn comes_to_rest(night: &mut Night, now: Timestamp) -> Result<Vec<Step>, String> {
    let (mut done, mut last) = (Vec::new(), String::new());
    for _ in 0..MOST_PASSES {
        let seen = night.seen();
        let made = plan(&seen, now);
        let steps = due(&made, &seen, now);
        let settled = made.sales.iter().zip(&seen.sales).all(|(plan, sale)| sale.status.phase == Some(plan.phase));
        if steps.is_empty() && settled {
            return Ok(done);
        }
        last = words(&seen, &made, &steps);
        done.extend(steps.iter().flat_map(|chain| &chain.steps).cloned());
        night.act(&made, steps, usize::MAX);
    }
    Err(format!("at {now} there is still something to do after {MOST_PASSES} passes:\n{last}"))
}

#[test]
fn once_everything_is_done_there_is_nothing_left_to_do() {
    law(400, &(worlds(), moments()), |(world, moments)| {
        let mut night = Night::new(world);
        for (minutes, event) in moments {
            let (_, now, _) = night.moment(minutes, event);
            comes_to_rest(&mut night, now).map(drop).map_err(|why| format!("after {event:?} {why}"))?;
        }
        Ok(())
    });
}

/// Longer than the longest of these nights, in steps of so many minutes.
const WHOLE_NIGHT: (usize, i64) = (60, 20);

/// Once every sale is over nothing is rented any more, unless a sale says why.
#[test]
fn what_is_rented_goes_back_or_it_is_said_why_not() {
    law(300, &worlds(), |world| {
        let mut night = Night::new(world);
        let (steps, minutes) = WHOLE_NIGHT;
        for _ in 0..steps {
            let (_, now, _) = night.moment(minutes, Event::Calm);
            comes_to_rest(&mut night, now)?;
        }
        let (seen, now, _) = night.moment(minutes, Event::Calm);
        let made = plan(&seen, now);
        let kept = seen.pools.iter().any(|pool| pool.instances.as_ref().is_some_and(|all| all.iter().any(|i| !i.leaving)));
        let said = made.sales.iter().any(|sale| sale.frozen.is_some());
        let going_on = made.sales.iter().any(|sale| matches!(sale.phase, Phase::Preparing | Phase::Ready | Phase::Live));
        if kept && !said && !going_on { Err(format!("at {now}\n{}", words(&seen, &made, &due(&made, &seen, now)))) } else { Ok(()) }
    });
}

/// Of plans that are as good, the one that changes what runs the least.
#[test]
fn a_replica_more_or_less_changes_little() {
    law(600, &(worlds(), 0..3_usize, 0..=6_u8, prop_oneof![Just(-1), Just(1)]), |(world, sale, moments, by)| {
        let mut night = Night::new(world);
        if !until_it_holds(&mut night, sale, moments)? {
            return Ok(());
        }
        let (before, now, _) = night.moment(0, Event::Little(sale, by));
        let done = comes_to_rest(&mut night, now)?;
        little(&done, by).map_err(|why| {
            let made = plan(&before, now);
            format!("{why}: {done:?}\n{}", words(&before, &made, &due(&made, &before, now)))
        })
    });
}

/// Until floors have been up for so many moments for the sale of this number, minutes apart while it prepares; whether they ever are.
fn until_it_holds(night: &mut Night, sale: usize, moments: u8) -> Result<bool, String> {
    let (mut held, mut minutes) = (0, 10);
    for _ in 0..40 {
        let (_, now, _) = night.moment(minutes, Event::Calm);
        comes_to_rest(night, now)?;
        let seen = night.seen();
        let Some(status) = seen.sales.get(sale).map(|s| &s.status) else { return Ok(false) };
        held += u8::from(status.phase.is_some_and(Phase::holds));
        if held > moments {
            return Ok(true);
        }
        let near = status.starts_at.as_ref().is_some_and(|t| (-30..=10).contains(&t.0.duration_since(now).as_mins()));
        minutes = if near { 1 } else { 10 };
    }
    Ok(false)
}

/// Nodes that one replica and the headroom that comes with it may take.
const NODES_OF_ONE: i32 = 2;

/// What one replica more or less may lead to: nobody is evicted, and nodes come or go for it and for nothing else.
fn little(done: &[Step], by: i32) -> Result<(), String> {
    let launched: i32 = done.iter().map(|step| if let Step::Launch { count, .. } = step { *count } else { 0 }).sum();
    let ended: usize = done.iter().map(|step| if let Step::Terminate { instances, .. } = step { instances.len() } else { 0 }).sum();
    let ended = i32::try_from(ended).unwrap();
    let (may_launch, may_end) = if by > 0 { (NODES_OF_ONE, 0) } else { (0, NODES_OF_ONE) };
    match () {
        () if done.iter().any(|step| matches!(step, Step::Evict { .. })) => Err("pods are evicted".to_owned()),
        () if launched > may_launch || ended > may_end => Err(format!("{launched} nodes are launched and {ended} terminated")),
        () => Ok(()),
    }
}

/// What the rules say about many nights, counted: `ONSALE_CASES=2000 cargo test -p onsale-checker --test planner survey -- --ignored --nocapture`.
#[test]
#[ignore = "a survey for people, not a law"]
fn survey() {
    let counts = std::cell::RefCell::new(std::collections::BTreeMap::<String, (usize, String)>::new());
    law(2_000, &(worlds(), moments()), |(world, moments)| {
        let mut night = Night::new(world);
        for (minutes, event) in moments {
            let (seen, now, crash) = night.moment(minutes, event);
            let made = plan(&seen, now);
            let steps = due(&made, &seen, now);
            let mut found = check(&seen, &made, now);
            found.extend(check_steps(&seen, &made, now, &steps));
            for violation in found {
                let words: String = violation.message.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
                let mut counts = counts.borrow_mut();
                let entry = counts
                    .entry(format!("{:?}: {words}", violation.rule))
                    .or_insert_with(|| (0, format!("{violation}\nafter {event:?}:\n{}", self::words(&seen, &made, &steps))));
                entry.0 += 1;
            }
            night.act(&made, steps, crash);
        }
        Ok(())
    });
    for (words, (n, first)) in counts.into_inner() {
        println!("{n:6} {words}\n         {first}");
    }
}
