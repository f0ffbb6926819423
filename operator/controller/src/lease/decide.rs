//! What to do about the lease now, as a pure function: every race is a unit test.
//!
//! No clock of another machine is ever read: a lease has expired when *we* have watched it stay unchanged for a full
//! duration by our own monotonic clock. `renewTime` is for people.

use std::time::Duration;

use tokio::time::Instant;

use super::{LeaseConfig, Loss};

/// What matters of a Lease that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Its resourceVersion: whoever renews it changes it.
    pub version: String,
    /// Who holds it; `None` when it was released.
    pub holder: Option<String>,
    /// For how long the holder claims it.
    pub duration: Duration,
}

/// The lease as we last saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// `None`: there is no such object.
    pub record: Option<Record>,
    /// When we first saw it in this version.
    pub since: Instant,
}

impl Seen {
    /// What we know after another read, at `now`.
    pub fn next(before: Option<Self>, record: Option<Record>, now: Instant) -> Self {
        match before {
            Some(before) if before.record == record => before,
            _ => Self { record, since: now },
        }
    }
}

/// What we are, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Waiting for the lease.
    Candidate,
    /// Holding it.
    Leader {
        /// When the last write that succeeded was *begun*: the lease can expire no earlier than a duration after that.
        renewed_at: Instant,
        /// When to write again.
        next: Instant,
    },
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Create the lease, held by us.
    Create,
    /// Write ourselves into it as a new holder.
    Take,
    /// Write it again as its holder.
    Renew,
    /// Nothing until then.
    Wait(Instant),
    /// Stop all work.
    Lost(Loss),
}

/// What to do at `now`, given what was seen and what we are.
pub(super) fn decide(seen: &Seen, role: Role, now: Instant, config: &LeaseConfig) -> Decision {
    match role {
        Role::Candidate => campaign(seen, now, config),
        Role::Leader { renewed_at, next } => hold(seen, renewed_at, next, now, config),
    }
}

fn campaign(seen: &Seen, now: Instant, config: &LeaseConfig) -> Decision {
    let Some(record) = &seen.record else { return Decision::Create };
    // Our own name: an earlier container of this pod, which is dead. Waiting would only cost time on the night.
    let Some(_) = record.holder.as_ref().filter(|holder| **holder != config.identity) else { return Decision::Take };
    // The holder counts with its own duration, we with ours: between two versions of the settings the longer one is safe.
    let expires = seen.since + record.duration.max(config.duration);
    if now >= expires { Decision::Take } else { Decision::Wait(expires.min(now + config.retry)) }
}

fn hold(seen: &Seen, renewed_at: Instant, next: Instant, now: Instant, config: &LeaseConfig) -> Decision {
    let deadline = renewed_at + config.renew_deadline;
    if now >= deadline {
        return Decision::Lost(Loss::NotRenewed);
    }
    match &seen.record {
        // Somebody deleted it. As long as nobody else has made a new one, it is ours.
        None => Decision::Create,
        Some(record) if record.holder.as_ref() != Some(&config.identity) => {
            Decision::Lost(Loss::Taken { holder: record.holder.clone().unwrap_or_default() })
        }
        Some(_) if now < next => Decision::Wait(next.min(deadline)),
        Some(_) => Decision::Renew,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn config() -> LeaseConfig {
        LeaseConfig::new("onsale-system", "onsale-operator", "pod-a")
    }

    fn held_by(holder: Option<&str>, version: &str) -> Option<Record> {
        Some(Record { version: version.into(), holder: holder.map(Into::into), duration: 15 * SECOND })
    }

    fn seen(record: Option<Record>, since: Instant) -> Seen {
        Seen { record, since }
    }

    #[test]
    fn creates_a_lease_that_does_not_exist_and_takes_one_that_was_released() {
        let now = Instant::now();
        assert_eq!(decide(&seen(None, now), Role::Candidate, now, &config()), Decision::Create);
        assert_eq!(decide(&seen(held_by(None, "1"), now), Role::Candidate, now, &config()), Decision::Take);
        assert_eq!(decide(&seen(held_by(Some("pod-a"), "1"), now), Role::Candidate, now, &config()), Decision::Take);
    }

    #[test]
    fn takes_over_only_after_a_full_duration_without_a_change_by_our_own_clock() {
        let start = Instant::now();
        let other = seen(held_by(Some("pod-b"), "1"), start);
        for (after, expected) in [
            (Duration::ZERO, Decision::Wait(start + 2 * SECOND)),
            (14 * SECOND, Decision::Wait(start + 15 * SECOND)),
            (15 * SECOND - Duration::from_nanos(1), Decision::Wait(start + 15 * SECOND)),
            (15 * SECOND, Decision::Take),
        ] {
            assert_eq!(decide(&other, Role::Candidate, start + after, &config()), expected, "after {after:?}");
        }
    }

    #[test]
    fn every_renewal_that_is_seen_starts_the_wait_again_and_an_unchanged_read_does_not() {
        let start = Instant::now();
        let first = Seen::next(None, held_by(Some("pod-b"), "1"), start);
        let same = Seen::next(Some(first.clone()), held_by(Some("pod-b"), "1"), start + 10 * SECOND);
        assert_eq!(same, first);
        let renewed = Seen::next(Some(same), held_by(Some("pod-b"), "2"), start + 14 * SECOND);
        assert_eq!(decide(&renewed, Role::Candidate, start + 28 * SECOND, &config()), Decision::Wait(start + 29 * SECOND));
        assert_eq!(decide(&renewed, Role::Candidate, start + 29 * SECOND, &config()), Decision::Take);
    }

    #[test]
    fn waits_for_the_longer_of_two_durations_while_settings_differ() {
        let start = Instant::now();
        let mut record = held_by(Some("pod-b"), "1");
        record.as_mut().unwrap().duration = 60 * SECOND;
        assert_eq!(
            decide(&seen(record.clone(), start), Role::Candidate, start + 59 * SECOND, &config()),
            Decision::Wait(start + 60 * SECOND)
        );
        record.as_mut().unwrap().duration = Duration::ZERO;
        assert_eq!(decide(&seen(record, start), Role::Candidate, start + 14 * SECOND, &config()), Decision::Wait(start + 15 * SECOND));
    }

    #[test]
    fn a_leader_renews_every_retry_and_is_lost_at_the_deadline_or_to_another_holder() {
        let start = Instant::now();
        let role = Role::Leader { renewed_at: start, next: start + 2 * SECOND };
        let ours = seen(held_by(Some("pod-a"), "7"), start);
        assert_eq!(decide(&ours, role, start + SECOND, &config()), Decision::Wait(start + 2 * SECOND));
        assert_eq!(decide(&ours, role, start + 2 * SECOND, &config()), Decision::Renew);
        assert_eq!(decide(&ours, role, start + 10 * SECOND, &config()), Decision::Lost(Loss::NotRenewed));
        let late = Role::Leader { renewed_at: start, next: start + 11 * SECOND };
        assert_eq!(decide(&ours, late, start + 9 * SECOND, &config()), Decision::Wait(start + 10 * SECOND));
        let taken = seen(held_by(Some("pod-b"), "8"), start);
        assert_eq!(decide(&taken, role, start + SECOND, &config()), Decision::Lost(Loss::Taken { holder: "pod-b".into() }));
        let released = seen(held_by(None, "8"), start);
        assert_eq!(decide(&released, role, start + SECOND, &config()), Decision::Lost(Loss::Taken { holder: String::new() }));
        assert_eq!(decide(&seen(None, start), role, start + SECOND, &config()), Decision::Create);
    }

    #[test]
    fn the_old_leader_has_stopped_before_anyone_may_take_over() {
        // The follower saw the last renewal no earlier than it was begun, so its wait ends after the leader's deadline.
        let begun = Instant::now();
        let follower = seen(held_by(Some("pod-a"), "7"), begun);
        let mut other = config();
        other.identity = "pod-b".into();
        let leader = Role::Leader { renewed_at: begun, next: begun };
        for millis in (0..16_000).step_by(100) {
            let now = begun + Duration::from_millis(millis);
            let stopped = matches!(decide(&follower, leader, now, &config()), Decision::Lost(_));
            let takes = decide(&follower, Role::Candidate, now, &other) == Decision::Take;
            assert!(stopped || !takes, "two leaders at {millis} ms");
        }
    }
}
