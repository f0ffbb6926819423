//! What is launched in one pass, against the bucket from which the cloud's API hands out instances: one for all pools of a region.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use onsale_planner::{Chain, Step, snapshot::Pool, steps::ChainKey};

use crate::{Rule, Violation, view::View};

pub fn check(view: &View<'_>, chains: &[Chain], found: &mut Vec<Violation>) {
    let mut new: BTreeMap<&str, i64> = BTreeMap::new();
    for chain in chains {
        let ChainKey::Pool(name) = &chain.key else { continue };
        let Some(region) = view.pool(name).and_then(|(pool, _)| region(pool)) else { continue };
        let counts = chain.steps.iter().map(|step| if let Step::Launch { count, .. } = step { i64::from(*count) } else { 0 });
        *new.entry(region).or_default() += counts.sum::<i64>();
    }
    for (region, new) in new.into_iter().filter(|(_, new)| *new > 0) {
        let most = allowed(view, region);
        if new as f64 > most + f64::EPSILON {
            let message = format!("{new} instances are launched at once, of which the API hands out {most:.1}");
            found.push(Violation::new(Rule::LaunchRate, region, message));
        }
    }
}

fn region(pool: &Pool) -> Option<&str> {
    pool.spec.nodes.ec2.as_ref().map(|ec2| ec2.region.as_str())
}

/// In any time up to now no more is launched than a burst and what comes in meanwhile. Where more was, by whomever, what came in since counts.
fn allowed(view: &View<'_>, of: &str) -> f64 {
    let (burst, rate) = (view.seen.settings.launch_burst as f64, view.seen.settings.launch_rate as f64);
    let launched: Vec<(Timestamp, i64)> = view.seen.pools.iter().filter(|p| region(p) == Some(of)).flat_map(launched).collect();
    let since = |from: Timestamp| view.now.duration_since(from).as_secs_f64().max(0.0) * rate;
    let left = |from: Timestamp| burst + since(from) - launched.iter().filter(|(at, _)| *at >= from).map(|(_, n)| *n as f64).sum::<f64>();
    let least = launched.iter().map(|(at, _)| left(*at)).fold(burst, f64::min);
    let last = launched.iter().map(|(at, _)| *at).max();
    least.max(last.map_or(0.0, |last| since(last).min(burst)))
}

/// When the pool launched how many; what has not been answered may have made all of it.
fn launched(pool: &Pool) -> Vec<(Timestamp, i64)> {
    let known: BTreeSet<&str> = pool.status.launches.iter().flat_map(|l| &l.instances).map(String::as_str).collect();
    let others = pool.instances.iter().flatten().filter(|i| !known.contains(i.id.as_str())).map(|i| (i.launched_at, 1));
    let entries = pool.status.launches.iter().map(|l| {
        let n = if l.resolved { i64::try_from(l.instances.len()).unwrap_or(i64::MAX) } else { i64::from(l.count) };
        (l.made_at(), n)
    });
    entries.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use onsale_planner::{snapshot::Pool, steps::ChainKey};

    use super::*;
    use crate::testing::{Night, night};

    fn launch(count: i32) -> Vec<Step> {
        vec![Step::Launch { instance_type: "c6i.4xlarge".into(), subnet: "subnet-0abc12".into(), count }]
    }

    /// The API hands out so many at once, and two a second after that. There is a second pool like `far` in this region.
    fn bucket(burst: i64, region: &'static str) -> Night {
        let second = move |s: &mut onsale_planner::Snapshot| {
            s.settings.launch_burst = burst;
            let mut other = Pool { name: "other".into(), uid: "uid-other".into(), ..s.pools[1].clone() };
            other.spec.zone = "zone-other".into();
            other.spec.nodes.ec2.as_mut().unwrap().region = region.into();
            s.pools.push(other);
        };
        night().seen(second).plan(|p| {
            let mut other = p.pools[1].clone();
            (other.name, other.fills) = ("other".into(), Vec::new());
            p.pools.push(other);
        })
    }

    fn found(night: Night) -> bool {
        night.pool_steps(launch(2)).chain(ChainKey::Pool("other".into()), launch(2)).finds(Rule::LaunchRate)
    }

    #[test]
    fn pools_of_a_region_share_what_the_api_hands_out() {
        assert!(!found(bucket(4, "us-west-2")));
        assert!(found(bucket(3, "us-west-2")));
        assert!(!found(bucket(2, "us-east-1")));
        assert!(found(bucket(1, "us-east-1")));
    }

    #[test]
    fn what_was_launched_a_moment_ago_is_gone_from_the_bucket() {
        let before = |at: &str| {
            let at = at.parse().unwrap();
            bucket(4, "us-west-2").instances(1).seen(move |s| s.pools[1].instances.as_mut().unwrap()[0].launched_at = at)
        };
        assert!(found(before("2026-12-05T17:30:00Z")));
        assert!(!found(before("2026-12-05T17:29:59Z")), "two a second come in");
        // Nobody's fault: more was there at once than the bucket ever held.
        assert!(!found(bucket(4, "us-west-2").instances(9)));
    }
}
