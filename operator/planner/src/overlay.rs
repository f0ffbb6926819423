//! What the admission policies do to a workload's new pods, as data; the controller writes it as a PodTemplate.

use serde::Serialize;

use crate::snapshot::Requirement;

/// Everything that the overlay PodTemplate of one workload says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overlay {
    /// Kind of the controller that owns the pods.
    pub owner_kind: &'static str,
    /// RE2 pattern of that controller's name.
    pub owner_pattern: String,
    /// RE2 pattern of the pods' names.
    pub pod_pattern: String,
    /// Deletion cost by zone; empty: none is stamped.
    pub zone_costs: Vec<(String, i32)>,
    /// Stamp that new pods carry: `<workload>.<revision>`, the workload's name cut to fit into a label value.
    pub stamp: String,
    /// Where pods may go: one of these terms must hold. Never empty.
    pub required: Vec<Vec<Requirement>>,
    /// Where they go first: weight and term, nearest first.
    pub preferred: Vec<(i32, Vec<Requirement>)>,
    /// Pools whose taint the pods tolerate.
    pub tolerated: Vec<String>,
}
