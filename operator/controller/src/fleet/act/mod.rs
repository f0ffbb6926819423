//! Act: chains at once, the steps of a chain one after another; a failure stops its own chain only.
//!
//! - [`running`]: chains of pools, which a pass leaves to themselves while the cloud takes its time
//! - [`launch`], [`ledger`], [`terminate`]: the cloud, and the ledger that makes every launch safe to replay
//! - [`finalizer`]: protecting and releasing sales and pools; [`node`]: repair, cordon, uncordon; [`evict`]
//! - [`record`], [`overlay`], [`floor`], [`contest`], [`pod`]: workloads

mod contest;
mod evict;
mod finalizer;
mod floor;
mod launch;
pub mod ledger;
mod node;
pub mod overlay;
mod pod;
mod record;
mod running;
mod terminate;

use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use onsale_api::Reason;
use onsale_cloud::CloudError;
use onsale_planner::{
    Chain, Snapshot, Step,
    plan::Waiting,
    snapshot::{Pool, SaleId, WorkloadId},
    steps::ChainKey,
};

pub use floor::label as floor_label;
pub use running::{Hand, Running, Shared};

use tokio::time::Instant;

use super::{observe::World, wake};
use crate::{
    context::{CallError, Context},
    metrics::Ending,
};

/// What every step may use.
pub struct Job<'a> {
    /// Clients, clock, configuration.
    pub context: &'a Context,
    /// The stores, which take the answers to our own writes.
    pub world: &'a World,
    /// What the steps were decided on.
    pub seen: &'a Snapshot,
    /// The pass's instant.
    pub now: Timestamp,
    /// What the chain and its pass tell each other.
    pub hand: &'a Hand,
}

impl Job<'_> {
    /// One call to the cloud, with a time limit; the pass need not wait for it.
    ///
    /// # Errors
    /// Those of [`Context::cloud_call`].
    pub async fn cloud_call<T>(&self, verb: &str, call: impl Future<Output = Result<T, CloudError>>) -> Result<T, CloudError> {
        self.hand.at_cloud(true);
        let answer = self.context.cloud_call(verb, call).await;
        self.hand.at_cloud(false);
        answer
    }
}

/// What became of a chain.
#[derive(Debug)]
pub struct Outcome {
    /// Whose.
    pub key: ChainKey,
    /// Steps that were carried out.
    pub steps: usize,
    /// Evictions that a budget refused: they stop nothing else.
    pub blocked: Vec<String>,
    /// What the cloud would not do, and what stops nothing else.
    pub hindered: Vec<Waiting>,
    /// Why the chain ended early.
    pub stop: Option<Stop>,
}

/// Why a chain ends for this pass.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The world has moved on since the snapshot: the next pass decides.
    #[error("{0}: decided anew")]
    Stale(String),
    /// The cloud refused for good; the shortfall is in the pool's status, with the time of the next try.
    #[error("{0}")]
    Refused(CloudError),
    /// The cloud did not say; the same call is made again.
    #[error("{0}")]
    Unanswered(CloudError),
    /// A call to the Kubernetes API failed.
    #[error("{0}")]
    Failed(#[from] CallError),
    /// The step cannot be carried out as it is.
    #[error("{0}")]
    Impossible(String),
}

/// A stale decision is looked at again at once, a world that keeps moving less and less often.
const STALE_PAUSE: Duration = Duration::from_millis(250);

impl Stop {
    /// Pause before the chain's next try after so many failures in a row. What a shortfall says about time is the planner's to heed.
    #[must_use]
    pub fn retry(&self, failures: i32) -> Duration {
        match self {
            Self::Stale(_) | Self::Refused(_) => STALE_PAUSE * (1 << failures.clamp(1, 5)) / 2,
            Self::Unanswered(error) => error.retry(failures).unsigned_abs(),
            Self::Failed(_) | Self::Impossible(_) => wake::pause(failures),
        }
    }

    /// One word for conditions; `None` where nothing is wrong.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Stale(_) => None,
            Self::Refused(error) | Self::Unanswered(error) => Some(error.reason()),
            Self::Failed(_) => Some(Reason::ApiError),
            Self::Impossible(_) => Some(Reason::InvalidConfiguration),
        }
    }

    /// As statuses tell it; `None` where nothing is wrong.
    #[must_use]
    pub fn waiting(&self) -> Option<Waiting> {
        self.reason().map(|reason| Waiting { reason, message: self.to_string(), until: None })
    }

    fn ending(&self) -> Ending {
        match self {
            Self::Stale(_) => Ending::Stale,
            Self::Refused(_) => Ending::Refused,
            Self::Unanswered(_) | Self::Failed(_) | Self::Impossible(_) => Ending::Failed,
        }
    }
}

/// What a step came to.
#[derive(Debug, PartialEq)]
pub enum Done {
    /// It holds now.
    Yes,
    /// A budget refuses the eviction for now.
    Blocked(String),
    /// Done as far as the cloud would; it keeps its own time of the next try.
    Hindered(Waiting),
}

/// Carries out the chains, several at once; of pools, those that are not `running` already. Outcomes are sorted by chain, those of chains that an
/// earlier pass began among them.
pub async fn act(chains: Vec<Chain>, running: &mut Running, shared: &Shared) -> Vec<Outcome> {
    let config = &shared.context.config;
    let (started, patience) = (shared.context.clock.monotonic(), Instant::now() + config.act_patience);
    let (pools, others): (Vec<Chain>, Vec<Chain>) = chains.into_iter().partition(|chain| matches!(chain.key, ChainKey::Pool(_)));
    for chain in pools {
        if !running.has(&chain.key) {
            running.start(chain, shared.clone());
        }
    }
    let hand = Hand::default();
    let job = Job { context: &shared.context, world: &shared.world, seen: &shared.seen, now: shared.now, hand: &hand };
    let runs = stream::iter(others.into_iter().map(|chain| run(chain, &job, started))).buffer_unordered(config.concurrency);
    let (mut outcomes, ()) = tokio::join!(runs.collect::<Vec<_>>(), running.wait(patience));
    outcomes.extend(running.take());
    outcomes.sort_by(|a, b| a.key.cmp(&b.key));
    outcomes
}

async fn run(chain: Chain, job: &Job<'_>, started: Duration) -> Outcome {
    let mut outcome = Outcome { key: chain.key.clone(), steps: 0, blocked: Vec::new(), hindered: Vec::new(), stop: None };
    let mut sequence = None;
    for step in &chain.steps {
        let late = outcome.steps > 0 && job.context.clock.monotonic().saturating_sub(started) > job.context.config.act_budget;
        if late || job.hand.left() {
            break;
        }
        let result = match &chain.key {
            ChainKey::Sale(id) => on_sale(job, id, step).await,
            ChainKey::Pool(name) => on_pool(job, name, step, &mut sequence).await,
            ChainKey::Workload(id) => on_workload(job, id, step).await,
        };
        match result {
            Ok(Done::Yes) => outcome.steps += 1,
            Ok(Done::Blocked(why)) => outcome.blocked.push(why),
            Ok(Done::Hindered(why)) => outcome.hindered.push(why),
            Err(stop) => {
                outcome.stop = Some(stop);
                break;
            }
        }
    }
    match &outcome.stop {
        Some(stop) => tracing::info!(chain = ?outcome.key, steps = outcome.steps, %stop, "chain stopped"),
        None => tracing::debug!(chain = ?outcome.key, steps = outcome.steps, "chain done"),
    }
    job.context.metrics().chain(outcome.stop.as_ref().map_or(Ending::Done, Stop::ending), outcome.steps);
    outcome
}

fn misplaced(step: &Step, key: &dyn std::fmt::Debug) -> Stop {
    Stop::Impossible(format!("step {step:?} does not belong into the chain of {key:?}: this is a fault of the operator, report it"))
}

fn known_pool<'a>(job: &'a Job<'_>, name: &str) -> Result<&'a Pool, Stop> {
    job.seen.pool(name).ok_or_else(|| Stop::Stale(format!("CapacityPool {name} is gone")))
}

async fn on_sale(job: &Job<'_>, id: &SaleId, step: &Step) -> Result<Done, Stop> {
    match step {
        Step::ProtectSale => finalizer::sale(job, id, true).await,
        Step::ReleaseSale => finalizer::sale(job, id, false).await,
        Step::ProtectPool
        | Step::ReleasePool
        | Step::Replay { .. }
        | Step::Launch { .. }
        | Step::Tidy { .. }
        | Step::RepairNode { .. }
        | Step::Cordon { .. }
        | Step::Uncordon { .. }
        | Step::Evict { .. }
        | Step::Terminate { .. }
        | Step::Record { .. }
        | Step::WriteOverlay { .. }
        | Step::WriteFloor { .. }
        | Step::NoteContest { .. }
        | Step::ReplacePod { .. }
        | Step::RemoveOverlay
        | Step::RemoveRecord => Err(misplaced(step, id)),
    }
}

/// `sequence` is that of the newest ledger entry as far as this chain knows: another one means that the decision was made on an older ledger.
async fn on_pool(job: &Job<'_>, name: &str, step: &Step, sequence: &mut Option<i64>) -> Result<Done, Stop> {
    let pool = known_pool(job, name)?;
    match step {
        Step::ProtectPool => finalizer::pool(job, pool, true).await,
        Step::ReleasePool => finalizer::pool(job, pool, false).await,
        Step::Replay { sequence } => launch::replay(job, pool, *sequence).await,
        Step::Launch { instance_type, subnet, count } => {
            let want = launch::Want { instance_type, subnet, count: *count };
            launch::launch(job, pool, &want, sequence).await
        }
        Step::Tidy { sequences, shortfalls } => ledger::tidy(job, pool, sequences, *shortfalls).await,
        Step::RepairNode { node, label, taint } => node::repair(job, pool, node, *label, *taint).await,
        Step::Cordon { node, uid } => node::cordon(job, node, uid).await,
        Step::Uncordon { node, uid } => node::uncordon(job, node, uid).await,
        Step::Evict { pod, .. } => evict::evict(job, pod).await,
        Step::Terminate { instances, reason } => terminate::terminate(job, pool, instances, *reason).await,
        Step::ProtectSale
        | Step::ReleaseSale
        | Step::Record { .. }
        | Step::WriteOverlay { .. }
        | Step::WriteFloor { .. }
        | Step::NoteContest { .. }
        | Step::ReplacePod { .. }
        | Step::RemoveOverlay
        | Step::RemoveRecord => Err(misplaced(step, &name)),
    }
}

async fn on_workload(job: &Job<'_>, id: &WorkloadId, step: &Step) -> Result<Done, Stop> {
    match step {
        Step::Record { spec } => record::write(job, id, spec).await,
        Step::RemoveRecord => record::remove(job, id).await,
        Step::WriteOverlay { overlay } => overlay::write(job, id, overlay).await,
        Step::RemoveOverlay => overlay::remove(job, id).await,
        Step::WriteFloor { field, from, to, manager } => {
            let change = floor::Change { field, from: *from, to: *to, manager: manager.as_deref() };
            floor::write(job, id, &change).await
        }
        Step::NoteContest { manager, value } => contest::note(job, id, manager, *value).await,
        Step::ReplacePod { pod } => pod::replace(job, pod).await,
        Step::Evict { pod, .. } => evict::evict(job, pod).await,
        Step::ProtectSale
        | Step::ReleaseSale
        | Step::ProtectPool
        | Step::ReleasePool
        | Step::Replay { .. }
        | Step::Launch { .. }
        | Step::Tidy { .. }
        | Step::RepairNode { .. }
        | Step::Cordon { .. }
        | Step::Uncordon { .. }
        | Step::Terminate { .. } => Err(misplaced(step, id)),
    }
}

/// A conflict, a missing object or a failed test say that the world has moved on; everything else is a failure.
fn stale_or_failed(error: CallError) -> Stop {
    if error.is_conflict() || error.is_gone() || error.is_failed_test() { Stop::Stale(error.to_string()) } else { Stop::Failed(error) }
}

/// What was to be removed is gone: done.
fn done_if_gone<T>(result: Result<T, CallError>) -> Result<Done, Stop> {
    match result {
        Ok(_) => Ok(Done::Yes),
        Err(error) if error.is_gone() => Ok(Done::Yes),
        Err(error) => Err(stale_or_failed(error)),
    }
}

/// A JSON Patch from its operations.
fn json_patch(operations: serde_json::Value) -> Result<kube::api::Patch<()>, Stop> {
    serde_json::from_value(operations).map(kube::api::Patch::Json).map_err(|e| Stop::Impossible(format!("no JSON Patch: {e}")))
}

fn as_manager(manager: &str) -> kube::api::PatchParams {
    kube::api::PatchParams { field_manager: Some(manager.to_owned()), ..Default::default() }
}

fn as_us() -> kube::api::PostParams {
    kube::api::PostParams { field_manager: Some(onsale_api::names::MANAGER.to_owned()), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_decision_is_looked_at_again_sooner_than_a_failure() {
        let stale = Stop::Stale(String::new());
        assert_eq!([1, 2, 3, 99].map(|n| stale.retry(n).as_millis()), [250, 500, 1_000, 4_000]);
        assert_eq!(Stop::Unanswered(CloudError::Throttled).retry(2).as_secs(), 4);
        assert_eq!(Stop::Impossible(String::new()).retry(1).as_secs(), 1);
    }
}
