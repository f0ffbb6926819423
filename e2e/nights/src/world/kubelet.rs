//! Kubelets: bound pods get Ready after a while, deleted ones go.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Timer;
use crate::{
    api::{
        evict::is_ready,
        kinds,
        store::{Key, is_leaving, key_of, stamp},
    },
    sim::Inner,
};

fn uid(pod: &Value) -> String {
    pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

/// Starts what is bound and stops what is deleted.
pub fn follow(inner: &mut Inner) {
    let concerned = |p: &&Arc<Value>| p["spec"]["nodeName"].is_string() && (is_leaving(p) || !is_ready(p));
    let pods: Vec<Arc<Value>> = inner.store.list(&kinds::PODS).filter(concerned).cloned().collect();
    for pod in pods {
        let (key, uid) = (key_of(&pod), uid(&pod));
        if is_leaving(&pod) {
            if inner.world.stopping.insert(uid.clone()) {
                let stops = inner.world.random.draw(inner.world.settings.stops);
                inner.world.after(inner.now, stops, Timer::PodGone(key, uid));
            }
        } else if inner.world.starting.insert(uid.clone()) {
            let starts = inner.world.random.draw(inner.world.settings.starts);
            inner.world.after(inner.now, starts, Timer::PodReady(key, uid));
        }
    }
}

fn is(inner: &Inner, key: &Key, wanted: &str) -> bool {
    inner.store.get(&kinds::PODS, &key.0, &key.1).is_some_and(|p| uid(p) == wanted)
}

/// A pod is Ready, if its node still is.
pub fn ready(inner: &mut Inner, key: &Key, uid: &str) {
    let node = inner.store.get(&kinds::PODS, &key.0, &key.1).and_then(|p| p["spec"]["nodeName"].as_str().map(str::to_owned));
    let up = node.and_then(|n| inner.store.get(&kinds::NODES, "", &n)).is_some_and(|n| is_ready(n));
    if is(inner, key, uid) && up {
        set_ready(inner, key, true);
    }
}

/// Sets condition `Ready`.
pub fn set_ready(inner: &mut Inner, key: &Key, ready: bool) {
    let now = stamp(inner.now);
    inner.store.update(&kinds::PODS, &key.0, &key.1, |pod| {
        let status = if ready { "True" } else { "False" };
        pod["status"] = json!({"phase": "Running", "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": now},
            {"type": "Ready", "status": status, "lastTransitionTime": now}]});
    });
}

/// A pod is gone.
pub fn gone(inner: &mut Inner, key: &Key, uid: &str) {
    if is(inner, key, uid) {
        remove(inner, key);
    }
}

/// Takes a pod away, whatever it does.
pub fn remove(inner: &mut Inner, key: &Key) {
    if let Some(pod) = inner.store.get(&kinds::PODS, &key.0, &key.1).cloned() {
        inner.store.remove(&kinds::PODS, (*pod).clone());
    }
}
