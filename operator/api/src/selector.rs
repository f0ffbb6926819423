//! Label selectors, evaluated as Kubernetes does.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::pool::{AllowedNamespaces, NamespacesFrom};

/// Whether `labels` match. An empty selector matches everything, an operator that is not known nothing.
#[must_use]
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|r| {
            let label = labels.get(&r.key);
            let listed = |l: &String| r.values.iter().flatten().any(|v| v == l);
            match r.operator.as_str() {
                "In" => label.is_some_and(listed),
                "NotIn" => !label.is_some_and(listed),
                "Exists" => label.is_some(),
                "DoesNotExist" => label.is_none(),
                _ => false,
            }
        })
}

impl AllowedNamespaces {
    /// Whether a namespace with these labels may use the pool; `None`: its labels are not known, and it may not.
    #[must_use]
    pub fn admits(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        match (self.from, labels, &self.selector) {
            (NamespacesFrom::All, _, _) => true,
            (NamespacesFrom::Selector, Some(labels), Some(selector)) => matches(selector, labels),
            (NamespacesFrom::Selector, _, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluates_as_kubernetes_does() {
        let labels = BTreeMap::from([("team".to_owned(), "ticketing".to_owned())]);
        let selector = |json: serde_json::Value| -> LabelSelector { serde_json::from_value(json).unwrap() };
        for (json, hit) in [
            (serde_json::json!({}), true),
            (serde_json::json!({"matchLabels": {"team": "ticketing"}}), true),
            (serde_json::json!({"matchLabels": {"team": "billing"}}), false),
            (serde_json::json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["billing"]}]}), true),
            (serde_json::json!({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}), true),
            (serde_json::json!({"matchExpressions": [{"key": "zone", "operator": "Exists"}]}), false),
            (serde_json::json!({"matchExpressions": [{"key": "team", "operator": "Near"}]}), false),
        ] {
            assert_eq!(matches(&selector(json.clone()), &labels), hit, "{json}");
        }
    }
}
