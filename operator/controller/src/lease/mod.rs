//! Leader election on a `coordination.k8s.io` Lease.
//!
//! - [`lead`]: waits for the lease, runs the work while it is held, drops the work the moment it is not
//! - [`LeaseConfig`]: name, identity and timing; [`Standing`]: how it stands; [`Ended`], [`Loss`]: how it ended
//! - `decide`: the pure part; `election`: reading and writing the Lease
//!
//! A lease is not a fence: a request that is already on its way still arrives. Two leaders for a moment are harmless
//! because of the launch ledger; this module only makes the moment short and rare. Ours rather than a crate,
//! because the one that fits our kube trusts the clocks of other machines and none runs in virtual time.

mod decide;
mod election;
#[cfg(test)]
mod tests;

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use kube::Client;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use crate::clock::Clock;
use election::Election;

/// Which lease, as whom, and how fast.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// Namespace of the Lease: the operator's own.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who we are: the name of our pod. Two processes must never share one.
    pub identity: String,
    /// For how long a holder that fell silent keeps the lease. Default 15 s.
    pub duration: Duration,
    /// A leader that could not renew for this long stops all work; below `duration`, so that it has stopped when
    /// another takes over. Default 10 s.
    pub renew_deadline: Duration,
    /// Time between two tries. Default 2 s.
    pub retry: Duration,
    /// Where the election tells how it stands, for probes.
    pub standing: watch::Sender<Standing>,
}

/// How the election stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// The lease was not read yet, or cannot be read now.
    #[default]
    Unknown,
    /// Somebody else holds the lease and we could take over.
    Waiting,
    /// We hold it.
    Leading,
}

impl LeaseConfig {
    /// With the timing that the Kubernetes components use.
    #[must_use]
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            standing: watch::Sender::default(),
        }
    }

    /// Whether one leader at a time follows from these settings.
    ///
    /// # Errors
    /// A sentence that names the two settings that contradict each other.
    pub fn check(&self) -> Result<(), String> {
        if self.retry.is_zero() {
            return Err("the lease retry period must be longer than 0".into());
        }
        // Two tries must fit, or one lost packet ends a leadership.
        if self.renew_deadline < 2 * self.retry {
            return Err(format!(
                "the lease renew deadline ({:?}) must be at least twice the retry period ({:?})",
                self.renew_deadline, self.retry
            ));
        }
        // The difference is the time that work has to stop.
        if self.duration <= self.renew_deadline {
            return Err(format!(
                "the lease duration ({:?}) must be longer than the renew deadline ({:?})",
                self.duration, self.renew_deadline
            ));
        }
        // The Lease holds whole seconds; others would wait for less than we count on.
        if self.duration.subsec_nanos() != 0 {
            return Err(format!("the lease duration ({:?}) must be whole seconds", self.duration));
        }
        Ok(())
    }

    /// Longest time that one request may take: three fit before the deadline, so that two lost answers cost nothing, and a
    /// server that needs 3 s for a write is slow enough.
    fn request_timeout(&self) -> Duration {
        self.renew_deadline / 3
    }
}

/// How a leadership was lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// The lease could not be renewed in time; somebody else may hold it soon.
    #[error("the lease could not be renewed before its deadline")]
    NotRenewed,
    /// Somebody else holds it; empty: somebody emptied it.
    #[error("the lease is held by {holder:?}")]
    Taken {
        /// Who.
        holder: String,
    },
    /// The task that renews it ended, which only a fault in this program explains.
    #[error("the task that renews the lease ended unexpectedly")]
    Broken,
}

/// How [`lead`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended<T> {
    /// The work returned; the lease is released.
    Done(T),
    /// We were asked to stop; the work is dropped and the lease released.
    Stopped,
    /// The lease was lost and the work dropped. What it spawned must have died with it, so leave the process.
    Lost(Loss),
}

/// Waits for the lease, then runs `work` while it is held.
///
/// The work is dropped when the lease is lost or `stop` completes; it is never polled after the renew deadline, even if this
/// machine slept. What it spawns must end with it (a `JoinSet` does). The lease is renewed by a task of its own, so long
/// computations in `work` do not cost it, and released at the end, so that the next leader does not wait for it to expire.
pub async fn lead<W, F>(
    client: Client,
    config: &LeaseConfig,
    clock: Arc<dyn Clock>,
    stop: impl Future<Output = ()>,
    work: W,
) -> Ended<F::Output>
where
    W: FnOnce() -> F,
    F: Future,
{
    let mut stop = pin!(stop);
    let mut election = Election::new(client, config.clone(), clock);
    let won = tokio::select! {
        biased;
        () = &mut stop => None,
        renewed_at = election.win() => Some(renewed_at),
    };
    let Some(renewed_at) = won else {
        // The try that was cut off may have succeeded.
        election.release().await;
        return Ended::Stopped;
    };
    tracing::info!(lease = %config.name, identity = %config.identity, "leading");
    config.standing.send_replace(Standing::Leading);
    let ended = tokio::select! {
        biased;
        ended = while_held(election.clone(), renewed_at, work()) => ended,
        () = stop => Ended::Stopped,
    };
    config.standing.send_replace(Standing::Unknown);
    match &ended {
        Ended::Lost(loss) => tracing::error!(lease = %config.name, %loss, "no longer leading"),
        Ended::Done(_) | Ended::Stopped => election.release().await,
    }
    ended
}

/// Runs `work` while a task beside it renews the lease.
async fn while_held<F: Future>(election: Election, renewed_at: Instant, work: F) -> Ended<F::Output> {
    let deadline = election.config().renew_deadline;
    let (report, renewed) = watch::channel(renewed_at);
    let mut keeper = JoinSet::new(); // aborts its task when dropped
    keeper.spawn(election.keep(report));
    let mut work = pin!(work);
    poll_fn(|cx| {
        // Asked of the clock, not of a timer: after a suspension timers fire late, and work must not go on meanwhile.
        if Instant::now() >= *renewed.borrow() + deadline {
            return Poll::Ready(Ended::Lost(Loss::NotRenewed));
        }
        if let Poll::Ready(end) = keeper.poll_join_next(cx) {
            return Poll::Ready(Ended::Lost(end.and_then(Result::ok).unwrap_or(Loss::Broken)));
        }
        work.as_mut().poll(cx).map(Ended::Done)
    })
    .await
}
