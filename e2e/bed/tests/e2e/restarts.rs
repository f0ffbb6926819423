//! Operators that die, and two at once.

use anyhow::{Result, bail, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodTemplate};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use onsale_api::Phase;
use onsale_bed::ec2::Fault;
use onsale_bed::wait_until;
use serde_json::json;

use crate::harness::{Case, Ground, alone};
use crate::shop::{FIRST, Plan, SOON, Shop, plan};
use crate::wall::Wall;
use crate::workloads;

pub fn cases() -> Vec<Case> {
    vec![
        alone!(killed_after_the_finalizer_it_goes_on),
        alone!(killed_between_ledger_and_launch_it_launches_once),
        alone!(killed_after_the_launch_before_its_answer_it_launches_once),
        alone!(killed_after_the_first_floor_it_goes_on),
        alone!(killed_around_the_overlay_and_when_ready_it_goes_on),
        alone!(killed_while_live_and_during_the_return_it_finishes),
        alone!(killed_around_the_restored_field_and_an_eviction_it_finishes),
        alone!(stopped_and_started_it_lets_go_of_the_lease),
        alone!(the_leader_of_two_is_killed_and_the_other_goes_on),
    ]
}

/// It begins at once, and leaves time for a process to die, its lease to run out, and the next one to go on.
fn long() -> Plan {
    let mut long = plan(&[("seat-map", 40, 3)]);
    (long.opens_in, long.duration, long.more) = (20, 4, json!({"readyBefore": "12s"}));
    long
}

async fn restart(shop: &Shop<'_>) -> Result<()> {
    restart_behind(shop, async { Ok(()) }).await
}

/// The same, and the world changes while no process runs.
async fn restart_behind(shop: &Shop<'_>, change: impl Future<Output = Result<()>>) -> Result<()> {
    shop.expect_checker_content().await?;
    shop.operator.kill(shop.bed, FIRST)?;
    change.await?;
    shop.operator.start(shop.bed, FIRST).await
}

/// The sale ends well, on time, with exactly two instances ever launched.
async fn expect_well(shop: &Shop<'_>, opens_at: Timestamp) -> Result<()> {
    shop.wait_for("tour", &[Phase::Ready], SOON).await?;
    ensure!(Timestamp::now() < opens_at, "Ready after the opening");
    shop.expect_spread("seat-map", [16, 24, 0]).await?;
    launched_once(shop).await?;
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await?;
    launched_once(shop).await
}

/// By the instances themselves: a call whose caller died is missing in the call log.
async fn launched_once(shop: &Shop<'_>) -> Result<()> {
    let ever = shop.ever_launched().await?;
    ensure!(ever == 2, "{ever} instances were launched, 2 were wanted");
    Ok(())
}

async fn killed_after_the_finalizer_it_goes_on(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "crash-a", 1).await?;
    shop.workload("seat-map", 4).await?;
    let opens_at = shop.sale("tour", &long()).await?;
    wait_until("the finalizer is there", SOON, async || {
        Ok(shop.get("tour").await?.is_some_and(|s| !s.metadata.finalizers.unwrap_or_default().is_empty()))
    })
    .await?;
    restart(&shop).await?;
    expect_well(&shop, opens_at).await
}

async fn killed_between_ledger_and_launch_it_launches_once(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "crash-b", 1).await?;
    shop.workload("seat-map", 4).await?;
    // The call hangs before it does anything: the ledger is written, nothing is launched.
    bed.ec2()?.add_fault(&Fault::slow("RunInstances", 3.0)).await?;
    let opens_at = shop.sale("tour", &long()).await?;
    wait_until("the ledger has an entry", SOON, async || {
        let path = "jsonpath={.status.launches[*].token}";
        Ok(!bed.kubectl(&["get", "capacitypool", "crash-b-lz", "-o", path]).await?.ok()?.is_empty())
    })
    .await?;
    ensure!(shop.instances().await?.is_empty(), "too late for this test: it is launched");
    restart(&shop).await?;
    expect_well(&shop, opens_at).await
}

async fn killed_after_the_launch_before_its_answer_it_launches_once(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "crash-c", 1).await?;
    shop.workload("seat-map", 4).await?;
    let hangs = Fault { delay_seconds: Some(3.0), ..Fault::lost("RunInstances") };
    bed.ec2()?.add_fault(&hangs).await?;
    let opens_at = shop.sale("tour", &long()).await?;
    wait_until("the instances exist", SOON, async || Ok(!shop.instances().await?.is_empty())).await?;
    restart(&shop).await?;
    expect_well(&shop, opens_at).await
}

async fn killed_after_the_first_floor_it_goes_on(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "crash-d", 1).await?;
    shop.workload("seat-map", 4).await?;
    let opens_at = shop.sale("tour", &long()).await?;
    wait_until("the first floor is written", SOON, async || Ok(shop.replicas("seat-map").await? > 4)).await?;
    restart(&shop).await?;
    expect_well(&shop, opens_at).await
}

/// Waits until the API server refused a write that the sale needs, and tells in its status.
async fn wait_for_refusal(shop: &Shop<'_>) -> Result<()> {
    wait_until("the sale tells of the refused write", SOON, async || {
        let status = serde_json::to_string(&shop.get("tour").await?.map(|s| s.status))?;
        if status.contains("a wall") { Ok(true) } else { bail!("{status}") }
    })
    .await
}

async fn killed_around_the_overlay_and_when_ready_it_goes_on(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "crash-f", 1).await?;
    shop.workload("seat-map", 4).await?;
    let any = shop.bed.dir().join("any-pod-template.json");
    let template = json!({
        "apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "any", "namespace": shop.name},
        "template": {"spec": {"containers": [{"name": "main", "image": "example/main"}]}},
    });
    std::fs::write(&any, template.to_string())?;
    let wall = Wall::build(&shop, "", "podtemplates", &["create", "--dry-run=server", "-f", &any.display().to_string()]).await?;
    let mut longer = long();
    (longer.opens_in, longer.more) = (32, json!({"readyBefore": "24s"}));
    let opens_at = shop.sale("tour", &longer).await?;
    // Recorded, and the overlay is due: it must be written by the next one.
    wait_for_refusal(&shop).await?;
    restart_behind(&shop, wall.down()).await?;
    let overlays = Api::<PodTemplate>::namespaced(bed.client(), shop.name);
    wait_until("the overlay is written", SOON, async || Ok(!overlays.list(&ListParams::default()).await?.items.is_empty())).await?;
    restart(&shop).await?;
    shop.wait_for("tour", &[Phase::Ready], SOON).await?;
    restart(&shop).await?;
    expect_well(&shop, opens_at).await
}

async fn killed_while_live_and_during_the_return_it_finishes(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "crash-e", 1).await?;
    shop.workload("seat-map", 4).await?;
    let mut long = plan(&[("seat-map", 40, 3)]);
    long.duration = 8;
    shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Live], SOON).await?;
    restart(&shop).await?;
    shop.expect_spread("seat-map", [16, 24, 0]).await?;
    shop.wait_for("tour", &[Phase::Returning], SOON).await?;
    restart(&shop).await?;
    wait_until("floors fall", SOON, async || Ok(shop.replicas("seat-map").await? < 20)).await?;
    restart(&shop).await?;
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await?;
    launched_once(&shop).await
}

/// The workload's template brings its own deletion cost, so that ReplicaSets do not take the farthest first, and pods are left to evict.
async fn killed_around_the_restored_field_and_an_eviction_it_finishes(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "crash-g", 1).await?;
    let costs = workloads::deployment(shop.name, "seat-map", 4, &json!({"controller.kubernetes.io/pod-deletion-cost": "0"}));
    bed.apply(&costs.replace("2Gi", "1Gi")).await?;
    workloads::wait_for_pods(bed, shop.name, "seat-map", 4, SOON).await?;
    shop.sale("tour", &plan(&[("seat-map", 40, 3)])).await?;
    shop.wait_for("tour", &[Phase::Live], SOON).await?;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "seat-map", "namespace": shop.name},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "seat-map"}}},
    });
    bed.apply(&budget.to_string()).await?;
    let probe = ["scale", "deployment", "seat-map", "-n", shop.name, "--replicas=39", "--dry-run=server"];
    let wall = Wall::build(&shop, "apps", "deployments/scale", &probe).await?;
    // The way back has begun, and no floor can fall.
    wait_for_refusal(&shop).await?;
    restart_behind(&shop, wall.down()).await?;
    wait_until("the field is restored", SOON, async || Ok(shop.replicas("seat-map").await? == 4)).await?;
    restart(&shop).await?;
    shop.wait_for_condition("tour", "Ready", "False", "DisruptionBudget").await?;
    let far = far_pods(&shop).await?;
    ensure!(!far.is_empty(), "nothing is left to evict: too few for this test");
    // No budget is left for a process that dies within an eviction: Kubernetes would count its pod as disrupted for two minutes more.
    restart_behind(&shop, async { bed.kubectl(&["delete", "pdb", "seat-map", "-n", shop.name]).await?.ok().map(drop) }).await?;
    wait_until("a pod is evicted", SOON, async || Ok(far_pods(&shop).await?.len() < far.len())).await?;
    restart(&shop).await?;
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await?;
    launched_once(&shop).await
}

/// Names of pods that burst nodes hold and nobody takes away yet.
async fn far_pods(shop: &Shop<'_>) -> Result<Vec<String>> {
    let there = |p: &Pod| {
        p.metadata.deletion_timestamp.is_none() && p.spec.as_ref().and_then(|s| s.node_name.as_deref()).is_some_and(|n| n.starts_with("i-"))
    };
    Ok(shop.pods().await?.iter().filter(|p| there(p)).map(ResourceExt::name_any).collect())
}

async fn stopped_and_started_it_lets_go_of_the_lease(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "stopped", 1).await?;
    shop.operator.stop(bed, FIRST).await?;
    let holder =
        bed.kubectl(&["get", "lease", "onsale-operator", "-n", "onsale-system", "-o", "jsonpath={.spec.holderIdentity}"]).await?.ok()?;
    ensure!(holder.is_empty(), "the lease is still held by {holder:?}");
    shop.operator.start(bed, FIRST).await
}

async fn the_leader_of_two_is_killed_and_the_other_goes_on(bed: &Ground<'_>) -> Result<()> {
    const SECOND: &str = "onsale-operator-1";
    let shop = Shop::open(bed, "leaders", 1).await?;
    shop.workload("seat-map", 4).await?;
    shop.operator.start(bed, SECOND).await?;
    let opens_at = shop.sale("tour", &long()).await?;
    wait_until("the first floor is written", SOON, async || Ok(shop.replicas("seat-map").await? > 4)).await?;
    let path = "jsonpath={.spec.holderIdentity}";
    let leader = bed.kubectl(&["get", "lease", "onsale-operator", "-n", "onsale-system", "-o", path]).await?.ok()?;
    let Some(leader) = [FIRST, SECOND].into_iter().find(|name| leader.contains(name)) else { bail!("the lease is held by {leader:?}") };
    shop.expect_checker_content().await?;
    shop.operator.kill(bed, leader)?;
    let well = expect_well(&shop, opens_at).await;
    // One of them is left for the tests that follow.
    let other = if leader == FIRST { SECOND } else { FIRST };
    shop.operator.stop(bed, other).await?;
    shop.operator.start(bed, FIRST).await?;
    well
}
