//! Which places a `placement` would have to allow: each of its parts is lifted, and what is used then is what it has to allow. That is tried once more.

use std::collections::BTreeSet;

use onsale_api::{onsale::Placement, pool::Tier, selector};
use onsale_planner::{
    Plan, Snapshot, plan,
    snapshot::{Pool, WorkloadId},
};

use super::changes::Attempt;

/// What a placement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Labels,
    Tiers,
    Zones,
}

/// Whose placement it is: the sale's own, or that of its workload with this index.
type Whose = Option<usize>;

/// Each part of each placement with which, were it wider, the sale would be a go.
pub fn widened(attempt: &Attempt<'_>) -> Vec<String> {
    let sale = &attempt.seen.sales[attempt.sale];
    let whose = std::iter::once(None).chain((0..sale.spec.workloads.len()).map(Some));
    let parts = whose.flat_map(|whose| [Part::Labels, Part::Tiers, Part::Zones].map(|part| (whose, part)));
    parts.filter_map(|(whose, part)| wider(attempt, whose, part)).collect()
}

fn wider(attempt: &Attempt<'_>, whose: Whose, part: Part) -> Option<String> {
    let said = placement(attempt.seen, attempt.sale, whose).filter(|said| part.says(said))?;
    let lifted = with(attempt, whose, |placement| part.lift(placement));
    if !attempt.is_go(&lifted) {
        return None;
    }
    let new: Vec<&Pool> = used(attempt, &lifted).into_iter().filter(|pool| !part.holds(said, pool)).collect();
    let tiers: Vec<Tier> = distinct(said.tiers.iter().copied().chain(new.iter().map(|p| p.spec.tier)));
    let zones: Vec<String> = distinct(said.zones.iter().cloned().chain(new.iter().map(|p| p.spec.zone.clone())));
    let (field, more) = match part {
        Part::Labels => ("poolSelector", "let it match".to_owned()),
        Part::Tiers => ("tiers", format!("add {}", list(tiers[said.tiers.len()..].iter().map(|t| format!("{t:?}"))))),
        Part::Zones => ("zones", format!("add {}", list(zones[said.zones.len()..].iter().cloned()))),
    };
    let again = match part {
        // Labels are the pools' own: what was tried is that these are matched.
        Part::Labels => lifted,
        Part::Tiers => with(attempt, whose, |placement| placement.tiers.clone_from(&tiers)),
        Part::Zones => with(attempt, whose, |placement| placement.zones.clone_from(&zones)),
    };
    let pools = format!("{} {}", if new.len() == 1 { "pool" } else { "pools" }, list(new.iter().map(|p| p.name.clone())));
    let pools = if part == Part::Labels { format!(" {pools}, too") } else { format!(" ({pools})") };
    attempt.is_go(&again).then(|| format!("placement.{field} of {}: {more}{pools}", name(attempt, whose)))
}

impl Part {
    fn says(self, placement: &Placement) -> bool {
        match self {
            Self::Labels => placement.pool_selector.is_some(),
            Self::Tiers => !placement.tiers.is_empty(),
            Self::Zones => !placement.zones.is_empty(),
        }
    }

    fn lift(self, placement: &mut Placement) {
        match self {
            Self::Labels => placement.pool_selector = None,
            Self::Tiers => placement.tiers.clear(),
            Self::Zones => placement.zones.clear(),
        }
    }

    fn holds(self, placement: &Placement, pool: &Pool) -> bool {
        match self {
            Self::Labels => placement.pool_selector.as_ref().is_none_or(|s| selector::matches(s, &pool.labels)),
            Self::Tiers => placement.tiers.contains(&pool.spec.tier),
            Self::Zones => placement.zones.contains(&pool.spec.zone),
        }
    }
}

fn placement(seen: &Snapshot, sale: usize, whose: Whose) -> Option<&Placement> {
    let spec = &seen.sales[sale].spec;
    whose.map_or(spec.placement.as_ref(), |n| spec.workloads[n].placement.as_ref())
}

fn with(attempt: &Attempt<'_>, whose: Whose, change: impl Fn(&mut Placement)) -> Plan {
    let mut seen = attempt.seen.clone();
    let spec = &mut seen.sales[attempt.sale].spec;
    let placement = match whose {
        Some(n) => spec.workloads[n].placement.as_mut(),
        None => spec.placement.as_mut(),
    };
    placement.into_iter().for_each(change);
    plan(&seen, attempt.now)
}

/// Pools in which the plan puts replicas of the sale.
fn used<'a>(attempt: &Attempt<'a>, plan: &Plan) -> Vec<&'a Pool> {
    let ids: Vec<WorkloadId> = attempt.seen.sales[attempt.sale].workload_ids().collect();
    let forecast = plan.forecasts.iter().find(|f| f.sale == *attempt.id());
    let workloads = forecast.map_or(&plan.workloads, |f| &f.workloads).iter().filter(|w| ids.contains(&w.id));
    let names: BTreeSet<&String> = workloads.flat_map(|w| w.by_pool.iter().filter(|(_, n)| **n > 0)).map(|(pool, _)| pool).collect();
    attempt.seen.pools.iter().filter(|pool| names.contains(&pool.name)).collect()
}

fn name(attempt: &Attempt<'_>, whose: Whose) -> String {
    whose.map_or_else(|| "the sale".to_owned(), |n| attempt.seen.sales[attempt.sale].spec.workloads[n].target.name.clone())
}

/// Each once, in order.
fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut once: Vec<T> = Vec::new();
    for one in all {
        if !once.contains(&one) {
            once.push(one);
        }
    }
    once
}

fn list(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
