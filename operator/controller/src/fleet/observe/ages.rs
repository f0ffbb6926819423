//! How old launches and instances are, although the wall clock may be set: what a process has watched grows old by its monotonic clock. An hour that the
//! clock jumps would otherwise end the time for which the ledger is believed, and the pool of an instance that was launched a moment ago would count as empty.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

/// A clock that drifts or is slewed moves less than this while anything is being launched; what is more is a jump.
pub const JUMP: SignedDuration = SignedDuration::from_secs(5);

/// Wall clock less monotonic clock as each thing was first seen, by its key.
type FirstSeen = BTreeMap<String, SignedDuration>;

/// What is kept between passes.
#[derive(Default)]
pub struct Ages(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    seen: FirstSeen,
    /// Of the newest pass.
    difference: SignedDuration,
}

/// One pass.
pub struct Pass {
    now: Timestamp,
    difference: SignedDuration,
    before: FirstSeen,
    after: FirstSeen,
}

/// Wall clock less monotonic clock: the same at any time, unless the wall clock is set.
#[must_use]
pub fn difference(now: Timestamp, monotonic: Duration) -> SignedDuration {
    let monotonic = SignedDuration::try_from(monotonic).unwrap_or_default();
    now.as_duration().saturating_sub(monotonic)
}

/// Key of the answer to a launch.
#[must_use]
pub fn answer_of(token: &str) -> String {
    format!("{token} answered")
}

impl Ages {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a pass, at an instant of both clocks.
    pub fn pass(&self, now: Timestamp, monotonic: Duration) -> Pass {
        let (mut kept, difference) = (self.lock(), difference(now, monotonic));
        kept.difference = difference;
        Pass { now, difference, before: std::mem::take(&mut kept.seen), after: FirstSeen::new() }
    }

    /// The newest pass gives something its instant: it has been seen, by the clock of that pass.
    pub fn stamped(&self, key: &str) {
        let mut kept = self.lock();
        let difference = kept.difference;
        kept.seen.insert(key.to_owned(), difference);
    }

    /// Ends it: what it did not ask for is forgotten.
    pub fn keep(&self, pass: Pass) {
        self.lock().seen = pass.after;
    }
}

impl Pass {
    /// When it began by the clock as it goes now: `at`, moved by as much as the clock was set since this was first seen.
    pub fn began(&mut self, key: &str, at: Timestamp) -> Timestamp {
        // Nothing begins in the future: by a clock that is behind it began as it was first seen.
        let early = at.duration_since(self.now).max(SignedDuration::ZERO);
        let first = self.before.get(key).copied().unwrap_or(self.difference.saturating_add(early));
        self.after.insert(key.to_owned(), first);
        let jump = self.difference.saturating_sub(first);
        if jump.abs() < JUMP { at } else { at.checked_add(SignedDuration::from_secs(jump.as_secs())).unwrap_or(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_watched_grows_old_by_the_monotonic_clock() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (ages, launched) = (Ages::default(), at("2026-12-05T17:00:00Z"));
        let see = |now: &str, monotonic: u64, key: &str| {
            let mut pass = ages.pass(at(now), Duration::from_secs(monotonic));
            let began = pass.began(key, launched);
            ages.keep(pass);
            at(now).duration_since(began).as_secs()
        };
        assert_eq!(see("2026-12-05T17:00:10Z", 100, "pool/1"), 10);
        assert_eq!(see("2026-12-05T17:00:21Z", 110, "pool/1"), 21, "drift is no jump");
        assert_eq!(see("2026-12-05T18:00:30Z", 120, "pool/1"), 30, "an hour ahead");
        assert_eq!(see("2026-12-05T16:00:40Z", 130, "pool/1"), 40, "an hour behind");
        assert_eq!(see("2026-12-05T18:00:40Z", 130, "pool/2"), 3_640, "what was not watched is as old as the clock says");
        assert_eq!(see("2026-12-05T16:00:50Z", 140, "pool/3"), 0, "nothing begins in the future");
        assert_eq!(see("2026-12-05T17:00:55Z", 145, "pool/3"), 5);
    }
}
