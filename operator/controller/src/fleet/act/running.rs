//! Chains under way. Every chain of a pool is a task of its own, because the cloud takes its time: a pass waits for it for a moment, and then leaves it to
//! itself where it waits for the cloud and nowhere else. What it was decided on is old by then, so it carries out the step that it is in and no other,
//! a later pass takes its outcome, and until then no second chain of the pool begins: nothing is asked of the cloud twice at once, and the ledger
//! has one writer. At the cloud, and only there, the entry is stored and the pass after this one counts it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use onsale_planner::{Chain, Snapshot, steps::ChainKey};
use tokio::{
    sync::Notify,
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use super::{Job, Outcome, Stop, run};
use crate::{context::Context, fleet::observe::World};

/// What a chain and the pass that began it tell each other.
#[derive(Default)]
pub struct Hand {
    state: Mutex<State>,
    moved: Arc<Notify>,
}

#[derive(Default)]
struct State {
    at_cloud: bool,
    left: bool,
}

impl Hand {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chain waits for the cloud from now on, or does not any more.
    pub fn at_cloud(&self, waits: bool) {
        self.lock().at_cloud = waits;
        self.moved.notify_one();
    }

    /// The pass goes on without the chain: it begins nothing more.
    pub fn left(&self) -> bool {
        self.lock().left
    }

    /// Leaves the chain to itself, if it waits for the cloud. Returns whether it is left.
    fn leave(&self) -> bool {
        let mut state = self.lock();
        state.left |= state.at_cloud;
        state.left
    }
}

/// What the tasks share.
#[derive(Clone)]
pub struct Shared {
    /// Clients, clock, configuration.
    pub context: Arc<Context>,
    /// The stores.
    pub world: Arc<World>,
    /// Wakes the loop.
    pub trigger: Arc<Notify>,
    /// What the steps were decided on.
    pub seen: Arc<Snapshot>,
    /// The pass's instant.
    pub now: Timestamp,
}

struct One {
    abort: AbortHandle,
    hand: Arc<Hand>,
}

/// Chains that are under way, and outcomes that no pass has taken yet. Dropped, it ends them all where they wait, as a crash would.
#[derive(Default)]
pub struct Running {
    tasks: JoinSet<Outcome>,
    chains: BTreeMap<ChainKey, One>,
    ended: Vec<Outcome>,
    moved: Arc<Notify>,
}

impl Running {
    /// Looks which chains have ended. Before a pass observes: it must see what they did.
    pub fn collect(&mut self) {
        while let Some(result) = self.tasks.try_join_next_with_id() {
            self.end(result);
        }
    }

    /// Takes the outcomes of the chains that have ended.
    pub fn take(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.ended)
    }

    /// Whether a chain of this key is under way.
    #[must_use]
    pub fn has(&self, key: &ChainKey) -> bool {
        self.chains.contains_key(key)
    }

    /// The keys of the chains that are under way.
    pub fn keys(&self) -> impl Iterator<Item = &ChainKey> {
        self.chains.keys()
    }

    /// Begins a chain; none of its key may be under way.
    pub fn start(&mut self, chain: Chain, shared: Shared) {
        let (key, hand) = (chain.key.clone(), Arc::new(Hand { moved: self.moved.clone(), ..Hand::default() }));
        let held = hand.clone();
        let abort = self.tasks.spawn(async move {
            let Shared { context, world, trigger, seen, now } = &shared;
            let started = context.clock.monotonic();
            let outcome = run(chain, &Job { context, world, seen, now: *now, hand: &held }, started).await;
            if held.left() {
                trigger.notify_one();
            }
            outcome
        });
        self.chains.insert(key, One { abort, hand });
    }

    /// Waits until every chain has ended, or, after `patience`, waits for the cloud; those are left to themselves.
    pub async fn wait(&mut self, patience: Instant) {
        loop {
            let over = Instant::now() >= patience;
            if self.chains.values().all(|one| if over { one.hand.leave() } else { one.hand.left() }) {
                return;
            }
            tokio::select! {
                Some(result) = self.tasks.join_next_with_id() => self.end(result),
                () = self.moved.notified(), if over => {}
                () = sleep_until(patience), if !over => {}
            }
        }
    }

    fn end(&mut self, result: Result<(Id, Outcome), JoinError>) {
        let id = result.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(key) = self.chains.iter().find(|(_, one)| one.abort.id() == id).map(|(key, _)| key.clone()) else { return };
        self.chains.remove(&key);
        self.ended.push(result.map_or_else(|error| lost(key, &error), |(_, outcome)| outcome));
    }
}

/// A panic in one chain is its failure, and nobody else's.
fn lost(key: ChainKey, error: &JoinError) -> Outcome {
    tracing::error!(chain = ?key, %error, "a chain panicked; nothing of it is lost, it is tried anew");
    let stop = Stop::Impossible("the operator failed over it: this is a fault of the operator, report it".to_owned());
    Outcome { key, steps: 0, blocked: Vec::new(), hindered: Vec::new(), stop: Some(stop) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(name: &str) -> ChainKey {
        ChainKey::Pool(name.into())
    }

    /// Chains that wait for the test's word, at the cloud or elsewhere.
    fn begin(running: &mut Running, name: &str, at_cloud: bool) -> Arc<Notify> {
        let (go, hand) = (Arc::new(Notify::new()), Arc::new(Hand { moved: running.moved.clone(), ..Hand::default() }));
        hand.at_cloud(at_cloud);
        let (word, name) = (go.clone(), key(name));
        let outcome = Outcome { key: name.clone(), steps: 1, blocked: Vec::new(), hindered: Vec::new(), stop: None };
        let abort = running.tasks.spawn(async move {
            word.notified().await;
            outcome
        });
        running.chains.insert(name, One { abort, hand });
        go
    }

    #[tokio::test(start_paused = true)]
    async fn leaves_after_its_patience_what_waits_for_the_cloud_and_nothing_else() {
        let mut running = Running::default();
        let (slow, quick) = (begin(&mut running, "slow", true), begin(&mut running, "quick", false));
        let patience = Instant::now() + Duration::from_secs(2);
        let too_long = tokio::time::timeout(Duration::from_secs(9), running.wait(patience)).await;
        assert!(too_long.is_err(), "a chain that is not at the cloud is waited for");
        quick.notify_one();
        running.wait(patience).await;
        assert_eq!(running.take().len(), 1);
        assert!(running.has(&key("slow")) && !running.has(&key("quick")));
        slow.notify_one();
        tokio::task::yield_now().await;
        running.collect();
        assert!(!running.has(&key("slow")));
        assert_eq!(running.take().into_iter().map(|o| o.steps).collect::<Vec<_>>(), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_that_panics_is_a_failure_of_its_own() {
        let mut running = Running::default();
        let abort = running.tasks.spawn(async { panic!("a test") });
        running.chains.insert(key("broken"), One { abort, hand: Arc::default() });
        running.wait(Instant::now() + Duration::from_secs(2)).await;
        assert!(matches!(running.take()[..], [Outcome { stop: Some(Stop::Impossible(_)), .. }]));
    }
}
