//! Status: pure functions from plan, snapshot and outcomes to the status of every object; what is unchanged is not written.
//!
//! - [`sale`], [`sale_conditions`]: OnSales; [`pool`]: CapacityPools, without their launch ledger, [`limits`]: what the cloud said of their subnets and quotas, [`lead_times`]: what their nodes took; [`placement`]: WorkloadPlacements
//! - [`problems`]: what went wrong in this pass, for whom; [`unreadable`]: objects that cannot be read; [`untold`]: sales that sleep and were not told so yet
//! - [`write`]: the difference as a merge patch; [`tally`]: what is counted on the way, for metrics

mod lead_times;
mod limits;
mod placement;
mod pool;
mod problems;
mod sale;
mod sale_conditions;
mod tally;
mod unreadable;
mod untold;
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
    observe::{Observed, World, facts::Known, snapshot::wake},
    wake::Backoff,
};
use crate::{context::Context, events};

use tally::Tally;
pub use unreadable::Memory;
use write::Write;

/// What all statuses are made from.
pub struct Material<'a> {
    /// What was seen.
    pub observed: &'a Observed,
    /// What the cloud said of each rented pool's subnets and quotas, by its name.
    pub facts: &'a BTreeMap<String, Known>,
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
        let at = self.plan.pools.binary_search_by(|p| p.name.as_str().cmp(name));
        at.ok().map(|at| &self.plan.pools[at])
    }
    fn workload_plan(&self, id: &WorkloadId) -> Option<&WorkloadPlan> {
        let at = self.plan.workloads.binary_search_by(|w| w.id.cmp(id));
        at.ok().map(|at| &self.plan.workloads[at])
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

/// So many sales' statuses are made at once: those of thousands would be most of the memory that a pass takes.
const TOGETHER: usize = 128;

/// Writes every status that changed, several at once.
pub async fn write_changed(memory: &mut Memory, context: &Context, world: &World, material: &Material<'_>) -> Written {
    let seen = &material.observed.snapshot;
    let (mut tally, mut failed) = (Tally::new(material), 0);
    for (sales, plans) in seen.sales.chunks(TOGETHER).zip(material.plan.sales.chunks(TOGETHER)) {
        failed += send(changed(sales, plans, context, material, &mut tally), context, world).await;
    }
    let mut alone = untold::Alone::beside(seen);
    for sales in material.observed.untold.chunks(TOGETHER) {
        alone = alone.plan(wake(world, sales), context, material.now).await;
        let (sales, plans) = alone.planned();
        failed += send(changed(sales, plans, context, material, &mut tally), context, world).await;
    }
    let mut writes: Vec<Write> = seen.pools.iter().filter_map(|pool| write::pool(pool, &pool::status(pool, material))).collect();
    // A placement that a step of this pass has deleted needs no status any more.
    let exists = |id: &WorkloadId| world.placements.get(&id.namespace, &id.placement_name(), |_| ()).is_some();
    let placed = seen.workloads.iter().filter(|w| exists(&w.id));
    writes.extend(placed.filter_map(|workload| write::placement(workload, &placement::status(workload, material)?)));
    writes.extend(unreadable::writes(memory, context, world, material.now));
    failed += send(writes, context, world).await;
    tally.tell(context, material);
    Written { failed, moved: tally.moved }
}

/// The statuses of these sales that changed, each announced and counted.
fn changed(sales: &[Sale], plans: &[SalePlan], context: &Context, material: &Material<'_>, tally: &mut Tally) -> Vec<Write> {
    let of = |(sale, plan): (&Sale, &SalePlan)| {
        let new = sale::status(sale, plan, material);
        announce(context, sale, plan, &new, material.now);
        tally.add(sale, plan, &new);
        write::sale(sale, &new)
    };
    sales.iter().zip(plans).filter_map(of).collect()
}

/// How many could not be written.
async fn send(writes: Vec<Write>, context: &Context, world: &World) -> usize {
    let sent = stream::iter(writes).map(|write| write.send(context, world)).buffer_unordered(context.config.concurrency);
    sent.filter(|written| std::future::ready(!written)).count().await
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
