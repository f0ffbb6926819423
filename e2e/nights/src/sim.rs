//! Everything at one place: objects, cloud, world and journal behind one lock, copied as a whole to go on from any moment; and the fate that
//! writes of a controller meet.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use onsale_controller::Clock;
use tokio::sync::Notify;

use crate::{
    api::{kinds::Kind, store::Store, watch::Hub},
    clock::{SimClock, Skewed},
    cloud,
    journal::Journal,
    world,
};

/// All that is left when every process has died: what a copy of goes on.
#[derive(Clone)]
pub struct Inner {
    /// Now.
    pub now: Timestamp,
    /// Objects.
    pub store: Store,
    /// The cloud.
    pub cloud: cloud::State,
    /// Timers and memory of the cluster's own controllers.
    pub world: world::State,
    /// What the controllers did.
    pub journal: Journal,
    /// Rules that were broken.
    pub broken: Vec<String>,
    /// Objects as they were at the beginning.
    pub origin: Arc<Store>,
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Name, for the journal.
    pub name: String,
    /// A controller: its writes are journaled and meet their fate.
    pub controlled: bool,
}

/// What is asked, in two words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct What {
    /// `create`, `patch`, `launch`, ….
    pub verb: &'static str,
    /// Kind and name, or what the cloud is asked for.
    pub place: String,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.place)
    }
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It happens.
    Happen,
    /// It fails, and nothing is done.
    Refuse,
    /// It is never sent: whoever wanted to is gone just before, or about to be.
    Never,
    /// It is done, and the answer is lost.
    Lose,
    /// It is done twice, verbatim and at once, as a proxy does that tries again; the second answer is heard.
    Repeat,
    /// It arrives so much later, whatever became of the caller, who never hears of it.
    Stray(Duration),
}

/// A night here takes a few hundred writes; one that takes so many never settles, and would take minutes to show it.
const MOST_WRITES: usize = 3_000;

/// Decides on the fate of a write, given its number, from 0, and what it is.
pub type Oracle = Box<dyn FnMut(usize, &What) -> Fate + Send>;

/// A state to go on from.
#[derive(Clone)]
pub struct Shot {
    /// Where: `before write 7: patch Node n1`.
    pub label: String,
    /// Everything.
    pub inner: Inner,
}

#[derive(Default)]
struct Knobs {
    oracle: Option<Oracle>,
    writes: usize,
    /// Number of the newest write that was carried out, plus one.
    done: usize,
    shots: Option<Vec<Shot>>,
    forbidden: BTreeSet<&'static str>,
    dead: BTreeSet<String>,
    severed: BTreeSet<String>,
    outdated: BTreeMap<&'static str, Store>,
}

struct Shared {
    clock: SimClock,
    skewed: Skewed,
    inner: Mutex<Inner>,
    hub: Mutex<Hub>,
    knobs: Mutex<Knobs>,
    changed: Notify,
    wrote: Notify,
    latency: Duration,
}

/// A simulation; clones share it.
#[derive(Clone)]
pub struct Sim(Arc<Shared>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sim {
    /// Goes on from a state, at its instant. Make it inside the runtime.
    #[must_use]
    pub fn resume(inner: Inner) -> Self {
        let clock = SimClock::new(inner.now);
        let mut hub = Hub::default();
        hub.start_at(inner.store.version());
        // A request takes 2 ms: enough that what runs at once interleaves.
        let latency = Duration::from_millis(2);
        let knobs = Mutex::default();
        let (inner, hub, skewed) = (Mutex::new(inner), Mutex::new(hub), Skewed::new(clock));
        Self(Arc::new(Shared { clock, skewed, inner, hub, knobs, changed: Notify::new(), wrote: Notify::new(), latency }))
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> SimClock {
        self.0.clock
    }

    /// The clock that controllers read.
    #[must_use]
    pub fn skewed(&self) -> Skewed {
        self.0.skewed.clone()
    }

    /// Virtual time that a request to the API takes.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.0.latency
    }

    /// Reads or changes the state; watches and the world hear of what changed. Never call it from within itself.
    pub fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = lock(&self.0.inner);
        inner.now = self.0.clock.now();
        let result = act(&mut inner);
        let events = inner.store.drain();
        let stirred = std::mem::take(&mut inner.world.stirred) || !events.is_empty();
        lock(&self.0.hub).publish(events);
        drop(inner);
        if stirred {
            self.0.changed.notify_one();
        }
        result
    }

    /// The watches.
    pub fn hub<T>(&self, act: impl FnOnce(&mut Hub) -> T) -> T {
        act(&mut lock(&self.0.hub))
    }

    /// Completes when something changed since the last call.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// A copy of everything.
    #[must_use]
    pub fn copy(&self) -> Inner {
        self.with(|inner| inner.clone())
    }

    /// Decides on the fate of each write from now on; numbers begin at 0.
    pub fn set_oracle(&self, oracle: Oracle) {
        let mut knobs = lock(&self.0.knobs);
        (knobs.oracle, knobs.writes, knobs.done) = (Some(oracle), 0, 0);
    }

    /// Keeps the state just before and just after each write from now on.
    pub fn take_shots(&self) {
        lock(&self.0.knobs).shots = Some(Vec::new());
    }

    /// The states that were kept.
    #[must_use]
    pub fn shots(&self) -> Vec<Shot> {
        lock(&self.0.knobs).shots.take().unwrap_or_default()
    }

    /// Takes a right away from controllers, or gives it back.
    pub fn forbid(&self, kind: Kind, forbidden: bool) {
        let mut knobs = lock(&self.0.knobs);
        if forbidden {
            knobs.forbidden.insert(kind.plural)
        } else {
            knobs.forbidden.remove(kind.plural)
        };
    }

    /// Whether controllers may not touch the kind.
    #[must_use]
    pub fn is_forbidden(&self, kind: Kind) -> bool {
        lock(&self.0.knobs).forbidden.contains(kind.plural)
    }

    /// How many writes controllers tried since the oracle was set.
    #[must_use]
    pub fn writes(&self) -> usize {
        lock(&self.0.knobs).writes
    }

    /// Completes when write number `number` has been carried out.
    pub async fn written(&self, number: usize) {
        loop {
            let wrote = self.0.wrote.notified();
            if lock(&self.0.knobs).done > number {
                return;
            }
            wrote.await;
        }
    }

    /// The caller reaches no leases any more.
    pub fn sever(&self, caller: &str) {
        lock(&self.0.knobs).severed.insert(caller.to_owned());
    }

    /// Whether the caller reaches no leases.
    #[must_use]
    pub fn is_severed(&self, caller: &str) -> bool {
        lock(&self.0.knobs).severed.contains(caller)
    }

    /// The next list of the kind by a controller tells this old state.
    pub fn outdate(&self, kind: Kind, store: &Store) {
        lock(&self.0.knobs).outdated.insert(kind.plural, store.clone());
    }

    /// The old state that a list is to tell, once.
    #[must_use]
    pub fn outdated(&self, kind: Kind) -> Option<Store> {
        lock(&self.0.knobs).outdated.remove(kind.plural)
    }

    /// The process is dead: what it has on its way never arrives.
    pub fn bury(&self, caller: &str) {
        lock(&self.0.knobs).dead.insert(caller.to_owned());
    }

    /// The fate of a write that is about to happen. Never returns for the dead, nor for a controller that runs hot.
    pub async fn meet(&self, caller: &Caller, what: &What) -> Fate {
        if lock(&self.0.knobs).dead.contains(&caller.name) {
            pending::<()>().await;
        }
        let hot = self.with(|inner| {
            let hot = inner.journal.lines.len() >= MOST_WRITES;
            if hot {
                inner.broken = vec![format!("{} the controller runs hot: {MOST_WRITES} writes", inner.now)];
            }
            hot
        });
        if hot {
            pending::<()>().await;
        }
        let mut knobs = lock(&self.0.knobs);
        let index = knobs.writes;
        knobs.writes += 1;
        let fate = knobs.oracle.as_mut().map_or(Fate::Happen, |oracle| oracle(index, what));
        if matches!(fate, Fate::Refuse | Fate::Never | Fate::Stray(_)) {
            knobs.done = index + 1;
            self.0.wrote.notify_waiters();
        }
        fate
    }

    /// Lets a write happen, and keeps the states around it where that is asked for.
    pub async fn write<T>(&self, caller: &Caller, what: &What, act: impl FnOnce(&mut Inner) -> T) -> T {
        if lock(&self.0.knobs).dead.contains(&caller.name) {
            pending::<()>().await;
        }
        let index = lock(&self.0.knobs).writes.saturating_sub(1);
        self.shoot(&format!("before write {index}: {what}"));
        let result = self.with(act);
        self.shoot(&format!("after write {index}: {what}"));
        lock(&self.0.knobs).done = index + 1;
        self.0.wrote.notify_waiters();
        result
    }

    fn shoot(&self, label: &str) {
        if lock(&self.0.knobs).shots.is_none() {
            return;
        }
        let inner = self.copy();
        if let Some(shots) = lock(&self.0.knobs).shots.as_mut() {
            shots.push(Shot { label: label.to_owned(), inner });
        }
    }
}
