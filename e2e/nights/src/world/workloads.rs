//! The Deployment, ReplicaSet and StatefulSet controllers: as many pods as replicas, the cheapest to lose first on the way down.

use std::{collections::BTreeMap, sync::Arc};

use onsale_api::names;
use serde_json::{Value, json};

use super::admission;
use crate::{
    api::{
        evict::is_ready,
        kinds::{self, Kind},
        store::{Key, is_leaving, key_of},
    },
    sim::Inner,
};

/// Pods by UID of their owner.
fn by_owner(pods: &[Arc<Value>]) -> BTreeMap<&str, Vec<Arc<Value>>> {
    let mut all = BTreeMap::<&str, Vec<Arc<Value>>>::new();
    for pod in pods {
        all.entry(pod["metadata"]["ownerReferences"][0]["uid"].as_str().unwrap_or_default()).or_default().push(pod.clone());
    }
    all
}

/// Makes and deletes pods.
pub fn follow(inner: &mut Inner) {
    // Those that leave are left out, finished ones too.
    let runs = |p: &&Arc<Value>| !is_leaving(p) && p["status"]["phase"] != "Failed";
    let pods: Vec<Arc<Value>> = inner.store.list(&kinds::PODS).filter(runs).cloned().collect();
    let mut pods = by_owner(&pods);
    for kind in [&kinds::DEPLOYMENTS, &kinds::STATEFUL_SETS] {
        let objects: Vec<Arc<Value>> = inner.store.list(kind).cloned().collect();
        for object in objects {
            let owner = owner(inner, kind, &object);
            let there = pods.remove(owner["uid"].as_str().unwrap_or_default()).unwrap_or_default();
            // Those that are just made are not Ready yet.
            let rest = scale(inner, kind, &object, &owner, there);
            let ready = rest.iter().filter(|p| is_ready(p)).count();
            tell(inner, kind, &key_of(&object), ready);
        }
    }
}

/// The controller of the pods: the Deployment's one ReplicaSet, made here, or the StatefulSet itself.
fn owner(inner: &mut Inner, kind: Kind, object: &Value) -> Value {
    let reference = |kind: &str, object: &Value| {
        let metadata = &object["metadata"];
        json!({"apiVersion": "apps/v1", "kind": kind, "name": metadata["name"], "uid": metadata["uid"], "controller": true})
    };
    if kind == &kinds::STATEFUL_SETS {
        return reference("StatefulSet", object);
    }
    let (namespace, name) = key_of(object);
    let set = format!("{name}-{}", hash(&name));
    if let Some(set) = inner.store.get(&kinds::REPLICA_SETS, &namespace, &set) {
        return reference("ReplicaSet", set);
    }
    let metadata = json!({"name": set, "namespace": namespace, "ownerReferences": [reference("Deployment", object)]});
    let made = inner.store.create(&kinds::REPLICA_SETS, json!({"metadata": metadata, "spec": {}}), inner.now);
    made.map(|set| reference("ReplicaSet", &set)).unwrap_or_default()
}

/// Ten characters that look like a pod template's hash.
fn hash(name: &str) -> String {
    let mut number = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    characters(&mut number, 10)
}

fn characters(number: &mut u64, count: usize) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut text = String::new();
    for _ in 0..count {
        text.push(char::from(ALPHABET[usize::try_from(*number % 27).unwrap_or_default()]));
        *number /= 27;
    }
    text
}

/// Makes or deletes pods; returns those that stay.
fn scale(inner: &mut Inner, kind: Kind, object: &Value, owner: &Value, mut pods: Vec<Arc<Value>>) -> Vec<Arc<Value>> {
    let wanted = usize::try_from(object["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or_default();
    let ordered = kind == &kinds::STATEFUL_SETS;
    let namespace = key_of(object).0;
    if pods.len() > wanted {
        if ordered {
            pods.sort_by_key(|p| std::cmp::Reverse(ordinal(p)));
        } else {
            pods.sort_by_key(|p| victim_rank(p));
        }
        for pod in pods.drain(..pods.len() - wanted) {
            inner.store.delete(&kinds::PODS, &pod, inner.now);
        }
        return pods;
    }
    if pods.len() == wanted {
        return pods;
    }
    let taken: Vec<usize> = pods.iter().map(|p| ordinal(p)).collect();
    let mut free = (0..wanted).filter(|n| !taken.contains(n));
    for _ in pods.len()..wanted {
        let suffix = if ordered { free.next().unwrap_or_default().to_string() } else { random_suffix(inner) };
        let prefix = owner["name"].as_str().unwrap_or_default();
        let cut: String = if ordered { prefix.to_owned() } else { prefix.chars().take(57).collect() };
        create(inner, &namespace, &format!("{cut}-{suffix}"), object, owner);
    }
    pods
}

fn random_suffix(inner: &mut Inner) -> String {
    // What numbers a pod also keeps its name from being used twice.
    let mut number = inner.world.number().wrapping_mul(2_654_435_761) % 14_348_907;
    characters(&mut number, 5)
}

fn ordinal(pod: &Value) -> usize {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    name.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or_default()
}

/// As ReplicaSets choose: unassigned before assigned, not Ready before Ready, the lower deletion cost, the younger.
fn victim_rank(pod: &Value) -> (bool, bool, i64, std::cmp::Reverse<u64>) {
    let cost = pod["metadata"]["annotations"][names::POD_DELETION_COST].as_str().and_then(|c| c.parse().ok()).unwrap_or(0);
    let age = pod["metadata"]["uid"].as_str().and_then(|u| u64::from_str_radix(&u[..8], 16).ok()).unwrap_or_default();
    (pod["spec"]["nodeName"].is_string(), is_ready(pod), cost, std::cmp::Reverse(age))
}

fn create(inner: &mut Inner, namespace: &str, name: &str, object: &Value, owner: &Value) {
    let template = &object["spec"]["template"];
    let mut metadata = json!({"name": name, "namespace": namespace, "ownerReferences": [owner], "labels": template["metadata"]["labels"]});
    if template["metadata"]["annotations"].is_object() {
        metadata["annotations"] = template["metadata"]["annotations"].clone();
    }
    let mut pod = json!({"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}});
    admission::create(inner, namespace, &mut pod);
    // Names are unique, so this cannot fail; if it did, the next turn would make the pod.
    let _ = inner.store.create(&kinds::PODS, pod, inner.now);
}

fn tell(inner: &mut Inner, kind: Kind, key: &Key, ready: usize) {
    let series = inner.world.ready.entry(key.clone()).or_default();
    if series.last().map(|(_, n)| *n) != Some(ready) {
        series.push((inner.now, ready));
    }
    inner.store.update(kind, &key.0, &key.1, |object| {
        let generation = object["metadata"]["generation"].clone();
        let count = object["spec"]["replicas"].as_i64().unwrap_or(1);
        object["status"] = json!({"observedGeneration": generation, "replicas": count, "readyReplicas": ready, "availableReplicas": ready});
    });
}
