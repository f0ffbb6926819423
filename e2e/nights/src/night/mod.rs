//! One night: a fleet and its sales, the controller on it, and what came of it.
//!
//! - [`build`]: the state a night begins with, from builders or manifests
//! - [`Stage`]: the running night: controllers that start and stop, time that passes
//! - [`check`]: whether it ended clean and in time
//! - [`loops`]: the same night from every write on, and with a fault at every write; [`short`]: two nights that are short enough for it
//! - [`faults`]: what else can go wrong just after a write, and what must hold all the same; [`edit`]: what people and their tools do; [`daylight`]:
//!   changes of daylight saving time; [`twice`]: a loop that takes every step twice; [`table`]: how many of them ended well

pub mod build;
pub mod check;
pub mod daylight;
pub mod edit;
pub mod faults;
pub mod loops;
pub mod short;
pub mod table;
pub mod twice;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use onsale_controller::{
    Clock, Config, Telemetry,
    executor::Inline,
    lease::{LeaseConfig, lead},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::{
    api::serve::Server,
    cloud::SimCloud,
    sim::{Caller, Inner, Sim},
    world,
};

pub use build::Start;

/// The running night.
pub struct Stage {
    /// The simulation.
    pub sim: Sim,
    /// Configuration of controllers that start from now on.
    pub config: Config,
    controllers: BTreeMap<String, JoinHandle<String>>,
    /// They may end by themselves: with the lease.
    candidates: BTreeMap<String, (watch::Sender<bool>, JoinHandle<()>)>,
    /// What each controller that was ever started counted.
    telemetries: Vec<Telemetry>,
    world: JoinHandle<()>,
    started: usize,
}

/// What a process is made of.
struct Process {
    caller: Caller,
    client: kube::Client,
    cloud: Arc<SimCloud>,
    clock: Arc<dyn Clock>,
    config: Config,
}

/// An instant.
///
/// # Panics
/// Never in a correct test: when `text` is no instant.
#[must_use]
#[expect(clippy::unwrap_used, reason = "instants are constants of tests")]
pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Plays a night from a state, in virtual time on a runtime of its own: no controller runs until the script starts one.
///
/// # Panics
/// When no runtime can be made.
#[expect(clippy::unwrap_used, reason = "without a runtime there is no test")]
pub fn play<T>(state: Inner, script: impl AsyncFnOnce(&mut Stage) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let sim = Sim::resume(state);
        let world = tokio::spawn(world::drive(sim.clone()));
        // Fewer passes and reconnects than in production: they are what a night costs here, and no night depends on them.
        let (list_active, watch_timeout) = (Duration::from_secs(5), Duration::from_secs(290));
        let (instance, executor) = ("nights".to_owned(), Arc::new(Inline));
        let config = Config { instance, executor, list_active, watch_timeout, ..Config::new("nights", build::OPERATOR) };
        let mut stage =
            Stage { sim, config, controllers: BTreeMap::new(), candidates: BTreeMap::new(), telemetries: Vec::new(), world, started: 0 };
        let result = script(&mut stage).await;
        stage.stop().await;
        stage.world.abort();
        result
    })
}

impl Stage {
    /// Starts a controller, and returns its name.
    pub fn start(&mut self) -> String {
        let Process { caller, client, cloud, clock, config } = self.process();
        let run = onsale_controller::run(client, cloud, clock, config);
        let task = tokio::spawn(async move { format!("{:?}", run.await) });
        self.controllers.insert(caller.name.clone(), task);
        caller.name
    }

    /// Starts a loop that takes every step twice, and returns its name.
    pub fn start_twice(&mut self) -> String {
        let Process { caller, client, cloud, clock, config } = self.process();
        let run = twice::run(client, cloud, clock, config);
        let task = tokio::spawn(async move { format!("{:?}", run.await) });
        self.controllers.insert(caller.name.clone(), task);
        caller.name
    }

    /// Starts a process that waits for the lease and controls while it holds it, and returns its name.
    pub fn start_candidate(&mut self) -> String {
        let Process { caller, client, cloud, clock, config } = self.process();
        let (stop, mut stopped) = watch::channel(false);
        let lease = LeaseConfig::new(&config.namespace, "onsale-operator", &caller.name);
        let elect = Server::client(&self.sim, caller.clone());
        let task = tokio::spawn(async move {
            let asked = async { drop(stopped.wait_for(|stop| *stop).await) };
            let work = || onsale_controller::run(client, cloud, clock.clone(), config);
            // Lost or stopped: it is over for this process either way.
            drop(lead(elect, &lease, clock.clone(), asked, work).await);
        });
        self.candidates.insert(caller.name.clone(), (stop, task));
        caller.name
    }

    /// Asks a candidate to stop as a rolling update does: it lets the lease go.
    pub fn ask_to_stop(&self, candidate: &str) {
        if let Some((stop, _)) = self.candidates.get(candidate) {
            stop.send_replace(true);
        }
    }

    fn process(&mut self) -> Process {
        self.started += 1;
        let caller = Caller { name: format!("c{}", self.started), controlled: true };
        let client = Server::client(&self.sim, caller.clone());
        let cloud = SimCloud::new(&self.sim, caller.clone());
        let config = Config { telemetry: Telemetry::default(), ..self.config.clone() };
        self.telemetries.push(config.telemetry.clone());
        Process { caller, client, cloud, clock: Arc::new(self.sim.skewed()), config }
    }

    /// Stops every controller as a crash does: nothing that is on its way arrives.
    pub async fn stop(&mut self) {
        for (name, (_, task)) in std::mem::take(&mut self.candidates) {
            self.sim.bury(&name);
            task.abort();
            let _ = task.await;
        }
        for (name, task) in std::mem::take(&mut self.controllers) {
            self.sim.bury(&name);
            task.abort();
            // Cancelled, which is what was asked for.
            let _ = task.await;
        }
    }

    /// Stops one of them, as a crash does.
    pub async fn stop_one(&mut self, name: &str) {
        if let Some(task) = self.controllers.remove(name) {
            self.sim.bury(name);
            task.abort();
            let _ = task.await;
        }
    }

    /// Names of the controllers that run.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        self.controllers.keys().cloned().collect()
    }

    /// What the checker said against plans and steps of all controllers so far, one line of the metrics per rule.
    #[must_use]
    pub fn objections(&self) -> Vec<String> {
        let texts = self.telemetries.iter().map(|t| t.metrics.text());
        let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        lines.filter(|l| l.starts_with("onsale_plan_violations_total{") && !l.ends_with(" 0")).collect()
    }

    /// Stops every controller and starts one.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start();
    }

    /// A client for a person or another tool: no faults, no journal.
    #[must_use]
    pub fn client(&self, name: &str) -> kube::Client {
        Server::client(&self.sim, Caller { name: name.to_owned(), controlled: false })
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.sim.clock().now()
    }

    /// Lets the night go on until an instant.
    ///
    /// # Panics
    /// When a controller ended by itself.
    pub async fn run_until(&mut self, instant: &str) {
        self.run_to(at(instant)).await;
    }

    /// The same.
    ///
    /// # Panics
    /// When a controller ended by itself.
    pub async fn run_to(&mut self, instant: Timestamp) {
        sleep_until(self.sim.clock().instant(instant)).await;
        self.assert_running();
    }

    /// Lets the night go on for a time.
    ///
    /// # Panics
    /// When a controller ended by itself.
    pub async fn run_for(&mut self, time: Duration) {
        sleep_until(Instant::now() + time).await;
        self.assert_running();
    }

    /// Lets the night go on until write number `number` has been carried out, or an instant; returns whether it has.
    pub async fn run_until_written(&mut self, number: usize, last: Timestamp) -> bool {
        tokio::select! {
            biased;
            () = self.sim.written(number) => true,
            () = sleep_until(self.sim.clock().instant(last)) => false,
        }
    }

    /// Lets the night go on until something holds, looked at every second, or an instant; returns whether it holds.
    ///
    /// # Panics
    /// When a controller ended by itself.
    pub async fn run_while_not(&mut self, last: Timestamp, holds: impl Fn(&Inner) -> bool) -> bool {
        loop {
            if self.sim.with(|inner| holds(inner)) {
                return true;
            }
            if self.now() >= last {
                return false;
            }
            self.run_for(Duration::from_secs(1)).await;
        }
    }

    fn assert_running(&self) {
        for (name, task) in &self.controllers {
            assert!(!task.is_finished(), "controller {name} ended by itself\n{}", self.text());
        }
    }

    /// What the controllers did, one line per decision.
    #[must_use]
    pub fn text(&self) -> String {
        self.sim.with(|inner| inner.journal.text())
    }

    /// Everything as it is.
    #[must_use]
    pub fn state(&self) -> Inner {
        self.sim.copy()
    }
}
