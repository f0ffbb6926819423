//! Handles that outlive the loop: whoever serves probes and metrics holds them too, in the leader and in those that wait.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::metrics::Metrics;

/// Metrics and health; clones share them.
#[derive(Clone, Default)]
pub struct Telemetry {
    /// What Prometheus reads.
    pub metrics: Arc<Metrics>,
    /// What probes ask.
    pub health: Health,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

/// Whether the loop turns and sees; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Milliseconds of the monotonic clock at the end of the last pass, plus one; 0: the loop does not run here.
    beat: AtomicU64,
    synced: AtomicBool,
}

impl Health {
    /// The loop has finished a pass, or waits on purpose.
    pub fn beat(&self, monotonic: Duration) {
        let millis = u64::try_from(monotonic.as_millis()).unwrap_or(u64::MAX - 1);
        self.0.beat.store(millis + 1, Ordering::Relaxed);
    }
    /// The loop runs here no longer: not the leader any more.
    pub fn stop(&self) {
        self.0.beat.store(0, Ordering::Relaxed);
        self.0.synced.store(false, Ordering::Relaxed);
    }
    /// Every watch that decides something has listed once.
    pub fn set_synced(&self, synced: bool) {
        self.0.synced.store(synced, Ordering::Relaxed);
    }
    /// Alive: the loop does not run here, or its last beat is younger than `limit`. The resync (5 min) is the longest honest silence.
    #[must_use]
    pub fn alive(&self, monotonic: Duration, limit: Duration) -> bool {
        match self.0.beat.load(Ordering::Relaxed) {
            0 => true,
            beat => monotonic.saturating_sub(Duration::from_millis(beat - 1)) < limit,
        }
    }
    /// The loop runs here and every watch that decides something has listed.
    #[must_use]
    pub fn synced(&self) -> bool {
        self.0.synced.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_waits_for_the_lease_is_alive_and_a_stuck_loop_is_not() {
        let (health, limit) = (Health::default(), Duration::from_secs(600));
        assert!(health.alive(Duration::from_secs(9_999), limit));
        health.beat(Duration::from_secs(10));
        assert!(health.alive(Duration::from_secs(600), limit));
        assert!(!health.alive(Duration::from_secs(611), limit));
        health.stop();
        assert!(health.alive(Duration::from_secs(611), limit));
    }
}
