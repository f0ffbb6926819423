//! Latency arithmetic: how far each pool is from a workload, and which pools share a rank.
//!
//! Cost of one request of workload w in pool p = sum over w's dependencies of `serialCalls x rtt(p, site)`, where several paths lead to a site by the lowest.

use std::collections::BTreeSet;

use onsale_api::{
    GoDuration, Reason,
    onsale::{Dependency, SaleWorkload},
    placement::Distance,
};

use crate::{plan::Waiting, shared::Shared, snapshot::Pool};

/// Pools closer together than this are equally far: below it, round trips are noise.
const SAME_RANK_MICROS: i64 = 1_000;

/// The distances of a workload, nearest first, and why pools are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distances {
    /// Pools that may hold the workload, by rank.
    pub near_to_far: Shared<Vec<Distance>>,
    /// Why others may not.
    pub left_out: Vec<LeftOut>,
}

/// Why a pool may not hold a workload, whichever workload that is.
#[derive(Clone, Debug, PartialEq)]
pub enum LeftOut {
    /// It names no latency to a site.
    Unknown {
        /// The pool.
        pool: String,
        /// The site.
        site: String,
    },
    /// It is beyond `maxLatency`.
    TooFar {
        /// The pool.
        pool: String,
        /// Latency of one request there.
        latency: GoDuration,
    },
}

impl LeftOut {
    /// The same in a sentence, for a workload.
    #[must_use]
    pub fn say(&self, wish: &SaleWorkload) -> Waiting {
        match self {
            Self::TooFar { pool, latency } => too_far(wish, pool, *latency),
            Self::Unknown { pool, site } => Waiting {
                reason: Reason::LatencyUnknown,
                message: format!("pool {pool} names no latency to {site}, which {} calls: add it to spec.latency", wish.target.name),
                until: None,
            },
        }
    }
}

/// How far each of the pools that the workload may use is from it; those without dependencies call the sites of all `pools`. A missing figure is a refusal
/// of that pool, never a zero.
#[must_use]
pub fn distances(wish: &SaleWorkload, pools: &[&Pool], may_use: &[&Pool]) -> Distances {
    let dependencies = dependencies(wish, pools);
    let mut left_out = Vec::new();
    let mut costs: Vec<(i64, &Pool)> = Vec::new();
    for pool in may_use {
        match cost(&dependencies, pool) {
            Err(site) => left_out.push(LeftOut::Unknown { pool: pool.name.clone(), site: site.to_owned() }),
            Ok(micros) if wish.max_latency.is_some_and(|max| micros > max.micros()) => {
                left_out.push(LeftOut::TooFar { pool: pool.name.clone(), latency: GoDuration::from_micros(micros) });
            }
            Ok(micros) => costs.push((micros, pool)),
        }
    }
    Distances { near_to_far: ranked(costs).into(), left_out }
}

/// Why a pool is left out that is beyond `maxLatency`.
#[must_use]
pub fn too_far(wish: &SaleWorkload, pool: &str, latency: GoDuration) -> Waiting {
    let message = format!("{} would take {latency} in pool {pool}, more than maxLatency", wish.target.name);
    Waiting { reason: Reason::LatencyTooHigh, message, until: None }
}

/// What the workload calls: as declared, or once each site that any of the pools declares.
fn dependencies(wish: &SaleWorkload, pools: &[&Pool]) -> Vec<Dependency> {
    if !wish.dependencies.is_empty() {
        return wish.dependencies.clone();
    }
    let sites: BTreeSet<&String> = pools.iter().flat_map(|p| &p.spec.latency).map(|l| &l.site).collect();
    sites.into_iter().map(|site| Dependency { site: site.clone(), serial_calls: 1 }).collect()
}

/// Microseconds of one request in the pool, or the first site without a figure.
fn cost<'d>(dependencies: &'d [Dependency], pool: &Pool) -> Result<i64, &'d str> {
    let mut micros = 0_i64;
    for dependency in dependencies {
        let rtt = pool.spec.latency.iter().filter(|l| l.site == dependency.site).map(|l| l.rtt.micros()).min();
        let rtt = rtt.ok_or(dependency.site.as_str())?;
        micros = micros.saturating_add(rtt.saturating_mul(i64::from(dependency.serial_calls)));
    }
    Ok(micros)
}

/// Ranks: pools that are no more than a millisecond farther than the first of them are equally far. Of these existing nodes, which are paid for, come before
/// those that would be rented; otherwise they share a rank.
fn ranked(mut costs: Vec<(i64, &Pool)>) -> Vec<Distance> {
    costs.sort_unstable_by_key(|(micros, pool)| (*micros, &pool.name));
    let mut ranks: Vec<Vec<(i64, &Pool)>> = Vec::new();
    let mut rest = costs.as_slice();
    while let Some((first, _)) = rest.first() {
        let (alike, farther) = rest.split_at(rest.partition_point(|(micros, _)| micros - first <= SAME_RANK_MICROS));
        let (existing, rented): (Vec<_>, Vec<_>) = alike.iter().partition(|(_, pool)| pool.spec.nodes.ec2.is_none());
        ranks.extend([existing, rented].into_iter().filter(|rank| !rank.is_empty()));
        rest = farther;
    }
    let distance =
        |rank, (micros, pool): (i64, &Pool)| Distance { pool: pool.name.clone(), latency: GoDuration::from_micros(micros), rank };
    (0..).zip(ranks).flat_map(|(rank, pools)| pools.into_iter().map(move |pool| distance(rank, pool))).collect()
}

#[cfg(test)]
mod tests {
    use onsale_api::pool::SiteLatency;

    use super::*;
    use crate::testing::{pool, wish};

    #[test]
    fn chains_multiply_round_trips_and_zones_of_a_region_share_a_rank() {
        let pools = [
            pool("or-b").rtt("phx-dc", "30.5ms").build(),
            pool("dc").rtt("phx-dc", "200us").build(),
            pool("lz").rtt("phx-dc", "1.6ms").build(),
            pool("or-a").rtt("phx-dc", "30ms").build(),
        ];
        let pools: Vec<_> = pools.iter().collect();
        let chain = |calls| distances(&wish("checkout", 9).calls("phx-dc", calls).build(), &pools, &pools).near_to_far;
        let brief = |d: &[Distance]| d.iter().map(|d| format!("{}={}@{}", d.pool, d.latency, d.rank)).collect::<Vec<_>>().join(" ");
        assert_eq!(brief(&chain(12)), "dc=2.4ms@0 lz=19.2ms@1 or-a=360ms@2 or-b=366ms@3");
        assert_eq!(brief(&chain(1)), "dc=200us@0 lz=1.6ms@1 or-a=30ms@2 or-b=30.5ms@2");
    }

    #[test]
    fn of_equally_far_pools_those_that_are_paid_for_come_first() {
        let rented = |name: &str, rtt: &str| pool(name).rtt("phx-dc", rtt).rented("c6i.4xlarge", "0.85", 9).build();
        let pools = [rented("a-lz", "1.2ms"), pool("dc-b").rtt("phx-dc", "1.9ms").build(), rented("b-lz", "1ms"), rented("far", "2.1ms")];
        let pools: Vec<_> = pools.iter().collect();
        let found = distances(&wish("web", 9).calls("phx-dc", 1).build(), &pools, &pools).near_to_far;
        let brief: Vec<String> = found.iter().map(|d| format!("{}@{}", d.pool, d.rank)).collect();
        assert_eq!(brief, ["dc-b@0", "b-lz@1", "a-lz@1", "far@2"]);
    }

    #[test]
    fn of_several_paths_to_a_site_the_lowest_counts() {
        let by = |path: &str, rtt: &str| SiteLatency { site: "phx-dc".into(), path: path.into(), rtt: rtt.parse().unwrap() };
        let mut oregon = pool("or-a").build();
        oregon.spec.latency = vec![by("internet", "60ms"), by("direct-connect", "35ms"), by("vpn", "70ms")];
        let found = distances(&wish("checkout", 9).calls("phx-dc", 2).build(), &[&oregon], &[&oregon]);
        assert_eq!(found.near_to_far[0].latency.to_string(), "70ms");
        // Without dependencies the site counts once, however many paths lead to it.
        let found = distances(&wish("checkout", 9).build(), &[&oregon], &[&oregon]);
        assert_eq!(found.near_to_far[0].latency.to_string(), "35ms");
    }

    #[test]
    fn a_missing_figure_and_too_much_latency_are_refusals() {
        let pools =
            [pool("near").rtt("phx-dc", "1ms").build(), pool("far").rtt("phx-dc", "60ms").build(), pool("blind").rtt("lax", "1ms").build()];
        let pools: Vec<_> = pools.iter().collect();
        let wish = wish("w", 1).calls("phx-dc", 2).max_latency("100ms").build();
        let found = distances(&wish, &pools, &pools);
        assert_eq!(found.near_to_far.len(), 1);
        let reasons: Vec<_> = found.left_out.iter().map(|w| w.say(&wish).reason).collect();
        assert_eq!(reasons, [Reason::LatencyTooHigh, Reason::LatencyUnknown]);
    }

    #[test]
    fn without_dependencies_a_workload_calls_every_site_once() {
        let pools = [pool("both").rtt("phx-dc", "1ms").rtt("lax-dc", "9ms").build(), pool("one").rtt("phx-dc", "1ms").build()];
        let pools: Vec<_> = pools.iter().collect();
        let found = distances(&wish("w", 1).build(), &pools, &pools);
        assert_eq!(found.near_to_far[0].latency.to_string(), "10ms");
        assert!(matches!(found.left_out[0], LeftOut::Unknown { .. }));
    }
}
