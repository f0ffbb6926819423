//! `cargo demo`: a whole onsale of `examples/` on a bed, in front of the user. Tests and the bench play the same night.
//!
//! - `story.rs`: the manifests with time lapse; `stage.rs`: servers, launch templates, the shop on an ordinary day
//! - `night.rs`: one sale from declaration to the last node's leaving; `world.rs`: what is seen of it from outside
//! - `view.rs`: the live view; `tell.rs`: the headlines
//! - `before.rs`: how everything was; `way_back.rs`: who goes first; `report.rs`: what happened

mod before;
mod night;
mod report;
pub mod stage;
mod story;
mod tell;
mod view;
mod way_back;
pub mod world;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

pub use night::Night;
pub use report::{Calls, Report, WayBack};
pub use story::{Delays, Story, example};
pub use view::View;

use crate::operator::{self, Operator};
use crate::progress::{Progress, seconds};
use crate::{Bed, Options};

/// The pod that the operator's process stands for.
pub const OPERATOR: &str = "onsale-operator-0";
/// What the demo divides time by: a sale of about an hour fits into three minutes, and 1,000 pods still have the 15 s that a laptop takes to make them.
pub const FACTOR: f64 = 20.0;

/// What the command line may say.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// Name of the bed.
    pub name: String,
    /// Durations and delays are divided by this.
    pub factor: f64,
    /// Where the report goes as JSON.
    pub report: Option<PathBuf>,
}

/// Values of helm for a bed: what makes the operator wait less than a cluster's own parts would.
pub fn values() -> Vec<String> {
    let quick = ["settings.hpaSyncPeriod=2s", "settings.unschedulableAfter=5s", "log.filter=info\\,onsale_controller=debug"];
    quick.map(str::to_owned).into()
}

/// A bed with the operator installed and running.
pub async fn bed(name: &str, progress: Progress) -> Result<Bed> {
    // Before the bed takes memory and cores. cargo draws its own progress, so no step of ours is drawn over it.
    progress.say("building the operator: a minute or two, the first time several; cargo shows how far it is");
    operator::build(Progress::quiet()).await?;
    let bed = Bed::up(Options { progress, ..Options::new(name) }).await?;
    let operator = Operator::install(&bed, &values(), progress).await?;
    let step = progress.step("starting the operator under its own service account");
    operator.start(&bed, OPERATOR).await?;
    step.done();
    Ok(bed)
}

/// Plays the demo: gives back the bed, for `--keep`, and the report.
pub async fn run(wishes: &Wishes) -> Result<(Bed, Report)> {
    let start = std::time::Instant::now();
    let progress = Progress::stderr();
    let story = Story::read(wishes.factor)?;
    progress.say(&format!(
        "An onsale as in examples/, told {} times as fast: every duration and delay is divided by {}.",
        story.factor, story.factor
    ));
    let bed = bed(&wishes.name, progress).await?;
    stage::build(&bed, &story, progress).await?;
    let night = Night { bed: &bed, story: &story, operator: OPERATOR, progress, view: View::stderr() };
    let report =
        night.play(|_| Ok(())).await.with_context(|| format!("the operator's log: {}", bed.processes().log(OPERATOR).display()))?;
    progress.say(&format!("\nThe whole run took {}.", seconds(start.elapsed())));
    if let Some(path) = &wishes.report {
        let text = serde_json::to_string_pretty(&report).context("the report is no JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("could not write {}", path.display()))?;
        progress.say(&format!("The report is in {}.", path.display()));
    }
    Ok((bed, report))
}

/// An error if something is not as it should be.
pub fn verdict(report: &Report) -> Result<()> {
    if report.problems.is_empty() { Ok(()) } else { bail!("{}", report.problems.join("; ")) }
}
