//! Status: pure functions from plan, snapshot and outcomes to the status of every object; what is unchanged is not written.
//!
//! - [`sale`], [`sale_conditions`]: OnSales; [`pool`]: CapacityPools, without their launch ledger, [`limits`]: what the cloud said of their subnets and quotas; [`placement`]: WorkloadPlacements
//! - [`problems`]: what went wrong in this pass, for whom; [`unreadable`]: objects that cannot be read
//! - [`write`]: the difference as a merge patch

mod limits;
mod placement;
mod pool;
mod problems;
mod sale;
mod sale_conditions;
mod unreadable;
mod write;

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use onsale_api::{
    OnSaleStatus, Phase,
    conditions::{Verdict, condition, types},
    time::whole_seconds,
};
use onsale_planner::{
    Plan,
    plan::{PoolPlan, SalePlan, WorkloadPlan},
    snapshot::{Sale, WorkloadId},
    steps::ChainKey,
};

use super::{
    act::Outcome,
    observe::{Observed, World},
    wake::Backoff,
};
use crate::{context::Context, events, metrics::NodeState};

pub use unreadable::Memory;

/// What all statuses are made from.
pub struct Material<'a> {
    /// What was seen.
    pub observed: &'a Observed,
    /// What was planned.
    pub plan: &'a Plan,
    /// What was done.
    pub outcomes: &'a [Outcome],
    /// Chains that rest after a failure.
    pub resting: &'a BTreeMap<ChainKey, Backoff>,
    /// The pass's instant.
    pub now: Timestamp,
}

impl Material<'_> {
    fn pool_plan(&self, name: &str) -> Option<&PoolPlan> {
        self.plan.pools.iter().find(|p| p.name == name)
    }
    fn workload_plan(&self, id: &WorkloadId) -> Option<&WorkloadPlan> {
        self.plan.workloads.iter().find(|w| w.id == *id)
    }
}

fn time(at: Timestamp) -> Time {
    Time(whole_seconds(at))
}

fn conditions(old: &[Condition], verdicts: impl IntoIterator<Item = Verdict>, generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    verdicts.into_iter().map(|verdict| condition(old, verdict, generation, now)).collect()
}

fn is(conditions: &[Condition], type_: &str, status: &str) -> bool {
    conditions.iter().any(|c| c.type_ == type_ && c.status == status)
}

/// Sentences that people read in a table: long ones are cut, at a character's border.
fn cut(text: &str) -> String {
    const LONGEST: usize = 1024;
    if text.chars().count() <= LONGEST { text.to_owned() } else { text.chars().take(LONGEST - 1).chain(['…']).collect() }
}

/// What came of the statuses of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// So many could not be written.
    pub failed: usize,
    /// A sale moved on in its life: what waits for that to be stored is due now, and no event will say so.
    pub moved: bool,
}

/// Writes every status that changed, several at once.
pub async fn write_changed(memory: &mut Memory, context: &Context, world: &World, material: &Material<'_>) -> Written {
    let sales: Vec<(&Sale, &SalePlan, OnSaleStatus)> = sale_statuses(material);
    count(context, material, &sales);
    let mut writes = Vec::new();
    for (sale, plan, new) in &sales {
        announce(context, sale, plan, new, material.now);
        writes.extend(write::sale(sale, new));
    }
    for pool in &material.observed.snapshot.pools {
        writes.extend(write::pool(pool, &pool::status(pool, material)));
    }
    // A placement that a step of this pass has deleted needs no status any more.
    let exists = |id: &WorkloadId| world.placements.get(&id.namespace, &id.placement_name(), |_| ()).is_some();
    for workload in material.observed.snapshot.workloads.iter().filter(|w| exists(&w.id)) {
        let new = placement::status(workload, material);
        writes.extend(new.and_then(|new| write::placement(workload, &new)));
    }
    writes.extend(unreadable::writes(memory, context, world, material.now));
    let results =
        stream::iter(writes).map(|w| w.send(context, world)).buffer_unordered(context.config.concurrency).collect::<Vec<_>>().await;
    let moved = sales.iter().any(|(sale, _, new)| sale.status.phase != new.phase || sale.status.entered != new.entered);
    Written { failed: results.into_iter().filter(|written| !written).count(), moved }
}

fn sale_statuses<'a>(material: &Material<'a>) -> Vec<(&'a Sale, &'a SalePlan, OnSaleStatus)> {
    let sales = material.observed.snapshot.sales.iter();
    let planned = sales.filter_map(|sale| material.plan.sales.iter().find(|p| p.id == sale.id).map(|plan| (sale, plan)));
    planned.map(|(sale, plan)| (sale, plan, sale::status(sale, plan, material))).collect()
}

/// Events where the phase changes, or an alarm begins.
fn announce(context: &Context, sale: &Sale, plan: &SalePlan, new: &OnSaleStatus, now: Timestamp) {
    let about = || events::sale(&sale.id.namespace, &sale.id.name, &sale.uid);
    let say = |reason, warning, text| context.say(events::Note { about: about(), reason, warning, text, at: now });
    if sale.status.phase != new.phase {
        let warning = matches!(plan.phase, Phase::Missed | Phase::Invalid);
        let text = new.conditions.iter().find(|c| c.type_ == types::READY).map(|c| c.message.clone()).unwrap_or_default();
        say(sale_conditions::reason(plan.phase), warning, text);
    }
    for (verdict, alarm) in sale_conditions::alarms(new) {
        if !is(&sale.status.conditions, verdict, alarm.status.as_str())
            && let Some(reason) = sale_conditions::parse_reason(&alarm.reason)
        {
            say(reason, true, alarm.message.clone());
        }
    }
}

fn count(context: &Context, material: &Material<'_>, sales: &[(&Sale, &SalePlan, OnSaleStatus)]) {
    use Phase::{Cancelled, Completed, Invalid, Live, Missed, Preparing, Ready, Returning, Scheduled};
    let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    for phase in [Scheduled, Preparing, Ready, Live, Returning, Completed, Missed, Cancelled, Invalid] {
        context.metrics().sales(phase, number(sales.iter().filter(|(_, plan, _)| plan.phase == phase).count()));
    }
    let alarmed = |type_: &str, status: &str| {
        let open = sales.iter().filter(|(_, plan, _)| matches!(plan.phase, Scheduled | Preparing | Ready | Live | Invalid));
        number(open.filter(|(_, _, new)| is(&new.conditions, type_, status)).count())
    };
    context.metrics().alarms(alarmed(types::AT_RISK, "True"), alarmed(types::FEASIBLE, "False"), alarmed(types::CONTESTED, "True"));
    let sum = |of: fn(&PoolPlan) -> i32| material.plan.pools.iter().map(|p| i64::from(of(p))).sum();
    context.metrics().nodes(NodeState::Planned, sum(|p| p.planned));
    context.metrics().nodes(NodeState::Launching, sum(|p| p.launching));
    context.metrics().nodes(NodeState::Ready, sum(|p| p.ready));
    context.metrics().nodes(NodeState::Draining, sum(|p| p.draining));
}
