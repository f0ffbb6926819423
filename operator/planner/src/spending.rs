//! What a sale spends on rented nodes: so far, in its whole window, and what `budget.maxTotalCost` leaves.
//!
//! ```text
//! window = spent until t + hourly x (opensAt + duration + returnOver - t)
//! ```
//!
//! For a sale that waits, `t` is its computed start (ready-by less the lead time in which all its nodes are there in 99 nights of 100, less the margin): a node is
//! paid for from its launch on, and all are taken to be launched then. For one that is on, `t` is now. Every node of the plan is taken to be kept until the way back
//! is meant to be over, although the first go earlier: an estimate that nothing exceeds but a way back that takes longer.
//!
//! What was spent is summed up in the sale's status whenever the price per hour changes. Instances that have gone are in no list any more, and were paid for.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use onsale_api::{
    Money, Phase,
    onsale::{Cost, OnShortfall, Spent},
    time::whole_seconds,
};

use crate::{
    index::Indexed,
    lifecycle::{Draft, starts_at},
    packing::{BinState, Packing, nodes::declared},
    plan::{SalePlan, Times},
    snapshot::{Instance, Pool, Sale},
};

const HOUR_MILLIS: i128 = 3_600_000;

/// When everything is meant to be back: until then every node is paid for.
#[must_use]
pub fn back_by(sale: &Sale, times: Times) -> Timestamp {
    times.ends_at.checked_add(sale.spec.return_over.get()).unwrap_or(times.ends_at)
}

/// What a price per hour comes to, in millionths; negative for a time that is.
fn over(hourly: Money, time: SignedDuration) -> i128 {
    i128::from(hourly.micros()) * time.as_millis() / HOUR_MILLIS
}

/// As an amount, of which the API knows nine whole digits.
fn money(micros: i128) -> Money {
    const MOST: i128 = 999_999_999_999_999;
    Money::from_micros(i64::try_from(micros.clamp(0, MOST)).unwrap_or(i64::MAX))
}

/// What is recorded of this run of the sale; of an earlier one, that is over, nothing counts.
fn recorded(sale: &Sale) -> Option<&Spent> {
    let goes_on = sale.status.phase.is_some_and(|phase| phase.is_active() || phase == Phase::Scheduled);
    sale.status.cost.as_ref().filter(|_| goes_on)?.spent.as_ref()
}

/// What the sale has spent until then. A clock that was ahead is made up for: what it counted too much is taken off again.
#[must_use]
pub fn until(sale: &Sale, then: Timestamp) -> Money {
    recorded(sale)
        .map_or(Money::default(), |spent| money(i128::from(spent.amount.micros()) + over(spent.hourly, then.duration_since(spent.until.0))))
}

/// The most per hour that `budget.maxTotalCost` pays for so long, once this is spent; `None`: no bound.
fn affordable(sale: &Sale, spent: Money, time: SignedDuration) -> Option<Money> {
    let max = sale.spec.budget.as_ref()?.max_total_cost?;
    let left = i128::from(max.micros()) - i128::from(spent.micros());
    Some(money(left.max(0) * HOUR_MILLIS / time.as_millis().max(1)))
}

/// Whether the money for its whole window is bounded.
#[must_use]
pub fn is_bounded(sale: &Sale) -> bool {
    sale.spec.budget.as_ref().is_some_and(|budget| budget.max_total_cost.is_some())
}

/// The most per hour that `budget.maxTotalCost` pays for, for a sale that waits and would start that long before its ready-by; `None`: no bound.
#[must_use]
pub fn most_hourly(seen: &Indexed<'_>, sale: usize, draft: &Draft, lead: SignedDuration) -> Option<Money> {
    let (sale, times) = (&seen.sales[sale], draft.times?);
    affordable(sale, until(sale, seen.now), back_by(sale, times).duration_since(starts_at(times, lead)))
}

/// The same for every sale that is on, by its index. Under `onShortfall: Hold` a node counts as if it had been there from the start: what was too dear then is not had
/// later because less of the window is left.
#[must_use]
pub fn left(seen: &Indexed<'_>, drafts: &[Draft]) -> BTreeMap<usize, Money> {
    let of = |(index, draft): (usize, &Draft)| {
        let (sale, times) = (&seen.sales[index], draft.times.filter(|_| draft.phase.holds())?);
        let back_by = back_by(sale, times);
        let now = affordable(sale, until(sale, seen.now), back_by.duration_since(seen.now))?;
        let started = draft.entered.preparing.as_ref().filter(|_| sale.spec.on_shortfall == OnShortfall::Hold);
        let whole = started.and_then(|at| affordable(sale, Money::default(), back_by.duration_since(at.0)));
        Some((index, whole.map_or(now, |whole| whole.min(now))))
    };
    drafts.iter().enumerate().filter_map(of).collect()
}

/// Price per hour of the instances that each active sale pays for now: those that it uses; and those that nobody uses are those of the first to open that may use their pool.
#[must_use]
pub fn held(seen: &Indexed<'_>, drafts: &[Draft], packing: &Packing) -> BTreeMap<usize, Money> {
    let mut held: BTreeMap<usize, Money> = BTreeMap::new();
    let mut active: Vec<usize> = (0..drafts.len()).filter(|i| drafts[*i].phase.is_active()).collect();
    active.sort_by_key(|sale| (drafts[*sale].times.map(|times| times.opens_at), *sale));
    let first = |pool: &str| active.iter().copied().find(|i| drafts[*i].pools.iter().any(|name| name == pool));
    let mut charge = |sale: Option<usize>, hourly: Money| {
        if let Some(sale) = sale {
            let all = held.entry(sale).or_default();
            *all = *all + hourly;
        }
    };
    for bin in packing.bins().iter().filter(|bin| bin.state != BinState::New && bin.hourly > Money::default()) {
        charge(bin.owner.as_ref().map(|(_, sale)| *sale).or_else(|| first(&bin.pool)), bin.hourly);
    }
    for (pool, have) in seen.pools.iter().zip(&seen.have) {
        let late = have.overdue.iter().chain(&have.never_joined);
        late.for_each(|instance| charge(first(&pool.name), price(pool, instance)));
    }
    held
}

fn price(pool: &Pool, instance: &Instance) -> Money {
    declared(pool, &instance.instance_type).map(|t| t.hourly_cost).unwrap_or_default()
}

/// What the sale costs: `hourly` at the peak of the plan, `held` now, as far as the cloud says. Nothing of it changes from minute to minute.
#[must_use]
pub fn cost(seen: &Indexed<'_>, sale: &Sale, draft: &Draft, hourly: Money, held: Money) -> Cost {
    let silent = seen.unknown.iter().any(|pool| draft.pools.contains(&seen.pools[*pool].name));
    // What the cloud does not say is there as before, and paid for.
    let before = recorded(sale).filter(|_| silent).map_or(Money::default(), |spent| spent.hourly);
    let spent = record(sale, draft.phase, hourly, held.max(before), seen.now);
    let amount = spent.as_ref().map_or(0, |spent| i128::from(spent.amount.micros()));
    let since = match (&spent, draft.times) {
        (Some(spent), _) if draft.phase.is_active() => Some(spent.until.0),
        (_, times) => times.map(|times| times.starts_at),
    };
    let ahead = draft.times.zip(since).map_or(0, |(times, since)| over(hourly, back_by(sale, times).duration_since(since)));
    /// An estimate has no more digits than money has.
    const CENT: i128 = 10_000;
    Cost { hourly, window: money((amount + ahead.max(0) + CENT - 1) / CENT * CENT), spent }
}

fn record(sale: &Sale, phase: Phase, hourly: Money, held: Money, now: Timestamp) -> Option<Spent> {
    let before = sale.status.cost.as_ref();
    let Some(old) = recorded(sale) else {
        let new = Spent { until: Time(whole_seconds(now)), amount: Money::default(), hourly: held };
        return if phase.is_active() {
            Some(new)
        } else {
            before.and_then(|cost| cost.spent.clone()).filter(|_| phase != Phase::Scheduled)
        };
    };
    if !phase.is_active() && phase != Phase::Scheduled {
        // It is over: what is left there is nobody's, or that of the next sale.
        let now = whole_seconds(now);
        return Some(Spent { until: Time(now), amount: until(sale, now), hourly: Money::default() });
    }
    if old.hourly == held && before.is_some_and(|cost| cost.hourly == hourly) {
        return Some(old.clone());
    }
    let now = whole_seconds(now);
    Some(Spent { until: Time(now), amount: until(sale, now), hourly: held })
}

/// When one node more would be within `budget.maxTotalCost`, because less of the window is left: for a sale that lacks something and goes on trying.
#[must_use]
pub fn affordable_at(seen: &Indexed<'_>, sale: &Sale, draft: &Draft, plan: &SalePlan) -> Option<Timestamp> {
    let max = sale.spec.budget.as_ref()?.max_total_cost?;
    if plan.unplaced == 0 || !plan.phase.holds() || sale.spec.on_shortfall == OnShortfall::Hold {
        return None;
    }
    let types = draft.pools.iter().filter_map(|name| seen.pool(name)?.spec.nodes.ec2.as_ref()).flat_map(|ec2| &ec2.instance_types);
    let cheapest = types.map(|t| t.hourly_cost.micros()).filter(|price| *price > 0).min()?;
    let back_by = back_by(sale, plan.times?);
    let all = i128::from(until(sale, seen.now).micros()) + over(plan.cost.hourly, back_by.duration_since(seen.now));
    let seconds = (i128::from(max.micros()) - all).max(0) * 3_600 / i128::from(cheapest);
    back_by.checked_sub(SignedDuration::from_secs(i64::try_from(seconds).ok()?)).ok()
}

#[cfg(test)]
mod tests;
