//! Fleets of nodes, workloads, and waiting for their pods.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{ListParams, PostParams};
use onsale_bed::nodes::{self, NodeSpecification};
use onsale_bed::{Bed, wait_until};
use serde_json::{Value, json};

use crate::harness::TEST;
use crate::tidy::SHOP;

/// A namespace that goes away after the test.
pub async fn namespace(bed: &Bed, name: &str) -> Result<()> {
    let object = serde_json::from_value(json!({"metadata": {"name": name, "labels": {TEST: "true"}}}))?;
    Api::<Namespace>::all(bed.client()).create(&PostParams::default(), &object).await.with_context(|| format!("no namespace {name}"))?;
    Ok(())
}

/// On-prem nodes `<prefix>-0` … with 16 CPUs and 64 GiB each, waited for.
pub async fn on_prem_nodes(bed: &Bed, prefix: &str, count: usize) -> Result<()> {
    let all: Vec<_> =
        (0..count).map(|n| NodeSpecification::on_prem(&format!("{prefix}-{n}"), "phx-dc", "us-west-2", "16", "64Gi")).collect();
    nodes::create(&bed.client(), &all).await?;
    let api: Api<k8s_openapi::api::core::v1::Node> = Api::all(bed.client());
    wait_until(format!("{count} nodes are Ready"), Duration::from_secs(30), async || {
        let list = api.list(&ListParams::default().labels("topology.kubernetes.io/zone=phx-dc")).await?;
        let ready = list.items.iter().filter(|node| nodes::is_ready(node)).count();
        if ready < count { bail!("{ready} of {count}") } else { Ok(true) }
    })
    .await
}

/// A Deployment of pods that ask for 1 CPU and 2 GiB, with annotations on its pods. They tolerate the taint of the shop's own nodes on premises.
pub fn deployment(namespace: &str, name: &str, replicas: usize, annotations: &Value) -> String {
    let mut metadata = json!({"labels": {"app": name}});
    // An empty map would be a change for every `kubectl apply`.
    if annotations.as_object().is_some_and(|a| !a.is_empty()) {
        metadata["annotations"] = annotations.clone();
    }
    let own = json!({"key": SHOP, "operator": "Equal", "value": namespace, "effect": "NoSchedule"});
    let container = json!({"name": "main", "image": "example/main", "resources": {"requests": {"cpu": "1", "memory": "2Gi"}}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": metadata,
                "spec": {"tolerations": [own], "containers": [container]},
            },
        },
    })
    .to_string()
}

/// The pods of a Deployment.
pub async fn pods(bed: &Bed, namespace: &str, app: &str) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(bed.client(), namespace);
    Ok(api.list(&ListParams::default().labels(&format!("app={app}")).match_any()).await?.items)
}

/// Whether a pod is Ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|it| it.type_ == "Ready" && it.status == "True"))
}

/// Waits until a Deployment has exactly so many pods, all Ready.
pub async fn wait_for_pods(bed: &Bed, namespace: &str, app: &str, count: usize, deadline: Duration) -> Result<()> {
    wait_until(format!("{namespace}/{app} has {count} pods, all Ready"), deadline, async || {
        let all = pods(bed, namespace, app).await?;
        let ready = all.iter().filter(|pod| is_ready(pod)).count();
        if all.len() != count || ready != count { bail!("{} pods, {ready} Ready", all.len()) } else { Ok(true) }
    })
    .await
}
