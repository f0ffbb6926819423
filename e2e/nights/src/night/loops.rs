//! The same night from every write on, and with a fault at every write.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use jiff::Timestamp;

use super::{Stage, play};
use crate::sim::{Fate, Inner, Oracle, Shot};

/// A night to play again and again.
pub struct Script<'a> {
    /// How it begins.
    pub start: Inner,
    /// It has failed when it is not over then.
    pub last: Timestamp,
    /// It is over.
    pub over: &'a (dyn Fn(&Inner) -> bool + Sync),
    /// What is wrong with how it ended.
    pub faults: &'a (dyn Fn(&Inner) -> Vec<String> + Sync),
}

/// What became of many nights.
#[derive(Debug, Default)]
pub struct Report {
    /// How many were played.
    pub cases: usize,
    /// Those that went wrong: what was done to them, what was wrong, what the controllers did.
    pub failures: Vec<String>,
}

impl Report {
    /// # Panics
    /// When a night went wrong; shows the first ones.
    pub fn assert_all_well(&self) {
        let first: Vec<&String> = self.failures.iter().take(3).collect();
        let labels: Vec<&str> = self.failures.iter().filter_map(|f| f.lines().next()).collect();
        assert!(first.is_empty(), "{} of {} nights went wrong:\n{}\n\n{first:#?}", labels.len(), self.cases, labels.join("\n"));
    }
}

impl Script<'_> {
    async fn finish(&self, stage: &mut Stage) -> Inner {
        let over = stage.run_while_not(self.last, self.over).await;
        // What is over stays so: what a late pass spoils is found.
        stage.run_for(std::time::Duration::from_secs(3)).await;
        let mut state = stage.state();
        if !over {
            state.broken.push(format!("not over at {}", self.last));
        }
        state
    }

    fn judge(&self, label: &str, state: &Inner) -> Option<String> {
        let faults = (self.faults)(state);
        (!faults.is_empty()).then(|| format!("{label}: {}\n{}", faults.join("; "), state.journal.text()))
    }

    /// Plays it once, undisturbed; returns how it ended and the states around every write.
    #[must_use]
    pub fn undisturbed(&self) -> (Inner, Vec<Shot>) {
        play(self.start.clone(), async |stage| {
            stage.sim.take_shots();
            stage.start();
            let state = self.finish(stage).await;
            (state, stage.sim.shots())
        })
    }

    /// From the state just before and just after every write, or of every n-th such state, as if the process had died there: a fresh one goes on.
    /// Where nothing happened between one write and the next, after the one and before the other are one case.
    #[must_use]
    pub fn restarted_at_every_write(&self, every: usize) -> Report {
        let mut shots = self.undisturbed().1;
        shots.dedup_by_key(|shot| (shot.inner.store.version(), shot.inner.journal.lines.len()));
        let shots: Vec<Shot> = shots.into_iter().step_by(every).collect();
        report(shots.len(), |i| {
            let state = play(shots[i].inner.clone(), async |stage| {
                stage.start();
                self.finish(stage).await
            });
            self.judge(&format!("died {}", shots[i].label), &state)
        })
    }

    /// Once for each of `steps` offsets: write number offset and every `steps`-th after it meets the fate, but never the same write twice in a row, so
    /// that each fails once and not for ever. Together these nights meet every write.
    #[must_use]
    pub fn with_every_write_met(&self, fate: Fate, steps: usize) -> Report {
        report(steps, |offset| {
            let state = play(self.start.clone(), async |stage| {
                stage.sim.set_oracle(once(fate, offset, steps));
                stage.start();
                self.finish(stage).await
            });
            self.judge(&format!("{fate:?} from write {offset} on, every {steps}"), &state)
        })
    }
}

fn once(fate: Fate, offset: usize, steps: usize) -> Oracle {
    let (mut due, mut hurt) = (offset, BTreeSet::new());
    Box::new(move |number, what| {
        if number < due || !hurt.insert(what.clone()) {
            hurt.remove(what);
            return Fate::Happen;
        }
        due = number + steps;
        fate
    })
}

/// Plays cases on as many threads as this machine has cores; what they came to is in their order.
pub fn each<T: Send>(cases: usize, case: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= cases {
                return;
            }
            let result = case(index);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(cases) {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn report(cases: usize, case: impl Fn(usize) -> Option<String> + Sync) -> Report {
    Report { cases, failures: each(cases, case).into_iter().flatten().collect() }
}
