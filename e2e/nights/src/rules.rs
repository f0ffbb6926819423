//! Rules that must hold at every write, whatever else goes wrong: what the design promises about order. A broken one fails the night.

use std::sync::Arc;

use onsale_api::names;
use onsale_cloud::LaunchOrder;
use serde_json::Value;

use crate::{
    api::{
        evict::is_ready,
        kinds,
        request::{Ask, Verb},
        store::is_leaving,
    },
    sim::Inner,
    world::nodes::name_of,
};

fn broken(inner: &mut Inner, what: String) {
    let line = format!("{} {what}", inner.now);
    inner.broken.push(line);
}

/// The object carries our finalizer.
#[must_use]
pub fn is_protected(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|f| f.iter().any(|f| f == names::FINALIZER))
}

/// Nothing is rented without the pool's finalizer and an open entry of its ledger, nor beyond its limit.
pub fn before_launch(inner: &mut Inner, order: &LaunchOrder) {
    let Some(pool) = inner.store.get(&kinds::POOLS, "", &order.owner.pool_name).cloned() else {
        return broken(inner, format!("launched for a pool that does not exist: {}", order.owner.pool_name));
    };
    if pool["metadata"]["uid"] != order.owner.pool_uid.as_str() {
        broken(inner, format!("launched for another pool of the name {}", order.owner.pool_name));
    }
    if !is_protected(&pool) {
        broken(inner, format!("launched before pool {} was protected", order.owner.pool_name));
    }
    let entries = pool["status"]["launches"].as_array();
    if !entries.into_iter().flatten().any(|e| e["token"] == order.token.as_str() && e["count"] == order.count) {
        broken(inner, format!("launched without an entry of the ledger of {}: {}", order.owner.pool_name, order.token));
    }
    let most = pool["spec"]["limits"]["maxNodes"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let of_pool = |m: &&crate::cloud::Machine| m.pool_uid == order.owner.pool_uid && m.is_alive();
    let others = inner.cloud.machines.values().filter(of_pool).filter(|m| m.instance.sequence != order.sequence).count();
    if others + usize::try_from(order.count).unwrap_or_default() > most {
        broken(inner, format!("launched beyond the limit of {}: {others} + {} > {most}", order.owner.pool_name, order.count));
    }
}

/// What serves is not terminated.
pub fn before_terminate(inner: &mut Inner, instances: &[String]) {
    for id in instances {
        let name = name_of(id);
        let up = inner.store.get(&kinds::NODES, "", &name).is_some_and(|n| is_ready(n));
        let serves = |p: &&Arc<Value>| p["spec"]["nodeName"] == name.as_str() && !is_leaving(p);
        let pods = inner.store.list(&kinds::PODS).filter(serves).count();
        if up && pods > 0 {
            broken(inner, format!("terminated {id} with {pods} pods on it"));
        }
    }
}

/// Order of the writes to the API.
pub fn after_write(inner: &mut Inner, ask: &Ask, before: Option<&Value>, after: Option<&Value>) {
    let part = |o: Option<&Value>, path: &str| o.and_then(|o| o.pointer(path)).and_then(Value::as_i64);
    for (plural, field, path) in [
        ("deployments", "Replicas", "/spec/replicas"),
        ("statefulsets", "Replicas", "/spec/replicas"),
        ("horizontalpodautoscalers", "HpaMinReplicas", "/spec/minReplicas"),
        ("scaledobjects", "ScaledObjectMinReplicaCount", "/spec/minReplicaCount"),
    ] {
        if ask.kind.plural == plural && part(before, path) != part(after, path) {
            floor(inner, ask, field, part(after, path));
        }
    }
    match (ask.kind.plural, ask.verb) {
        ("pods", Verb::Delete) if before.is_some_and(|p| p["spec"]["nodeName"].is_string()) => {
            broken(inner, format!("deleted the bound pod {}", ask.name));
        }
        ("capacitypools", _) if before.is_some_and(is_protected) && !after.is_some_and(is_protected) => released_pool(inner, ask, before),
        ("onsales", _) if before.is_some_and(is_protected) && !after.is_some_and(is_protected) => released_sale(inner, ask, before),
        _ => {}
    }
}

/// The intent is stored before the write.
fn floor(inner: &mut Inner, ask: &Ask, field: &str, value: Option<i64>) {
    let of = |p: &&Arc<Value>| {
        let spec = &p["spec"]["field"];
        p["metadata"]["namespace"] == ask.namespace.as_str() && spec["kind"] == field && spec["name"] == ask.name.as_str()
    };
    let intended = inner.store.list(&kinds::PLACEMENTS).find(of).map(|p| p["spec"]["intended"].as_i64());
    match intended {
        None => broken(inner, format!("wrote {field} of {} without a record", ask.name)),
        Some(intended) if intended != value => {
            broken(inner, format!("wrote {field} of {} to {value:?}, recorded is {intended:?}", ask.name))
        }
        Some(_) => {}
    }
}

fn released_pool(inner: &mut Inner, ask: &Ask, before: Option<&Value>) {
    let uid = before.and_then(|p| p["metadata"]["uid"].as_str()).unwrap_or_default();
    let left = inner.cloud.machines.values().filter(|m| m.pool_uid == uid && m.is_alive()).count();
    if left > 0 {
        broken(inner, format!("released pool {} with {left} instances", ask.name));
    }
}

fn released_sale(inner: &mut Inner, ask: &Ask, before: Option<&Value>) {
    let uid = before.map(|s| s["metadata"]["uid"].clone()).unwrap_or_default();
    let claims = |p: &&Arc<Value>| p["spec"]["claims"].as_array().into_iter().flatten().any(|c| c["uid"] == uid);
    let claimed = inner.store.list(&kinds::PLACEMENTS).find(claims).map(|p| p["metadata"]["name"].clone());
    if let Some(name) = claimed {
        broken(inner, format!("released sale {} while {name} has a claim of it", ask.name));
    }
}
