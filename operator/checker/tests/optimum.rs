//! How good plans are: small fleets against every assignment there is, large ones against a linear bound, and both against themselves with more room.
//!
//! Fleets come from seeds, so that a figure here is the same on every machine; `ONSALE_CASES=5000 cargo test -p onsale-checker --test optimum` looks harder.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy sees tests only in functions with #[test], and all of this file is one"
)]

#[path = "optimum/brute.rs"]
mod brute;
#[path = "optimum/fleet.rs"]
mod fleet;
#[path = "optimum/linear.rs"]
mod linear;
#[path = "optimum/random.rs"]
mod random;

use fleet::{Fleet, Worth, now};
use onsale_checker::check;
use onsale_planner::plan;
use random::{EXAMPLES, MIXED, Random, large, small, two_types};

/// So many seeds, or as many as the environment asks for.
fn seeds(cases: u64) -> std::ops::Range<u64> {
    0..std::env::var("ONSALE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(cases)
}

/// What the plan of a fleet comes to; the checker finds nothing wrong with it.
fn planned(fleet: &Fleet) -> Worth {
    let seen = fleet.snapshot();
    let made = plan(&seen, now());
    let found = check(&seen, &made, now());
    assert!(found.is_empty(), "{}\n{fleet:?}", found.iter().map(|v| format!("{v}\n")).collect::<String>());
    fleet.worth(&made)
}

/// Pools of one rank are filled evenly, whatever that costs: money is an optimum of its own only where no two places are equally far.
fn optimum_of(fleet: &Fleet, got: Worth) -> Worth {
    let mut best = brute::best(fleet);
    let far_apart = |work: &fleet::Work| {
        let mut costs: Vec<i64> = fleet.places.iter().filter_map(|place| work.cost(place)).collect();
        costs.sort_unstable();
        costs.windows(2).all(|pair| pair[0] < pair[1])
    };
    if !fleet.works.iter().all(far_apart) {
        best.cents = got.cents;
    }
    best
}

/// What plans of small fleets come to, what they could, and the fleets, where the two differ.
fn missed(sizes: &[&[i64]], small: fn(&mut Random, &[i64]) -> Fleet) -> Vec<(Worth, Worth, Fleet)> {
    let of = |seed| {
        let mut random = Random::new(seed);
        let sizes = random.one_of(sizes);
        let fleet = small(&mut random, sizes);
        let got = planned(&fleet);
        let best = optimum_of(&fleet, got);
        assert!(got >= best, "better than the optimum: {got:?} {best:?}\n{fleet:?}");
        (got, best, fleet)
    };
    seeds(400).map(of).filter(|(got, best, _)| got != best).collect()
}

#[test]
fn small_fleets_of_equal_pods_reach_the_optimum() {
    let missed = missed(&[&[500], &[1_000]], small);
    assert!(missed.is_empty(), "{} miss it, the first: {:?}", missed.len(), missed[0]);
}

/// Small nodes that are cheaper for one workload may use up `maxNodes`, or cost more than large ones would for all: that money is the last of the three shows.
#[test]
fn small_fleets_with_two_types_of_nodes_miss_nothing_but_a_little_money() {
    let missed = missed(&[&[500], &[1_000]], two_types);
    let of = seeds(400).end;
    let more = missed.iter().map(|(got, best, _)| got.cents as f64 / best.cents as f64).fold(1.0, f64::max);
    println!("{} of {of} small fleets with two types of nodes cost more than they could, at most {more:.2} times", missed.len());
    if let Some(far) = missed.iter().find(|(got, best, _)| (got.unplaced, got.latency) != (best.unplaced, best.latency)) {
        panic!("not as near as could be: {far:?}");
    }
    assert!(missed.len() as u64 * 10 <= of, "more than 10 %, the first: {:?}", missed[0]);
}

/// Pools of one rank are failure domains: they are filled evenly before money is looked at, so that the cheaper of two does not get everything.
#[test]
fn equally_near_places_are_filled_evenly_whatever_they_cost() {
    let place = |cents: i64| fleet::Place { rented: true, nodes: 4, cpu: 4_000, mib: 64 << 10, rtts: vec![30_000], cents, small: None };
    let existing = fleet::Place { rented: false, nodes: 0, ..place(0) };
    let work = fleet::Work { cpu: 1_000, mib: 64, peak: 8, calls: vec![3], running: 0, max_latency: None, share: None };
    let fleet = Fleet { places: vec![existing, place(10), place(90)], works: vec![work] };
    assert_eq!((planned(&fleet).cents, brute::best(&fleet).cents), (100, 20));
}

/// The flow may divide a replica, and the rest is packed as it comes.
#[test]
fn small_fleets_of_pods_that_divide_each_other_place_all_that_can_be_and_miss_the_least_latency_seldom() {
    let missed = missed(&[&[500, 1_000], &[250, 500, 1_000]], small);
    let of = seeds(400).end;
    println!("{} of {of} small fleets of pods that divide each other miss the optimum", missed.len());
    if let Some(unplaced) = missed.iter().find(|(got, best, _)| got.unplaced > best.unplaced) {
        panic!("more find no place than need be: {unplaced:?}");
    }
    assert!(missed.len() as u64 * 50 <= of, "more than 2 %, the first: {:?}", missed[0]);
}

/// Prints how far plans are above the linear bound, and fails where one is by more than `most`, or all are by more than `most_on_average`.
fn near_the_linear_bound(title: &str, pods: &[(i64, i64)], most: f64, most_on_average: f64) {
    let mut ratios = Vec::new();
    for seed in seeds(60) {
        let fleet = large(&mut Random::new(seed), pods);
        let Some(bound) = linear::bound(&fleet) else { continue };
        let got = planned(&fleet);
        assert_eq!(got.unplaced, 0, "seed {seed}: the region holds all\n{fleet:?}");
        ratios.push((got.latency as f64 / bound, seed));
    }
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mean = ratios.iter().map(|r| r.0).sum::<f64>() / ratios.len() as f64;
    let (worst, seed) = *ratios.last().unwrap();
    let above = ratios.iter().filter(|r| r.0 > 1.01).count();
    println!(
        "latency over the linear bound, {} fleets of {title}: mean {mean:.4}, worst {worst:.4} (seed {seed}), above 1.01: {above}",
        ratios.len()
    );
    assert!(ratios[0].0 > 0.999_999, "{:.6} is below the bound: seed {}", ratios[0].0, ratios[0].1);
    assert!(worst <= most, "seed {seed}\n{:?}", large(&mut Random::new(seed), pods));
    assert!(mean <= most_on_average, "{mean}");
}

#[test]
fn large_fleets_of_the_examples_pods_are_at_the_linear_bound() {
    near_the_linear_bound("the examples' pods", &EXAMPLES, 1.01, 1.001);
}

#[test]
fn large_fleets_of_mixed_pods_are_within_a_few_percent_of_the_linear_bound_on_average() {
    // The flow counts one resource, and here two run out in turn. No packing reaches the bound: it divides replicas, and makes one room of all nodes. Where nearly
    // everybody is near, the few replicas that it saves are much of the latency.
    near_the_linear_bound("mixed pods", &MIXED, 2.0, 1.04);
}

/// More room in one place after the other never leaves more replicas without a place, nor the same at more latency, but for so many parts of a million.
fn more_room_is_no_worse(fleets: impl Iterator<Item = Fleet>, parts: i64) {
    let (mut worse, mut asked) = (Vec::new(), 0);
    for fleet in fleets {
        let before = planned(&fleet);
        for place in 0..fleet.places.len() {
            let mut roomier = fleet.clone();
            roomier.places[place].nodes += 1;
            let after = planned(&roomier);
            asked += 1;
            if (after.unplaced, after.latency) > (before.unplaced, before.latency + before.latency / 1_000_000 * parts) {
                worse.push((place, before, after, fleet.clone()));
            }
        }
    }
    if let Some((place, before, after, fleet)) = worse.first() {
        panic!("{} of {asked} are worse; one more node in place {place}: {before:?}, then {after:?}\n{fleet:?}", worse.len());
    }
}

#[test]
fn more_room_is_no_worse_for_equal_pods() {
    more_room_is_no_worse(seeds(400).map(|seed| small(&mut Random::new(seed), &[500])), 0);
}

#[test]
fn more_room_is_no_worse_for_pods_that_divide_each_other() {
    more_room_is_no_worse(seeds(400).map(|seed| small(&mut Random::new(seed), &[250, 500, 1_000])), 0);
}

#[test]
fn more_room_is_no_worse_for_large_fleets() {
    // Whole replicas of several sizes are packed as well as a heuristic does: of 1,638 fleets with a node more, 3 are worse, by 200 parts of a million.
    more_room_is_no_worse(seeds(10).map(|seed| large(&mut Random::new(seed), &EXAMPLES)), 1_000);
}
