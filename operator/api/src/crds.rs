//! The CRD manifests, as they lie in `crds/` and in the chart `onsale-operator-crds`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{CapacityPool, OnSale, WorkloadPlacement};

/// First line of every generated file.
pub const HEADER: &str = "# Generated from operator/api by `cargo generate`; do not edit.\n";

/// File name and content of every CRD manifest.
///
/// # Errors
/// When a definition cannot be written as YAML, which the drift test would show.
pub fn manifests() -> Result<Vec<(String, String)>, serde_yaml::Error> {
    [OnSale::crd(), CapacityPool::crd(), WorkloadPlacement::crd()].into_iter().map(manifest).collect()
}

fn manifest(crd: CustomResourceDefinition) -> Result<(String, String), serde_yaml::Error> {
    let name = crd.metadata.name.clone().unwrap_or_default();
    let text = serde_yaml::to_string(&serde_json::to_value(crd).map_err(<serde_yaml::Error as serde::ser::Error>::custom)?)?;
    Ok((format!("{name}.yaml"), format!("{HEADER}{text}")))
}
