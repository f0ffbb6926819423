//! What else can go wrong just after a write, and what must hold all the same: nothing leaked, nothing unrestored, nothing launched twice, and Ready on time
//! where that was possible. Writes that fail, answers that are lost and processes that die are in [`loops`](super::loops) too.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Stage,
    edit::{Edit, Expected},
    play,
    short::{self, Short},
};
use crate::{
    api::{
        kinds::{self, Kind},
        store::Store,
    },
    sim::{Fate, Inner},
};

/// Kinds that controllers watch, but for DaemonSets: these nights have none.
pub const WATCHED: [Kind; 10] = [
    &kinds::SALES,
    &kinds::POOLS,
    &kinds::PLACEMENTS,
    &kinds::NODES,
    &kinds::PODS,
    &kinds::DEPLOYMENTS,
    &kinds::STATEFUL_SETS,
    &kinds::SCALERS,
    &kinds::NAMESPACES,
    &kinds::POD_TEMPLATES,
];
/// How late watches are, all of them or one.
const LAG: Duration = Duration::from_secs(2);
const LAG_OF_ONE: Duration = Duration::from_secs(8);
/// How old a list is that is told once more, and how long until it catches up.
const OLD: Duration = Duration::from_secs(5);
/// A write that was given up arrives all the same: later than the operator waits for any answer.
const STRAY: Duration = Duration::from_secs(30);
/// How long a clock is wrong that is set right again.
const GLITCH: Duration = Duration::from_secs(20);
/// The operator notices within this time that its clock was set.
const NOTICED: Duration = Duration::from_secs(12);
const HOUR: i64 = 3_600;

/// What happens at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The write itself meets this fate.
    Meets(Fate),
    /// The process dies just before it, and it is never sent; another one starts.
    DiesBefore,
    /// The process dies just after it; another one starts.
    Dies,
    /// From then on all watches are late.
    Late,
    /// From then on the watch of the kind of this index is later still.
    LateOne,
    /// The watches break and expire, and the next lists tell an old state, which catches up later.
    Outdated,
    /// The process dies, and the lists that the next one begins with tell an old state, which catches up later.
    Reborn,
    /// The same, but only the list of one kind is old: that of the number's index.
    RebornOne,
    /// The controller's clock is an hour ahead from then on.
    Ahead,
    /// It is an hour behind from then on.
    Behind,
    /// It is an hour ahead for a moment.
    Glitch,
    /// It is an hour behind for a moment.
    Lapse,
    /// The leader reaches the lease no more, and its write arrives when another one leads.
    Partition,
    /// The leader is asked to stop, and its write arrives when another one leads.
    Handover,
    /// Every step is taken twice: no single write, but all of them.
    Twice,
    /// Somebody edits something.
    Edited(Edit),
}

/// How one night ended.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What is wrong; empty: it is clean.
    pub wrong: Vec<String>,
    /// Everything was Ready at ready-by.
    pub on_time: bool,
    /// It could be.
    pub possible: bool,
    /// Which it was, and what the controllers did.
    pub text: String,
}

/// What was known as the fault struck.
struct Struck {
    at: Timestamp,
    reached: bool,
    preparing: bool,
    expected: Option<Expected>,
}

/// One night with the fault at write number `number`; `past` are states of the undisturbed night. `None`: there is no such write, or nothing to edit.
#[must_use]
pub fn strike(night: &Short, fault: Fault, number: usize, past: &[Inner]) -> Option<Verdict> {
    let mut last = night.last;
    if matches!(fault, Fault::Behind) {
        last += Duration::from_secs(HOUR.unsigned_abs());
    }
    let (struck, state) = play(night.start.clone(), async |stage| {
        begin(stage, fault, number).await;
        if !stage.run_until_written(number, night.last).await {
            return None;
        }
        let mut struck = stage.sim.with(|inner| Struck {
            at: inner.now,
            reached: short::reached(inner).is_some(),
            preparing: !["", "Scheduled"].contains(&inner.phase("tour").as_str()),
            expected: None,
        });
        happen(stage, fault, number, past, &mut struck).await?;
        let over = |state: &Inner| short::over(state) || fault == Fault::Ahead && state.phase("tour") == "Missed";
        Some((struck, finish(stage, last, over).await))
    })?;
    Some(judge(night, fault, number, &struck, &state))
}

async fn finish(stage: &mut Stage, last: Timestamp, over: impl Fn(&Inner) -> bool) -> Inner {
    let over = stage.run_while_not(last, over).await;
    // What is over stays so: what a late pass spoils is found.
    stage.run_for(Duration::from_secs(3)).await;
    let mut state = stage.state();
    if !over {
        state.broken.push(format!("not over at {last}: {}", state.phase("tour")));
    }
    state
}

/// The whole night with every step taken twice.
#[must_use]
pub fn twice(night: &Short) -> Verdict {
    let (struck, state) = play(night.start.clone(), async |stage| {
        stage.start_twice();
        let struck = Struck { at: stage.now(), reached: false, preparing: false, expected: None };
        (struck, finish(stage, night.last, short::over).await)
    });
    judge(night, Fault::Twice, 0, &struck, &state)
}

async fn begin(stage: &mut Stage, fault: Fault, number: usize) {
    let fate = match fault {
        Fault::Meets(fate) => fate,
        Fault::DiesBefore => Fate::Never,
        Fault::Partition | Fault::Handover => Fate::Stray(STRAY),
        _ => Fate::Happen,
    };
    stage.sim.set_oracle(Box::new(move |index, _| if index == number { fate } else { Fate::Happen }));
    if matches!(fault, Fault::Partition | Fault::Handover) {
        stage.start_candidate();
        // So that it is the first who leads.
        stage.run_for(Duration::from_millis(50)).await;
        stage.start_candidate();
    } else {
        stage.start();
    }
}

async fn happen(stage: &mut Stage, fault: Fault, number: usize, past: &[Inner], struck: &mut Struck) -> Option<()> {
    match fault {
        Fault::Meets(_) | Fault::Twice => {}
        Fault::DiesBefore | Fault::Dies => stage.restart().await,
        Fault::Late => stage.sim.hub(|hub| WATCHED.iter().for_each(|kind| hub.lag(kind, LAG))),
        Fault::LateOne => stage.sim.hub(|hub| hub.lag(WATCHED[number % WATCHED.len()], LAG_OF_ONE)),
        Fault::Outdated | Fault::Reborn | Fault::RebornOne => {
            let old =
                past.iter().rfind(|state| state.now + OLD <= struck.at).map_or_else(|| (*past[0].origin).clone(), |s| s.store.clone());
            let one = number % WATCHED.len();
            let kinds = if fault == Fault::RebornOne { &WATCHED[one..=one] } else { &WATCHED[..] };
            outdate(stage, kinds, fault != Fault::Outdated, &old).await;
        }
        Fault::Ahead => stage.sim.skewed().set(HOUR),
        Fault::Behind => stage.sim.skewed().set(-HOUR),
        Fault::Glitch | Fault::Lapse => {
            stage.sim.skewed().set(if fault == Fault::Glitch { HOUR } else { -HOUR });
            stage.run_for(GLITCH).await;
            stage.sim.skewed().set(0);
            // What is over by a wrong clock is not.
            stage.run_for(NOTICED).await;
        }
        Fault::Partition => stage.sim.sever("c1"),
        Fault::Handover => stage.ask_to_stop("c1"),
        Fault::Edited(edit) => struck.expected = Some(stage.sim.with(|inner| edit.make(inner))?),
    }
    Some(())
}

async fn outdate(stage: &mut Stage, kinds: &[Kind], reborn: bool, old: &Store) {
    if reborn {
        stage.stop().await;
    }
    for kind in kinds {
        stage.sim.outdate(kind, old);
        stage.sim.hub(|hub| {
            hub.lag(kind, LAG);
            hub.expire(kind);
        });
    }
    if reborn {
        // A fresh process has no watch that could expire.
        stage.sim.hub(|hub| hub.forgive());
        stage.start();
    }
    stage.run_for(OLD).await;
    stage.sim.hub(|hub| kinds.iter().for_each(|kind| hub.lag(kind, Duration::ZERO)));
}

fn judge(night: &Short, fault: Fault, number: usize, struck: &Struck, state: &Inner) -> Verdict {
    let as_ever = [Vec::new()];
    let any_of = struck.expected.as_ref().map_or(&as_ever[..], |e| &e.any_of);
    let changed = if state.now < night.changed_at { &[] } else { night.changed };
    let ends = any_of.iter().map(|fields| state.faults(&fields.iter().chain(changed).copied().collect::<Vec<_>>()));
    let mut wrong = ends.min_by_key(Vec::len).unwrap_or_default();
    if fault == Fault::Ahead {
        // Its window was over before it began: that is what it must say.
        wrong.retain(|w| !w.contains("Feasible=False (Missed"));
    }
    let (at_once, all) = (state.cloud.most_alive(), state.cloud.machines.len());
    // Whoever gives its nodes back, because its clock or somebody says so, may launch them again.
    let gives_back = matches!(fault, Fault::Ahead | Fault::Glitch | Fault::Lapse | Fault::Behind | Fault::Edited(_));
    // Pods that are only going take their room until they are gone.
    let spare = usize::from(matches!(fault, Fault::Edited(Edit::Lower | Edit::Raise | Edit::Recreate)));
    if at_once > night.most + spare || all > night.most && !gives_back {
        wrong.push(format!("{all} instances were launched, {at_once} at once, for {}", night.most));
    }
    let reached = short::reached(state);
    let on_time = reached.is_some_and(|at| at <= night.ready_by);
    let possible = struck.reached || on_time || possible(night, fault, struck);
    if possible && !on_time {
        wrong.push(format!("late: Ready at {reached:?}"));
    }
    let text = format!("{}, {fault:?} at write {number}, {}: {wrong:?}\n{}", night.name, struck.at, state.journal.text());
    Verdict { wrong, on_time, possible, text }
}

/// Whether whoever does everything right could still be on time.
fn possible(night: &Short, fault: Fault, struck: &Struck) -> bool {
    let left = night.ready_by.duration_since(struck.at);
    match fault {
        Fault::Ahead => false,
        // Everything that was given back is launched anew.
        Fault::Glitch => left.unsigned_abs() >= GLITCH + NOTICED + Duration::from_secs(60) && left.is_positive(),
        // What is being prepared goes on; what waits for its start waits an hour too long.
        Fault::Behind => struck.preparing,
        Fault::Edited(_) => struck.expected.as_ref().is_some_and(|e| left.unsigned_abs() >= e.takes && left.is_positive()),
        _ => true,
    }
}
