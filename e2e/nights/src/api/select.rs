//! Label and field selectors, as far as lists and watches use them.

use serde_json::Value;

use super::request::Ask;

/// What a list or watch is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    namespace: String,
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    /// `None`: the key need only exist.
    value: Option<String>,
    negated: bool,
}

impl Requirement {
    fn parse(text: &str) -> Self {
        let (negated, text) = text.strip_prefix('!').map_or((false, text), |t| (true, t));
        let split = |at: &str| text.split_once(at).map(|(k, v)| (k.to_owned(), v.trim_start_matches('=').to_owned()));
        match (split("!="), split("=")) {
            (Some((key, value)), _) => Self { key, value: Some(value), negated: true },
            (None, Some((key, value))) => Self { key, value: Some(value), negated },
            (None, None) => Self { key: text.to_owned(), value: None, negated },
        }
    }

    fn holds(&self, actual: Option<&str>) -> bool {
        let met = match &self.value {
            Some(value) => actual.unwrap_or_default() == value && (actual.is_some() || value.is_empty()),
            None => actual.is_some(),
        };
        met != self.negated
    }
}

impl Selection {
    /// From the namespace and the selectors of a request.
    #[must_use]
    pub fn of(ask: &Ask) -> Self {
        let all = |name: &str| ask.param(name).map(|t| t.split(',').map(Requirement::parse).collect()).unwrap_or_default();
        Self { namespace: ask.namespace.clone(), labels: all("labelSelector"), fields: all("fieldSelector") }
    }

    /// Whether an object is among what was asked for.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let here = self.namespace.is_empty() || metadata["namespace"].as_str() == Some(&self.namespace);
        here && self.labels.iter().all(|r| r.holds(metadata["labels"].get(&r.key).and_then(Value::as_str)))
            && self.fields.iter().all(|r| {
                let found = r.key.split('.').try_fold(object, |value, part| value.get(part));
                r.holds(found.and_then(Value::as_str).or(Some("")))
            })
    }
}
