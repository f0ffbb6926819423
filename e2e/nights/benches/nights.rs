//! `cargo bench -p onsale-nights --bench nights`: many nights in virtual time, each with a seed of its own, against what somebody could do who knows beforehand how long each
//! instance takes and what each place can give. Numbers after `--` are another number of nights, and the first seed.
//!
//! One night: the small shop's sale, Ready by 16:50, open from 17:00 for an hour, back by 18:30; three rented nodes are needed. Instances take 11 to 56 s until
//! they are nodes (declared: p50 30 s, p95 60 s); the Local Zone and the region each have capacity for none, few or many; in three nights of ten
//! the cloud's API is throttled for up to a minute, in one of ten an instance never joins.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on has failed, and its figures are for people")]

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use onsale_nights::{
    api::kinds,
    night::{
        at,
        build::{NAMESPACE, Start, shop, subnet},
        play,
    },
    random::Random,
    sim::Inner,
};
use serde_json::json;

/// When the operator starts, give or take some seconds.
const STARTS_AT: &str = "2026-12-05T16:47:05Z";
const READY_BY: &str = "2026-12-05T16:50:00Z";
const OPENS_AT: &str = "2026-12-05T17:00:00Z";
/// Replicas at the peak, those of them that fit at home, and on one rented node.
const PEAK: usize = 80;
const HOME: usize = 32;
const PER_NODE: usize = 16;
const NEEDED: usize = (PEAK - HOME) / PER_NODE;
/// `maxNodes` of the Local Zone.
const NEAR: usize = 2;

fn main() {
    let asked: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let (nights, first) = (asked.first().copied().unwrap_or(1_000), asked.get(1).copied().unwrap_or(1));
    let seeds: Vec<u64> = (first..first + nights).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(seeds.len());
    let shares = seeds.chunks(seeds.len().div_ceil(workers));
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let running: Vec<_> = shares.map(|share| scope.spawn(|| share.iter().map(|seed| night(*seed)).collect::<Vec<_>>())).collect();
        running.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    report(&outcomes, first);
}

/// What a night is like.
struct Weather {
    near: usize,
    far: usize,
    throttled: Option<Timestamp>,
    never_joins: usize,
}

impl Weather {
    fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut draw = |n: u64| random.next() % n;
        let many = usize::MAX;
        Self {
            near: [0, 1, 2, many][usize::try_from(draw(4)).unwrap()],
            far: [0, 1, 2, 3, 4, many, many, many][usize::try_from(draw(8)).unwrap()],
            throttled: (draw(10) < 3).then(|| at(STARTS_AT) + SignedDuration::from_secs(i64::try_from(draw(61)).unwrap())),
            never_joins: usize::from(draw(10) == 0),
        }
    }

    /// Somebody who knows everything starts early enough; only capacity can stop them.
    fn can_be_done(&self) -> bool {
        self.near.min(NEAR).saturating_add(self.far) >= NEEDED
    }

    fn start(&self, seed: u64) -> Start {
        let spec = json!({"duration": "1h", "returnOver": "30m"});
        shop("2026-12-05T16:30:00Z", seed).sale("tour", OPENS_AT, &[("checkout", 10, 12), ("seat-map", 70, 3)], &spec).with(|inner| {
            inner.cloud.settings.boots = (Duration::from_secs(5), Duration::from_secs(40)).into();
            for (pool, instance_type, most) in [("lz", "c6i.4xlarge", self.near), ("or", "m6i.4xlarge", self.far)] {
                if most != usize::MAX {
                    inner.cloud.capacity.insert((instance_type.into(), subnet(pool)), most);
                }
            }
            inner.cloud.throttled_until = self.throttled;
            inner.world.never_join = self.never_joins;
        })
    }

    /// Pods of the seat map by zone, if everything is as near as it can be: it makes fewer calls, so the other has the near places.
    fn best(&self) -> BTreeMap<String, usize> {
        let near = self.near.min(NEAR) * PER_NODE;
        let home = HOME - 10;
        [("dc", home), ("zone-lz", near.min(70 - home)), ("zone-or", 70 - home - near.min(70 - home))]
            .map(|(zone, n)| (zone.to_owned(), n))
            .into()
    }
}

/// What came of a night.
struct Outcome {
    seed: u64,
    possible: bool,
    on_time: bool,
    /// How long before ready-by people heard that it would not be made.
    warned: Option<SignedDuration>,
    node_seconds: i64,
    /// Of somebody who knows how long each instance takes, for the same nodes.
    least_seconds: i64,
    misplaced: usize,
    faults: Vec<String>,
    /// What the operator did, line by line.
    text: String,
}

fn night(seed: u64) -> Outcome {
    let weather = Weather::of(seed);
    let (ready_by, opens_at) = (at(READY_BY), at(OPENS_AT));
    let (warned, spread, state) = play(weather.start(seed).build(), async |stage| {
        stage.start();
        let told = |inner: &Inner| {
            let is = |type_: &str, status: &str| inner.condition(&kinds::SALES, NAMESPACE, "tour", type_).is_some_and(|c| c.0 == status);
            is("AtRisk", "True") || is("Feasible", "False")
        };
        let mut warned = None;
        if stage.run_while_not(ready_by, told).await {
            warned = Some(stage.now());
        }
        stage.run_until(OPENS_AT).await;
        let spread = stage.state().spread("seat-map");
        stage.run_until("2026-12-05T19:00:00Z").await;
        (warned, spread, stage.state())
    });
    let reached = |deployment, n| state.reached(deployment, n).is_some_and(|t| t <= ready_by);
    let best = weather.best();
    let found = spread.split(' ').filter_map(|part| part.split_once('=')).map(|(zone, n)| (zone, n.parse::<usize>().unwrap()));
    let beyond = found.map(|(zone, n)| n.saturating_sub(best.get(zone).copied().unwrap_or_default()));
    let on_time = reached("seat-map", 70) && reached("checkout", 10);
    Outcome {
        seed,
        possible: weather.can_be_done(),
        on_time,
        warned: warned.map(|t| ready_by.duration_since(t)),
        node_seconds: state
            .cloud
            .machines
            .values()
            .map(|m| m.ended_at.unwrap_or(opens_at).duration_since(m.instance.launched_at).as_secs())
            .sum(),
        least_seconds: least(&state, ready_by),
        misplaced: if on_time { beyond.sum() } else { 0 },
        faults: state.faults(&[]),
        text: state.journal.text(),
    }
}

/// The fewest node-seconds: each of the nodes that the peak needs is launched exactly its own boot time before ready-by, and is gone when what is left of the
/// replicas fits without it.
fn least(state: &Inner, ready_by: Timestamp) -> i64 {
    let mut boots: Vec<SignedDuration> =
        state.cloud.machines.values().map(|m| m.runs_at.duration_since(m.instance.launched_at) + SignedDuration::from_secs(11)).collect();
    boots.sort();
    let ready = |deployment: &str| state.world.ready.get(&(NAMESPACE.to_owned(), deployment.to_owned())).cloned().unwrap_or_default();
    let (seats, checkouts) = (ready("seat-map"), ready("checkout"));
    let total = |t: Timestamp| -> usize {
        let of = |series: &[(Timestamp, usize)]| series.iter().rfind(|(at, _)| *at <= t).map_or(0, |(_, n)| *n);
        of(&seats) + of(&checkouts)
    };
    let mut falls: Vec<Timestamp> = seats.iter().chain(&checkouts).map(|(t, _)| *t).filter(|t| *t > at(OPENS_AT)).collect();
    falls.sort();
    let until = |nodes: usize| falls.iter().copied().find(|t| total(*t) <= HOME + (nodes - 1) * PER_NODE).unwrap_or(ready_by);
    (1..=NEEDED).zip(&boots).map(|(nodes, boot)| (until(nodes).duration_since(ready_by) + *boot).as_secs()).sum()
}

fn report(outcomes: &[Outcome], first: u64) {
    let possible: Vec<&Outcome> = outcomes.iter().filter(|o| o.possible).collect();
    let on_time: Vec<&Outcome> = possible.iter().copied().filter(|o| o.on_time).collect();
    let rest: Vec<&Outcome> = outcomes.iter().filter(|o| !o.on_time).collect();
    // A single night is looked at closely.
    if let [one] = outcomes {
        println!("{}", one.text);
    }
    let percent = |n: usize, of: usize| 100.0 * n as f64 / of.max(1) as f64;
    println!("{} nights, seeds from {first}", outcomes.len());
    println!("  could be made in time           {:>6}", possible.len());
    println!("  were Ready at ready-by          {:>6}  {:.1} % of those", on_time.len(), percent(on_time.len(), possible.len()));
    let mut warned: Vec<(i64, u64)> = rest.iter().filter_map(|o| Some((o.warned?.as_secs(), o.seed))).collect();
    warned.sort_unstable();
    let (middle, (latest, seed)) =
        (warned.get(warned.len() / 2).copied().unwrap_or_default().0, warned.first().copied().unwrap_or_default());
    println!("  the rest heard of it            {:>6} of {}", warned.len(), rest.len());
    println!("  at the median                   {middle:>6} s before ready-by; at the latest {latest} s, seed {seed}");
    let (used, least): (i64, i64) = on_time.iter().fold((0, 0), |(used, least), o| (used + o.node_seconds, least + o.least_seconds));
    println!("  node-hours over the least       {:>6.3}", used as f64 / least.max(1) as f64);
    println!("  replicas misplaced              {:>6} of {}", on_time.iter().map(|o| o.misplaced).sum::<usize>(), on_time.len() * PEAK);
    let unclean: Vec<&Outcome> = outcomes.iter().filter(|o| !o.faults.is_empty()).collect();
    println!("  left something behind           {:>6}", unclean.len());
    for outcome in unclean.iter().take(5) {
        println!("    seed {}: {}", outcome.seed, outcome.faults.join("; "));
    }
    let late: Vec<u64> = possible.iter().filter(|o| !o.on_time).map(|o| o.seed).take(20).collect();
    println!("  late although it could be made  {late:?}");
    let misplaced: Vec<u64> = on_time.iter().filter(|o| o.misplaced > 0).map(|o| o.seed).take(20).collect();
    println!("  with misplaced replicas         {misplaced:?}");
}
