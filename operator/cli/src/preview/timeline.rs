//! What happens when, for one sale: what was rehearsed within its window, and the instants that its plan promises.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use onsale_api::{Phase, time::whole_seconds};
use onsale_planner::{
    plan::SalePlan,
    snapshot::{SaleId, WorkloadId},
};

use super::{Kind, Moment, Part, Times};
use crate::rehearsal::{Event, Night, What};

/// When a sale entered a phase for the first time after `since`.
fn entered(night: &Night, sale: &SaleId, phase: Phase) -> Option<Timestamp> {
    night.events.iter().find_map(|e| (e.what == What::Phase(sale.clone(), phase)).then_some(whole_seconds(e.at)))
}

/// The sale's instants.
#[must_use]
pub fn times(plan: &SalePlan, night: &Night) -> Option<Times> {
    let times = plan.times?;
    let started = plan.entered.preparing.as_ref().map(|t| t.0);
    let back = entered(night, &plan.id, Phase::Completed).or_else(|| entered(night, &plan.id, Phase::Cancelled));
    Some(Times {
        starts_at: started.unwrap_or(times.starts_at),
        expected_ready_at: plan.entered.ready.as_ref().map(|t| t.0).or_else(|| entered(night, &plan.id, Phase::Ready)),
        ready_at_latest: plan.predicted_ready_at,
        ready_by: times.ready_by,
        opens_at: times.opens_at,
        ends_at: times.ends_at,
        back_at: back,
        stays_from: night.stays.get(&plan.id).map(|stay| whole_seconds(stay.since)),
    })
}

/// What one sale's timeline is made of.
pub struct Scope<'a> {
    /// The rehearsal.
    pub night: &'a Night,
    /// Workloads that the sale names, in its order.
    pub mine: Vec<WorkloadId>,
    /// Its pools, nearest first.
    pub pools: Vec<String>,
    /// Sales that share a workload or a pool with it, itself among them.
    pub related: BTreeSet<&'a SaleId>,
    /// Not all of it finds a place.
    pub short: bool,
    /// What is so when it is over.
    pub back: String,
    /// What stays if it never is.
    pub stays: String,
}

/// The moments of a sale, in order.
#[must_use]
pub fn moments(times: &Times, scope: &Scope<'_>) -> Vec<Moment> {
    // Without an end, all that was rehearsed belongs to it.
    let until = times.back_at.or(times.stays_from).unwrap_or(Timestamp::MAX);
    let enters = |e: &&Event| matches!(&e.what, What::Phase(sale, Phase::Preparing | Phase::Returning) if scope.related.contains(sale));
    let (mut all, mut chapter) = (promised(times, scope), 0);
    for instant in scope.night.events.chunk_by(|a, b| a.at == b.at) {
        let steps = instant.iter().position(|e| !matches!(e.what, What::Phase(..))).unwrap_or(instant.len());
        if instant[0].at >= times.starts_at && whole_seconds(instant[0].at) <= until {
            all.extend(told(instant, scope, chapter + instant[..steps].iter().filter(enters).count()));
        }
        chapter += instant.iter().filter(enters).count();
    }
    all.sort_by_key(|m| (m.at, m.kind));
    all
}

fn promised(times: &Times, scope: &Scope<'_>) -> Vec<Moment> {
    let whole = if scope.short { "what finds a place" } else { "everything" };
    let moment =
        |at: Option<Timestamp>, kind, text: &str| at.map(|at| Moment { at, kind, text: text.to_owned(), parts: Vec::new(), chapter: 0 });
    [
        moment(Some(times.starts_at), Kind::Start, &start(times)),
        moment(times.expected_ready_at, Kind::Ready, "everything is Ready, if every node takes the p95 of its pool"),
        moment(times.ready_at_latest, Kind::ReadyAtLatest, &format!("{whole} is Ready in 99 nights of 100")),
        moment(Some(times.ready_by), Kind::ReadyBy, &deadline(times)),
        moment(Some(times.opens_at), Kind::Opens, "doors open"),
        moment(Some(times.ends_at), Kind::ReturnStarts, "the way back starts"),
        moment(times.back_at, Kind::Back, &scope.back),
        moment(times.stays_from, Kind::Stays, &scope.stays),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn apart(from: Timestamp, to: Timestamp) -> String {
    span(to.duration_since(from))
}

fn start(times: &Times) -> String {
    let side = if times.starts_at > times.ready_by { "after" } else { "before" };
    format!("preparing starts, {} {side} ready-by", apart(times.starts_at, times.ready_by))
}

fn deadline(times: &Times) -> String {
    match times.ready_at_latest {
        Some(latest) if latest > times.ready_by => format!("everything must be Ready; it is {} late", apart(times.ready_by, latest)),
        Some(latest) => format!("everything must be Ready; {} to spare", apart(latest, times.ready_by)),
        None => "everything must be Ready".to_owned(),
    }
}

/// What happens at one instant, by kind; pools nearest first, as they are given.
fn told(instant: &[Event], scope: &Scope<'_>, chapter: usize) -> Vec<Moment> {
    let Scope { mine, pools, .. } = scope;
    let Some(at) = instant.first().map(|e| whole_seconds(e.at)) else { return Vec::new() };
    let mut launched: BTreeMap<(&str, &str), i32> = BTreeMap::new();
    let (mut joined, mut gone): (BTreeMap<&str, i32>, BTreeMap<&str, i32>) = Default::default();
    let mut floors: BTreeMap<&WorkloadId, (i32, i32)> = BTreeMap::new();
    for event in instant {
        match &event.what {
            What::Launched { pool, instance_type, count } if pools.contains(pool) => {
                *launched.entry((pool, instance_type)).or_default() += count
            }
            What::Joined { pool, count } if pools.contains(pool) => *joined.entry(pool).or_default() += count,
            What::Terminated { pool, count } if pools.contains(pool) => *gone.entry(pool).or_default() += count,
            What::Floor { workload, from, to } if mine.contains(workload) => floors.entry(workload).or_insert((*from, *to)).1 = *to,
            What::Phase(..) | What::Launched { .. } | What::Joined { .. } | What::Terminated { .. } | What::Floor { .. } => {}
        }
    }
    let near = |pool: &str| pools.iter().position(|p| p == pool);
    let nodes = |counts: &BTreeMap<&str, i32>| -> Vec<Part> {
        let mut counts: Vec<_> = counts.iter().collect();
        counts.sort_by_key(|(pool, _)| near(pool));
        counts.into_iter().map(|(pool, n)| Part::Nodes { pool: (*pool).to_owned(), count: *n }).collect()
    };
    let mut launched: Vec<_> = launched.into_iter().collect();
    launched.sort_by_key(|((pool, _), _)| near(pool));
    let place = |w: &WorkloadId| mine.iter().position(|m| m == w);
    let mut floors: Vec<_> = floors.into_iter().collect();
    floors.sort_by_key(|(w, _)| place(w));
    let floors_that = |up: bool| -> Vec<Part> {
        let those = floors.iter().filter(|(_, (from, to))| from != to && (to > from) == up);
        those.map(|(w, (from, to))| Part::Floor { workload: w.name.clone(), from: *from, to: *to }).collect()
    };
    let launches = list(launched.iter().map(|((pool, instance_type), n)| format!("{n} {instance_type} in {pool}")));
    let moving = [
        (Kind::NodesReady, nodes(&joined)),
        (Kind::FloorsRise, floors_that(true)),
        (Kind::FloorsFall, floors_that(false)),
        (Kind::NodesReturned, nodes(&gone)),
    ];
    let moving = moving.into_iter().map(|(kind, parts)| (kind, list(parts.iter().map(Part::to_string)), parts));
    let all = [(Kind::Launch, launches, Vec::new())].into_iter().chain(moving).filter(|(_, text, _)| !text.is_empty());
    all.map(|(kind, text, parts)| Moment { at, kind, text, parts, chapter }).collect()
}

/// One after the other, as people write it.
pub(super) fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// Whole seconds between two instants, as people say them: `3m50s`, `14d9h`.
#[must_use]
pub fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().abs();
    let parts = [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let shown: Vec<String> =
        parts.iter().skip_while(|(n, _)| *n == 0).take(2).filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if shown.is_empty() { "0s".to_owned() } else { shown.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        for (seconds, said) in [(0, "0s"), (59, "59s"), (230, "3m50s"), (3_600, "1h"), (90_061, "1d1h"), (-60, "1m")] {
            assert_eq!(span(SignedDuration::from_secs(seconds)), said);
        }
    }
}
