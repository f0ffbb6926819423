//! The Eviction API: a pod goes if it is the one that is meant and its PodDisruptionBudget allows it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::{
    failure::Failure,
    kinds,
    request::Ask,
    store::{Store, is_leaving},
    write::{Answer, get},
};

/// Condition `Ready` of a pod or node is true.
#[must_use]
pub fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Whether a selector matches an object's labels.
#[must_use]
pub fn selects(selector: &Value, object: &Value) -> bool {
    let selector: LabelSelector = serde_json::from_value(selector.clone()).unwrap_or_default();
    let labels = serde_json::from_value(object["metadata"]["labels"].clone()).unwrap_or_default();
    onsale_api::selector::matches(&selector, &labels)
}

/// A number or a percentage of `of`, rounded up.
fn amount(value: &Value, of: i64) -> Option<i64> {
    let percent = |text: &str| text.trim_end_matches('%').parse::<i64>().ok().map(|p| (of * p + 99) / 100);
    value.as_i64().or_else(|| value.as_str().and_then(percent))
}

pub(super) fn evict(store: &mut Store, ask: &Ask, now: Timestamp) -> Result<Answer, Failure> {
    let pod = get(store, &kinds::PODS, &ask.namespace, &ask.name)?;
    let uid = &ask.body["deleteOptions"]["preconditions"]["uid"];
    if uid.is_string() && *uid != pod["metadata"]["uid"] {
        return Err(Failure::conflict(&kinds::PODS, &ask.name, "the UID in the precondition is not that of the pod"));
    }
    // What has not started, has ended or leaves anyway is nobody's loss.
    if pod["status"]["phase"] == "Running" && !is_leaving(&pod) {
        allowed(store, &pod)?;
    }
    store.delete(&kinds::PODS, &pod, now);
    Ok((201, Arc::new(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))))
}

fn allowed(store: &Store, pod: &Value) -> Result<(), Failure> {
    let same = |o: &Value| o["metadata"]["namespace"] == pod["metadata"]["namespace"];
    let budgets: Vec<_> = store.list(&kinds::BUDGETS).filter(|b| same(b) && selects(&b["spec"]["selector"], pod)).collect();
    if budgets.len() > 1 {
        return Err(Failure::internal("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."));
    }
    let Some(budget) = budgets.first() else { return Ok(()) };
    let matched = |p: &&Arc<Value>| same(p) && selects(&budget["spec"]["selector"], p);
    let all: Vec<_> = store.list(&kinds::PODS).filter(matched).collect();
    let total = i64::try_from(all.len()).unwrap_or(i64::MAX);
    let healthy = i64::try_from(all.iter().filter(|p| is_ready(p) && !is_leaving(p)).count()).unwrap_or(i64::MAX);
    let spec = &budget["spec"];
    let needs =
        amount(&spec["minAvailable"], total).or_else(|| amount(&spec["maxUnavailable"], total).map(|m| total - m)).unwrap_or_default();
    // One that is not Ready may go where the others are enough: with Kubernetes' default policy for unhealthy pods.
    let spare = !is_ready(pod) && healthy >= needs && needs > 0;
    if healthy > needs || spare {
        return Ok(());
    }
    Err(Failure::disruption_budget(budget["metadata"]["name"].as_str().unwrap_or_default(), needs, healthy))
}
