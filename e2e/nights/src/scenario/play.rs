//! Plays a scenario in virtual time.

use std::time::Duration;

use super::{
    Mistake, Scenario, outcome, start,
    timeline::{self, Act, Step},
    verdict,
};
use crate::{
    decisions::Decision,
    night::{self, Stage},
    sim::Inner,
};

/// Triggers within this time make one pass: pods that get Ready one after the other would make one each.
const COALESCE: Duration = Duration::from_millis(500);

/// What happens at an instant comes after what the cluster does by itself then, such as an HPA's sync: which of them is first would be chance.
const AFTER: Duration = Duration::from_millis(1);

/// What came of a scenario.
pub struct Played {
    /// Everything as it was at the end.
    pub state: Inner,
    /// What did not hold.
    pub faults: Vec<String>,
    /// What was decided, one readable line each.
    pub outcome: String,
}

impl Scenario {
    /// Plays it.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn play(&self) -> Result<Played, Mistake> {
        let mistake = |message| Mistake { file: format!("{}.yaml", self.name), message };
        let inner = start::state(self).map_err(mistake)?;
        let mut steps = timeline::of(self, &inner).map_err(mistake)?;
        steps.extend(verdict::looks(self));
        steps.sort_by_key(|step| step.at);
        let (state, mut faults) = night::play(inner, async |stage| {
            // Fewer passes than in production: they are what a night costs here.
            stage.config.coalesce = COALESCE;
            stage.start();
            let mut faults = Vec::new();
            for step in &steps {
                stage.run_to(if step.at > self.file.begins { step.at + AFTER } else { step.at }).await;
                faults.extend(happen(stage, step).await);
            }
            stage.run_to(self.ends()).await;
            faults.extend(stage.objections().into_iter().map(|line| format!("the checker objected: {line}")));
            (stage.state(), faults)
        });
        faults.extend(verdict::faults(self, &state));
        Ok(Played { outcome: outcome::text(self, &state), state, faults })
    }
}

async fn happen(stage: &mut Stage, step: &Step) -> Option<String> {
    let note = |stage: &Stage| {
        let happened = (!step.said.is_empty()).then(|| Decision::Happened(step.said.clone()));
        stage.sim.with(|inner| inner.journal.decided(inner.now, &step.by, happened));
    };
    match &step.act {
        Act::Look(look) => return stage.sim.with(|inner| look(inner)),
        Act::Change(change) => {
            note(stage);
            stage.sim.with(|inner| {
                change(inner);
                inner.world.stirred = true;
            });
        }
        Act::Stop => {
            stage.stop().await;
            note(stage);
        }
        Act::Start => {
            note(stage);
            stage.start();
        }
        Act::StopOldest => {
            if let Some(oldest) = stage.running().first() {
                stage.stop_one(oldest).await;
            }
            note(stage);
        }
    }
    None
}
