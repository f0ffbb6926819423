//! What the API server would refuse in Kubernetes' own kinds and KEDA's, as far as a plan depends on it: versions, quantities and counts.
//!
//! Their types pass over much of it: a quantity that cannot be read would count as none, a maximum that is missing as 0.

use onsale_api::Amount;
use serde_json::{Map, Value};

use super::schema::{self, Fault};

/// Kinds that are read, by group, with the versions that are served.
const READ: [(&str, &str, &[&str]); 8] = [
    ("apps", "Deployment", &["v1"]),
    ("apps", "StatefulSet", &["v1"]),
    ("apps", "DaemonSet", &["v1"]),
    ("autoscaling", "HorizontalPodAutoscaler", &["v2", "v1"]),
    ("keda.sh", "ScaledObject", &["v1alpha1"]),
    ("", "Node", &["v1"]),
    ("", "Pod", &["v1"]),
    ("", "Namespace", &["v1"]),
];

/// What a ScaledObject's `spec` may say; KEDA has no types that we could use.
const SCALED_OBJECT: [&str; 10] = [
    "scaleTargetRef",
    "pollingInterval",
    "initialCooldownPeriod",
    "cooldownPeriod",
    "idleReplicaCount",
    "minReplicaCount",
    "maxReplicaCount",
    "advanced",
    "triggers",
    "fallback",
];

/// More replicas of one workload than a sale may ask for are a slip of the pen, and would take for ever to plan with.
const MOST_REPLICAS: i64 = 10_000;

/// Whether it is a kind that is read here.
#[must_use]
pub fn is_read(group: &str, kind: &str) -> bool {
    READ.iter().any(|(g, k, _)| (*g, *k) == (group, kind))
}

/// Everything that the API server would refuse in the object, unknown fields of Kubernetes' own kinds excepted.
#[must_use]
pub fn check(group: &str, version: &str, kind: &str, object: &Value) -> Vec<Fault> {
    let mut faults = served(group, version, kind);
    let spec = &object["spec"];
    match kind {
        "Deployment" | "StatefulSet" => {
            faults.extend(count(spec, "replicas", 0, MOST_REPLICAS));
            pod(&spec["template"]["spec"], "spec.template.spec", &mut faults);
        }
        "DaemonSet" => pod(&spec["template"]["spec"], "spec.template.spec", &mut faults),
        "Pod" => pod(spec, "spec", &mut faults),
        "Node" => quantities(&object["status"]["allocatable"], "status.allocatable", &mut faults),
        "HorizontalPodAutoscaler" => faults.extend(scaler(spec)),
        "ScaledObject" => faults.extend(scaled_object(spec)),
        _ => {}
    }
    faults
}

fn fault(field: impl Into<String>, message: impl Into<String>) -> Fault {
    Fault { field: field.into(), message: message.into() }
}

fn served(group: &str, version: &str, kind: &str) -> Vec<Fault> {
    let versions = READ.iter().find(|(g, k, _)| (*g, *k) == (group, kind)).map_or(&[][..], |(.., versions)| versions);
    let Some(newest) = versions.first().filter(|_| !versions.contains(&version)) else { return Vec::new() };
    let (slash, wanted) = if group.is_empty() { ("", "") } else { ("/", group) };
    let message = format!("Unsupported value: \"{wanted}{slash}{version}\": write {wanted}{slash}{newest}");
    vec![fault("apiVersion", message)]
}

/// A field of `spec` that counts something.
fn count(spec: &Value, field: &str, least: i64, most: i64) -> Option<Fault> {
    let value = spec.get(field).filter(|value| !value.is_null())?;
    if value.as_i64().is_some_and(|n| (least..=most).contains(&n)) {
        return None;
    }
    let hint =
        value.as_str().filter(|text| text.parse::<i64>().is_ok()).map(|text| format!("; write {text} without quotes")).unwrap_or_default();
    Some(fault(format!("spec.{field}"), format!("Invalid value: {value}: write a whole number from {least} to {most}{hint}")))
}

fn scaler(spec: &Value) -> Vec<Fault> {
    let most = i64::from(i32::MAX);
    let mut faults: Vec<Fault> =
        [count(spec, "minReplicas", 0, MOST_REPLICAS), count(spec, "maxReplicas", 1, most)].into_iter().flatten().collect();
    if spec["maxReplicas"].is_null() {
        faults.push(fault("spec.maxReplicas", "Required value: the most replicas that the HPA may ask for, such as maxReplicas: 300"));
    }
    faults.extend(["kind", "name"].into_iter().filter_map(|field| target(spec, field)));
    faults.extend(order(spec, "minReplicas", "maxReplicas"));
    faults
}

fn scaled_object(spec: &Value) -> Vec<Fault> {
    let most = i64::from(i32::MAX);
    let counts = [
        count(spec, "minReplicaCount", 0, MOST_REPLICAS),
        count(spec, "maxReplicaCount", 0, most),
        count(spec, "idleReplicaCount", 0, most),
    ];
    let mut faults: Vec<Fault> = counts.into_iter().flatten().collect();
    faults.extend(target(spec, "name"));
    faults.extend(order(spec, "minReplicaCount", "maxReplicaCount"));
    for key in spec.as_object().into_iter().flat_map(Map::keys).filter(|key| !SCALED_OBJECT.contains(&key.as_str())) {
        faults.push(fault(format!("spec.{key}"), schema::unknown(key, SCALED_OBJECT.into_iter())));
    }
    faults
}

fn target(spec: &Value, field: &str) -> Option<Fault> {
    let there = spec["scaleTargetRef"][field].as_str().is_some_and(|text| !text.is_empty());
    (!there).then(|| fault(format!("spec.scaleTargetRef.{field}"), format!("Required value: {field} of the workload that is scaled")))
}

fn order(spec: &Value, least: &str, most: &str) -> Option<Fault> {
    let (low, high) = (spec[least].as_i64()?, spec[most].as_i64()?);
    (high < low)
        .then(|| fault(format!("spec.{most}"), format!("Invalid value: {high}: must be greater than or equal to {least}, which is {low}")))
}

/// Quantities of a pod, those of each container among them.
fn pod(spec: &Value, path: &str, faults: &mut Vec<Fault>) {
    named_quantities(&spec["overhead"], &format!("{path}.overhead"), faults);
    requests(&spec["resources"], &format!("{path}.resources"), faults);
    for list in ["initContainers", "containers"] {
        for (n, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            requests(&container["resources"], &format!("{path}.{list}[{n}].resources"), faults);
        }
    }
}

fn requests(resources: &Value, path: &str, faults: &mut Vec<Fault>) {
    for which in ["requests", "limits"] {
        named_quantities(&resources[which], &format!("{path}.{which}"), faults);
    }
}

fn named_quantities(map: &Value, path: &str, faults: &mut Vec<Fault>) {
    let strange = map.as_object().into_iter().flat_map(Map::keys).filter(|name| !is_resource(name));
    faults.extend(strange.map(|name| fault(format!("{path}.{name}"), no_resource(name))));
    quantities(map, path, faults);
}

fn quantities(map: &Value, path: &str, faults: &mut Vec<Fault>) {
    let wrong = |(name, value): (&String, &Value)| Some(fault(format!("{path}.{name}"), no_quantity(value)?));
    faults.extend(map.as_object().into_iter().flatten().filter_map(wrong));
}

/// A resource that Kubernetes knows, or an extended one, which has a domain.
#[must_use]
pub fn is_resource(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage" | "pods") || name.starts_with("hugepages-") || name.contains('/')
}

/// What to write instead of a resource that nobody knows.
#[must_use]
pub fn no_resource(name: &str) -> String {
    let known = ["cpu", "memory", "ephemeral-storage"];
    let nearest = schema::nearest(name, known.into_iter()).map_or(String::new(), |nearest| format!("; did you mean {nearest}?"));
    format!("Invalid value: {name:?}: there is no such resource{nearest}; extended ones have a domain, such as nvidia.com/gpu")
}

fn no_quantity(value: &Value) -> Option<String> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        other => return Some(format!("Invalid value: {other}: write a quantity such as 500m, 28Gi or 4")),
    };
    if text.parse::<Amount>().is_ok() {
        return None;
    }
    let positive = text.strip_prefix('-').is_some_and(|rest| rest.parse::<Amount>().is_ok());
    let why = if positive { "must be greater than or equal to 0" } else { "is no quantity; write one such as 500m, 28Gi or 4" };
    Some(format!("Invalid value: {text:?}: {why}"))
}
