//! Nights in which somebody or something meddles: with a field, with the policies, with a placement, with a record, with the clock.

use onsale_api::{Phase, Reason};

use super::{World, at, plan, shop, workload, world};

#[test]
fn a_foreign_raise_is_respected_and_a_lower_value_is_written_again_and_restored() {
    let mut world = shop();
    world.run_until("2026-12-05T17:10:00Z");
    let set = |world: &mut World, value: i32| {
        let target = world.seen.workloads[0].target.as_mut().unwrap();
        (target.value, target.replicas, target.manager) = (value, value, Some("argocd-controller".into()));
    };
    set(&mut world, 30);
    let plan = world.run_until("2026-12-05T17:11:00Z");
    assert_eq!(world.seen.workloads[0].target.as_ref().unwrap().value, 30);
    assert!(plan.workloads[0].foreign.as_ref().unwrap().raise);
    set(&mut world, 10);
    world.run_until("2026-12-05T17:12:00Z");
    assert_eq!(world.seen.workloads[0].target.as_ref().unwrap().value, 24, "{}", world.log.join("\n"));
    world.run_until("2026-12-05T19:00:00Z");
    world.assert_clean(&[("checkout", 10), ("seat-map", 8)]);
}

#[test]
fn a_value_lowered_on_the_way_back_is_what_stays() {
    let mut world = shop();
    world.run_until("2026-12-05T18:10:00Z");
    assert_eq!(world.phase("tour"), Phase::Returning);
    let target = world.seen.workloads[0].target.as_mut().unwrap();
    (target.value, target.replicas, target.manager) = (3, 3, Some("kubectl-scale".into()));
    world.run_until("2026-12-05T18:11:00Z");
    assert!(world.seen.workloads[0].target.as_ref().unwrap().value > 8, "buyers keep their carts\n{}", world.log.join("\n"));
    world.run_until("2026-12-05T19:00:00Z");
    world.assert_clean(&[("checkout", 3), ("seat-map", 8)]);
}

#[test]
fn a_missing_workload_stops_no_other_and_is_named() {
    let mut world = shop();
    world.seen.workloads[0].target = None;
    world.seen.workloads[0].pods.clear();
    let plan = world.run_until("2026-12-05T16:55:00Z");
    assert!(plan.sales[0].waiting_for.iter().any(|w| w.reason == Reason::WorkloadNotFound));
    assert_eq!(world.seen.workloads[1].pods.iter().filter(|p| p.ready).count(), 120);
    assert_eq!(world.phase("tour"), Phase::Preparing);
}

#[test]
fn a_grace_period_shorter_than_a_session_is_reported_and_forbids_nothing() {
    let mut world = shop();
    world.seen.sales[0].spec.workloads[0].session_length = Some("10m".parse().unwrap());
    let plan = world.run_until("2026-12-05T16:50:00Z");
    assert_eq!(world.phase("tour"), Phase::Ready);
    assert!(plan.sales[0].waiting_for.iter().any(|w| w.reason == Reason::GraceTooShort), "{:?}", plan.sales[0].waiting_for);
}

#[test]
fn without_admission_policies_few_pods_rise_and_the_reason_is_named() {
    let mut world = shop();
    world.policies = false;
    let plan = world.run_until("2026-12-05T16:50:00Z");
    assert!(plan.sales[0].waiting_for.iter().any(|w| w.reason == Reason::PolicyIneffective), "{}", world.log.join("\n"));
    assert!(world.seen.workloads.iter().all(|w| w.pods.len() <= 12), "pods that nobody can place were raised");
}

#[test]
fn a_pool_that_is_closed_while_live_keeps_its_nodes_until_the_sale_is_over() {
    let mut world = shop();
    world.run_until("2026-12-05T17:10:00Z");
    world.seen.pools[1].spec.allowed_namespaces = None;
    world.run_until("2026-12-05T17:20:00Z");
    assert_eq!(world.spread("seat-map"), "dc=8 lz=56 or-a=28 or-b=28");
    world.run_until("2026-12-05T19:00:00Z");
    world.assert_clean(&[("checkout", 8), ("seat-map", 8)]);
}

#[test]
fn a_placement_that_is_narrowed_while_live_moves_nobody_and_lets_nobody_new_in() {
    let mut world = shop();
    world.run_until("2026-12-05T17:10:00Z");
    let zones: Vec<String> = world.seen.pools.iter().filter(|p| p.name != "lz").map(|p| p.spec.zone.clone()).collect();
    assert!(!zones.contains(&world.seen.pools[1].spec.zone));
    world.seen.sales[0].spec.placement = serde_json::from_value(serde_json::json!({"zones": zones})).unwrap();
    let plan = world.run_until("2026-12-05T17:20:00Z");
    assert_eq!(world.spread("seat-map"), "dc=8 lz=56 or-a=28 or-b=28", "{}", world.log.join("\n"));
    assert!(!plan.workloads[1].permitted.contains(&"lz".to_owned()), "{:?}", plan.workloads[1].permitted);
    world.seen.sales[0].spec.workloads[1].peak_replicas = 130;
    world.run_until("2026-12-05T17:40:00Z");
    assert!(world.spread("seat-map").contains("lz=56"), "{}", world.spread("seat-map"));
    world.run_until("2026-12-05T19:00:00Z");
    world.assert_clean(&[("checkout", 8), ("seat-map", 8)]);
}

#[test]
fn what_a_wrong_clock_ended_before_it_opened_comes_again_and_what_was_open_does_not() {
    let mut world = shop();
    world.run_until("2026-12-05T16:30:00Z");
    let sale = |world: &World, now: &str| plan(&world.seen, at(now)).sales[0].phase;
    let finished = |world: &mut World, live: Option<&str>, at: &str| {
        let status = &mut world.seen.sales[0].status;
        status.phase = Some(Phase::Completed);
        let time = |text: &str| k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(text.parse().unwrap());
        (status.entered.live, status.entered.finished) = (live.map(time), Some(time(at)));
    };
    finished(&mut world, None, "2026-12-05T18:30:00Z");
    assert_eq!(sale(&world, "2026-12-05T16:00:00Z"), Phase::Scheduled);
    assert_eq!(sale(&world, "2026-12-05T16:55:00Z"), Phase::Preparing);
    finished(&mut world, Some("2026-12-05T17:00:00Z"), "2026-12-05T18:30:00Z");
    assert_eq!(sale(&world, "2026-12-05T16:55:00Z"), Phase::Completed);
}

/// Whoever began the overlay saw an old state, in which the replicas that the nearest rank has by now were not there yet.
#[test]
fn a_first_batch_that_was_counted_from_an_old_state_holds_nothing_up() {
    let mut world = world(vec![workload("seat-map", 8, &["dc-1", "dc-2"])], &[("seat-map", 60, 3)]);
    let starts_at = world.settle().sales[0].times.unwrap().starts_at;
    world.run_until(&(starts_at + jiff::SignedDuration::from_secs(30)).to_string());
    let seat_map = &mut world.seen.workloads[0];
    assert_eq!((seat_map.pods.len(), seat_map.overlay), (32, Some(2)), "the data centre is full, and the next pool is open");
    seat_map.placement.as_mut().unwrap().spec.trial = 8 + 2;
    world.run_until("2026-12-05T16:50:00Z");
    assert_eq!(world.phase("tour"), Phase::Ready, "{}", world.log.join("\n"));
}

/// The pods of the baseline carry stamps of an earlier window, some of them the very first.
#[test]
fn stamps_of_an_earlier_window_are_not_taken_for_those_of_this_one() {
    let night = |policies: bool| {
        let mut work = workload("seat-map", 8, &["dc-1", "dc-2"]);
        work.pods.iter_mut().enumerate().for_each(|(i, pod)| pod.revision = Some(if i % 2 == 0 { 1 } else { 5 }));
        let mut world = world(vec![work], &[("seat-map", 60, 3)]);
        world.policies = policies;
        world.run_until("2026-12-05T16:50:00Z");
        world
    };
    let (with, without) = (night(true), night(false));
    assert_eq!(with.phase("tour"), Phase::Ready, "{}", with.log.join("\n"));
    assert_eq!(without.seen.workloads[0].pods.len(), 8 + 2, "nothing of this window is proven: {}", without.log.join("\n"));
}
