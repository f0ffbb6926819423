//! The fleet loop: observe -> plan -> due -> act -> status. One loop, one writer, never concurrent with itself.
//!
//! - [`observe`]: watches and cloud reads to the planner's snapshot
//! - [`decide`]: plan and steps, in a pure computation; [`judge`]: the checker's word on them, which is told and never obeyed
//! - [`act`]: the steps that are due, one file per kind of step
//! - [`status`]: what is told in the status of every object, one file per kind
//! - [`sweep`]: returns instances whose pool does not exist any more
//! - [`wake`]: triggers, exact timers and back-off: when the next pass is

pub mod act;
pub mod decide;
pub mod judge;
pub mod observe;
pub mod status;
pub mod sweep;
pub mod wake;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use jiff::Timestamp;
use onsale_planner::{Chain, Plan, steps::ChainKey};
use tokio::{
    sync::{Notify, watch},
    task::{JoinError, JoinSet},
};

use crate::{Error, context::Context, metrics::Ending};

use self::{
    decide::Decision,
    observe::{Observed, World},
    wake::{Backoff, Wake},
};

/// What the loop keeps between passes. Nothing here decides what is done, only how soon it is tried again.
struct Fleet {
    context: Arc<Context>,
    world: Arc<World>,
    trigger: Arc<Notify>,
    running: act::Running,
    backoff: BTreeMap<ChainKey, Backoff>,
    panics: i32,
    memory: status::Memory,
    regions: watch::Sender<sweep::Regions>,
    begun: Duration,
}

/// Runs until dropped; returns only when a watch ended.
///
/// # Errors
/// [`Error::WatchEnded`].
pub async fn run(context: Context) -> Result<(), Error> {
    let context = Arc::new(context);
    let (world, trigger) = (Arc::new(World::default()), Arc::new(Notify::new()));
    let mut tasks = JoinSet::new();
    observe::watch::start(&mut tasks, &context, &world, &trigger);
    let events = context.clone();
    tasks.spawn(async move {
        crate::events::deliver(events).await;
        "events"
    });
    let lister = observe::lister::run(context.clone(), world.clone(), trigger.clone());
    tasks.spawn(async move {
        lister.await;
        "instances"
    });
    let asker = observe::facts::run(context.clone(), world.clone(), trigger.clone());
    tasks.spawn(async move {
        asker.await;
        "free addresses and quotas"
    });
    let (regions, noticed) = watch::channel(sweep::Regions::default());
    let sweeper = sweep::run(context.clone(), noticed);
    tasks.spawn(async move {
        sweeper.await;
        "instances without an owner"
    });
    let (clock, woken) = (context.clock.clone(), trigger.clone());
    let fleet = Fleet {
        context: context.clone(),
        world,
        trigger,
        running: act::Running::default(),
        backoff: BTreeMap::new(),
        panics: 0,
        memory: status::Memory::default(),
        regions,
        begun: context.clock.monotonic(),
    };
    let stop = StopHealth(context);
    let ended = tokio::select! {
        ended = tasks.join_next() => ended,
        () = fleet.turn() => None,
        never = wake::on_clock_steps(&*clock, &woken) => match never {},
    };
    drop(stop);
    Err(gone(ended))
}

/// Which task is gone.
fn gone(ended: Option<Result<&'static str, JoinError>>) -> Error {
    let (kind, message) = match ended {
        Some(Ok(kind)) => (kind, "it returned".to_owned()),
        Some(Err(error)) => ("some kind", error.to_string()),
        None => ("all kinds", "none was started".to_owned()),
    };
    Error::WatchEnded { kind, message }
}

/// Takes the heartbeat back however the loop ends, so that a process that waits for the lease again counts as alive.
struct StopHealth(Arc<Context>);

impl Drop for StopHealth {
    fn drop(&mut self) {
        self.0.config.telemetry.health.stop();
    }
}

impl Fleet {
    /// Passes for ever. A panic in one is caught, counted, and backed off from.
    async fn turn(mut self) {
        loop {
            let started = self.context.clock.monotonic();
            let result = AssertUnwindSafe(self.pass()).catch_unwind().await;
            let now = self.context.clock.monotonic();
            let (ending, wake) = match result {
                Ok((ending, wake)) => {
                    self.panics = 0;
                    (ending, wake)
                }
                Err(_) => {
                    self.panics = self.panics.saturating_add(1);
                    tracing::error!(in_a_row = self.panics, "a pass panicked; nothing of it is lost, the next one starts anew");
                    (Ending::Panicked, Wake { at_most: wake::pause(self.panics), heed_triggers: false })
                }
            };
            self.context.metrics().pass(ending, now.saturating_sub(started).as_secs_f64());
            self.context.config.telemetry.health.beat(now);
            wake::wait(&self.trigger, &wake, self.context.config.coalesce).await;
        }
    }

    /// One pass. Cheap when nothing changed; replaying it is harmless. A failed write still yields a status.
    async fn pass(&mut self) -> (Ending, Wake) {
        let now = self.context.clock.now();
        self.running.collect();
        let observed = match observe::observe(&self.world, &self.context, self.begun, now).await {
            Ok(observed) => Arc::new(observed),
            Err(error) => {
                tracing::debug!(%error, "nothing to plan with yet");
                let at_most = error.again_in().unwrap_or(self.context.config.resync);
                return (Ending::Stale, Wake { at_most, heed_triggers: true });
            }
        };
        self.context.config.telemetry.health.set_synced(self.world.synced());
        let Decision { plan, chains, questions } = decide::decide(&self.context, &observed, now, self.busy()).await;
        self.world.facts.want(questions);
        let outcomes = self.act(chains, &observed, now).await;
        let facts = self.world.facts.of_all(&observed.snapshot.pools);
        let material =
            status::Material { observed: &observed, facts: &facts, plan: &plan, outcomes: &outcomes, resting: &self.backoff, now };
        let written = status::write_changed(&mut self.memory, &self.context, &self.world, &material).await;
        sweep::notice(&self.regions, &observed.snapshot, &self.world.nodes);
        let failed = written.failed > 0 || outcomes.iter().any(|o| o.stop.is_some());
        let mut wake = self.wake(&plan, &outcomes, now);
        if written.failed > 0 {
            wake.at_most = wake.at_most.min(wake::BLOCKED);
        } else if written.moved {
            wake.at_most = wake.at_most.min(self.context.config.settle);
        }
        (if failed { Ending::Failed } else { Ending::Done }, wake)
    }

    /// Carries out what is due, but for chains that back off.
    async fn act(&mut self, mut chains: Vec<Chain>, observed: &Observed, now: Timestamp) -> Vec<act::Outcome> {
        let mut outcomes = self.running.take();
        self.rest(&outcomes);
        let monotonic = self.context.clock.monotonic();
        self.backoff.retain(|key, backoff| backoff.until > monotonic || chains.iter().any(|c| c.key == *key));
        chains.retain(|chain| self.backoff.get(&chain.key).is_none_or(|b| b.until <= monotonic));
        let (context, world, trigger) = (self.context.clone(), self.world.clone(), self.trigger.clone());
        let shared = act::Shared { context, world, trigger, seen: observed.snapshot.clone(), now };
        let new = act::act(chains, &mut self.running, &shared).await;
        self.rest(&new);
        outcomes.extend(new);
        outcomes
    }

    /// Chains that rest, or are under way.
    fn busy(&self) -> BTreeSet<ChainKey> {
        let monotonic = self.context.clock.monotonic();
        let resting = self.backoff.iter().filter(|(_, b)| b.until > monotonic).map(|(key, _)| key);
        resting.chain(self.running.keys()).cloned().collect()
    }

    /// Chains that failed rest for a while.
    fn rest(&mut self, outcomes: &[act::Outcome]) {
        for outcome in outcomes {
            let Some(stop) = &outcome.stop else {
                self.backoff.remove(&outcome.key);
                continue;
            };
            let backoff = self.backoff.entry(outcome.key.clone()).or_default();
            let until = self.context.clock.monotonic() + stop.retry(backoff.failures + 1);
            backoff.fail(until, stop.waiting());
        }
    }

    /// The earliest of: the plan changes by itself, a retry, our own writes come back, resync.
    fn wake(&self, plan: &Plan, outcomes: &[act::Outcome], now: Timestamp) -> Wake {
        let config = &self.context.config;
        let monotonic = self.context.clock.monotonic();
        let change = plan.next_change.map(|at| wake::until(at, now));
        let retry = self.backoff.values().map(|b| b.until.saturating_sub(monotonic)).min();
        let blocked = outcomes.iter().any(|o| !o.blocked.is_empty()).then_some(wake::BLOCKED);
        let wrote = outcomes.iter().any(|o| o.steps > 0).then_some(config.settle);
        let kept = self.world.instances.retry_in(monotonic);
        let at_most = [change, retry, blocked, wrote, kept].into_iter().flatten().min().unwrap_or(config.resync).min(config.resync);
        Wake { at_most, heed_triggers: true }
    }
}
