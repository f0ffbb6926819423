//! Which nodes pods may be on by their own word: required labels, and tolerations of taints.

use std::collections::BTreeMap;

use serde::Serialize;

/// What keeps pods that do not tolerate it from a node: a taint with the effect `NoSchedule` or `NoExecute`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value, empty where there is none.
    pub value: String,
    /// Effect.
    pub effect: String,
}

/// A toleration, as Kubernetes reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Toleration {
    /// Key; `None`: every key.
    pub key: Option<String>,
    /// Value; `None`: every value (`operator: Exists`).
    pub value: Option<String>,
    /// Effect; `None`: every effect.
    pub effect: Option<String>,
}

impl Toleration {
    /// Whether it tolerates the taint.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let is = |wanted: &Option<String>, is: &String| wanted.as_ref().is_none_or(|wanted| wanted == is);
        is(&self.key, &taint.key) && is(&self.value, &taint.value) && is(&self.effect, &taint.effect)
    }
}

/// One requirement on a node's labels, with Kubernetes' operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: String,
    /// Values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

impl Requirement {
    /// Whether a node with these labels meets it. An operator that is not known is not met.
    #[must_use]
    pub fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let label = labels.get(&self.key);
        let number = |text: &String| text.parse::<i64>().ok();
        match self.operator.as_str() {
            "In" => label.is_some_and(|l| self.values.contains(l)),
            "NotIn" => label.is_none_or(|l| !self.values.contains(l)),
            "Exists" => label.is_some(),
            "DoesNotExist" => label.is_none(),
            "Gt" => label.and_then(number).zip(self.values.first().and_then(number)).is_some_and(|(l, v)| l > v),
            "Lt" => label.and_then(number).zip(self.values.first().and_then(number)).is_some_and(|(l, v)| l < v),
            _ => false,
        }
    }
}
