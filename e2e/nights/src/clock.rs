//! Virtual time: a fixed epoch plus tokio's clock, so that wall and monotonic time move together, and only when nobody has anything to do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use onsale_controller::Clock;
use tokio::time::Instant;

/// The clock of a simulation. Make it inside the runtime that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct SimClock {
    epoch: Timestamp,
    started: Instant,
}

impl SimClock {
    /// It is `epoch` now.
    #[must_use]
    pub fn new(epoch: Timestamp) -> Self {
        Self { epoch, started: Instant::now() }
    }

    /// When `at` is on tokio's clock; now, when that is past.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> Instant {
        let from_start = at.duration_since(self.epoch);
        let from_start = if from_start.is_negative() { Duration::ZERO } else { from_start.unsigned_abs() };
        self.started + from_start
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX);
        self.epoch.checked_add(passed).unwrap_or(Timestamp::MAX)
    }
    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The wall clock of the machine that controllers run on, which may be wrong. The rest of the world keeps the right time, and monotonic time goes on.
#[derive(Clone, Debug)]
pub struct Skewed {
    clock: SimClock,
    /// Seconds.
    ahead: Arc<AtomicI64>,
}

impl Skewed {
    /// A clock that is right.
    #[must_use]
    pub fn new(clock: SimClock) -> Self {
        Self { clock, ahead: Arc::default() }
    }

    /// From now on it is this many seconds ahead of the world; below 0: behind.
    pub fn set(&self, ahead: i64) {
        self.ahead.store(ahead, Ordering::Relaxed);
    }
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        let (now, ahead) = (self.clock.now(), SignedDuration::from_secs(self.ahead.load(Ordering::Relaxed)));
        now.checked_add(ahead).unwrap_or(now)
    }
    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}
