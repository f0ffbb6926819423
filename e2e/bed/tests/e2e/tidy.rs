//! Takes away what tests leave: sales and pools, workloads, pods, instances, then nodes. Namespaces end by themselves, which takes
//! Kubernetes 5 s at least, so each test has its own.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, Resource, ResourceExt};
use onsale_bed::{Bed, wait_until};
use serde::de::DeserializeOwned;

use crate::harness::TEST;
use crate::shop;

/// Label of a shop's pools and nodes on premises.
pub const SHOP: &str = "shop";

/// After a test that ran alone: everything of every test.
pub async fn everything(bed: &Bed) -> Result<()> {
    if bed.kubectl(&["get", "crd", "onsales.onsale.dev"]).await?.success() {
        for kind in ["onsales", "workloadplacements", "capacitypools"] {
            remove_or_force(bed, kind, &["--all-namespaces"]).await?;
        }
    }
    let namespaces = Api::<Namespace>::all(bed.client()).list(&ListParams::default().labels(TEST)).await?;
    for namespace in namespaces.items.iter().map(ResourceExt::name_any) {
        empty(bed, &namespace).await?;
    }
    bed.kubectl(&["delete", "namespaces", "-l", TEST, "--wait=false"]).await?.ok()?;
    bed.joiner()?.reset();
    bed.metrics()?.clear();
    bed.ec2()?.reset().await?;
    bed.kubectl(&["delete", "nodes", "--all", "--timeout=60s"]).await?.ok().map(drop)
}

/// After a test that ran beside others: one of its shops, and nothing else.
pub async fn shop(bed: &Bed, name: &str) -> Result<()> {
    let of_shop = format!("{SHOP}={name}");
    for kind in ["onsales", "workloadplacements"] {
        remove_or_force(bed, kind, &["--namespace", name]).await?;
    }
    remove_or_force(bed, "capacitypools", &["--selector", &of_shop]).await?;
    empty(bed, name).await?;
    bed.kubectl(&["delete", "namespace", name, "--wait=false", "--ignore-not-found"]).await?.ok()?;
    for instance in shop::instances_of(bed, name).await?.iter().filter(|i| i.state != "terminated") {
        bed.ec2()?.call("us-west-2", "TerminateInstances", &[("InstanceId.1", &instance.id)]).await?;
    }
    bed.kubectl(&["delete", "nodes", "-l", &of_shop, "--timeout=60s"]).await?.ok().map(drop)
}

/// What a failed test left goes in good order if the operator can, and by force if not.
async fn remove_or_force(bed: &Bed, kind: &str, scope: &[&str]) -> Result<()> {
    let everything: &[&str] = if scope.contains(&"--selector") { &[] } else { &["--all"] };
    if bed.kubectl(&[&["delete", kind, "--timeout=15s"], everything, scope].concat()).await?.success() {
        return Ok(());
    }
    let path = "jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{\"\\n\"}{end}";
    for line in bed.kubectl(&[&["get", kind, "-o", path], scope].concat()).await?.ok()?.lines() {
        let (namespace, name) = line.split_once(' ').unwrap_or(("", line));
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        bed.kubectl(&["patch", kind, name, "-n", namespace, "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]).await?;
    }
    Ok(())
}

async fn empty(bed: &Bed, namespace: &str) -> Result<()> {
    let client = bed.client();
    remove_all::<HorizontalPodAutoscaler>(&client, namespace).await?;
    remove_all::<Deployment>(&client, namespace).await?;
    remove_all::<StatefulSet>(&client, namespace).await?;
    remove_all::<DaemonSet>(&client, namespace).await?;
    remove_all::<Job>(&client, namespace).await?;
    remove_all::<ReplicaSet>(&client, namespace).await?;
    wait_until(format!("the pods in {namespace} are gone"), Duration::from_secs(30), async || {
        remove_all::<Pod>(&client, namespace).await?;
        Ok(Api::<Pod>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?.items.is_empty())
    })
    .await
}

async fn remove_all<K>(client: &Client, namespace: &str) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let at_once = DeleteParams::background().grace_period(0);
    let removed = Api::<K>::namespaced(client.clone(), namespace).delete_collection(&at_once, &ListParams::default()).await;
    removed.map(drop).with_context(|| format!("could not remove each {} of {namespace}", K::kind(&())))
}
