//! Plans of sales that sleep and were not told so yet: they open too late to be looked at, or were over when they were first seen. No plan of others depends on
//! them, so theirs are made a few at a time, where thousands of them that are new at once would be most of what a pass holds.

use jiff::Timestamp;
use onsale_planner::{Snapshot, plan::SalePlan, snapshot::Sale};

use crate::{context::Context, executor::compute};

/// A world with them alone: what they may use is what it is, and nothing runs.
pub struct Alone {
    seen: Snapshot,
    plans: Vec<SalePlan>,
}

impl Alone {
    /// Beside the sales that something may have to be done about.
    pub fn beside(seen: &Snapshot) -> Self {
        let (pools, namespaces) = (seen.pools.clone(), seen.namespaces.clone());
        let nodes = seen.nodes.as_ref().map(|_| Vec::new());
        Self { seen: Snapshot { pools, namespaces, nodes, settings: seen.settings, ..Snapshot::default() }, plans: Vec::new() }
    }

    /// With plans of these, sorted, instead of those that were planned before.
    pub async fn plan(mut self, sales: Vec<Sale>, context: &Context, now: Timestamp) -> Self {
        self.seen.sales = sales;
        let work = move || Self { plans: onsale_planner::plan(&self.seen, now).sales, ..self };
        compute(context.config.executor.as_ref(), work).await
    }

    /// The sales, and the plan of each.
    pub fn planned(&self) -> (&[Sale], &[SalePlan]) {
        (&self.seen.sales, &self.plans)
    }
}
