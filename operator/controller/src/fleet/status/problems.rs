//! What went wrong in this pass, and for whom: failed chains, refused evictions, unknowns.

use onsale_api::Reason;
use onsale_planner::{plan::Waiting, steps::ChainKey};

use super::Material;
use crate::fleet::act::Stop;

/// What went wrong in the chain of `key`, or is unknown about it.
pub fn of(key: &ChainKey, material: &Material<'_>) -> Vec<Waiting> {
    let plain = |reason, message| Waiting { reason, message, until: None };
    let mut all: Vec<Waiting> = unknown(key, material).map(|why| plain(Reason::Unknown, why)).into_iter().collect();
    if material.outcomes.iter().all(|o| o.key != *key) {
        all.extend(material.resting.get(key).and_then(|b| b.why.clone()));
    }
    for outcome in material.outcomes.iter().filter(|o| o.key == *key) {
        all.extend(outcome.stop.as_ref().and_then(Stop::waiting));
        all.extend(outcome.hindered.iter().cloned());
        all.extend(outcome.blocked.first().map(|why| {
            let others = outcome.blocked.len() - 1;
            let more = if others == 0 { String::new() } else { format!(" (and {others} more)") };
            plain(Reason::DisruptionBudget, format!("{why}{more}"))
        }));
    }
    all
}

fn unknown(key: &ChainKey, material: &Material<'_>) -> Option<String> {
    let gaps = &material.observed.gaps;
    match key {
        ChainKey::Sale(_) => None,
        ChainKey::Pool(name) => {
            material.observed.cloud_errors.get(name).map(|error| format!("the instances of CapacityPool {name} are unknown: {error}"))
        }
        ChainKey::Workload(id) => gaps.workloads.get(id).map(|why| format!("{id} is unknown: {why}")),
    }
}
