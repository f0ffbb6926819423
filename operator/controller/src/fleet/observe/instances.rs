//! Instances by pool: read from the cloud sparingly, and completed by the launch ledger, which knows what the cloud does not list yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use onsale_api::pool::Launch;
use onsale_cloud::{CloudError, Instance, InstanceState, Owner};
use onsale_planner::snapshot;

use crate::context::Context;

/// What is known of the instances of one pool.
#[derive(Default)]
struct Listing {
    /// Monotonic time of the last answer; `None`: never asked, or something changed since.
    at: Option<Duration>,
    /// The last good answer.
    instances: Vec<Instance>,
    /// IDs that were listed once: when one of them is missing, it is gone.
    seen: BTreeSet<String>,
    /// Why the last call failed.
    error: Option<CloudError>,
    /// Failures in a row.
    failures: i32,
    /// There was a good answer.
    known: bool,
}

/// Listings by the UID of the pool.
#[derive(Default)]
pub struct Instances(Mutex<BTreeMap<String, Listing>>);

/// A pool whose instances matter now.
pub struct Wanted {
    /// Whose instances.
    pub owner: Owner,
    /// Something is expected to change.
    pub expecting: bool,
}

impl Instances {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Listing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long until the pool's instances are read again.
    pub fn due_in(&self, wanted: &Wanted, context: &Context) -> Duration {
        let all = self.lock();
        let Some((listing, at)) = all.get(&wanted.owner.pool_uid).and_then(|l| l.at.map(|at| (l, at))) else { return Duration::ZERO };
        let pause = match &listing.error {
            // A read costs little, and nothing is launched or given back without it: soon again, however often it failed.
            Some(error) => error.retry(listing.failures).unsigned_abs().min(context.config.list_retry),
            None if wanted.expecting
                || listing.instances.iter().any(|i| !matches!(i.state, InstanceState::Running | InstanceState::Gone)) =>
            {
                context.config.list_active
            }
            None => context.config.list_idle,
        };
        (at + pause).saturating_sub(context.clock.monotonic())
    }

    /// Reads the instances of the pools that are due, all at once.
    pub async fn refresh(&self, context: &Context, wanted: &[Wanted]) {
        let due = wanted.iter().filter(|w| self.due_in(w, context).is_zero());
        let calls = due.map(|w| async { (&w.owner, context.cloud_call("list", context.cloud.list(&w.owner)).await) });
        let answers = futures::future::join_all(calls).await;
        let now = context.clock.monotonic();
        let mut all = self.lock();
        for (owner, answer) in answers {
            let listing = all.entry(owner.pool_uid.clone()).or_default();
            listing.at = Some(now);
            match answer {
                Ok(instances) => {
                    listing.seen.extend(instances.iter().map(|i| i.id.clone()));
                    (listing.instances, listing.error, listing.failures, listing.known) = (instances, None, 0, true);
                }
                Err(error) => {
                    tracing::warn!(pool = owner.pool_name, %error, "instances unknown");
                    listing.failures = listing.failures.saturating_add(1);
                    listing.error = Some(error);
                }
            }
        }
    }

    /// The pool's instances, the ledger's included; `None` when the last call failed or none was made: unknown.
    pub fn of(&self, uid: &str, ledger: &[Launch], now: Timestamp, grace: Duration) -> Option<Vec<snapshot::Instance>> {
        let all = self.lock();
        let listing = all.get(uid).filter(|l| l.known && l.error.is_none())?;
        Some(merge(&listing.instances, &listing.seen, ledger, now, grace))
    }

    /// IDs that are the pool's for certain: listed at any time, or in its ledger.
    pub fn ids(&self, uid: &str, ledger: &[Launch]) -> BTreeSet<String> {
        let mut ids = self.lock().get(uid).map(|l| l.seen.clone()).unwrap_or_default();
        ids.extend(ledger.iter().flat_map(|l| l.instances.iter().cloned()));
        ids
    }

    /// Why the pool's instances are unknown.
    pub fn error(&self, uid: &str) -> Option<CloudError> {
        self.lock().get(uid)?.error.clone()
    }

    /// We asked the cloud to terminate these: they count as leaving at once, and the next pass reads again.
    pub fn terminated(&self, uid: &str, ids: &[String]) {
        if let Some(listing) = self.lock().get_mut(uid) {
            for instance in listing.instances.iter_mut().filter(|i| ids.contains(&i.id)) {
                instance.state = InstanceState::Leaving;
            }
            listing.seen.extend(ids.iter().cloned());
        }
    }

    /// Forgets the pools that are not wanted any more.
    pub fn retain(&self, wanted: &[Wanted]) {
        self.lock().retain(|uid, _| wanted.iter().any(|w| w.owner.pool_uid == *uid));
    }
}

/// Listed instances and those that the ledger says exist although the cloud does not list them yet, sorted by ID.
fn merge(listed: &[Instance], seen: &BTreeSet<String>, ledger: &[Launch], now: Timestamp, grace: Duration) -> Vec<snapshot::Instance> {
    let exists = |i: &&Instance| i.state != InstanceState::Gone;
    let mut all: BTreeMap<String, snapshot::Instance> = listed.iter().filter(exists).map(|i| (i.id.clone(), brief(i))).collect();
    let young = |entry: &&Launch| now.duration_since(entry.at.0) < SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
    for entry in ledger.iter().filter(|e| e.resolved).filter(young) {
        for id in entry.instances.iter().filter(|id| !seen.contains(*id)) {
            let (instance_type, launched_at) = (entry.instance_type.clone(), entry.at.0);
            all.entry(id.clone()).or_insert(snapshot::Instance {
                id: id.clone(),
                instance_type,
                leaving: false,
                stopped: false,
                launched_at,
            });
        }
    }
    all.into_values().collect()
}

fn brief(instance: &Instance) -> snapshot::Instance {
    snapshot::Instance {
        id: instance.id.clone(),
        instance_type: instance.instance_type.clone(),
        leaving: matches!(instance.state, InstanceState::Leaving | InstanceState::Stopped),
        stopped: instance.state == InstanceState::Stopped,
        launched_at: instance.launched_at,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ledger(at: &str) -> Vec<Launch> {
        let entry = json!({"sequence": 1, "token": "t", "instanceType": "c6i.large", "subnet": "subnet-0a1b2c", "count": 2, "at": at, "resolved": true,
            "launchTemplate": {"name": "burst", "version": "1"}, "instances": ["i-1", "i-2"]});
        vec![serde_json::from_value(entry).unwrap()]
    }

    fn ids(seen: &[&str], at: &str) -> Vec<String> {
        let listed = Instance {
            id: "i-1".into(),
            instance_type: "c6i.large".into(),
            zone: "z".into(),
            state: InstanceState::Running,
            launched_at: Timestamp::UNIX_EPOCH,
            sequence: 1,
        };
        let seen = seen.iter().map(|s| (*s).to_owned()).collect();
        let now = "2026-12-05T10:04:00Z".parse().unwrap();
        merge(&[listed], &seen, &ledger(at), now, Duration::from_secs(300)).into_iter().map(|i| i.id).collect()
    }

    #[test]
    fn believes_the_ledger_for_a_while_about_instances_that_are_not_listed_yet() {
        assert_eq!(ids(&["i-1"], "2026-12-05T10:00:00Z"), ["i-1", "i-2"]);
        assert_eq!(ids(&["i-1"], "2026-12-05T09:58:00Z"), ["i-1"]);
    }

    #[test]
    fn an_instance_that_was_listed_once_and_is_missing_now_is_gone() {
        assert_eq!(ids(&["i-1", "i-2"], "2026-12-05T10:00:00Z"), ["i-1"]);
    }
}
