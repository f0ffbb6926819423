//! When the next pass is: at an exact instant, or as soon as something happens, a burst of events making one pass.
//!
//! Timers run on tokio's clock, so a paused runtime turns nights in milliseconds.

use std::{convert::Infallible, time::Duration};

use futures::FutureExt;
use jiff::Timestamp;
use onsale_planner::plan::Waiting;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use super::observe::ages;
use crate::clock::Clock;

/// An eviction that a budget refuses is tried again after this time: a replacement needs a few seconds to be Ready, and its event comes sooner.
pub const BLOCKED: Duration = Duration::from_secs(5);
/// A change that is due now, or was, is looked at again after this time: it may wait for an event, and must not turn the loop hot.
const OVERDUE: Duration = Duration::from_secs(1);
/// How often it is looked whether the wall clock was set.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(10);
/// Longest pause after failures in a row.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When the next pass is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    /// After this time at the latest.
    pub at_most: Duration,
    /// Sooner, when something happens.
    pub heed_triggers: bool,
}

/// How long a chain that failed rests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    /// Failures in a row.
    pub failures: i32,
    /// Monotonic time of the next try.
    pub until: Duration,
    /// What it failed with, which holds until it is tried again.
    pub why: Option<Waiting>,
}

impl Backoff {
    /// One more failure.
    pub fn fail(&mut self, until: Duration, why: Option<Waiting>) {
        self.failures = self.failures.saturating_add(1);
        (self.until, self.why) = (until, why);
    }
}

/// Pause after `failures` in a row: doubling from a second, at most a minute.
#[must_use]
pub fn pause(failures: i32) -> Duration {
    let doublings = u32::try_from(failures.clamp(1, 8) - 1).unwrap_or_default();
    Duration::from_secs(1 << doublings).min(LONGEST_PAUSE)
}

/// From now to an instant.
#[must_use]
pub fn until(at: Timestamp, now: Timestamp) -> Duration {
    let left = at.duration_since(now);
    if left.is_positive() { left.unsigned_abs() } else { OVERDUE }
}

/// Waits: for a trigger and then a moment longer for what comes with it, or until the time is over.
pub async fn wait(trigger: &Notify, wake: &Wake, coalesce: Duration) {
    let end = Instant::now() + wake.at_most;
    if !wake.heed_triggers {
        return sleep_until(end).await;
    }
    if timeout_at(end, trigger.notified()).await.is_ok() {
        sleep_until(end.min(Instant::now() + coalesce)).await;
        // What arrived meanwhile is seen by the pass that starts now.
        let _ = trigger.notified().now_or_never();
    }
}

/// Wakes the loop when the wall clock was set, forward or back: what it waits for is due at another time then.
pub async fn on_clock_steps(clock: &dyn Clock, trigger: &Notify) -> Infallible {
    let read = || ages::difference(clock.now(), clock.monotonic());
    let mut before = read();
    loop {
        sleep_until(Instant::now() + LOOK_AT_CLOCK).await;
        let step = read().saturating_sub(before);
        if step.abs() >= ages::JUMP {
            tracing::warn!(seconds = step.as_secs(), "the wall clock was set; everything is decided anew");
            trigger.notify_one();
        }
        before = read();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        assert_eq!([1, 2, 4, 7, 99].map(|n| pause(n).as_secs()), [1, 2, 8, 60, 60]);
    }

    #[test]
    fn an_overdue_change_does_not_turn_the_loop_hot() {
        let now: Timestamp = "2026-12-05T10:00:00Z".parse().unwrap();
        assert_eq!(until(now + Duration::from_millis(1_500), now), Duration::from_millis(1_500));
        assert_eq!(until(now, now), OVERDUE);
    }
}
