//! Decide: the planner's plan and what is due of it, with the checker's word on both. Pure, and long enough to be kept off the async threads.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use onsale_cloud::facts::Question;
use onsale_planner::{
    Chain, Plan,
    steps::{self, ChainKey},
};

use super::{
    judge,
    observe::{Observed, facts},
};
use crate::{context::Context, executor::compute};

/// What holds now, and what is to be done about it.
pub struct Decision {
    /// The plan, without the forecasts: what they say of each sale is in its plan.
    pub plan: Plan,
    /// What is due of it, without what must wait for something unknown.
    pub chains: Vec<Chain>,
    /// What is to be asked of the cloud, by region.
    pub questions: Vec<Question>,
}

/// Plans on what was observed at `now`; `busy` are chains that rest or are under way.
pub async fn decide(context: &Context, observed: &Arc<Observed>, now: Timestamp, busy: BTreeSet<ChainKey>) -> Decision {
    let (observed, telemetry) = (observed.clone(), context.config.telemetry.clone());
    let work = move || {
        let seen = &observed.snapshot;
        let mut plan = onsale_planner::plan(seen, now);
        let chains = observed.gaps.withhold(steps::due_beside(&plan, seen, now, &busy), seen);
        judge::judge(&telemetry.metrics, seen, &plan, &chains, now);
        // Only the checker reads them, and those of a thousand sales are most of the plan.
        plan.forecasts = Vec::new();
        Decision { plan, chains, questions: facts::wanted(seen, now) }
    };
    compute(context.config.executor.as_ref(), work).await
}
