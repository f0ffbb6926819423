//! Instances by pool: what the cloud said last, completed by the launch ledger, which knows what the cloud does not list yet.
//!
//! Passes say which pools matter and read what is known; [`super::lister`] asks the cloud beside them, so that no pass ever waits for a list.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use onsale_api::pool::Launch;
use onsale_cloud::{CloudError, Instance, InstanceState, Owner};
use onsale_planner::snapshot;
use tokio::sync::Notify;

use super::{
    kept::{self, Kept},
    together,
};
use crate::config::Config;

/// What is known of the instances of one pool.
struct Listing {
    /// Whose, and whether something is expected to change.
    wanted: Wanted,
    /// Monotonic time of the last answer, good or bad; `None`: none yet.
    at: Option<Duration>,
    /// Launches and terminations so far.
    changes: u64,
    /// How many of them there were when the last call was made.
    listed: u64,
    /// The last good answer.
    instances: Vec<Instance>,
    /// IDs that were listed once: when one of them is missing, it is gone.
    seen: BTreeSet<String>,
    /// IDs that we terminated, each with the number of that change.
    terminated: BTreeMap<String, u64>,
    /// Instances that the cloud would not terminate.
    kept: kept::Memory,
    /// Why the last call failed.
    error: Option<CloudError>,
    /// Failures in a row.
    failures: i32,
    /// There was a good answer, or there can be no instances.
    known: bool,
}

/// Listings by the UID of the pool.
#[derive(Default)]
pub struct Instances {
    all: Mutex<BTreeMap<String, Listing>>,
    changed: Notify,
}

/// A pool whose instances matter now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose instances.
    pub owner: Owner,
    /// Something is expected to change.
    pub expecting: bool,
    /// Neither our finalizer nor an entry of the ledger: nothing is rented there, for nothing is rented without.
    pub bare: bool,
}

/// A call that was made, and what it needs to be understood later.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whose instances were asked for.
    pub owner: Owner,
    /// Launches and terminations until then: what came after, the answer does not know for certain.
    changes: u64,
}

impl Listing {
    fn new(wanted: Wanted) -> Self {
        Self {
            known: wanted.bare,
            wanted,
            at: None,
            changes: 0,
            listed: 0,
            instances: Vec::new(),
            seen: BTreeSet::new(),
            terminated: BTreeMap::new(),
            kept: kept::Memory::default(),
            error: None,
            failures: 0,
        }
    }

    /// How long until the next call.
    fn due_in(&self, config: &Config, monotonic: Duration) -> Duration {
        let Some(at) = self.at else { return Duration::ZERO };
        let moving = || self.instances.iter().any(|i| !matches!(i.state, InstanceState::Running | InstanceState::Gone));
        let pause = match &self.error {
            // A read costs little, and nothing is launched or given back without it: soon again, however often it failed.
            Some(error) => error.retry(self.failures).unsigned_abs().min(config.list_retry),
            None if self.listed != self.changes => Duration::ZERO,
            None if self.wanted.expecting || moving() => config.list_active,
            None => config.list_idle,
        };
        (at + pause).saturating_sub(monotonic)
    }

    fn answered(&mut self, changes: u64, answer: Result<Vec<Instance>, CloudError>) {
        self.listed = changes;
        match answer {
            Ok(instances) => {
                self.seen.extend(instances.iter().map(|i| i.id.clone()));
                self.terminated.retain(|_, change| *change > changes);
                let ends = |i: &&Instance| matches!(i.state, InstanceState::Leaving | InstanceState::Gone);
                instances.iter().filter(ends).for_each(|i| self.kept.forget(&i.id));
                (self.instances, self.error, self.failures, self.known) = (instances, None, 0, true);
                // Terminated while the answer was on its way: it is older than what we know.
                self.leave();
            }
            Err(error) => {
                tracing::warn!(pool = self.wanted.owner.pool_name, %error, "instances unknown");
                self.failures = self.failures.saturating_add(1);
                self.error = Some(error);
            }
        }
    }

    fn leave(&mut self) {
        let gone = |i: &&mut Instance| i.state != InstanceState::Gone && self.terminated.contains_key(&i.id);
        for instance in self.instances.iter_mut().filter(gone) {
            instance.state = InstanceState::Leaving;
        }
    }
}

impl Instances {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Listing>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These pools matter now, and no others: those are forgotten.
    pub fn want(&self, wanted: Vec<Wanted>) {
        let mut all = self.lock();
        let mut changed = false;
        all.retain(|uid, _| wanted.iter().any(|w| w.owner.pool_uid == *uid));
        for pool in wanted {
            match all.get_mut(&pool.owner.pool_uid) {
                Some(listing) if listing.wanted == pool => {}
                Some(listing) => (listing.wanted, changed) = (pool, true),
                None => {
                    all.insert(pool.owner.pool_uid.clone(), Listing::new(pool));
                    changed = true;
                }
            }
        }
        drop(all);
        if changed {
            self.changed.notify_one();
        }
    }

    /// Whether the pool matters now.
    pub fn wants(&self, uid: &str) -> bool {
        self.lock().contains_key(uid)
    }

    /// Completes when a call may be due sooner than it was.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The calls that are due, but for pools that are being asked already, and how long until the next one is.
    pub fn due(&self, config: &Config, monotonic: Duration, asking: &BTreeSet<String>) -> (Vec<Asked>, Option<Duration>) {
        let all = self.lock();
        let idle = all.iter().filter(|(uid, _)| !asking.contains(*uid));
        let (due, later): (Vec<_>, Vec<_>) = idle.map(|(_, l)| (l, l.due_in(config, monotonic))).partition(|(_, left)| left.is_zero());
        let calls = due.into_iter().map(|(l, _)| Asked { owner: l.wanted.owner.clone(), changes: l.changes });
        (calls.collect(), later.into_iter().map(|(_, left)| left).min())
    }

    /// Takes an answer. One about a pool that does not matter any more tells nothing.
    pub fn answered(&self, asked: &Asked, answer: Result<Vec<Instance>, CloudError>, monotonic: Duration) {
        if let Some(listing) = self.lock().get_mut(&asked.owner.pool_uid) {
            listing.at = Some(monotonic);
            listing.answered(asked.changes, answer);
        }
    }

    /// Nothing is known yet of some pool that matters, not even that the cloud does not say.
    pub fn awaited(&self) -> bool {
        self.lock().values().any(|l| !l.known && l.at.is_none())
    }

    /// The pool's instances, the ledger's included; `None` when the last call failed or none was answered yet: unknown. While a call is on its way
    /// the answer before it holds: at most `list_idle` and `cloud_timeout` old.
    pub fn of(&self, uid: &str, ledger: &[Launch], now: Timestamp, grace: Duration) -> Option<Vec<snapshot::Instance>> {
        let all = self.lock();
        let listing = all.get(uid).filter(|l| l.known && l.error.is_none())?;
        Some(together::merge(&listing.instances, &listing.seen, ledger, now, grace))
    }

    /// Takes what is listed already off launches that have not been answered yet: it would count twice.
    pub fn discount(&self, uid: &str, ledger: &mut [Launch]) {
        if let Some(listing) = self.lock().get(uid) {
            together::discount(&listing.instances, ledger);
        }
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

    /// The cloud launched something for the pool: it is asked again at once.
    pub fn launched(&self, uid: &str) {
        self.change(uid, |_| ());
    }

    /// We asked the cloud to terminate these: they count as leaving at once, whatever an answer that is on its way says, and the cloud is asked again.
    pub fn terminated(&self, uid: &str, ids: &[String]) {
        self.change(uid, |listing| {
            listing.terminated.extend(ids.iter().map(|id| (id.clone(), listing.changes)));
            listing.seen.extend(ids.iter().cloned());
            ids.iter().for_each(|id| listing.kept.forget(id));
            listing.leave();
        });
    }

    /// The cloud failed to terminate these in one call; some may be gone all the same, so it is asked again.
    pub fn kept(&self, uid: &str, ids: &[String], error: &CloudError, monotonic: Duration) {
        self.change(uid, |listing| listing.kept.note(ids, error, monotonic));
    }

    /// The calls that terminate these instances, as far as they are due.
    pub fn calls(&self, uid: &str, ids: &[String], monotonic: Duration) -> Vec<Vec<String>> {
        self.lock().get(uid).map_or_else(|| vec![ids.to_vec()], |listing| listing.kept.calls(ids, monotonic))
    }

    /// Of these, the instances that the cloud would not terminate.
    pub fn kept_of(&self, uid: &str, ids: &[String]) -> Vec<(String, Kept)> {
        self.lock().get(uid).map(|listing| listing.kept.of(ids)).unwrap_or_default()
    }

    /// How long until an instance that the cloud would not terminate is tried again.
    pub fn retry_in(&self, monotonic: Duration) -> Option<Duration> {
        self.lock().values().filter_map(|listing| listing.kept.retry_in(monotonic)).min()
    }

    fn change(&self, uid: &str, change: impl FnOnce(&mut Listing)) {
        if let Some(listing) = self.lock().get_mut(uid) {
            listing.changes += 1;
            change(listing);
        }
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: &str = "uid-9";

    fn owner() -> Owner {
        Owner { pool_uid: POOL.into(), pool_name: "phx".into(), region: "us-west-2".into() }
    }

    fn instance(id: &str) -> Instance {
        Instance {
            id: id.into(),
            instance_type: "c6i.large".into(),
            zone: "z".into(),
            state: InstanceState::Running,
            launched_at: Timestamp::UNIX_EPOCH,
            sequence: 1,
        }
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// A pool that may have instances, and everything it needs.
    struct Bench(Instances, Config);

    impl Bench {
        fn new(bare: bool) -> Self {
            let all = Instances::default();
            all.want(vec![Wanted { owner: owner(), expecting: false, bare }]);
            Self(all, Config::new("test", "test"))
        }
        fn due(&self, at: u64) -> Option<Asked> {
            self.0.due(&self.1, secs(at), &BTreeSet::new()).0.pop()
        }
        fn leaving(&self) -> Option<Vec<bool>> {
            Some(self.0.of(POOL, &[], Timestamp::UNIX_EPOCH, secs(300))?.into_iter().map(|i| i.leaving).collect())
        }
    }

    #[test]
    fn what_was_not_answered_is_unknown_and_what_cannot_be_is_none() {
        let (protected, bare) = (Bench::new(false), Bench::new(true));
        assert_eq!((protected.leaving(), protected.0.awaited()), (None, true));
        assert_eq!((bare.leaving(), bare.0.awaited()), (Some(vec![]), false));
        for bench in [protected, bare] {
            let asked = bench.due(0).unwrap();
            bench.0.answered(&asked, Err(CloudError::Throttled), secs(1));
            assert_eq!((bench.leaving(), bench.0.awaited()), (None, false));
        }
    }

    #[test]
    fn what_is_known_holds_while_the_cloud_is_asked_again() {
        let bench = Bench::new(false);
        bench.0.answered(&bench.due(0).unwrap(), Ok(vec![instance("i-1")]), secs(1));
        assert!(bench.due(60).is_none());
        assert!(bench.due(61).is_some());
        assert_eq!(bench.leaving(), Some(vec![false]));
    }

    #[test]
    fn an_answer_that_was_on_its_way_does_not_bring_back_what_we_terminated() {
        let bench = Bench::new(false);
        bench.0.answered(&bench.due(0).unwrap(), Ok(vec![instance("i-1")]), secs(1));
        let slow = bench.due(61).unwrap();
        bench.0.terminated(POOL, &["i-1".into()]);
        bench.0.answered(&slow, Ok(vec![instance("i-1")]), secs(62));
        assert_eq!(bench.leaving(), Some(vec![true]));
        // It is asked again at once, and that answer is believed.
        bench.0.answered(&bench.due(62).unwrap(), Ok(vec![instance("i-1")]), secs(63));
        assert_eq!(bench.leaving(), Some(vec![false]));
        assert!(bench.due(63).is_none());
    }

    #[test]
    fn a_pool_that_does_not_matter_any_more_is_forgotten_and_a_late_answer_with_it() {
        let bench = Bench::new(false);
        let asked = bench.due(0).unwrap();
        bench.0.want(Vec::new());
        bench.0.answered(&asked, Ok(vec![instance("i-1")]), secs(1));
        assert_eq!((bench.leaving(), bench.due(99).map(|a| a.changes)), (None, None));
    }

    #[test]
    fn an_instance_that_is_leaving_after_all_was_not_kept() {
        let (bench, ids) = (Bench::new(false), ["i-1".to_owned()]);
        bench.0.answered(&bench.due(0).unwrap(), Ok(vec![instance("i-1")]), secs(1));
        bench.0.kept(POOL, &ids, &CloudError::Throttled, secs(2));
        assert_eq!((bench.0.kept_of(POOL, &ids).len(), bench.0.retry_in(secs(2))), (1, Some(secs(2))));
        let leaving = Instance { state: InstanceState::Leaving, ..instance("i-1") };
        bench.0.answered(&bench.due(2).unwrap(), Ok(vec![leaving]), secs(3));
        assert_eq!((bench.0.kept_of(POOL, &ids), bench.0.retry_in(secs(3))), (vec![], None));
    }
}
