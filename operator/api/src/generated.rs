//! Every file that is derived from the API types: the CRDs in `crds/` and in the chart `onsale-operator-crds`, and the table of reasons.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::{CapacityPool, OnSale, Reason, WorkloadPlacement};

/// Folders that hold the CRDs, from the root of the repository.
const CRD_FOLDERS: [&str; 2] = ["crds", "charts/onsale-operator-crds/templates"];

/// Path, from the root of the repository, and content of every generated file.
///
/// # Errors
/// When a definition cannot be written as YAML or JSON, which the drift test would show.
pub fn files() -> Result<Vec<(String, String)>, serde_yaml::Error> {
    let mut files = vec![("docs/reasons.md".to_owned(), reasons())];
    for crd in [OnSale::crd(), CapacityPool::crd(), WorkloadPlacement::crd()] {
        let name = crd.metadata.name.clone().unwrap_or_default();
        let text = manifest(crd)?;
        files.extend(CRD_FOLDERS.iter().map(|folder| (format!("{folder}/{name}.yaml"), text.clone())));
    }
    Ok(files)
}

fn manifest(mut crd: CustomResourceDefinition) -> Result<String, serde_yaml::Error> {
    // Uninstalling the chart must not delete every sale, nor the record of what is rented.
    crd.metadata.annotations.get_or_insert_default().insert("helm.sh/resource-policy".to_owned(), "keep".to_owned());
    let value = serde_json::to_value(crd).map_err(<serde_yaml::Error as serde::ser::Error>::custom)?;
    Ok(format!("# Generated from operator/api by `cargo generate`; do not edit.\n{}", serde_yaml::to_string(&value)?))
}

/// Every reason with the sentence that documents it in the code.
fn reasons() -> String {
    let schema = serde_json::to_value(schemars::schema_for!(Reason)).unwrap_or_default();
    let text = |variant: &Value, key: &str| variant[key].as_str().unwrap_or_default().replace('\n', " ");
    let row = |variant: &Value| format!("| `{}` | {} |\n", text(variant, "const"), text(variant, "description"));
    let rows: String = schema["oneOf"].as_array().into_iter().flatten().map(row).collect();
    format!(
        "<!-- Generated from operator/api by `cargo generate`; do not edit. -->\n# Reasons\n\nEvery reason of a condition, an event or `status.waitingFor`. They are \
         stable across releases: alerts may name them.\n\n| reason | meaning |\n|---|---|\n{rows}"
    )
}
