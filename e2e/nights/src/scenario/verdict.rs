//! Whether the budget of a scenario held.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Scenario,
    budget::{Places, Ready, Told},
    start::key,
    timeline::{Act, Look, Step, deployment_named},
};
use crate::{
    api::{
        kinds::{self, Kind},
        store::{Key, key_of},
    },
    decisions::{Decision, floor_kind, short},
    sim::Inner,
};

/// Looks at whether a budget can be held against the night at all.
///
/// # Errors
/// Which field of the file makes no sense, why, and what to write.
pub fn check(scenario: &Scenario, start: &Inner) -> Result<(), String> {
    let budget = &scenario.file.budget;
    for (i, ready) in budget.ready.iter().enumerate() {
        deployment_named(start, &ready.workload, &format!("budget.ready[{i}].workload"))?;
    }
    for (i, places) in budget.places.iter().enumerate() {
        deployment_named(start, &places.workload, &format!("budget.places[{i}].workload"))?;
    }
    for field in budget.afterwards.keys() {
        if changed(field, 0).is_none() {
            return Err(format!("budget.afterwards: {field:?} has no floor: write a kind and a name, such as Deployment checkout"));
        }
    }
    if budget.ready.is_empty() && budget.told.is_empty() && budget.places.is_empty() && budget.phases.is_empty() {
        return Err("budget: nothing is asked for: write at least one of ready, told, places and phases".to_owned());
    }
    Ok(())
}

fn changed(field: &str, value: i64) -> Option<(Kind, &str, i64)> {
    let (kind, name) = field.split_once(' ')?;
    Some((floor_kind(kind)?, name, value))
}

/// What somebody has to look at in the middle of the night.
#[must_use]
pub fn looks(scenario: &Scenario) -> Vec<Step> {
    let look = |at, act: Look| Step { at, by: String::new(), said: String::new(), act: Act::Look(act) };
    let budget = &scenario.file.budget;
    let places = budget.places.iter().map(|p| {
        let (at, wanted) = (scenario.instant(p.at), p.clone());
        look(at, Box::new(move |inner| misplaced(inner, &wanted, at)))
    });
    let phases = budget.phases.iter().map(|p| {
        let (at, wanted) = (scenario.instant(p.at), p.clone());
        let act = move |inner: &Inner| {
            let phase = phase(inner, &wanted.sale);
            (phase != wanted.is).then(|| format!("{} is {phase} at {at}, not {}", wanted.sale, wanted.is))
        };
        look(at, Box::new(act))
    });
    places.chain(phases).collect()
}

fn phase(inner: &Inner, sale: &str) -> String {
    let (namespace, name) = key(sale);
    let found = inner.store.get(&kinds::SALES, &namespace, &name);
    found.map_or("Gone", |s| s["status"]["phase"].as_str().unwrap_or_default()).to_owned()
}

fn misplaced(inner: &Inner, wanted: &Places, at: Timestamp) -> Option<String> {
    let (namespace, name) = key(&wanted.workload);
    let mut there = BTreeMap::<String, usize>::new();
    let mine = |pod: &Value| {
        key_of(pod).0 == namespace && pod["metadata"]["labels"]["app"] == name.as_str() && pod["spec"]["nodeName"].is_string()
    };
    for pod in inner.store.list(&kinds::PODS).filter(|p| mine(p)) {
        *there.entry(pod["metadata"]["labels"][onsale_api::names::ZONE].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    (there != wanted.pods).then(|| format!("pods of {} are in {there:?} at {at}, not in {:?}", wanted.workload, wanted.pods))
}

/// What rented nodes came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rent {
    /// Instances that were ever launched.
    pub instances: usize,
    /// Hours of them, all together.
    pub hours: f64,
    /// What they cost, to the second.
    pub cost: f64,
}

/// What rented nodes came to.
#[must_use]
pub fn rent(state: &Inner) -> Rent {
    let price = |pool: &str, type_: &str| {
        let pool = state.origin.get(&kinds::POOLS, "", pool)?;
        let types = pool["spec"]["nodes"]["ec2"]["instanceTypes"].as_array()?;
        types.iter().find(|t| t["name"] == type_)?["hourlyCost"].as_str()?.parse::<f64>().ok()
    };
    let mut rent = Rent { instances: state.cloud.machines.len(), ..Rent::default() };
    for machine in state.cloud.machines.values() {
        let until = machine.ended_at.unwrap_or(state.now);
        let hours = until.duration_since(machine.instance.launched_at).as_secs_f64() / 3600.0;
        rent.hours += hours;
        rent.cost += hours * price(&machine.pool_name, &machine.instance.instance_type).unwrap_or_default();
    }
    rent
}

/// Everything that is not as it must be at the end of the night.
#[must_use]
pub fn faults(scenario: &Scenario, state: &Inner) -> Vec<String> {
    let budget = &scenario.file.budget;
    let mut faults: Vec<String> = budget.ready.iter().filter_map(|r| unready(scenario, state, r)).collect();
    faults.extend(budget.told.iter().filter_map(|t| untold(scenario, state, t)));
    let rent = rent(state);
    if rent.instances > budget.most_instances {
        faults.push(format!("{} instances were launched: at most {} are allowed", rent.instances, budget.most_instances));
    }
    if budget.most_node_hours.is_some_and(|most| rent.hours > most) {
        faults.push(format!("{:.3} node-hours: at most {:?} are allowed", rent.hours, budget.most_node_hours));
    }
    if budget.most_cost.is_some_and(|most| rent.cost > most) {
        faults.push(format!("{:.3} for rented nodes: at most {:?} are allowed", rent.cost, budget.most_cost));
    }
    let writes = state.journal.lines.len();
    if writes > budget.most_writes {
        faults.push(format!("{writes} writes: at most {} are allowed", budget.most_writes));
    }
    faults.extend(sales(scenario, state));
    let changes: Vec<_> = budget.afterwards.iter().filter_map(|(field, value)| changed(field, *value)).collect();
    let (expected, unclean): (Vec<_>, Vec<_>) =
        state.faults(&changes).into_iter().partition(|fault| budget.remains.iter().any(|first| fault.starts_with(first)));
    faults.extend(unclean);
    let missing = budget.remains.iter().filter(|first| !expected.iter().any(|fault| fault.starts_with(*first)));
    faults.extend(missing.map(|first| format!("budget.remains expects {first:?}, and nothing says so: remove it")));
    faults
}

fn series<'a>(state: &'a Inner, workload: &Key) -> &'a [(Timestamp, usize)] {
    state.world.ready.get(workload).map_or(&[], Vec::as_slice)
}

/// When a workload first had so many Ready pods.
#[must_use]
pub fn reached(state: &Inner, workload: &str, replicas: usize) -> Option<Timestamp> {
    series(state, &key(workload)).iter().find(|(_, n)| *n >= replicas).map(|(at, _)| *at)
}

fn unready(scenario: &Scenario, state: &Inner, ready: &Ready) -> Option<String> {
    let (by, what) = (scenario.instant(ready.by), format!("{} {}", ready.replicas, ready.workload));
    match reached(state, &ready.workload, ready.replicas) {
        None => return Some(format!("{what} were never Ready, they must be by {by}")),
        Some(at) if at > by => return Some(format!("{what} were Ready at {at}, they must be by {by}")),
        Some(_) => {}
    }
    let until = scenario.instant(ready.until?);
    let series = series(state, &key(&ready.workload));
    let before = series.iter().rfind(|(at, _)| *at <= by);
    let during = series.iter().filter(|(at, _)| *at > by && *at < until);
    let (at, fewest) = before.into_iter().chain(during).min_by_key(|(_, n)| *n)?;
    (*fewest < ready.replicas)
        .then(|| format!("only {fewest} {} were Ready at {at}, {} must be until {until}", ready.workload, ready.replicas))
}

fn untold(scenario: &Scenario, state: &Inner, told: &Told) -> Option<String> {
    let by = scenario.instant(told.by);
    let fits = |decision: &Decision| match decision {
        Decision::Told { object, type_, status, reason, message } => {
            *object == told.of
                && *type_ == told.condition
                && *status == told.status
                && told.reason.as_ref().is_none_or(|wanted| wanted == reason)
                && told.says.as_ref().is_none_or(|part| message.contains(part))
        }
        _ => false,
    };
    let first = state.journal.decisions.iter().find(|made| fits(&made.decision)).map(|made| made.at);
    let what = || {
        format!(
            "{} {}={} {} {}",
            told.of,
            told.condition,
            told.status,
            told.reason.as_deref().unwrap_or_default(),
            told.says.as_deref().unwrap_or_default()
        )
    };
    match first {
        Some(at) if at <= by => None,
        Some(at) => Some(format!("{} was told at {at}, it must be by {by}", what())),
        None => Some(format!("{} was never told", what())),
    }
}

fn sales(scenario: &Scenario, state: &Inner) -> Vec<String> {
    let budget = &scenario.file.budget;
    let all = state.origin.list(&kinds::SALES).chain(state.store.list(&kinds::SALES));
    let mut names: Vec<String> = all.map(|sale| short(&key_of(sale).0, &key_of(sale).1)).chain(budget.sales.keys().cloned()).collect();
    names.sort();
    names.dedup();
    let mut faults = Vec::new();
    for name in names {
        let (wanted, found) = (budget.sales.get(&name).map_or("Completed", String::as_str), phase(state, &name));
        if wanted != found {
            faults.push(format!("{name} ended {found}, not {wanted}"));
        }
        let (namespace, plain) = key(&name);
        let sale = state.store.get(&kinds::SALES, &namespace, &plain);
        let misplaced = sale.and_then(|s| s.pointer("/status/report/misplacedPeak")?.as_i64()).unwrap_or_default();
        if misplaced > budget.misplaced {
            faults.push(format!("{misplaced} replicas of {name} were misplaced: at most {} may be", budget.misplaced));
        }
    }
    faults
}
