//! The beds, and who may be on which: one that tests share, some for those that want one alone, and the machine for those that want it quiet.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use libtest_mimic::Failed;
use onsale_bed::operator::Operator;
use onsale_bed::process::folder::{Holder, holder};
use onsale_bed::{Bed, Options, default_folder};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell, RwLock, Semaphore};

use crate::harness::{Case, Company, Ground};
use crate::{scene, tidy};

/// Tests beside each other at once. All wait nearly all the time; these and those on beds of their own are what two cores carry.
const BESIDE: usize = 3;
/// Beds for tests that want one alone: with two, they take as long as the tests beside each other.
const LONE: usize = 2;
/// Longer than any test's own deadlines: for the day one forgets to have some.
const LIMIT: Duration = Duration::from_secs(300);

/// A bed, brought up for the first test that needs it, and the operator on it.
#[derive(Default)]
pub struct Place {
    bed: OnceCell<Result<Bed, String>>,
    /// Installed by the first test that needs it.
    pub operator: OnceCell<Operator>,
    /// Held while the operator's process is looked at and started.
    pub starting: Mutex<()>,
    /// Held by a test that is alone here.
    taken: Mutex<()>,
}

/// All beds.
pub struct Stage {
    runtime: Runtime,
    shared: Place,
    beside: Semaphore,
    lone: [Place; LONE],
    alone: Semaphore,
    /// Written by whoever wants the machine for itself.
    quiet: RwLock<()>,
    /// Held while a bed comes up: beds choose free names, and build their tools once.
    rising: Mutex<()>,
}

impl Stage {
    /// Nothing is up yet.
    pub fn new() -> Result<Self> {
        Ok(Self {
            runtime: Runtime::new().context("no runtime")?,
            shared: Place::default(),
            beside: Semaphore::new(BESIDE),
            lone: Default::default(),
            alone: Semaphore::new(LONE),
            quiet: RwLock::default(),
            rising: Mutex::default(),
        })
    }

    /// Runs a test as soon as it may begin.
    pub fn play(&self, case: &Case) -> Result<(), Failed> {
        self.runtime.block_on(async {
            match case.company {
                Company::Beside => {
                    let _not_quiet = self.quiet.read().await;
                    let _permit = self.beside.acquire().await?;
                    self.perform(case, &self.shared).await
                }
                Company::Alone => {
                    let _not_quiet = self.quiet.read().await;
                    self.perform_alone(case).await
                }
                Company::Quiet => {
                    let _quiet = self.quiet.write().await;
                    self.perform_alone(case).await
                }
            }
        })
    }

    async fn perform_alone(&self, case: &Case) -> Result<(), Failed> {
        let _permit = self.alone.acquire().await?;
        let free = self.lone.iter().find_map(|place| Some((place, place.taken.try_lock().ok()?)));
        let (place, _taken) = free.ok_or("there are as many beds as permits")?;
        self.perform(case, place).await
    }

    async fn perform(&self, case: &Case, place: &Place) -> Result<(), Failed> {
        // A bed that does not come up will not do so for the next test either.
        let bed = place.bed.get_or_init(async || {
            let _one_at_a_time = self.rising.lock().await;
            Bed::up(Options::new(&free_name())).await.map_err(|error| format!("{error:#}"))
        });
        let bed = bed.await.as_ref().map_err(|error| Failed::from(error.clone()))?;
        let ground = Ground::new(bed, place);
        let start = Instant::now();
        let result = tokio::time::timeout(LIMIT, (case.run)(&ground)).await;
        let result = result.unwrap_or_else(|_| Err(anyhow!("still running after {LIMIT:?}")));
        let took = start.elapsed();
        let result = match result {
            Ok(()) => tidy_up(case, &ground).await.context("the test passed, but tidying up after it failed"),
            failed => failed,
        };
        eprintln!("    {}: {:.1} s, tidied up in {:.1} s", case.name, took.as_secs_f64(), (start.elapsed() - took).as_secs_f64());
        let Err(error) = result else { return Ok(()) };
        // The rest is told at the end of the run.
        eprintln!("    {}: {error:#}", case.name);
        let scene = scene::tell(bed, &ground.shops()).await;
        // What is left of a failed test must not fail the next one; if it cannot be tidied up, that one will say so.
        let _ = tidy_up(case, &ground).await;
        Err(Failed::from(format!("{error:#}\n\n{scene}")))
    }

    /// Takes all beds down.
    pub fn clear(self) -> Result<()> {
        let beds = std::iter::once(self.shared).chain(self.lone).filter_map(|place| place.bed.into_inner()?.ok());
        beds.map(|bed| self.runtime.block_on(bed.down())).fold(Ok(()), Result::and)
    }
}

async fn tidy_up(case: &Case, ground: &Ground<'_>) -> Result<()> {
    if case.company != Company::Beside {
        return tidy::everything(ground).await;
    }
    for shop in ground.shops() {
        tidy::shop(ground, shop).await?;
    }
    Ok(())
}

/// Two checkouts' worth of tests, or a test and a person, may be at work at once.
fn free_name() -> String {
    let names = (1..).map(|number| if number == 1 { "e2e".to_owned() } else { format!("e2e-{number}") });
    names.into_iter().find(|name| holder(&default_folder(name)) != Holder::Alive).unwrap_or_default()
}
