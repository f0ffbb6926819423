//! Who wrote a field last, from managedFields: a tiny extract, so that the rest can be dropped.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use onsale_api::names;

/// The manager of `spec.<field>`. A write that changes the value takes the field from all others, so several managers hold the same value;
/// then it is a foreign one rather than us, and of those the latest. Entries that came through `/scale` carry no time: they count as oldest.
#[must_use]
pub fn of_spec(meta: &ObjectMeta, field: &str) -> Option<String> {
    let key = format!("f:{field}");
    let owns =
        |entry: &&ManagedFieldsEntry| entry.fields_v1.as_ref().is_some_and(|f| f.0.get("f:spec").is_some_and(|s| s.get(&key).is_some()));
    let owners = meta.managed_fields.iter().flatten().filter(owns);
    let last = owners.max_by_key(|e| (e.manager.as_deref() != Some(names::MANAGER), e.time.as_ref().map(|t| t.0)))?;
    last.manager.clone()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(entries: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(json!({"managedFields": entries})).unwrap()
    }

    #[test]
    fn names_the_latest_foreign_manager_of_the_field() {
        let fields = json!({"f:spec": {"f:replicas": {}}});
        let meta = meta(json!([
            {"manager": "onsale-operator", "operation": "Update", "subresource": "scale", "fieldsV1": fields},
            {"manager": "argocd-controller", "operation": "Apply", "time": "2026-12-01T00:00:00Z", "fieldsV1": fields},
            {"manager": "kubectl", "operation": "Update", "time": "2026-12-02T00:00:00Z", "fieldsV1": {"f:spec": {"f:paused": {}}}},
        ]));
        assert_eq!(of_spec(&meta, "replicas").as_deref(), Some("argocd-controller"));
        assert_eq!(of_spec(&meta, "paused").as_deref(), Some("kubectl"));
        assert_eq!(of_spec(&meta, "template"), None);
    }
}
