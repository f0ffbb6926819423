//! The launch ledger and the shortfalls in a pool's status: written under the resourceVersion that was read, and by nobody else.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, core::DeserializeGuard};
use onsale_api::{CapacityPool, CapacityPoolStatus, Reason, pool::Shortfall, time::whole_seconds};
use onsale_cloud::CloudError;
use onsale_planner::snapshot::Pool;

use super::{Done, Job, Stop, as_us, stale_or_failed};
use crate::context::CallError;

/// The schema's bound on shortfalls.
const MOST_SHORTFALLS: usize = 64;
/// A change that loses this many races in a row is left to the next pass.
const RACES: usize = 4;

fn api(job: &Job<'_>) -> Api<CapacityPool> {
    Api::all(job.context.client.clone())
}

/// The pool as the API server has it now, if it is still the one that was seen.
pub async fn fresh(job: &Job<'_>, pool: &Pool) -> Result<CapacityPool, Stop> {
    let object = job.context.call(format!("read CapacityPool {}", pool.name), api(job).get(&pool.name)).await.map_err(stale_or_failed)?;
    if object.metadata.uid.as_deref() == Some(pool.uid.as_str()) {
        Ok(object)
    } else {
        Err(Stop::Stale(format!("CapacityPool {} was made anew", pool.name)))
    }
}

/// Replaces the status under the object's resourceVersion.
pub async fn store(job: &Job<'_>, object: &CapacityPool) -> Result<(), CallError> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let written =
        job.context.call(format!("write the status of CapacityPool {name}"), api(job).replace_status(name, &as_us(), object)).await?;
    job.world.pools.written(DeserializeGuard(Ok(written)));
    Ok(())
}

/// Reads, changes and writes the status, again where somebody was faster. `change` returns whether anything is to be written.
pub async fn change(job: &Job<'_>, pool: &Pool, change: impl Fn(&mut CapacityPoolStatus) -> bool) -> Result<(), Stop> {
    let mut races = 0;
    loop {
        let mut object = fresh(job, pool).await?;
        if !change(object.status.get_or_insert_default()) {
            return Ok(());
        }
        match store(job, &object).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_conflict() && races < RACES => races += 1,
            Err(error) => return Err(stale_or_failed(error)),
        }
    }
}

/// Drops resolved entries, and shortfalls that are over.
pub async fn tidy(job: &Job<'_>, pool: &Pool, sequences: &[i64], shortfalls: bool) -> Result<Done, Stop> {
    change(job, pool, |status| {
        let before = (status.launches.len(), status.shortfalls.len());
        status.launches.retain(|entry| !entry.resolved || !sequences.contains(&entry.sequence));
        if shortfalls {
            status.shortfalls.clear();
        }
        before != (status.launches.len(), status.shortfalls.len())
    })
    .await?;
    Ok(Done::Yes)
}

/// What the pool could not give, in brief.
pub struct Lack<'a> {
    /// Instance type, or `*`.
    pub instance_type: &'a str,
    /// Subnet, where only that one lacks it.
    pub subnet: Option<&'a str>,
    /// Why.
    pub reason: Reason,
    /// A sentence.
    pub message: String,
}

/// Notes that the pool is short, or still is: the next try is later each time, by the class of the error.
pub fn note_shortfall(status: &mut CapacityPoolStatus, lack: &Lack<'_>, error: &CloudError, now: Timestamp) {
    let same = |s: &Shortfall| s.instance_type == lack.instance_type && s.subnet.as_deref() == lack.subnet;
    let old = status.shortfalls.iter().position(same).map(|i| status.shortfalls.remove(i));
    let attempts = old.map_or(1, |s| s.attempts.saturating_add(1));
    if status.shortfalls.len() >= MOST_SHORTFALLS {
        status.shortfalls.remove(0);
    }
    status.shortfalls.push(Shortfall {
        instance_type: lack.instance_type.to_owned(),
        subnet: lack.subnet.map(str::to_owned),
        reason: lack.reason,
        message: lack.message.chars().take(1024).collect(),
        at: Time(whole_seconds(now)),
        attempts,
        retry_at: Time(whole_seconds(now + error.retry(attempts))),
    });
}

/// The type can be had again, and the subnet has room.
pub fn end_shortfall(status: &mut CapacityPoolStatus, instance_type: &str, subnet: &str) {
    status.shortfalls.retain(|s| s.subnet.as_deref().map_or(s.instance_type != instance_type, |full| full != subnet));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortfall_that_is_met_again_waits_longer_and_ends_with_a_success() {
        let (mut status, now) = (CapacityPoolStatus::default(), "2026-12-05T10:00:00Z".parse().unwrap());
        let error = CloudError::InsufficientCapacity { instance_type: "c6i.large".into(), place: "subnet-0a1b2c".into() };
        let lack = Lack { instance_type: "c6i.large", subnet: None, reason: error.reason(), message: error.to_string() };
        note_shortfall(&mut status, &lack, &error, now);
        note_shortfall(&mut status, &lack, &error, now);
        assert_eq!((status.shortfalls.len(), status.shortfalls[0].attempts), (1, 2));
        assert_eq!(status.shortfalls[0].retry_at.0.duration_since(now).as_secs(), 360);
        let full = Lack { instance_type: "*", subnet: Some("subnet-0a1b2c"), ..lack };
        note_shortfall(&mut status, &full, &error, now);
        end_shortfall(&mut status, "c6i.large", "subnet-0other");
        assert_eq!(status.shortfalls.iter().map(|s| s.subnet.as_deref()).collect::<Vec<_>>(), [full.subnet]);
        end_shortfall(&mut status, "m6i.large", "subnet-0a1b2c");
        assert!(status.shortfalls.is_empty());
    }
}
