//! The two MutatingAdmissionPolicies of the chart: what an overlay adds to a new pod, and the deletion cost that a pod gets as it is bound.
//! They see overlays a moment late, as policies do.

use std::sync::Arc;

use onsale_api::names;
use serde_json::{Map, Value, json};

use super::{Timer, pattern};
use crate::{
    api::{
        kinds,
        store::{Key, key_of},
    },
    sim::Inner,
};

/// Notes which overlays changed: the policies see that later.
pub fn follow(inner: &mut Inner) {
    let now = inner.now;
    let version = |o: &Value| o["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let is_overlay = |o: &Value| o["metadata"]["labels"][names::PLACEMENT] == "";
    let there = inner.store.list(&kinds::POD_TEMPLATES).filter(|o| is_overlay(o)).map(|o| (key_of(o), version(o)));
    let there: std::collections::BTreeMap<Key, String> = there.collect();
    let seen = &inner.world.overlays_seen;
    let changed = there.iter().filter(|(key, version)| seen.get(*key) != Some(*version)).map(|(key, _)| key);
    let changed: Vec<Key> = changed.chain(seen.keys().filter(|key| !there.contains_key(*key))).cloned().collect();
    for key in changed {
        inner.world.after(now, inner.world.settings.policy_lag, Timer::Overlay(key));
    }
    inner.world.overlays_seen = there;
}

/// The policies see an overlay as it is now.
pub fn see(inner: &mut Inner, key: &Key) {
    match inner.store.get(&kinds::POD_TEMPLATES, &key.0, &key.1) {
        Some(overlay) => drop(inner.world.overlays.insert(key.clone(), overlay.clone())),
        None => drop(inner.world.overlays.remove(key)),
    }
}

fn annotation<'a>(overlay: &'a Value, name: &str) -> &'a str {
    overlay["metadata"]["annotations"][name].as_str().unwrap_or_default()
}

fn overlays<'a>(inner: &'a Inner, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Value>> {
    let on = !inner.world.policies_off;
    inner.world.overlays.iter().filter(move |((ns, _), _)| on && ns == namespace).map(|(_, overlay)| overlay)
}

/// What the first policy does to a pod that is created.
pub fn create(inner: &Inner, namespace: &str, pod: &mut Value) {
    let owner = &pod["metadata"]["ownerReferences"][0];
    let (kind, name) = (owner["kind"].clone(), owner["name"].as_str().unwrap_or_default().to_owned());
    let mine = |o: &&Arc<Value>| annotation(o, names::OWNER_KIND) == kind && pattern::matches(annotation(o, names::OWNER_PATTERN), &name);
    if let Some(overlay) = overlays(inner, namespace).find(mine) {
        overlay_pod(pod, overlay);
    }
}

fn extend(list: &mut Value, more: &Value) {
    if !list.is_array() {
        *list = json!([]);
    }
    if let (Value::Array(list), Value::Array(more)) = (list, more) {
        list.extend(more.iter().cloned());
    }
}

fn overlay_pod(pod: &mut Value, overlay: &Value) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let ours = &overlay["template"]["spec"];
    let terms = &ours["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"];
    if terms.as_array().is_none_or(Vec::is_empty) {
        return;
    }
    extend(&mut pod["spec"]["tolerations"], &ours["tolerations"]);
    let affinity = &mut pod["spec"]["affinity"]["nodeAffinity"];
    extend(&mut affinity[PREFERRED], &ours["affinity"]["nodeAffinity"][PREFERRED]);
    let own = affinity[REQUIRED]["nodeSelectorTerms"].as_array().cloned().unwrap_or_default();
    let both = |a: &Value, b: &Value| {
        let mut all = a["matchExpressions"].clone();
        extend(&mut all, &b["matchExpressions"]);
        json!({"matchExpressions": all})
    };
    let joined: Vec<Value> = own.iter().flat_map(|a| terms.as_array().into_iter().flatten().map(move |b| both(a, b))).collect();
    affinity[REQUIRED]["nodeSelectorTerms"] = if own.is_empty() { terms.clone() } else { Value::Array(joined) };
    if pod["spec"]["topologySpreadConstraints"].as_array().is_none_or(Vec::is_empty) {
        pod["spec"]["topologySpreadConstraints"] = ours["topologySpreadConstraints"].clone();
    }
    pod["metadata"]["labels"][names::PLACEMENT] = overlay["template"]["metadata"]["labels"][names::PLACEMENT].clone();
}

/// What the second policy adds to a pod as it is bound to a node in `zone`.
pub fn bind(inner: &Inner, pod: &Value, zone: &str) -> Option<String> {
    let key = key_of(pod);
    let brings_own =
        pod["metadata"]["annotations"].as_object().is_some_and(|a: &Map<String, Value>| a.contains_key(names::POD_DELETION_COST));
    let mine = |o: &&Arc<Value>| pattern::matches(annotation(o, names::POD_PATTERN), &key.1);
    let overlay = overlays(inner, &key.0).filter(|_| !brings_own && !zone.is_empty()).find(mine)?;
    let costs = annotation(overlay, names::ZONE_COSTS).split(',').filter_map(|c| c.split_once('='));
    costs.filter(|(z, _)| *z == zone).map(|(_, cost)| cost.to_owned()).next()
}
