//! The one clock. Pure code takes `now`; only the loop asks, once per pass.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Wall clock and monotonic clock.
pub trait Clock: Send + Sync {
    /// The instant now, by the wall clock.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment, never going back: for intervals.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    #[must_use]
    pub fn new() -> Self {
        Self { started: instant() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn monotonic(&self) -> Duration {
        instant().duration_since(self.started)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
fn instant() -> Instant {
    Instant::now()
}
