//! What a sale must leave alone, and what it must take into account.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use onsale_api::Phase;
use onsale_bed::wait_until;
use serde_json::json;

use crate::harness::{Case, Ground, alone, beside};
use crate::shop::{SOON, Shop, plan};
use crate::workloads;

pub fn cases() -> Vec<Case> {
    vec![
        beside!(strangers_never_land_on_burst_nodes_and_canaries_are_not_enrolled),
        beside!(a_workload_with_its_own_zone_spread_keeps_it),
        beside!(a_foreign_raise_is_respected_until_the_sale_ends),
        beside!(a_foreign_lower_value_is_written_again_and_restored),
        beside!(a_raise_is_respected_until_somebody_lowers_below_the_floor),
        beside!(pods_of_a_daemon_set_on_burst_nodes_hinder_no_drain),
        alone!(the_operator_may_do_what_it_needs_and_no_more),
    ]
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref())
}

async fn strangers_never_land_on_burst_nodes_and_canaries_are_not_enrolled(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "strangers", 1).await?;
    shop.workload("seat-map", 4).await?;
    // The same labels, another Deployment: its name begins with the workload's.
    let canary = workloads::deployment(shop.name, "seat-map-canary", 1, &json!({}))
        .replace("\"app\":\"seat-map-canary\"", "\"app\":\"seat-map\",\"track\":\"canary\"");
    bed.apply(&canary).await?;
    let mut long = plan(&[("seat-map", 40, 3)]);
    long.duration = 10;
    shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Live], SOON).await?;
    // There is room on burst nodes only, now.
    bed.kubectl(&["scale", "deployment", "seat-map-canary", "-n", shop.name, "--replicas=4"]).await?.ok()?;
    bed.apply(&workloads::deployment(shop.name, "billing", 4, &json!({}))).await?;
    wait_until("the strangers' pods exist", SOON, async || {
        let pods = shop.pods().await?;
        Ok(pods.iter().filter(|p| p.name_any().starts_with("billing-") || p.name_any().starts_with("seat-map-canary-")).count() == 8)
    })
    .await?;
    shop.wait_for("tour", &[Phase::Returning], SOON).await?;
    for pod in shop.pods().await?.iter().filter(|p| !p.labels().contains_key("onsale.dev/placement") || p.name_any().contains("canary")) {
        ensure!(!node(pod).is_some_and(|n| n.starts_with("i-")), "{} landed on {:?}", pod.name_any(), node(pod));
        ensure!(
            !pod.name_any().contains("canary") || !pod.labels().contains_key("onsale.dev/placement"),
            "{} was enrolled",
            pod.name_any()
        );
    }
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn a_workload_with_its_own_zone_spread_keeps_it(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "spread", 1).await?;
    let mut manifest: serde_json::Value =
        serde_json::from_str(&workloads::deployment(shop.name, "seat-map", 4, &json!({})).replace("2Gi", "1Gi"))?;
    manifest["spec"]["template"]["spec"]["topologySpreadConstraints"] = json!([{
        "maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "seat-map"}},
    }]);
    bed.apply(&manifest.to_string()).await?;
    workloads::wait_for_pods(bed, shop.name, "seat-map", 4, SOON).await?;
    let mut long = plan(&[("seat-map", 30, 3)]);
    (long.opens_in, long.duration) = (24, 10);
    shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Ready, Phase::Live], SOON).await?;
    wait_until("all 30 run", SOON, async || {
        Ok(shop.spread("seat-map").await?.iter().filter(|(z, _)| !z.is_empty()).map(|(_, n)| n).sum::<usize>() == 30)
    })
    .await?;
    let spread = shop.spread("seat-map").await?;
    let (least, most) = (spread.values().min().context("no pods")?, spread.values().max().context("no pods")?);
    ensure!(spread.len() == 3 && most - least <= 2, "the pods' own spread is broken: {spread:?}");
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn a_foreign_raise_is_respected_until_the_sale_ends(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "raise", 2).await?;
    shop.workload("seat-map", 4).await?;
    let mut long = plan(&[("seat-map", 12, 3)]);
    long.duration = 14;
    shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Live], SOON).await?;
    bed.kubectl(&["scale", "deployment", "seat-map", "-n", shop.name, "--replicas=20"]).await?.ok()?;
    wait_until("twenty pods are Ready", SOON, async || {
        Ok(workloads::pods(bed, shop.name, "seat-map").await?.iter().filter(|p| workloads::is_ready(p)).count() == 20)
    })
    .await?;
    let live = shop.wait_for("tour", &[Phase::Live], SOON).await?;
    ensure!(live.status.is_some() && shop.replicas("seat-map").await? == 20, "the raise was not respected");
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn a_raise_is_respected_until_somebody_lowers_below_the_floor(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "both", 2).await?;
    shop.workload("seat-map", 4).await?;
    let mut long = plan(&[("seat-map", 12, 3)]);
    long.duration = 24;
    shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Live], SOON).await?;
    scale_as(&shop, "a-person", 20).await?;
    shop.wait_for_condition("tour", "Contested", "False", "a-person set replicas of seat-map to 20").await?;
    ensure!(shop.replicas("seat-map").await? == 20, "the raise was not respected");
    // Still above the floor: a raise, and theirs to make.
    scale_as(&shop, "a-person", 15).await?;
    shop.wait_for_condition("tour", "Contested", "False", "a-person set replicas of seat-map to 15").await?;
    ensure!(shop.replicas("seat-map").await? == 15, "the smaller raise was not respected");
    scale_as(&shop, "argocd-controller", 6).await?;
    wait_until("the floor is written again, and not the raise", SOON, async || Ok(shop.replicas("seat-map").await? == 12)).await?;
    shop.wait_for_condition("tour", "Contested", "True", "argocd-controller").await?;
    shop.wait_until_over("tour").await?;
    // The last thing that somebody wanted below the floor is what they get.
    shop.expect_clean(&[("seat-map", 6)]).await
}

async fn pods_of_a_daemon_set_on_burst_nodes_hinder_no_drain(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "agents", 1).await?;
    shop.workload("seat-map", 4).await?;
    // On this shop's burst nodes only, in what their 15 pods of 1 CPU leave free.
    let agents = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agents", "namespace": shop.name},
        "spec": {"selector": {"matchLabels": {"app": "agents"}}, "template": {
            "metadata": {"labels": {"app": "agents"}},
            "spec": {
                "nodeSelector": {"onsale.dev/pool": "agents-lz"}, "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "main", "image": "example/main", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}],
            },
        }},
    });
    bed.apply(&agents.to_string()).await?;
    shop.sale("tour", &plan(&[("seat-map", 40, 3)])).await?;
    shop.wait_for("tour", &[Phase::Live], SOON).await?;
    shop.expect_spread("seat-map", [16, 24, 0]).await?;
    let mut seen = BTreeSet::new();
    wait_until("it is over", SOON, async || {
        seen.extend(workloads::pods(bed, shop.name, "agents").await?.iter().map(ResourceExt::name_any));
        Ok(shop.get("tour").await?.and_then(|s| s.status).and_then(|s| s.phase) == Some(Phase::Completed))
    })
    .await?;
    // An evicted one would have been made anew, under another name.
    ensure!(seen.len() == 2, "two burst nodes had the agents {seen:?}");
    shop.expect_clean(&[("seat-map", 4)]).await
}

/// Writes the replicas through `/scale`, as tools do, under a manager's name.
async fn scale_as(shop: &Shop<'_>, manager: &str, replicas: i32) -> Result<()> {
    let (manager, patch) = (format!("--field-manager={manager}"), json!({"spec": {"replicas": replicas}}).to_string());
    let scale = ["patch", "deployment", "seat-map", "-n", shop.name, "--subresource=scale", &manager, "--type=merge", "-p", &patch];
    shop.bed.kubectl(&scale).await?.ok().map(drop)
}

async fn a_foreign_lower_value_is_written_again_and_restored(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "lower", 2).await?;
    shop.workload("seat-map", 4).await?;
    let mut long = plan(&[("seat-map", 20, 3)]);
    long.duration = 14;
    shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Live], SOON).await?;
    scale_as(&shop, "argocd-controller", 6).await?;
    wait_until("the floor is written again", SOON, async || Ok(shop.replicas("seat-map").await? == 20)).await?;
    shop.wait_for_condition("tour", "Contested", "True", "argocd-controller").await?;
    shop.wait_until_over("tour").await?;
    // What they wanted in the meantime is what they get.
    shop.expect_clean(&[("seat-map", 6)]).await
}

async fn the_operator_may_do_what_it_needs_and_no_more(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "rights", 1).await?;
    let own = bed.commands().with_kubeconfig(shop.operator.kubeconfig());
    let may = async |verb: &str, resource: &str, namespace: &str| -> Result<bool> {
        // `kind/subresource` would be read as `kind/name`.
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let subresource = format!("--subresource={subresource}");
        Ok(own.kubectl(["auth", "can-i", verb, resource, &subresource, "-n", namespace]).await?.stdout.trim() == "yes")
    };
    for (verb, resource) in
        [("patch", "deployments/scale"), ("create", "pods/eviction"), ("delete", "pods"), ("patch", "nodes"), ("list", "namespaces")]
    {
        ensure!(may(verb, resource, shop.name).await?, "it may not {verb} {resource}, which it needs");
    }
    let forbidden = [
        ("get", "secrets"),
        ("list", "secrets"),
        ("get", "configmaps"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("patch", "deployments"),
        ("delete", "deployments"),
        ("delete", "nodes"),
        ("create", "nodes"),
        ("delete", "onsales"),
        ("create", "onsales"),
        ("create", "capacitypools"),
        ("delete", "capacitypools"),
        ("delete", "namespaces"),
        ("create", "serviceaccounts/token"),
        ("create", "clusterrolebindings"),
        ("impersonate", "users"),
        ("update", "leases"),
    ];
    for (verb, resource) in forbidden {
        ensure!(
            !may(verb, resource, shop.name).await?,
            "it may {verb} {resource} in a namespace that is not its own, which it has no business doing"
        );
    }
    Ok(())
}
