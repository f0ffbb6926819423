//! Plans of sales that sleep and were not told so yet: they open too late to be looked at, or were over when they were first seen. No plan of others depends on
//! them, so theirs are made a few at a time, where thousands of them that are new at once would be most of what a pass holds.

use jiff::Timestamp;
use onsale_planner::{Plan, Snapshot, plan::SalePlan, snapshot::Sale};

/// A world with them alone: what they may use is what it is, and nothing runs.
pub struct Alone(Snapshot);

impl Alone {
    /// Beside the sales that something may have to be done about.
    pub fn beside(seen: &Snapshot) -> Self {
        let (pools, namespaces) = (seen.pools.clone(), seen.namespaces.clone());
        Self(Snapshot { pools, namespaces, nodes: seen.nodes.as_ref().map(|_| Vec::new()), settings: seen.settings, ..Snapshot::default() })
    }

    /// These, sorted, and the plan of each.
    pub fn plan(&mut self, sales: Vec<Sale>, now: Timestamp) -> (&[Sale], Vec<SalePlan>) {
        self.0.sales = sales;
        let Plan { sales: plans, .. } = onsale_planner::plan(&self.0, now);
        (&self.0.sales, plans)
    }
}
