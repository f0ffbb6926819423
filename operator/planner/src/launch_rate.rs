//! What the cloud's API hands out. EC2 takes every instance that is launched from one bucket per account and region, whichever pool it is for: so many at once,
//! then so many a second. What is asked for beyond it is refused, and asking again costs the time that waiting would have.
//!
//! The bucket is read from the world: the ledgers of the region's pools, and the instances that are in none of them any more.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    fleet::Have,
    lead,
    plan::PoolPlan,
    pools::in_service,
    snapshot::{Pool, Settings, Snapshot},
    steps::{BATCH, Chain, ChainKey, Step},
};

/// The bucket is counted in thousandths of an instance, so that what comes in within a millisecond is a whole number.
const PARTS: i64 = 1_000;

/// How long a full bucket takes to hand out `n` instances.
#[must_use]
pub fn handed_out(n: i64, settings: &Settings) -> SignedDuration {
    until(n, settings.launch_burst * PARTS, settings)
}

/// From now until the API has handed out `n` more instances in the region.
#[must_use]
pub fn wait(seen: &Snapshot, region: &str, n: i64, now: Timestamp) -> SignedDuration {
    until(n, level(seen, region, now), &seen.settings)
}

fn until(n: i64, level: i64, settings: &Settings) -> SignedDuration {
    let rate = settings.launch_rate.max(1);
    SignedDuration::from_millis(((n.saturating_mul(PARTS) - level).max(0) + rate - 1) / rate)
}

/// The region that a pool rents in.
#[must_use]
pub fn region(pool: &Pool) -> Option<&str> {
    pool.spec.nodes.ec2.as_ref().map(|ec2| ec2.region.as_str())
}

/// What is in the region's bucket: it was full before the first launch that is known.
fn level(seen: &Snapshot, region: &str, now: Timestamp) -> i64 {
    let Settings { launch_burst, launch_rate, .. } = seen.settings;
    let mut launches: Vec<(Timestamp, i64)> = seen.pools.iter().filter(|p| self::region(p) == Some(region)).flat_map(launches).collect();
    launches.sort_unstable();
    let full = launch_burst * PARTS;
    let filled = |level: i64, from: Timestamp, to: Timestamp| {
        let millis = i64::try_from(to.duration_since(from).as_millis().max(0)).unwrap_or(i64::MAX);
        level.saturating_add(millis.saturating_mul(launch_rate)).min(full)
    };
    let Some(first) = launches.first().map(|(at, _)| *at) else { return full };
    let (level, last) = launches.iter().fold((full, first), |(level, last), (at, n)| ((filled(level, last, *at) - n * PARTS).max(0), *at));
    filled(level, last, now)
}

/// When the pool launched how many instances: what is not answered may be made yet.
fn launches(pool: &Pool) -> Vec<(Timestamp, i64)> {
    let ledger = &pool.status.launches;
    let made = |resolved: bool, made: usize, asked: i32| if resolved { i64::try_from(made).unwrap_or(i64::MAX) } else { i64::from(asked) };
    let listed: BTreeSet<&String> = ledger.iter().flat_map(|l| &l.instances).collect();
    let others = pool.instances.iter().flatten().filter(|i| !listed.contains(&i.id)).map(|i| (i.launched_at, 1));
    ledger.iter().map(|l| (l.made_at(), made(l.resolved, l.instances.len(), l.count))).chain(others).collect()
}

/// Of `asked` instances those that may be launched now: all of them, or as many whole batches as the bucket holds, for a call for every instance that trickles
/// in would use up the API's bucket of calls.
fn allowed(level: i64, asked: i64, settings: &Settings) -> i64 {
    let (held, batch) = (level / PARTS, batch(asked, settings));
    if asked <= held { asked } else { held / batch * batch }
}

fn batch(asked: i64, settings: &Settings) -> i64 {
    asked.min(i64::from(BATCH)).min(settings.launch_burst).max(1)
}

/// Leaves of the launches in each region what its bucket holds: the slowest pools first, for they decide when all is there.
pub(crate) fn keep(chains: &mut Vec<Chain>, seen: &Snapshot, now: Timestamp) {
    let mut regions: BTreeMap<&str, Vec<(&Pool, usize)>> = BTreeMap::new();
    for (at, chain) in chains.iter().enumerate().filter(|(_, chain)| asked(chain) > 0) {
        let ChainKey::Pool(name) = &chain.key else { continue };
        let Some(pool) = seen.pools.iter().find(|p| p.name == *name) else { continue };
        region(pool).into_iter().for_each(|region| regions.entry(region).or_default().push((pool, at)));
    }
    for (region, mut pools) in regions {
        let asked = pools.iter().map(|(_, at)| asked(&chains[*at])).sum();
        // A bucket that would be full holds it: nothing has to be counted.
        let mut left = allowed(level(seen, region, now), asked, &seen.settings);
        if left == asked {
            continue;
        }
        pools.sort_by_key(|(pool, _)| Reverse(lead::of(pool).p95));
        for (_, at) in pools {
            chains[at].steps.retain_mut(|step| {
                let Step::Launch { count, .. } = step else { return true };
                *count = i32::try_from(left).unwrap_or(i32::MAX).min(*count);
                left -= i64::from(*count);
                *count > 0
            });
        }
    }
    chains.retain(|chain| !chain.steps.is_empty());
}

fn asked(chain: &Chain) -> i64 {
    chain.steps.iter().map(|step| if let Step::Launch { count, .. } = step { i64::from(*count) } else { 0 }).sum()
}

/// When the next batch of what is wanted and neither there nor asked for can be launched, by region.
pub(crate) fn next(seen: &Snapshot, have: &[Have<'_>], plans: &[PoolPlan], now: Timestamp) -> Vec<Timestamp> {
    let mut missing: BTreeMap<&str, i64> = BTreeMap::new();
    for ((pool, have), plan) in seen.pools.iter().zip(have).zip(plans) {
        let there = i64::try_from(in_service(pool, have).len()).unwrap_or(i64::MAX);
        let wanted: i64 = plan.wanted.values().map(|n| i64::from(*n)).sum();
        if let Some(region) = region(pool).filter(|_| wanted > there) {
            *missing.entry(region).or_default() += wanted - there;
        }
    }
    let next = |(region, missing): (&str, i64)| {
        let level = level(seen, region, now);
        let left = missing - allowed(level, missing, &seen.settings);
        // What may be launched now is gone by then.
        let after = level - (missing - left) * PARTS;
        (left > 0).then(|| now + until(batch(left, &seen.settings), after, &seen.settings))
    };
    missing.into_iter().filter_map(next).collect()
}

#[cfg(test)]
mod tests {
    use onsale_api::Phase;
    use serde_json::json;

    use super::*;
    use crate::testing::{at, node, pool, sale, snapshot, wish, workload, world::World};

    const NOW: &str = "2026-12-05T16:30:00Z";

    /// Three pools that rent, two of them in one region, where the API hands out so many at once and one a second after that.
    fn fleet(burst: i64) -> Snapshot {
        let rented = |name: &str, rtt: &str| pool(name).rtt("phx", rtt).rented("c6i.4xlarge", "0.85", 40).build();
        let mut pools = vec![rented("a", "1ms"), rented("b", "9ms"), rented("c", "20ms")];
        pools[2].spec.nodes.ec2.as_mut().unwrap().region = "us-east-1".into();
        let mut seen = snapshot(Vec::new(), pools, Vec::new(), Vec::new());
        (seen.settings.launch_burst, seen.settings.launch_rate) = (burst, 1);
        seen
    }

    fn launch(pool: &str, count: i32) -> Chain {
        let step = Step::Launch { instance_type: "c6i.4xlarge".into(), subnet: "subnet-0a1b2c".into(), count };
        Chain { key: ChainKey::Pool(pool.into()), steps: vec![step] }
    }

    fn kept(seen: &Snapshot, counts: [i32; 3]) -> Vec<(String, i64)> {
        let mut chains = ["a", "b", "c"].iter().zip(counts).filter(|(_, n)| *n > 0).map(|(pool, n)| launch(pool, n)).collect();
        keep(&mut chains, seen, at(NOW));
        let name = |key: &ChainKey| if let ChainKey::Pool(name) = key { name.clone() } else { String::new() };
        chains.iter().map(|chain| (name(&chain.key), asked(chain))).collect()
    }

    fn counts(of: &[(&str, i64)]) -> Vec<(String, i64)> {
        of.iter().map(|(pool, n)| ((*pool).to_owned(), *n)).collect()
    }

    #[test]
    fn handing_out_more_than_the_burst_takes_time() {
        let settings = Settings::default();
        assert_eq!(handed_out(1_000, &settings), SignedDuration::ZERO);
        assert_eq!(handed_out(1_201, &settings), SignedDuration::from_millis(100_500));
    }

    #[test]
    fn pools_of_a_region_share_one_bucket_and_the_slowest_comes_first() {
        let mut seen = fleet(8);
        assert_eq!(kept(&seen, [4, 4, 8]), counts(&[("a", 4), ("b", 4), ("c", 8)]));
        assert_eq!(kept(&seen, [5, 5, 5]), counts(&[("a", 5), ("b", 3), ("c", 5)]));
        seen.pools[1].spec.lead_time = serde_json::from_value(json!({"p50": "5m", "p95": "9m"})).unwrap();
        assert_eq!(kept(&seen, [5, 9, 5]), counts(&[("b", 8), ("c", 5)]));
    }

    #[test]
    fn what_was_launched_comes_in_again_with_time_and_in_whole_batches() {
        let mut seen = fleet(8);
        let entry = |ago: i64, resolved: bool, made: &[&str]| {
            json!([{"sequence": 1, "token": "t", "instanceType": "c6i.4xlarge", "subnet": "subnet-0a1b2c", "launchTemplate": {"version": "3"},
                "count": 6, "at": at(NOW) - SignedDuration::from_secs(ago), "resolved": resolved, "instances": made}])
        };
        let with = |seen: &mut Snapshot, entry: serde_json::Value| seen.pools[0].status.launches = serde_json::from_value(entry).unwrap();
        with(&mut seen, entry(2, false, &[]));
        assert_eq!(kept(&seen, [0, 4, 0]), counts(&[("b", 4)]), "of 8 six may be made yet, and two came in");
        assert_eq!(kept(&seen, [0, 5, 0]), counts(&[]), "one at a time would be a call for each");
        with(&mut seen, entry(2, true, &["i-1", "i-2"]));
        assert_eq!(kept(&seen, [0, 8, 0]), counts(&[("b", 8)]), "what was refused took nothing");
        assert_eq!(wait(&seen, "us-west-2", 11, at(NOW)), SignedDuration::from_secs(3));
        assert_eq!(wait(&seen, "us-east-1", 8, at(NOW)), SignedDuration::ZERO);
    }

    #[test]
    fn chains_that_rest_leave_what_is_handed_out_to_the_others() {
        let launches = |busy: &[&str]| {
            let wishes = vec![wish("seat-map", 120).calls("phx", 3).build()];
            let mut seen = snapshot(vec![sale("tour", wishes)], fleet(3).pools, Vec::new(), vec![workload("seat-map", 7, &[])]);
            seen.pools[0].spec.limits.as_mut().unwrap().max_nodes = Some(4);
            (seen.settings, seen.sales[0].protected) = (fleet(3).settings, true);
            let now = at("2026-12-05T16:45:00Z");
            let busy = busy.iter().map(|name| ChainKey::Pool((*name).to_owned())).collect();
            let chains = crate::steps::due_beside(&crate::plan(&seen, now), &seen, now, &busy);
            chains.iter().filter(|c| asked(c) > 0).map(|c| (c.key.clone(), asked(c))).collect::<Vec<_>>()
        };
        let of = |name: &str| ChainKey::Pool(name.to_owned());
        assert_eq!(launches(&[]), [(of("a"), 3)]);
        assert_eq!(launches(&["a"]), [(of("b"), 3)]);
    }

    fn launched(world: &World) -> BTreeMap<&str, i64> {
        let mut all = BTreeMap::new();
        for words in world.log.iter().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|words| words[2] == "launch") {
            *all.entry(words[0]).or_default() += words[3].parse::<i64>().unwrap();
        }
        all
    }

    /// 33 replicas beside 7 that are there: three nodes of 16 and 14, in two pools of a region.
    #[test]
    fn a_sale_starts_earlier_where_instances_are_handed_out_slowly_and_is_ready_in_time() {
        let night = |burst: i64| {
            let wishes = vec![wish("seat-map", 120).calls("phx", 3).build()];
            let mut pools = vec![pool("dc").rtt("phx", "200us").build()];
            pools.extend(fleet(burst).pools);
            pools[1].spec.limits.as_mut().unwrap().max_nodes = Some(4);
            let work = workload("seat-map", 7, &["dc-1"]);
            let mut world =
                World::new(snapshot(vec![sale("tour", wishes)], pools, vec![node("dc-1", "dc")], vec![work]), "2026-12-05T10:00:00Z");
            world.seen.settings = fleet(burst).settings;
            let plan = world.run_until("2026-12-05T16:50:00Z");
            assert_eq!(world.phase("tour"), Phase::Ready, "{}", world.log.join("\n"));
            (plan.sales[0].times.unwrap().starts_at, world)
        };
        let (fast, slow) = (night(1_000), night(3));
        assert_eq!(launched(&fast.1).into_values().collect::<Vec<_>>(), [8]);
        // Eight, and one for an overdue one, of which three are there at once: six seconds, and a fourth on top.
        assert_eq!(fast.0.duration_since(slow.0).as_secs(), 8);
        let waves: Vec<(i64, i64)> =
            launched(&slow.1).into_iter().map(|(when, n)| (at(when).duration_since(slow.0).as_secs(), n)).collect();
        assert_eq!(waves, [(0, 3), (3, 3), (5, 2)]);
    }
}
