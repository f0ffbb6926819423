//! The HPA controller: replicas follow the load that a test sets, between `minReplicas` and `maxReplicas`; on the way down the highest
//! recommendation of the last while holds.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Timer;
use crate::{
    api::{kinds, managed, store},
    sim::Inner,
};

/// One sync of all HPAs; the next one follows after the period.
pub fn sync(inner: &mut Inner) {
    let all: Vec<Arc<Value>> = inner.store.list(&kinds::SCALERS).cloned().collect();
    for hpa in all {
        one(inner, &hpa);
    }
    inner.world.after(inner.now, inner.world.settings.hpa_sync, Timer::HpaSync);
}

fn one(inner: &mut Inner, hpa: &Value) {
    let key = store::key_of(hpa);
    let spec = &hpa["spec"];
    let kind = if spec["scaleTargetRef"]["kind"] == "StatefulSet" { &kinds::STATEFUL_SETS } else { &kinds::DEPLOYMENTS };
    let name = spec["scaleTargetRef"]["name"].as_str().unwrap_or_default();
    let Some(target) = inner.store.get(kind, &key.0, name).cloned() else { return };
    let (min, max) = (spec["minReplicas"].as_i64().unwrap_or(1), spec["maxReplicas"].as_i64().unwrap_or(i64::MAX));
    let now = inner.now;
    let load = inner.world.loads.get(&key).copied().unwrap_or(0);
    let memory = inner.world.settings.hpa_memory;
    let past = inner.world.recommended.entry(key.clone()).or_default();
    past.push((now, load));
    past.retain(|(at, _)| at.checked_add(memory).is_ok_and(|end| end >= now));
    let remembered = past.iter().map(|(_, load)| *load).max().unwrap_or(load);
    let current = target["spec"]["replicas"].as_i64().unwrap_or(1);
    // A higher recommendation of the past keeps what is there, and never raises.
    let wanted = if load >= current { load } else { remembered.min(current).max(load) };
    let wanted = wanted.max(min).min(max);
    if wanted != current {
        let mut new = (*target).clone();
        new["spec"]["replicas"] = json!(wanted);
        let writer = managed::Writer { manager: "kube-controller-manager", sub: Some("scale"), now: store::stamp(now) };
        managed::updated(Some(&target), &mut new, &writer);
        inner.store.put(kind, &target, new);
    }
    inner
        .store
        .update(&kinds::SCALERS, &key.0, &key.1, |hpa| hpa["status"] = json!({"currentReplicas": current, "desiredReplicas": wanted}));
}
