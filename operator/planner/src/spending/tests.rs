use onsale_api::{Reason, onsale::Budget};

use super::*;
use crate::{
    plan::{Plan, plan},
    testing::{at, node, pool, sale, snapshot, wish, workload, world::World},
};

const EVENING: &str = "2026-12-05T10:00:00Z";

/// Four pods fill the only server; each 14 more take a node of 0.85 an hour.
fn shop(peak: i32) -> World {
    let pools = vec![
        pool("dc").rtt("phx", "200us").build(),
        pool("lz").rtt("phx", "1.6ms").rented("c6i.4xlarge", "0.85", 20).lead("60s", "120s").build(),
    ];
    let mut server = node("dc-1", "dc");
    server.allocatable.cpu = 4_000;
    let wishes = vec![wish("seat-map", peak).calls("phx", 3).build()];
    let mut world =
        World::new(snapshot(vec![sale("tour", wishes)], pools, vec![server], vec![workload("seat-map", 4, &["dc-1"])]), EVENING);
    world.seen.pools[1].protected = false;
    world
}

fn allow(world: &mut World, max: Money) {
    world.seen.sales[0].spec.budget = Some(Budget { max_total_cost: Some(max), ..Budget::default() });
}

fn cents(n: i64) -> Money {
    Money::from_micros(n * 10_000)
}

fn told(plan: &Plan) -> Vec<Reason> {
    plan.sales[0].waiting_for.iter().map(|w| w.reason).collect()
}

fn spent(plan: &Plan) -> Spent {
    plan.sales[0].cost.spent.clone().unwrap()
}

#[test]
fn what_a_sale_is_told_to_cost_is_enough_and_a_cent_less_is_not() {
    for peak in [18, 60, 200] {
        let mut world = shop(peak);
        let free = plan(&world.seen, world.now);
        let window = free.sales[0].cost.window;
        let times = free.sales[0].times.unwrap();
        // From the computed start until the end of the way back.
        assert_eq!(
            window,
            money((over(free.sales[0].cost.hourly, at("2026-12-05T18:30:00Z").duration_since(times.starts_at)) + 9_999) / 10_000 * 10_000)
        );
        allow(&mut world, window);
        assert_eq!(plan(&world.seen, world.now), free, "{peak}");
        allow(&mut world, cents(window.micros() / 10_000 - 1));
        let less = plan(&world.seen, world.now);
        let nodes = |plan: &Plan| plan.forecasts[0].nodes.get("lz").map_or(0, |types| types.values().sum());
        assert_eq!((told(&less)[0], nodes(&less)), (Reason::BudgetReached, nodes(&free) - 1), "{peak}");
        assert!(less.sales[0].cost.window < window && less.sales[0].unplaced > 0);
        assert!(less.sales[0].waiting_for[0].message.contains("budget.maxTotalCost of the sale is reached: raise it"), "{less:?}");
    }
}

#[test]
fn a_night_within_its_budget_spends_no_more() {
    let mut world = shop(60);
    let window = plan(&world.seen, world.now).sales[0].cost.window;
    allow(&mut world, window);
    let live = world.run_until("2026-12-05T17:30:00Z");
    assert_eq!((world.phase("tour"), world.rented(), live.sales[0].unplaced), (Phase::Live, 4, 0), "{}", world.log.join("\n"));
    assert!(live.sales[0].cost.window <= window && spent(&live).amount < window);
    world.run_until("2026-12-05T20:00:00Z");
    assert_eq!((world.phase("tour"), world.rented()), (Phase::Completed, 0));
    let all = world.seen.sales[0].status.cost.clone().unwrap().spent.unwrap();
    // Four nodes for more than the hour that the sale is open, and none for as long as the window.
    assert!(all.hourly == Money::default() && all.amount > cents(4 * 85) && all.amount < window, "{all:?}");
}

/// What is there then is kept for somebody else.
#[test]
fn a_sale_that_is_over_has_spent_what_was_spent_until_then_and_nothing_more() {
    let mut world = shop(60);
    world.run_until("2026-12-05T18:01:00Z");
    let sale = &world.seen.sales[0];
    let draft = |phase: Phase| Draft { phase, ..crate::lifecycle::draft(&Indexed::new(&world.seen, world.now), 0) };
    let seen = Indexed::new(&world.seen, world.now);
    let old = sale.status.cost.clone().unwrap();
    let held = old.spent.as_ref().unwrap().hourly;
    let over = cost(&seen, sale, &draft(Phase::Completed), old.hourly, held).spent.unwrap();
    assert_eq!((over.hourly, over.amount, over.until.0), (Money::default(), until(sale, world.now), world.now));
    assert!(over.amount > old.spent.unwrap().amount);
}

#[test]
fn a_peak_raised_while_live_gets_what_the_rest_of_the_window_still_pays_for() {
    let mut world = shop(32);
    allow(&mut world, cents(525));
    world.run_until("2026-12-05T17:30:00Z");
    let before = world.rented();
    world.seen.sales[0].spec.workloads[0].peak_replicas = 200;
    let plan = world.run_until("2026-12-05T17:30:01Z");
    let (rented, left) = (world.rented(), i128::from(525 * 10_000) - i128::from(until(&world.seen.sales[0], world.now).micros()));
    let hour = i128::from(cents(85).micros());
    // An hour is left: so many nodes as what is left pays for so long.
    assert_eq!((before, i128::try_from(rented).unwrap()), (2, left / hour), "{}", world.log.join("\n"));
    assert!(told(&plan).contains(&Reason::BudgetReached) && plan.sales[0].cost.window <= cents(525), "{:?}", plan.sales[0]);
    // One more can be had once less of the window is left, and the plan knows when: nothing else happens then.
    world.run_until("2026-12-05T17:59:00Z");
    assert_eq!(world.rented(), rented + 1, "{}", world.log.join("\n"));
    let late = world.log.iter().filter(|line| line.contains("launch 1 ") && line.starts_with("2026-12-05T17:51:")).count();
    assert_eq!(late, 1, "{}", world.log.join("\n"));
}

#[test]
fn under_hold_nothing_becomes_cheaper_by_waiting() {
    let mut world = shop(200);
    allow(&mut world, cents(500));
    world.seen.sales[0].spec.on_shortfall = OnShortfall::Hold;
    world.run_until("2026-12-05T17:00:00Z");
    let rented = world.rented();
    world.run_until("2026-12-05T17:59:00Z");
    assert_eq!((rented, world.rented()), (3, 3), "{}", world.log.join("\n"));
}

#[test]
fn an_extended_duration_makes_it_dearer_and_tears_nothing_down() {
    let mut world = shop(32);
    allow(&mut world, cents(300));
    world.run_until("2026-12-05T17:30:00Z");
    assert_eq!((world.rented(), world.phase("tour")), (2, Phase::Live));
    world.seen.sales[0].spec.duration = "5h".parse().unwrap();
    world.seen.sales[0].spec.workloads[0].peak_replicas = 46;
    let plan = world.run_until("2026-12-05T21:59:00Z");
    assert_eq!((world.rented(), plan.sales[0].unplaced), (2, 14), "{}", world.log.join("\n"));
    assert!(told(&plan).contains(&Reason::BudgetReached) && plan.sales[0].cost.window > cents(300), "{:?}", plan.sales[0]);
    world.run_until("2026-12-05T23:59:00Z");
    world.assert_clean(&[("seat-map", 4)]);
}

#[test]
fn instances_that_have_gone_were_paid_for() {
    let mut world = shop(32);
    world.never_join = 1;
    let plan = world.run_until("2026-12-05T17:00:00Z");
    let launched = world.log.iter().filter(|line| line.contains("launch")).count();
    assert!(launched > 1 && world.rented() == 2, "{}", world.log.join("\n"));
    // Two nodes since ready-by at the latest, and the one that never came until it was given up.
    let (since, all) = (spent(&plan).until.0, until(&world.seen.sales[0], world.now));
    assert_eq!(spent(&plan).hourly, cents(170));
    assert!(over(cents(170), world.now.duration_since(since)) < i128::from(all.micros()), "{all} since {since}");
}

#[test]
fn what_a_clock_that_was_ahead_counted_is_taken_off_again() {
    let mut sale = sale("tour", Vec::new());
    let spent = Spent { until: Time(at("2026-12-05T18:10:00Z")), amount: cents(300), hourly: cents(170) };
    (sale.status.phase, sale.status.cost) = (Some(Phase::Live), Some(Cost { spent: Some(spent), ..Cost::default() }));
    assert_eq!(until(&sale, at("2026-12-05T18:40:00Z")), cents(385));
    assert_eq!(until(&sale, at("2026-12-05T17:10:00Z")), cents(130));
    assert_eq!(until(&sale, at("2026-12-05T12:00:00Z")), Money::default());
}

#[test]
fn what_was_spent_on_an_earlier_run_is_history() {
    let mut world = shop(32);
    world.run_until("2026-12-05T20:00:00Z");
    assert_eq!(world.phase("tour"), Phase::Completed);
    world.seen.sales[0].spec.opens_at = "2026-12-06T17:00:00Z".into();
    let plan = world.run_until("2026-12-05T20:10:00Z");
    assert_eq!((world.phase("tour"), plan.sales[0].cost.spent.clone()), (Phase::Scheduled, None));
}

/// A forecast puts one sale after the other on the same fleet.
#[test]
fn what_an_earlier_sale_can_pay_for_is_not_what_a_later_one_can() {
    let mut world = shop(60);
    let mut later = world.seen.sales[0].clone();
    (later.id.name, later.uid) = ("tour-2".into(), "uid-tour-2".into());
    later.spec.opens_at = "2026-12-06T17:00:00Z".into();
    let mut outcome = |world: &mut World, budget: Budget| {
        later.spec.budget = Some(budget);
        world.seen.sales.truncate(1);
        world.seen.sales.push(later.clone());
        let plan = plan(&world.seen, world.now);
        (plan.sales[0].unplaced, plan.sales[1].unplaced)
    };
    assert_eq!(outcome(&mut world, Budget::default()), (0, 0));
    assert_eq!(outcome(&mut world, Budget { max_nodes: Some(1), ..Budget::default() }), (0, 42));
    assert_eq!(outcome(&mut world, Budget { max_hourly_cost: Some(cents(170)), ..Budget::default() }), (0, 28));
    assert_eq!(outcome(&mut world, Budget { max_total_cost: Some(cents(150)), ..Budget::default() }), (0, 56 - 14));
}

#[test]
fn what_a_silent_cloud_has_is_paid_for() {
    let mut world = shop(32);
    world.run_until("2026-12-05T17:10:00Z");
    let before = until(&world.seen.sales[0], at("2026-12-05T17:20:00Z"));
    let list = world.seen.pools[1].instances.take();
    world.settle();
    world.now = at("2026-12-05T17:20:00Z");
    world.settle();
    world.seen.pools[1].instances = list;
    world.settle();
    assert_eq!(until(&world.seen.sales[0], world.now), before);
}
