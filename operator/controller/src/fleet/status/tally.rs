//! What is counted while statuses are made, for the metrics: no status is kept for it.

use std::collections::BTreeMap;

use onsale_api::{OnSaleStatus, Phase, conditions::types};
use onsale_planner::{
    plan::{PoolPlan, SalePlan},
    snapshot::Sale,
};

use super::{Material, is};
use crate::{context::Context, metrics::NodeState};

/// Counts of one pass.
#[derive(Debug)]
pub struct Tally {
    phases: BTreeMap<Phase, usize>,
    at_risk: i64,
    infeasible: i64,
    contested: i64,
    /// Some sale moved on in its life.
    pub moved: bool,
}

impl Tally {
    /// Begins with the sales that nothing has to be done about.
    pub fn new(material: &Material<'_>) -> Self {
        Self { phases: material.observed.asleep.clone(), at_risk: 0, infeasible: 0, contested: 0, moved: false }
    }

    /// Counts one sale with its new status.
    pub fn add(&mut self, sale: &Sale, plan: &SalePlan, new: &OnSaleStatus) {
        use Phase::{Invalid, Live, Preparing, Ready, Scheduled};
        *self.phases.entry(plan.phase).or_default() += 1;
        self.moved |= sale.status.phase != new.phase || sale.status.entered != new.entered;
        if matches!(plan.phase, Scheduled | Preparing | Ready | Live | Invalid) {
            let alarmed = |type_: &str, status: &str| i64::from(is(&new.conditions, type_, status));
            self.at_risk += alarmed(types::AT_RISK, "True");
            self.infeasible += alarmed(types::FEASIBLE, "False");
            self.contested += alarmed(types::CONTESTED, "True");
        }
    }

    /// Sets the metrics.
    pub fn tell(&self, context: &Context, material: &Material<'_>) {
        use Phase::{Cancelled, Completed, Invalid, Live, Missed, Preparing, Ready, Returning, Scheduled};
        for phase in [Scheduled, Preparing, Ready, Live, Returning, Completed, Missed, Cancelled, Invalid] {
            let count = self.phases.get(&phase).copied().unwrap_or_default();
            context.metrics().sales(phase, i64::try_from(count).unwrap_or(i64::MAX));
        }
        context.metrics().alarms(self.at_risk, self.infeasible, self.contested);
        let sum = |of: fn(&PoolPlan) -> i32| material.plan.pools.iter().map(|p| i64::from(of(p))).sum();
        context.metrics().nodes(NodeState::Planned, sum(|p| p.planned));
        context.metrics().nodes(NodeState::Launching, sum(|p| p.launching));
        context.metrics().nodes(NodeState::Ready, sum(|p| p.ready));
        context.metrics().nodes(NodeState::Draining, sum(|p| p.draining));
    }
}
