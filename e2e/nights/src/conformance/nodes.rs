//! Nodes: marked and cordoned beside others who write them too.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::Patch};
use serde_json::json;

use super::{
    Case, case,
    ground::{Ground, MANAGER, create, equal, eventually, json_patch, manager, merge, named, refused},
};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case!(a_node_that_was_made_anew_or_is_gone_is_not_patched),
        case!(a_node_is_cordoned_and_taken_back),
        case!(a_taint_is_added_beside_others),
    ]
}

async fn a_node_that_was_made_anew_or_is_gone_is_not_patched(ground: Ground) -> Result<()> {
    let api = ground.all::<Node>();
    let patch = |uid: &str| json!({"metadata": {"uid": uid}, "spec": {"unschedulable": true}});
    refused(merge(&api, &ground.name, patch("another")).await, 404, "NotFound")?;
    let made = create(&api, &ground.node()?).await?;
    named(&refused(merge(&api, &ground.name, patch("another")).await, 422, "Invalid")?)?;
    merge(&api, &ground.name, patch(made.metadata.uid.as_deref().unwrap_or_default())).await?;
    api.delete(&ground.name, &Default::default()).await.map(drop).context("cannot be deleted")
}

async fn a_node_is_cordoned_and_taken_back(ground: Ground) -> Result<()> {
    let api = ground.all::<Node>();
    create(&api, &ground.node()?).await?;
    let on = json!({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": {"unschedulable": true}});
    let cordoned = merge(&api, &ground.name, on).await?;
    equal("unschedulable", cordoned.spec.and_then(|s| s.unschedulable), Some(true))?;
    ensure!(cordoned.status.and_then(|s| s.allocatable).is_some(), "its status went");
    let off = json!({"metadata": {"labels": {"a": null}, "annotations": {"c": null}}, "spec": {"unschedulable": null}});
    let back = merge(&api, &ground.name, off).await?;
    equal("unschedulable", back.spec.and_then(|s| s.unschedulable), None)?;
    ensure!(!back.metadata.labels.unwrap_or_default().contains_key("a"), "its label stayed");
    api.delete(&ground.name, &Default::default()).await.map(drop).context("cannot be deleted")
}

/// Adds a taint as the operator does, under the version that was read.
async fn taint(api: &Api<Node>, name: &str, key: &str) -> Result<()> {
    let read = api.get(name).await?;
    let value = json!({"key": key, "value": "v", "effect": "NoSchedule"});
    let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": read.metadata.resource_version});
    let add = match read.spec.and_then(|s| s.taints).unwrap_or_default().len() {
        0 => json!({"op": "add", "path": "/spec/taints", "value": [value]}),
        _ => json!({"op": "add", "path": "/spec/taints/-", "value": value}),
    };
    api.patch(name, &manager(MANAGER), &json_patch(json!([test, add]))?).await.map(drop).context("not tainted")
}

async fn a_taint_is_added_beside_others(ground: Ground) -> Result<()> {
    let api = ground.all::<Node>();
    let first = create(&api, &ground.node()?).await?;
    // Kubernetes' own controllers taint it as well, and may be faster.
    for key in ["onsale.dev/one", "onsale.dev/two"] {
        eventually(key, async || taint(&api, &ground.name, key).await).await?;
    }
    let taints = api.get(&ground.name).await?.spec.and_then(|s| s.taints).unwrap_or_default();
    let ours: Vec<&str> = taints.iter().map(|t| t.key.as_str()).filter(|k| k.starts_with("onsale.dev/")).collect();
    equal("our taints", ours, vec!["onsale.dev/one", "onsale.dev/two"])?;
    let stale = json!([{"op": "test", "path": "/metadata/resourceVersion", "value": first.metadata.resource_version},
        {"op": "replace", "path": "/spec/taints/0", "value": {"key": "stale", "effect": "NoSchedule"}}]);
    refused(api.patch(&ground.name, &manager(MANAGER), &json_patch(stale)?).await, 422, "Invalid")?;
    // One list: a merge patch replaces it whole.
    let mine = json!({"spec": {"taints": [{"key": "onsale.dev/three", "effect": "NoSchedule"}]}});
    let merged: Node = api.patch(&ground.name, &manager(MANAGER), &Patch::Merge(mine)).await?;
    equal("taints of a merge patch", merged.spec.and_then(|s| s.taints).map(|t| t.len()), Some(1))?;
    api.delete(&ground.name, &Default::default()).await.map(drop).context("cannot be deleted")
}
