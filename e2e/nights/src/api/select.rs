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
    /// One of these; `None`: the key need only exist.
    values: Option<Vec<String>>,
    negated: bool,
}

impl Requirement {
    fn parse(text: &str) -> Self {
        for (word, negated) in [(" notin ", true), (" in ", false)] {
            if let Some((key, list)) = text.split_once(word) {
                let values = list.trim().trim_matches(['(', ')']).split(',').map(|v| v.trim().to_owned()).collect();
                return Self { key: key.trim().to_owned(), values: Some(values), negated };
            }
        }
        let (negated, text) = text.strip_prefix('!').map_or((false, text), |t| (true, t));
        let split = |at: &str| text.split_once(at).map(|(k, v)| (k.to_owned(), Some(vec![v.trim_start_matches('=').to_owned()])));
        match (split("!="), split("=")) {
            (Some((key, values)), _) => Self { key, values, negated: true },
            (None, Some((key, values))) => Self { key, values, negated },
            (None, None) => Self { key: text.to_owned(), values: None, negated },
        }
    }

    /// Those of a selector: at its commas, but for those between brackets.
    fn all(text: &str) -> Vec<Self> {
        let mut depth = 0_i32;
        let parts = text.split(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            c == ',' && depth == 0
        });
        parts.map(|part| Self::parse(part.trim())).collect()
    }

    fn holds(&self, actual: Option<&str>) -> bool {
        let met = match &self.values {
            Some(values) => actual.is_some_and(|a| values.iter().any(|v| v == a)),
            None => actual.is_some(),
        };
        met != self.negated
    }
}

impl Selection {
    /// From the namespace and the selectors of a request.
    #[must_use]
    pub fn of(ask: &Ask) -> Self {
        let all = |name: &str| ask.param(name).map(Requirement::all).unwrap_or_default();
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
