//! Distances: arithmetic, missing figures, ranks. What a WorkloadPlacement has frozen is accepted as recorded.

use std::collections::BTreeMap;

use onsale_api::placement::Distance;
use onsale_planner::{
    plan::{Stage, WorkloadPlan},
    snapshot::Workload,
};

use crate::{Rule, Violation, access, view::View};

/// Pools no farther apart than this are equally far: their figures are probes, and their noise is of this size.
const SAME_RANK_MICROS: i64 = 1_000;

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    for (_, workload, work) in view.works().filter(|(_, _, work)| !matches!(work.stage, Stage::Restoring)) {
        let fresh = work.distances.iter().filter(|d| !frozen(workload, d)).count();
        for distance in work.distances.iter().filter(|d| !frozen(workload, d)) {
            arithmetic(view, work, distance, found);
        }
        if !work.distances.is_empty() && fresh == work.distances.len() {
            ranks(view, work, found);
        } else {
            order(view, work, found);
        }
    }
}

fn frozen(workload: &Workload, distance: &Distance) -> bool {
    let recorded = workload.placement.iter().flat_map(|p| &p.spec.distances);
    recorded.into_iter().any(|r| r.pool == distance.pool && r.latency == distance.latency)
}

fn arithmetic(view: &View<'_>, work: &WorkloadPlan, distance: &Distance, found: &mut Vec<Violation>) {
    let Some((pool, _)) = view.pool(&distance.pool) else {
        found.push(Violation::new(Rule::LatencyKnown, &work.id, format!("distance to pool {}, which does not exist", distance.pool)));
        return;
    };
    let deciders = view.deciders(work);
    let allowed = access::latencies(view, work, pool);
    if allowed.is_empty() && !deciders.is_empty() {
        let message = format!("distance to pool {}, which lacks a figure for a site that the workload depends on", pool.name);
        found.push(Violation::new(Rule::LatencyKnown, &work.id, message));
    } else if !deciders.is_empty() && !allowed.contains(&distance.latency.micros()) {
        let message = format!("pool {} is at {}, should be one of {allowed:?} us", pool.name, distance.latency);
        found.push(Violation::new(Rule::LatencyArithmetic, &work.id, message));
    }
}

fn sorted(work: &WorkloadPlan) -> Vec<&Distance> {
    let mut all: Vec<&Distance> = work.distances.iter().collect();
    all.sort_by_key(|d| (d.latency, d.rank));
    all
}

fn is_rented(view: &View<'_>, distance: &Distance) -> bool {
    view.pool(&distance.pool).is_some_and(|(pool, _)| pool.spec.nodes.ec2.is_some())
}

/// Every pool within 1 ms of the nearest that is not counted yet is as far as that. Of these existing nodes make up one rank, and rented ones the next.
fn ranks(view: &View<'_>, work: &WorkloadPlan, found: &mut Vec<Violation>) {
    // By the nearest that each is as far as, and whether it is rented.
    let mut ranks: BTreeMap<(i64, bool), Vec<&Distance>> = BTreeMap::new();
    let mut nearest = None;
    for distance in sorted(work) {
        let micros = distance.latency.micros();
        let start = nearest.filter(|start| micros - start <= SAME_RANK_MICROS).unwrap_or(micros);
        nearest = Some(start);
        ranks.entry((start, is_rented(view, distance))).or_default().push(distance);
    }
    for (rank, distances) in (0..).zip(ranks.into_values()) {
        for distance in distances.into_iter().filter(|d| d.rank != rank) {
            let message = format!("pool {} at {} has rank {}, should be {rank}", distance.pool, distance.latency, distance.rank);
            found.push(Violation::new(Rule::Ranks, &work.id, message));
        }
    }
}

/// Where some figures are frozen and some are not, the order at least agrees with the latency.
fn order(view: &View<'_>, work: &WorkloadPlan, found: &mut Vec<Violation>) {
    for pair in sorted(work).windows(2) {
        let [near, far] = pair else { continue };
        let alike = far.latency.micros() - near.latency.micros() <= SAME_RANK_MICROS;
        let paid_first = alike && is_rented(view, near) && !is_rented(view, far);
        if near.rank > far.rank && !paid_first {
            let message = format!("pool {} is nearer than {} and has a later rank", near.pool, far.pool);
            found.push(Violation::new(Rule::Ranks, &work.id, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use onsale_api::GoDuration;

    use crate::{Rule, testing::night};

    #[test]
    fn a_distance_is_calls_times_round_trips() {
        night().plan(|p| p.workloads[0].distances[1].latency = GoDuration::from_micros(9_000)).breaks(Rule::LatencyArithmetic);
        night().seen(|s| s.pools[1].spec.latency[0].rtt = GoDuration::from_micros(1_601)).breaks(Rule::LatencyArithmetic);
    }

    #[test]
    fn of_several_paths_the_lowest_counts() {
        let path = |micros| {
            night().seen(move |s| {
                let mut other = s.pools[1].spec.latency[0].clone();
                (other.path, other.rtt) = ("internet".into(), GoDuration::from_micros(micros));
                s.pools[1].spec.latency.push(other);
            })
        };
        path(60_000).passes();
        path(1_500).breaks(Rule::LatencyArithmetic);
    }

    #[test]
    fn a_recorded_distance_outlives_a_changed_probe() {
        night().recorded().seen(|s| s.pools[1].spec.latency[0].rtt = GoDuration::from_micros(1_601)).passes();
    }

    #[test]
    fn a_missing_figure_refuses_the_pool() {
        night().seen(|s| s.pools[1].spec.latency[0].site = "elsewhere".into()).breaks(Rule::LatencyKnown);
    }

    #[test]
    fn ranks_are_one_millisecond_wide() {
        let second = |micros: i64, rank: i32| {
            night().seen(move |s| s.pools[1].spec.latency[0].rtt = GoDuration::from_micros(micros / 10)).plan(move |p| {
                p.workloads[0].distances[1].latency = GoDuration::from_micros(micros);
                p.workloads[0].distances[1].rank = rank;
            })
        };
        second(3_500, 1).passes();
        second(3_500, 0).breaks(Rule::Ranks);
        night().plan(|p| p.workloads[0].distances[1].rank = 2).breaks(Rule::Ranks);
        // Existing nodes come before rented ones that are as far; rented ones share a rank.
        second(2_500, 1).passes();
        second(2_500, 0).breaks(Rule::Ranks);
        let both_rented = |rank| second(2_500, rank).seen(|s| s.pools[0].spec.nodes = s.pools[1].spec.nodes.clone());
        assert!(!both_rented(0).finds(Rule::Ranks));
        both_rented(1).breaks(Rule::Ranks);
    }
}
