//! Whole nights of the planner against a world that is a data structure.

use jiff::SignedDuration;
use onsale_api::{Phase, Reason};

use crate::{
    plan::plan,
    snapshot::{Pool, Workload},
    testing::{at, node, pool, sale, snapshot, vector, wish, workload, world::World},
};

mod home;
mod meddled;

fn pools() -> Vec<Pool> {
    let mut pools = vec![
        pool("dc").rtt("phx", "200us").build(),
        pool("lz").rtt("phx", "1.6ms").rented("c6i.4xlarge", "0.85", 4).build(),
        pool("or-a").rtt("phx", "30ms").rented("m6i.4xlarge", "0.76", 20).build(),
        pool("or-b").rtt("phx", "30ms").rented("m6i.4xlarge", "0.76", 20).build(),
    ];
    pools.iter_mut().for_each(|p| p.protected = p.spec.nodes.ec2.is_none());
    pools
}

fn world(workloads: Vec<Workload>, peaks: &[(&str, i32, i32)]) -> World {
    let wishes = peaks.iter().map(|(name, peak, calls)| wish(name, *peak).calls("phx", *calls).build()).collect();
    let nodes = vec![node("dc-1", "dc"), node("dc-2", "dc")];
    World::new(snapshot(vec![sale("tour", wishes)], pools(), nodes, workloads), "2026-12-05T10:00:00Z")
}

fn shop() -> World {
    let workloads = vec![workload("checkout", 8, &["dc-1", "dc-2"]), workload("seat-map", 8, &["dc-1", "dc-2"])];
    world(workloads, &[("checkout", 24, 12), ("seat-map", 120, 3)])
}

#[test]
fn a_whole_night_ends_as_it_began() {
    let mut world = shop();
    world.run_until("2026-12-05T16:30:00Z");
    assert_eq!((world.phase("tour"), world.rented()), (Phase::Scheduled, 0), "nothing before its time");
    let plan = world.run_until("2026-12-05T16:50:00Z");
    assert_eq!(world.phase("tour"), Phase::Ready, "{}", world.log.join("\n"));
    assert_eq!(world.spread("checkout"), "dc=24");
    assert_eq!(world.spread("seat-map"), "dc=8 lz=56 or-a=28 or-b=28");
    assert_eq!(plan.workloads.iter().map(|w| w.misplaced).sum::<i32>(), 0);
    world.run_until("2026-12-05T17:30:00Z");
    assert_eq!((world.phase("tour"), world.rented()), (Phase::Live, 8));
    world.run_until("2026-12-05T18:15:00Z");
    assert_eq!(world.phase("tour"), Phase::Returning);
    assert!(world.rented() < 8 && !world.spread("seat-map").contains("or-"), "{}", world.spread("seat-map"));
    world.run_until("2026-12-05T19:00:00Z");
    assert_eq!(world.phase("tour"), Phase::Completed, "{}", world.log.join("\n"));
    world.assert_clean(&[("checkout", 8), ("seat-map", 8)]);
}

/// Pods of three sizes on nodes that they fill to the brim, in four distances of which the last has three zones: small pods that came too early would break up
/// room of large ones, and the scheduler alone would fill zones as it likes.
#[test]
fn every_replica_lands_where_the_first_plan_wants_it() {
    let sized = |name: &str, replicas: i32, cpu: i64| {
        let mut work = workload(name, replicas, &["dc-1", "dc-2"]);
        work.target.as_mut().unwrap().requests = vector(cpu, 1, 1);
        work
    };
    let workloads = vec![sized("queue-page", 4, 750), sized("checkout", 4, 1_500), sized("inventory", 1, 3_000)];
    let mut world = world(workloads, &[("queue-page", 151, 1), ("checkout", 90, 12), ("inventory", 19, 20)]);
    let mut third = pool("or-c").rtt("phx", "30ms").rented("m6i.4xlarge", "0.76", 20).build();
    third.protected = false;
    world.seen.pools.push(third);
    let starts_at = plan(&world.seen, world.now).sales[0].times.unwrap().starts_at;
    let first = plan(&world.seen, starts_at);
    world.run_until("2026-12-05T16:50:00Z");
    assert_eq!(world.phase("tour"), Phase::Ready, "{}", world.log.join("\n"));
    for work in &first.workloads {
        let planned = work.by_pool.iter().map(|(pool, n)| format!("{pool}={n}")).collect::<Vec<_>>().join(" ");
        assert_eq!(world.spread(&work.id.name), planned, "{}\n{}", work.id, world.log.join("\n"));
    }
    assert!(first.workloads.iter().any(|w| w.by_pool.len() == 5), "the night fills every pool: {:?}", first.workloads);
}

#[test]
fn larger_pods_that_never_come_hold_up_the_smaller_ones_for_half_of_the_time_only() {
    let mut small = workload("queue-page", 2, &["dc-1", "dc-2"]);
    small.target.as_mut().unwrap().requests = vector(500, 1, 1);
    let mut world = world(vec![small, workload("checkout", 2, &["dc-1", "dc-2"])], &[("queue-page", 12, 1), ("checkout", 12, 12)]);
    world.no_pods_for = Some("checkout".into());
    world.run_until("2026-12-05T16:50:00Z");
    assert_eq!((world.spread("queue-page"), world.spread("checkout")), ("dc=12".into(), "dc=2".into()), "{}", world.log.join("\n"));
    assert_eq!(world.phase("tour"), Phase::Preparing);
}

#[test]
fn an_hpa_maximum_leaves_what_all_sales_want_above_it_without_a_place() {
    let mut seat_map = workload("seat-map", 4, &["dc-1"]);
    seat_map.target.as_mut().unwrap().max = Some(20);
    let mut world = world(vec![seat_map], &[("seat-map", 14, 3)]);
    world.seen.sales.push(sale("second", vec![wish("seat-map", 16).calls("phx", 3).build()]));
    let starts_at = plan(&world.seen, world.now).sales[0].times.unwrap().starts_at;
    let plan = plan(&world.seen, starts_at);
    assert_eq!((plan.workloads[0].peak, plan.workloads[0].unplaced), (20, 4 + 10 + 12 - 20));
}

#[test]
fn a_window_that_passes_while_nobody_looks_is_completed() {
    let mut world = shop();
    world.run_until("2026-12-05T16:55:00Z");
    assert_eq!(world.phase("tour"), Phase::Ready);
    world.now = at("2026-12-05T18:30:00Z");
    world.run_until("2026-12-05T19:30:00Z");
    assert_eq!(world.phase("tour"), Phase::Completed, "{}", world.log.join("\n"));
    world.assert_clean(&[("checkout", 8), ("seat-map", 8)]);
}

#[test]
fn nobody_is_evicted_while_the_field_keeps_the_floor() {
    let mut world = shop();
    world.run_until("2026-12-05T18:01:00Z");
    assert_eq!(world.phase("tour"), Phase::Returning, "{}", world.log.join("\n"));
    // The time of the way back has passed, and no write of a floor was accepted any more.
    let plan = plan(&world.seen, at("2026-12-05T18:40:00Z"));
    let surplus: Vec<_> = plan.pools.iter().flat_map(|p| &p.surplus).collect();
    assert!(!surplus.is_empty() && surplus.iter().all(|s| !s.drain), "{surplus:?}");
}

#[test]
fn a_zone_that_runs_dry_is_made_up_for_in_the_next_rank_in_time() {
    let mut world = shop();
    world.capacity.insert("lz".into(), 2);
    world.run_until("2026-12-05T16:50:00Z");
    assert_eq!(world.phase("tour"), Phase::Ready, "{}", world.log.join("\n"));
    assert_eq!(world.spread("seat-map"), "dc=8 lz=28 or-a=42 or-b=42");
    world.run_until("2026-12-05T19:00:00Z");
    world.assert_clean(&[("checkout", 8), ("seat-map", 8)]);
}

#[test]
fn an_instance_that_never_joins_is_given_up_and_made_up_for() {
    let mut world = shop();
    world.never_join = 1;
    world.run_until("2026-12-05T17:10:00Z");
    assert!(!world.spread("seat-map").contains("unbound"), "{}", world.spread("seat-map"));
    assert!(world.log.iter().any(|l| l.contains("terminate 1 (NeverJoined)")), "{}", world.log.join("\n"));
    world.run_until("2026-12-05T19:00:00Z");
    world.assert_clean(&[("checkout", 8), ("seat-map", 8)]);
}

#[test]
fn deleted_while_preparing_it_is_undone_at_once() {
    let mut world = shop();
    world.run_until("2026-12-05T16:41:50Z");
    assert_eq!(world.phase("tour"), Phase::Preparing, "{}", world.log.join("\n"));
    assert!(world.rented() > 0);
    world.seen.sales[0].deleting = true;
    world.run_until("2026-12-05T16:44:20Z");
    assert!(world.seen.sales.is_empty(), "{}", world.log.join("\n"));
    world.assert_clean(&[("checkout", 8), ("seat-map", 8)]);
}

#[test]
fn deleted_while_live_it_returns_in_order() {
    let mut world = shop();
    world.run_until("2026-12-05T17:10:00Z");
    world.seen.sales[0].deleting = true;
    world.run_until("2026-12-05T17:20:00Z");
    assert_eq!(world.phase("tour"), Phase::Returning);
    assert!(world.rented() > 0);
    world.run_until("2026-12-05T17:45:00Z");
    assert!(world.seen.sales.is_empty(), "{}", world.log.join("\n"));
    world.assert_clean(&[("checkout", 8), ("seat-map", 8)]);
}

#[test]
fn a_node_lost_while_live_is_replaced() {
    let mut world = shop();
    world.run_until("2026-12-05T17:10:00Z");
    let lost = world.seen.pools[1].instances.as_mut().unwrap().remove(0);
    world.remove_nodes(&[lost.id]);
    world.run_until("2026-12-05T17:15:00Z");
    assert_eq!(world.spread("seat-map"), "dc=8 lz=56 or-a=28 or-b=28", "{}", world.log.join("\n"));
    assert_eq!(world.rented(), 8);
}

#[test]
fn a_late_sale_catches_up_and_one_that_is_over_is_missed() {
    let mut late = shop();
    late.now = crate::testing::at("2026-12-05T16:55:00Z");
    let plan = late.run_until("2026-12-05T16:59:00Z");
    assert!(plan.sales[0].late_start);
    assert_eq!(late.phase("tour"), Phase::Ready, "{}", late.log.join("\n"));
    let mut over = shop();
    over.now = crate::testing::at("2026-12-05T18:30:00Z");
    over.settle();
    assert_eq!(over.phase("tour"), Phase::Missed);
    assert!(over.log.iter().all(|l| l.contains("Missed")), "{:?}", over.log);
}

#[test]
fn postponed_while_ready_it_gives_its_nodes_back_and_comes_again() {
    let mut world = shop();
    world.run_until("2026-12-05T16:55:00Z");
    world.seen.sales[0].spec.opens_at = "2026-12-06T17:00:00Z".into();
    world.run_until("2026-12-05T17:05:00Z");
    assert_eq!((world.phase("tour"), world.rented()), (Phase::Scheduled, 0), "{}", world.log.join("\n"));
    world.run_until("2026-12-06T16:50:00Z");
    assert_eq!(world.phase("tour"), Phase::Ready);
}

#[test]
fn a_peak_raised_and_a_duration_extended_while_live_are_followed() {
    let mut world = shop();
    world.run_until("2026-12-05T17:10:00Z");
    world.seen.sales[0].spec.workloads[1].peak_replicas = 150;
    world.seen.sales[0].spec.duration = "2h".parse().unwrap();
    world.run_until("2026-12-05T17:15:00Z");
    assert_eq!(world.seen.workloads[1].pods.iter().filter(|p| p.ready).count(), 150, "{}", world.log.join("\n"));
    world.run_until("2026-12-05T18:30:00Z");
    assert_eq!(world.phase("tour"), Phase::Live);
    world.run_until("2026-12-05T20:00:00Z");
    world.assert_clean(&[("checkout", 8), ("seat-map", 8)]);
}

#[test]
fn the_way_back_rests_while_a_node_on_premises_is_not_ready() {
    let mut world = shop();
    world.run_until("2026-12-05T17:59:00Z");
    world.seen.nodes.as_mut().unwrap()[0].ready = false;
    let plan = world.run_until("2026-12-05T18:20:00Z");
    assert_eq!(plan.sales[0].frozen.as_ref().unwrap().reason, Reason::ReturnFrozen);
    assert_eq!(world.seen.workloads[1].target.as_ref().unwrap().value, 120, "{}", world.log.join("\n"));
    world.seen.nodes.as_mut().unwrap()[0].ready = true;
    world.run_until("2026-12-05T19:00:00Z");
    world.assert_clean(&[("checkout", 8), ("seat-map", 8)]);
}

#[test]
fn on_the_way_back_a_node_that_only_lost_its_link_keeps_its_pods() {
    let mut world = shop();
    world.run_until("2026-12-05T18:01:00Z");
    let cut = |world: &mut World, ready: bool| {
        world.seen.nodes.as_mut().unwrap().iter_mut().filter(|n| n.pool == "lz").for_each(|n| n.ready = ready);
    };
    cut(&mut world, false);
    world.run_until("2026-12-05T18:02:00Z");
    assert!(world.spread("seat-map").contains("lz=56"), "{}", world.log.join("\n"));
    cut(&mut world, true);
    world.run_until("2026-12-05T19:00:00Z");
    world.assert_clean(&[("checkout", 8), ("seat-map", 8)]);
}

#[test]
fn a_list_that_fails_once_makes_nobody_pay_twice() {
    let mut world = shop();
    world.capacity.insert("lz".into(), 2);
    world.seen.sales[0].spec.budget = Some(onsale_api::onsale::Budget { max_nodes: Some(8), ..Default::default() });
    world.run_until("2026-12-05T16:44:10Z");
    let launched = world.rented();
    let list = world.seen.pools[1].instances.take();
    world.settle();
    assert_eq!(world.rented(), launched - list.as_ref().unwrap().len(), "{}", world.log.join("\n"));
    world.seen.pools[1].instances = list;
    world.run_until("2026-12-05T19:00:00Z");
    world.assert_clean(&[("checkout", 8), ("seat-map", 8)]);
}

#[test]
fn a_sale_that_opens_in_months_is_looked_at_once_the_horizon_reaches_it() {
    let mut world = shop();
    let short = |world: &mut World| world.seen.pools.iter_mut().for_each(|p| p.spec.limits = None);
    short(&mut world);
    world.seen.settings.horizon = SignedDuration::from_hours(3);
    let plan = world.run_until("2026-12-05T13:49:59Z");
    let from = Some(at("2026-12-05T13:50:00Z"));
    assert_eq!((plan.sales[0].looked_at_from, plan.next_change, plan.sales[0].unplaced), (from, from, 0));
    assert!(plan.forecasts.is_empty() && plan.sales[0].predicted_ready_at.is_none());
    let plan = world.run_until("2026-12-05T13:50:01Z");
    assert_eq!(plan.sales[0].looked_at_from, None);
    assert!(plan.sales[0].unplaced > 0, "now it is told that not everything can be had");
}

/// What the first sale leaves is what the second one needs ten minutes later.
#[test]
fn nodes_stay_between_two_sales_that_follow_close_upon_each_other() {
    let follow = |opens_at: &str, return_over: &str, between: &str| {
        let mut world = shop();
        world.seen.sales[0].spec.return_over = return_over.parse().unwrap();
        let mut second = world.seen.sales[0].clone();
        (second.id.name, second.uid) = ("tour-2".to_owned(), "uid-tour-2".to_owned());
        second.spec.opens_at = opens_at.to_owned();
        world.seen.sales.push(second);
        world.run_until(between);
        let between = world.rented();
        world.run_until("2026-12-05T23:00:00Z");
        assert_eq!((world.phase("tour"), world.phase("tour-2")), (Phase::Completed, Phase::Completed));
        world.assert_clean(&[("checkout", 8), ("seat-map", 8)]);
        (between, world.log.iter().filter(|line| line.contains("launch")).count())
    };
    let (far, twice) = follow("2026-12-05T21:00:00Z", "30m", "2026-12-05T18:29:00Z");
    let (close, once) = follow("2026-12-05T18:50:00Z", "30m", "2026-12-05T18:29:00Z");
    let (all, never) = follow("2026-12-05T18:25:00Z", "5m", "2026-12-05T18:06:00Z");
    assert!(all >= close && never <= once, "all of them are there, and stay: {all} {close}, {never} {once}");
    assert!(far < close, "{far} nodes before a sale hours away, {close} before one that is close");
    assert!(once < twice, "{once} launches where nodes stay, {twice} where they come again");
}

/// The first sale has what it asked for; that the second one, which adds to it, still waits for nodes is the second one's affair.
#[test]
fn a_sale_that_is_ready_stays_so_while_a_later_one_prepares() {
    let mut world = shop();
    let mut second = world.seen.sales[0].clone();
    (second.id.name, second.uid) = ("tour-2".to_owned(), "uid-tour-2".to_owned());
    second.spec.opens_at = "2026-12-05T17:30:00Z".to_owned();
    world.seen.sales.push(second);
    world.run_until("2026-12-05T16:50:00Z");
    let mut preparing = 0;
    for minute in 51..=80 {
        let (hour, minute) = (16 + minute / 60, minute % 60);
        let plan = world.run_until(&format!("2026-12-05T{hour}:{minute:02}:00Z"));
        let [first, second] = &plan.sales[..] else { panic!("two sales") };
        assert!(first.all_ready && matches!(first.phase, Phase::Ready | Phase::Live), "{:?}\n{}", first, world.log.join("\n"));
        preparing += usize::from(second.phase == Phase::Preparing && !second.all_ready);
    }
    assert!(preparing > 0 && world.phase("tour-2") == Phase::Ready, "{preparing} {}", world.log.join("\n"));
}
