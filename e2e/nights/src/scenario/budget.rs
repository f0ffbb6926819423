//! What a scenario's file says: what must come of it. Always held, without being asked for: nothing is left behind, every field is as it was, no
//! condition contradicts the world, no rule of order was broken, and the checker had nothing to say.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::time::Moment;

/// What must come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// Workloads that must be Ready, by when and until when.
    #[serde(default)]
    pub ready: Vec<Ready>,
    /// Conditions that must be told, by when.
    #[serde(default)]
    pub told: Vec<Told>,
    /// Where pods must be at an instant.
    #[serde(default)]
    pub places: Vec<Places>,
    /// Phases that sales must be in at an instant.
    #[serde(default)]
    pub phases: Vec<Phase>,
    /// Most instances that are ever launched.
    pub most_instances: usize,
    /// Most writes to the Kubernetes API and calls that change something in the cloud, all together.
    pub most_writes: usize,
    /// Most node-hours of rented nodes. Default: as many as they are.
    pub most_node_hours: Option<f64>,
    /// Most that the rented nodes cost. Default: what they cost.
    pub most_cost: Option<f64>,
    /// Most replicas that are misplaced at once after a sale was Ready, by its own report. Default 0.
    #[serde(default)]
    pub misplaced: i64,
    /// Phases that sales end in; `Gone` where the object must not be there any more. Default: Completed.
    #[serde(default)]
    pub sales: BTreeMap<String, String>,
    /// Fields that are not as they were, as in `Deployment checkout: 5`.
    #[serde(default)]
    pub afterwards: BTreeMap<String, i64>,
    /// What may be left or told at the end, by its first words; each must be found.
    #[serde(default)]
    pub remains: Vec<String>,
}

/// A workload that must be Ready.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ready {
    /// The Deployment.
    pub workload: String,
    /// Ready pods.
    pub replicas: usize,
    /// At the latest then.
    pub by: Moment,
    /// And never fewer from `by` until then. Default: not looked at.
    pub until: Option<Moment>,
}

/// A condition that must be told.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Told {
    /// The sale, or `pool lz`.
    pub of: String,
    /// Type of the condition.
    pub condition: String,
    /// Its status. Default True.
    #[serde(default = "yes")]
    pub status: String,
    /// Its reason. Default: any.
    pub reason: Option<String>,
    /// Part of its sentence. Default: any.
    pub says: Option<String>,
    /// At the latest then.
    pub by: Moment,
}

fn yes() -> String {
    "True".to_owned()
}

/// Where pods must be.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Places {
    /// When.
    pub at: Moment,
    /// The Deployment.
    pub workload: String,
    /// Bound pods by zone, exactly.
    pub pods: BTreeMap<String, usize>,
}

/// The phase of a sale.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Phase {
    /// When.
    pub at: Moment,
    /// The sale.
    pub sale: String,
    /// Its phase.
    pub is: String,
}
