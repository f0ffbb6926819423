//! Nodes: repaired when they join without their marks, cordoned before they go, taken back when they are needed again.
//!
//! Merge patches with the UID: an apply would bring a node that is gone back as a ghost. Taints are one list that others write too: they are
//! added by JSON Patch under the resourceVersion that was read.

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::{Api, api::Patch};
use onsale_api::{Reason, names};
use onsale_planner::snapshot::Pool;
use serde_json::{Value, json};

use super::{Done, Job, Stop, as_manager, done_if_gone, json_patch, launch::say, stale_or_failed};

fn api(job: &Job<'_>) -> Api<Node> {
    Api::all(job.context.client.clone())
}

/// Gives the node the pool's label and taint.
pub async fn repair(job: &Job<'_>, pool: &Pool, name: &str, label: bool, taint: bool) -> Result<Done, Stop> {
    let uid = job.seen.known_nodes().find(|n| n.name == name).map(|n| n.uid.clone()).unwrap_or_default();
    if taint {
        add_taint(job, pool, name, &uid).await?;
    }
    if label {
        let patch = json!({"metadata": {"uid": uid, "labels": {names::POOL: pool.name}}});
        merge(job, name, "label", patch).await.map_err(stale_or_failed)?;
    }
    let missing = match (label, taint) {
        (true, true) => "label and taint",
        (true, false) => "label",
        _ => "taint",
    };
    let text = format!("node {name} registered without the pool's {missing}: set it in the launch template's user data");
    say(job, pool, Reason::NodeRepaired, true, text);
    Ok(Done::Yes)
}

async fn add_taint(job: &Job<'_>, pool: &Pool, name: &str, uid: &str) -> Result<(), Stop> {
    let node = job.context.call(format!("read Node {name}"), api(job).get(name)).await.map_err(stale_or_failed)?;
    if node.metadata.uid.as_deref() != Some(uid) {
        return Err(Stop::Stale(format!("Node {name} was made anew")));
    }
    let taints = node.spec.and_then(|s| s.taints).unwrap_or_default();
    let ours = Taint { key: names::POOL.to_owned(), value: Some(pool.name.clone()), effect: "NoSchedule".to_owned(), time_added: None };
    let Some(operation) = taint_operation(&taints, &ours) else { return Ok(()) };
    let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": node.metadata.resource_version});
    let patch = json_patch(json!([test, operation]))?;
    let what = format!("taint Node {name}");
    job.context.call(what, api(job).patch(name, &as_manager(names::MANAGER), &patch)).await.map_err(stale_or_failed)?;
    Ok(())
}

/// The one operation that adds our taint, or sets the pool that it names; `None` when it is there.
fn taint_operation(taints: &[Taint], ours: &Taint) -> Option<Value> {
    if taints.is_empty() {
        return Some(json!({"op": "add", "path": "/spec/taints", "value": [ours]}));
    }
    match taints.iter().position(|t| t.key == ours.key && t.effect == ours.effect) {
        Some(at) if taints[at].value == ours.value => None,
        Some(at) => Some(json!({"op": "replace", "path": format!("/spec/taints/{at}"), "value": ours})),
        None => Some(json!({"op": "add", "path": "/spec/taints/-", "value": ours})),
    }
}

/// Keeps new pods off, takes it out of load balancers, and marks it as ours to drain.
pub async fn cordon(job: &Job<'_>, name: &str, uid: &str) -> Result<Done, Stop> {
    let metadata = json!({"uid": uid, "labels": {names::EXCLUDE_FROM_LOAD_BALANCERS: "true"}, "annotations": {names::DRAINING: "true"}});
    done_if_gone(merge(job, name, "cordon", json!({"metadata": metadata, "spec": {"unschedulable": true}})).await)
}

/// Undoes a cordon of ours.
pub async fn uncordon(job: &Job<'_>, name: &str, uid: &str) -> Result<Done, Stop> {
    let metadata = json!({"uid": uid, "labels": {names::EXCLUDE_FROM_LOAD_BALANCERS: null}, "annotations": {names::DRAINING: null}});
    done_if_gone(merge(job, name, "uncordon", json!({"metadata": metadata, "spec": {"unschedulable": null}})).await)
}

async fn merge(job: &Job<'_>, name: &str, what: &str, patch: Value) -> Result<Node, crate::context::CallError> {
    let params = as_manager(names::MANAGER);
    job.context.call(format!("{what} Node {name}"), api(job).patch(name, &params, &Patch::Merge(patch))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str) -> Taint {
        Taint { key: key.into(), value: Some(value.into()), effect: "NoSchedule".into(), time_added: None }
    }

    #[test]
    fn adds_our_taint_beside_those_of_others() {
        let ours = taint(names::POOL, "phx");
        assert_eq!(taint_operation(&[], &ours).unwrap()["path"], "/spec/taints");
        assert_eq!(taint_operation(&[taint("other", "x")], &ours).unwrap()["path"], "/spec/taints/-");
        assert_eq!(taint_operation(&[taint("other", "x"), taint(names::POOL, "lax")], &ours).unwrap()["path"], "/spec/taints/1");
        assert_eq!(taint_operation(&[taint(names::POOL, "phx")], &ours), None);
    }
}
