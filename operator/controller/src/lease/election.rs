//! Reads and writes the Lease as `decide` says. Every request has a timeout; every write carries the version that was read.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    LeaseConfig, Loss, Standing,
    decide::{Decision, Record, Role, Seen, decide},
};
use crate::clock::Clock;

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{}", brief(.0))]
    Api(#[source] Box<kube::Error>),
    #[error("the API server did not answer in time")]
    Timeout,
}

/// The sentence of an answer without the whole of it.
fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}

impl Error {
    /// Somebody else wrote, created or deleted it first: read again and decide anew.
    fn is_race(&self) -> bool {
        let Self::Api(error) = self else { return false };
        matches!(&**error, kube::Error::Api(s) if s.is_conflict() || s.is_already_exists() || s.is_not_found())
    }
}

/// One process's view of the lease.
#[derive(Clone)]
pub(super) struct Election {
    api: Api<Lease>,
    config: LeaseConfig,
    clock: Arc<dyn Clock>,
    seen: Option<Seen>,
    /// The object as last read or written: what we do not know is written back as it was.
    lease: Option<Lease>,
}

impl Election {
    pub fn new(client: Client, config: LeaseConfig, clock: Arc<dyn Clock>) -> Self {
        Self { api: Api::namespaced(client, &config.namespace), config, clock, seen: None, lease: None }
    }

    pub fn config(&self) -> &LeaseConfig {
        &self.config
    }

    /// Tries until we hold the lease; returns when the write that won it was begun.
    pub async fn win(&mut self) -> Instant {
        loop {
            let begun = Instant::now();
            match self.campaign().await {
                Ok(Decision::Wait(until)) => {
                    self.config.standing.send_replace(Standing::Waiting);
                    sleep_until(until).await;
                }
                Ok(_) => return begun,
                Err(error) => {
                    self.config.standing.send_replace(Standing::Unknown);
                    tracing::warn!(lease = %self.config.name, %error, "could not read or take the lease; trying again");
                    sleep_until(begun + self.config.retry).await;
                }
            }
        }
    }

    async fn campaign(&mut self) -> Result<Decision, Error> {
        let limit = Instant::now() + self.config.request_timeout();
        let seen = self.read(limit).await?;
        let decision = decide(&seen, Role::Candidate, Instant::now(), &self.config);
        match decision {
            Decision::Create | Decision::Take | Decision::Renew => self.write(&decision, limit).await?,
            Decision::Wait(_) | Decision::Lost(_) => {}
        }
        Ok(decision)
    }

    /// Renews until that is no longer possible, telling `report` when each write that succeeded was begun.
    pub async fn keep(mut self, report: watch::Sender<Instant>) -> Loss {
        let mut renewed_at = *report.borrow();
        let mut next = renewed_at + self.config.retry;
        loop {
            let Some(seen) = self.seen.clone() else { return Loss::Broken };
            let deadline = renewed_at + self.config.renew_deadline;
            let begun = Instant::now();
            let limit = deadline.min(begun + self.config.request_timeout());
            let decision = decide(&seen, Role::Leader { renewed_at, next }, begun, &self.config);
            match &decision {
                Decision::Lost(loss) => return loss.clone(),
                Decision::Wait(until) => sleep_until(*until).await,
                Decision::Create | Decision::Take | Decision::Renew => match self.write(&decision, limit).await {
                    Ok(()) => {
                        renewed_at = begun;
                        next = begun + self.config.retry;
                        report.send_replace(begun);
                    }
                    Err(error) => {
                        tracing::warn!(lease = %self.config.name, %error, "could not renew the lease; trying again");
                        let pause = self.after(&error, limit).await;
                        sleep_until(deadline.min(begun + pause)).await;
                    }
                },
            }
        }
    }

    /// After a renewal that failed: how long to wait before the next.
    async fn after(&mut self, error: &Error, limit: Instant) -> Duration {
        // Who wrote it? Perhaps ourselves, in a request whose answer was lost: then the next try, at once, renews it.
        if error.is_race() && self.read(limit).await.is_ok() { self.config.retry / 10 } else { self.config.retry }
    }

    /// Empties the lease if it is ours, so that the next leader need not wait for it to expire. Best effort.
    pub async fn release(&mut self) {
        // Twice: a renewal that was on its way when it was cut off may come between the read and the write.
        for _ in 0..2 {
            match self.try_release().await {
                Ok(()) => return,
                Err(error) if error.is_race() => {}
                Err(error) => {
                    tracing::warn!(lease = %self.config.name, %error, "could not release the lease; it expires by itself");
                    return;
                }
            }
        }
    }

    async fn try_release(&mut self) -> Result<(), Error> {
        let limit = Instant::now() + self.config.retry;
        let seen = self.read(limit).await?;
        if seen.record.is_none_or(|r| r.holder.as_ref() != Some(&self.config.identity)) {
            return Ok(());
        }
        let mut lease = self.lease.clone().unwrap_or_default();
        let now = self.clock.now();
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.renew_time = Some(micros(now));
        self.replace(lease, limit).await
    }

    async fn read(&mut self, limit: Instant) -> Result<Seen, Error> {
        let lease = request(self.api.get_opt(&self.config.name), limit).await?;
        Ok(self.note(lease))
    }

    async fn write(&mut self, decision: &Decision, limit: Instant) -> Result<(), Error> {
        let mut lease = self.lease.clone().unwrap_or_default();
        let create = *decision == Decision::Create;
        if create {
            lease = Lease { metadata: ObjectMeta { name: Some(self.config.name.clone()), ..ObjectMeta::default() }, spec: None };
        }
        let now = micros(self.clock.now());
        let spec = lease.spec.get_or_insert_default();
        if *decision != Decision::Renew {
            claim(spec, &self.config.identity, &now);
        }
        spec.lease_duration_seconds = Some(i32::try_from(self.config.duration.as_secs()).unwrap_or(i32::MAX));
        spec.renew_time = Some(now);
        if !create {
            return self.replace(lease, limit).await;
        }
        let lease = request(self.api.create(&PostParams::default(), &lease), limit).await?;
        self.note(Some(lease));
        Ok(())
    }

    async fn replace(&mut self, lease: Lease, limit: Instant) -> Result<(), Error> {
        let lease = request(self.api.replace(&self.config.name, &PostParams::default(), &lease), limit).await?;
        self.note(Some(lease));
        Ok(())
    }

    fn note(&mut self, lease: Option<Lease>) -> Seen {
        let seen = Seen::next(self.seen.take(), lease.as_ref().map(record), Instant::now());
        (self.seen, self.lease) = (Some(seen.clone()), lease);
        seen
    }
}

/// Makes `identity` the holder.
fn claim(spec: &mut LeaseSpec, identity: &str, now: &MicroTime) {
    if spec.holder_identity.as_deref() != Some(identity) {
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
    }
    spec.holder_identity = Some(identity.to_owned());
    spec.acquire_time = Some(now.clone());
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    Record {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.and_then(|s| s.holder_identity.clone()).filter(|h| !h.is_empty()),
        duration: Duration::from_secs(spec.and_then(|s| s.lease_duration_seconds).and_then(|n| u64::try_from(n).ok()).unwrap_or(0)),
    }
}

/// The server keeps microseconds and refuses more.
fn micros(now: Timestamp) -> MicroTime {
    MicroTime(Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now))
}

async fn request<T>(call: impl Future<Output = kube::Result<T>>, limit: Instant) -> Result<T, Error> {
    match timeout_at(limit, call).await {
        Ok(answer) => answer.map_err(|e| Error::Api(Box::new(e))),
        Err(_) => Err(Error::Timeout),
    }
}
