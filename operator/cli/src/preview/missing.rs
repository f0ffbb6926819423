//! What cannot be had, and why.

use onsale_api::Reason;
use onsale_planner::{
    demand,
    plan::{SalePlan, Waiting, WorkloadPlan},
    snapshot::WorkloadId,
};

use super::Missing;
use crate::world::World;

/// What is missing, workload by workload, then for the sale as a whole; `sought` are the workloads that it names.
#[must_use]
pub fn missing(world: &World, sought: &[WorkloadId], plan: &SalePlan, workloads: &[&WorkloadPlan]) -> Vec<Missing> {
    let mut all: Vec<Missing> = Vec::new();
    let mut said: Vec<String> = Vec::new();
    for work in workloads.iter().filter(|w| w.unplaced > 0) {
        for why in &work.problems {
            let (reason, message) = explain(world, sought, why);
            said.push(format!("{}: {}", work.id.name, why.message));
            said.push(why.message.clone());
            let missing =
                Missing { workload: Some(work.id.name.clone()), replicas: Some(work.unplaced), reason, message, until: why.until };
            if !all.contains(&missing) {
                all.push(missing);
            }
        }
    }
    for why in plan.waiting_for.iter().filter(|w| !said.contains(&w.message) && !remarks(w)) {
        let (reason, message) = explain(world, sought, why);
        all.push(Missing { workload: None, replicas: None, reason, message, until: why.until });
    }
    if let Some(invalid) = &plan.invalid {
        all.push(Missing { workload: None, replicas: None, reason: invalid.reason, message: invalid.message.clone(), until: None });
    }
    all
}

/// Only worth knowing.
#[must_use]
pub fn remarks(waiting: &Waiting) -> bool {
    matches!(waiting.reason, Reason::GraceTooShort | Reason::HeadroomMissing)
}

/// In the words of somebody who has files, not a cluster, before them.
fn explain(world: &World, sought: &[WorkloadId], why: &Waiting) -> (Reason, String) {
    // What is bounded by the cloud's old word, and not by a launch that it refused.
    let by_word = matches!(why.reason, Reason::AddressesExhausted | Reason::QuotaExhausted) && !why.message.starts_with("pool ");
    let age = world.told.as_ref().filter(|_| by_word).map(|told| format!(" (as of {told})")).unwrap_or_default();
    let message = format!("{}{age}", why.message);
    if let Some(id) = sought.iter().find(|id| demand::not_found(id) == *why) {
        return (why.reason, not_found(world, id));
    }
    if world.cluster.is_some() {
        return (why.reason, message);
    }
    match why.reason {
        Reason::NoPool => {
            (why.reason, format!("{message}. From files alone, the Namespace with its labels and the CapacityPools have to be among them"))
        }
        Reason::LimitReached => match world.blind.iter().find(|p| message == format!("the nodes of pool {p} are full")) {
            Some(pool) => (
                Reason::Unknown,
                format!("nodes of pool {pool} are unknown and taken as full: say what is there with --nodes or --cluster"),
            ),
            None => (why.reason, message),
        },
        _ => (why.reason, message),
    }
}

/// A workload that is nowhere, or that is there under a name which only people take for the same.
fn not_found(world: &World, id: &WorkloadId) -> String {
    let kind = format!("{:?}", id.kind);
    let alike = world.mentions.iter().find_map(|m| m.differs(&kind, &id.namespace, &id.name)).map(|alike| format!("; {alike}"));
    match (world.cluster.is_some(), alike) {
        (true, alike) => demand::not_found(id).message + &alike.unwrap_or_default(),
        (false, Some(alike)) => format!("{kind} {} of namespace {} is in none of the files{alike}", id.name, id.namespace),
        (false, None) => format!("{kind} {} is in none of the files: add its manifest, or ask the cluster with --cluster", id.name),
    }
}
