//! What the API server checks of our own kinds when they are applied: the CRD's structure, its CEL rules, names, and instants that exist.

use std::cell::OnceCell;

use jiff::{Timestamp, tz::TimeZone};
use kube::{CustomResourceExt, core::object::HasSpec};
use kube_cel::{CompiledSchema, ErrorKind, Validator, compile_schema};
use onsale_api::{CapacityPool, OnSale, time::TimeError};
use serde_json::Value;

use super::schema::{self, Fault};

/// The rules of one kind, compiled.
pub struct Rules {
    schema: Value,
    compiled: CompiledSchema,
    namespaced: bool,
}

impl Rules {
    /// Those of a kind. `None` only if its CRD had no schema, which the API's own tests rule out.
    #[must_use]
    pub fn of<K: CustomResourceExt>() -> Option<Self> {
        let crd = serde_json::to_value(K::crd()).ok()?;
        let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema")?.clone();
        Some(Self { compiled: compile_schema(&schema), namespaced: crd["spec"]["scope"] == "Namespaced", schema })
    }

    /// Everything that the API server would refuse in the object.
    #[must_use]
    pub fn check(&self, object: &Value) -> Vec<Fault> {
        let mut faults = names(&object["metadata"], self.namespaced);
        let mut content = object.clone();
        if let Some(fields) = content.as_object_mut() {
            fields.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata"));
        }
        faults.extend(schema::check(&self.schema, &content));
        let broken = Validator::new().validate_compiled(&self.compiled, object, None).err();
        let mut unsure = Vec::new();
        for error in broken.map(kube_cel::ValidationErrors::into_vec).unwrap_or_default() {
            let fault = Fault { field: error.field_path, message: error.message };
            // A rule that could not be evaluated met something that the structure forbids, and that was said already.
            if error.kind == ErrorKind::ValidationFailure { faults.push(fault) } else { unsure.push(fault) }
        }
        if faults.is_empty() {
            faults = unsure;
        }
        faults.dedup();
        faults
    }
}

/// The rules of the kinds that users write, each compiled when it is first asked for.
#[derive(Default)]
pub struct AllRules {
    sale: OnceCell<Option<Rules>>,
    pool: OnceCell<Option<Rules>>,
}

impl AllRules {
    /// Those of an OnSale.
    #[must_use]
    pub fn sale(&self) -> Option<&Rules> {
        self.sale.get_or_init(Rules::of::<OnSale>).as_ref()
    }
    /// Those of a CapacityPool.
    #[must_use]
    pub fn pool(&self) -> Option<&Rules> {
        self.pool.get_or_init(Rules::of::<CapacityPool>).as_ref()
    }
}

/// What the CRD cannot check: that the zone is known, and that the clocks of that day show the time once.
#[must_use]
pub fn instant(sale: &OnSale) -> Option<Fault> {
    let spec = sale.spec();
    // As in 2026-12-05T23:59:60: it would be taken for the second before.
    if spec.opens_at.get(16..19) == Some(":60") {
        let message = format!("Invalid value: {:?}: no clock shows second 60; write 59, or 00 of the next minute", spec.opens_at);
        return Some(Fault { field: "spec.opensAt".to_owned(), message });
    }
    let error = match onsale_api::time::resolve(&spec.opens_at, spec.time_zone.as_deref()) {
        Ok(opens_at) if is_plannable(opens_at) => return None,
        Ok(opens_at) => {
            let message = format!("Invalid value: {opens_at} is further away than anybody plans: write a year from 1970 to 8999");
            return Some(Fault { field: "spec.opensAt".to_owned(), message });
        }
        Err(error) => error,
    };
    let (field, message) = match error {
        TimeError::UnknownZone(_) => ("spec.timeZone", format!("unknown time zone: {error}")),
        other => ("spec.opensAt", other.to_string()),
    };
    Some(Fault { field: field.to_owned(), message })
}

/// Within bounds that leave room for every window and lead time that there may be.
#[must_use]
pub fn is_plannable(at: Timestamp) -> bool {
    const YEARS: std::ops::Range<i16> = 1970..9000;
    YEARS.contains(&at.to_zoned(TimeZone::UTC).year())
}

/// `metadata` as the API server wants it of every object.
#[must_use]
pub fn names(metadata: &Value, namespaced: bool) -> Vec<Fault> {
    let fault = |field: &str, message: String| Fault { field: format!("metadata.{field}"), message };
    let mut faults = Vec::new();
    match &metadata["name"] {
        Value::Null => faults.push(fault("name", "Required value: every object has a name".to_owned())),
        Value::String(name) if is_name(name, 253, true) => {}
        other @ (Value::Bool(_) | Value::Number(_)) => {
            faults.push(fault("name", format!("Invalid value: {other}: must be text: put the name in quotes")))
        }
        other => faults
            .push(fault("name", format!("Invalid value: {other}: write lower case letters, digits, '-' and '.', such as stadium-tour"))),
    }
    match &metadata["namespace"] {
        Value::Null => {}
        Value::String(name) if namespaced && is_name(name, 63, false) => {}
        _ if !namespaced => faults.push(fault("namespace", "this kind is in no namespace: remove the line".to_owned())),
        other => {
            faults.push(fault("namespace", format!("Invalid value: {other}: write lower case letters, digits and '-', such as ticketing")))
        }
    }
    for map in ["labels", "annotations"] {
        for (key, value) in metadata[map].as_object().into_iter().flatten().filter(|(_, v)| !v.is_string()) {
            faults.push(fault(
                &format!("{map}.{key}"),
                format!("Invalid value: {value}: must be of type string; put it in quotes: \"{value}\""),
            ));
        }
    }
    faults
}

/// RFC 1123: a label, or with dots a subdomain.
fn is_name(text: &str, most: usize, dots: bool) -> bool {
    let label = |part: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        part.bytes().all(|b| plain(b) || b == b'-') && part.bytes().next().is_some_and(plain) && part.bytes().last().is_some_and(plain)
    };
    text.len() <= most && if dots { text.split('.').all(label) } else { label(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_crds_compiles_here() {
        let all = AllRules::default();
        for rules in [all.sale().unwrap(), all.pool().unwrap()] {
            assert!(!rules.compiled.has_errors(), "{:?}", rules.compiled.compilation_errors());
        }
    }

    #[test]
    fn names_are_those_of_rfc_1123() {
        for (name, good) in [("a", true), ("stadium-tour.2", true), ("Stadium", false), ("-a", false), ("a..b", false), ("", false)] {
            assert_eq!(is_name(name, 253, true), good, "{name}");
        }
        assert!(!is_name("a.b", 63, false));
    }
}
