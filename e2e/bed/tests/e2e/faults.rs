//! The cloud, nodes and workloads that do not do as they should.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use kube::Api;
use onsale_api::{CapacityPool, Phase};
use onsale_bed::ec2::{Fault, Timing};
use onsale_bed::joiner::Trouble;
use onsale_bed::wait_until;
use serde_json::json;

use crate::harness::{Case, Ground, alone, beside};
use crate::shop::{Rent, SOON, Shop, USUAL, plan};

pub fn cases() -> Vec<Case> {
    vec![
        beside!(a_local_zone_that_runs_dry_is_made_up_for_in_the_region_in_time),
        beside!(an_instance_that_never_joins_is_given_up_and_made_up_for),
        alone!(a_lost_answer_launches_nothing_twice),
        alone!(a_node_lost_while_live_is_replaced),
        beside!(refused_credentials_are_named_and_the_sale_goes_on_once_they_are_back),
        alone!(while_instances_cannot_be_read_nothing_is_done_on_a_guess),
        beside!(nodes_without_label_or_taint_are_repaired),
        beside!(a_workload_that_does_not_exist_is_named_and_the_others_are_prepared),
        beside!(an_hpa_whose_maximum_is_too_low_is_named),
        beside!(a_budget_that_is_too_small_is_a_no_go),
    ]
}

async fn a_local_zone_that_runs_dry_is_made_up_for_in_the_region_in_time(bed: &Ground<'_>) -> Result<()> {
    let scarce = Rent { types: ["c5.4xlarge", USUAL.types[1]], ..USUAL };
    let shop = Shop::open_at(bed, "dry", 1, scarce).await?;
    shop.workload("seat-map", 4).await?;
    bed.ec2()?.set_capacity(scarce.local_zone, scarce.types[0], Some(1)).await?;
    let mut long = plan(&[("seat-map", 60, 3)]);
    long.opens_in = 26;
    let opens_at = shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Ready], SOON).await?;
    ensure!(Timestamp::now() < opens_at, "Ready after the opening");
    shop.expect_spread("seat-map", [16, 15, 29]).await?;
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await?;
    let calls = bed.ec2()?.calls(0).await?.into_iter();
    let empty = calls.filter(|c| c.action == "RunInstances" && c.instance_type.as_deref() == Some(scarce.types[0]));
    ensure!(empty.count() <= 2, "an empty zone was asked again and again");
    Ok(())
}

async fn an_instance_that_never_joins_is_given_up_and_made_up_for(bed: &Ground<'_>) -> Result<()> {
    let far = Rent { local_zone: "us-west-2-lax-1a", ..USUAL };
    let shop = Shop::open_at(bed, "never", 1, far).await?;
    shop.workload("seat-map", 4).await?;
    bed.joiner()?.add_trouble(Trouble::NeverJoins, Some(far.local_zone), Some(1));
    let mut long = plan(&[("seat-map", 40, 3)]);
    (long.opens_in, long.duration) = (20, 60);
    shop.sale("tour", &long).await?;
    wait_until("all 40 replicas are Ready", SOON, async || {
        Ok(shop.get("tour").await?.and_then(|s| s.status).and_then(|s| s.ready).as_deref() == Some("40/40"))
    })
    .await?;
    // It was made up for as soon as it was overdue; given up it is later.
    wait_until("an event says NeverJoined", SOON, async || {
        let events = bed.kubectl(&["get", "events", "-A", "-o", "jsonpath={range .items[*]}{.reason}{\"\\n\"}{end}"]).await?.ok()?;
        Ok(events.lines().any(|l| l == "NeverJoined"))
    })
    .await?;
    shop.edit("tour", json!({"duration": "1s"})).await?;
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn a_lost_answer_launches_nothing_twice(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "lost", 1).await?;
    shop.workload("seat-map", 4).await?;
    // Longer than the SDK's own tries: the operator's ledger has to replay it.
    bed.ec2()?.add_fault(&Fault::lost("RunInstances").times(Some(4)).in_zone(USUAL.local_zone)).await?;
    let mut long = plan(&[("seat-map", 30, 3)]);
    (long.opens_in, long.duration) = (30, 4);
    shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Ready, Phase::Live], SOON).await?;
    let calls = bed.ec2()?.calls(0).await?;
    let launched: u32 = calls.iter().filter_map(|c| c.launched).sum();
    ensure!(calls.iter().any(|c| c.lost), "no answer was lost");
    ensure!(launched == 1 && shop.instances().await?.len() == 1, "{launched} instances were launched, 1 was wanted");
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn a_node_lost_while_live_is_replaced(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "replaced", 1).await?;
    // As in life, it is listed on its way out. What is gone from one list to the next, the checker takes for an instance that is not listed yet.
    bed.ec2()?.set_timing(&Timing { shutdown_seconds: Some(5.0), ..Timing::default() }).await?;
    shop.workload("seat-map", 4).await?;
    let mut long = plan(&[("seat-map", 40, 3)]);
    long.duration = 150;
    shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Live], SOON).await?;
    let lost = shop.instances().await?.into_iter().next().context("no instance")?.id;
    bed.ec2()?.call("us-west-2", "TerminateInstances", &[("InstanceId.1", &lost)]).await?;
    wait_until("it is replaced", Duration::from_secs(20), async || {
        Ok(shop.instances().await?.iter().filter(|i| i.state == "running" && i.id != lost).count() == 2)
    })
    .await?;
    // Kubernetes itself removes the pods of a node that is gone after 40 to 60 s.
    wait_until("all replicas are Ready again", SOON * 2, async || {
        let (now, ready) = (shop.instances().await?, shop.get("tour").await?.and_then(|s| s.status).and_then(|s| s.ready));
        let there = now.iter().filter(|i| i.state == "running" && i.id != lost).count();
        if there == 2 && ready.as_deref() == Some("40/40") { Ok(true) } else { bail!("{there} instances, {ready:?}") }
    })
    .await?;
    shop.expect_spread("seat-map", [16, 24, 0]).await?;
    shop.edit("tour", json!({"duration": "1s"})).await?;
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn refused_credentials_are_named_and_the_sale_goes_on_once_they_are_back(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open_at(bed, "refused", 1, Rent { types: ["m5.4xlarge", "r6i.4xlarge"], ..USUAL }).await?;
    shop.workload("seat-map", 4).await?;
    for instance_type in ["m5.4xlarge", "r6i.4xlarge"] {
        let refused = Fault::error("RunInstances", "UnauthorizedOperation").times(None);
        bed.ec2()?.add_fault(&Fault { status: Some(403), instance_type: Some(instance_type.into()), ..refused }).await?;
    }
    let mut long = plan(&[("seat-map", 30, 3)]);
    (long.opens_in, long.duration) = (16, 90);
    shop.sale("tour", &long).await?;
    shop.wait_for_condition("tour", "AtRisk", "True", "Unauthorized").await?;
    ensure!(shop.replicas("seat-map").await? <= 16, "floors rose above what has a place");
    bed.ec2()?.clear_faults().await?;
    wait_until("all 30 replicas are Ready once the credentials are accepted", Duration::from_secs(120), async || {
        let ready = shop.get("tour").await?.and_then(|s| s.status).and_then(|s| s.ready);
        if ready.as_deref() == Some("30/30") { Ok(true) } else { bail!("{ready:?}") }
    })
    .await?;
    shop.edit("tour", json!({"duration": "1s"})).await?;
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn while_instances_cannot_be_read_nothing_is_done_on_a_guess(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "blind", 1).await?;
    shop.workload("seat-map", 4).await?;
    let mut long = plan(&[("seat-map", 40, 3)]);
    (long.opens_in, long.more) = (30, json!({"readyBefore": "22s"}));
    let opens_at = shop.sale("tour", &long).await?;
    wait_until("instances are launched", SOON, async || Ok(!shop.instances().await?.is_empty())).await?;
    bed.ec2()?.add_fault(&Fault::error("DescribeInstances", "RequestLimitExceeded").times(None)).await?;
    unread(&shop, "throttled").await?;
    bed.ec2()?.clear_faults().await?;
    shop.wait_for("tour", &[Phase::Ready], SOON).await?;
    ensure!(Timestamp::now() < opens_at, "Ready after the opening");
    shop.expect_spread("seat-map", [16, 24, 0]).await?;
    // Again on the way back, when there is something to terminate.
    shop.wait_for("tour", &[Phase::Live], SOON).await?;
    let refused = Fault { status: Some(403), ..Fault::error("DescribeInstances", "UnauthorizedOperation").times(None) };
    bed.ec2()?.add_fault(&refused).await?;
    shop.wait_for("tour", &[Phase::Returning], SOON).await?;
    unread(&shop, "credentials").await?;
    ensure!(shop.get("tour").await?.and_then(|s| s.status).and_then(|s| s.phase) == Some(Phase::Returning), "it says that it is over");
    bed.ec2()?.clear_faults().await?;
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await?;
    let launched: u32 = bed.ec2()?.calls(0).await?.iter().filter_map(|c| c.launched).sum();
    ensure!(launched == 2, "{launched} instances were launched, 2 were wanted");
    Ok(())
}

/// Waits until the pool says why its instances are unknown and some reads more have failed: both instances are there still, and not one more.
async fn unread(shop: &Shop<'_>, says: &str) -> Result<()> {
    let pool = format!("{}-lz", shop.name);
    wait_until(format!("{pool} says that its instances are unknown: {says}"), SOON, async || {
        let found = Api::<CapacityPool>::all(shop.bed.client()).get(&pool).await?.status.unwrap_or_default().conditions;
        let known = found.iter().find(|c| c.type_ == "CapacityReady").context("no CapacityReady")?;
        if known.status == "Unknown" && known.reason == "Unknown" && known.message.contains(says) { Ok(true) } else { bail!("{known:?}") }
    })
    .await?;
    let failed =
        async || anyhow::Ok(shop.bed.ec2()?.calls(0).await?.iter().filter(|c| c.action == "DescribeInstances" && c.code.is_some()).count());
    let before = failed().await?;
    wait_until("further reads have failed", SOON, async || Ok(failed().await? >= before + 3)).await?;
    let states: Vec<String> = shop.instances().await?.into_iter().map(|i| i.state).collect();
    ensure!(states == ["running", "running"], "without being read, the instances are {states:?}");
    Ok(())
}

async fn nodes_without_label_or_taint_are_repaired(bed: &Ground<'_>) -> Result<()> {
    let far = Rent { local_zone: "us-west-2-lax-1b", ..USUAL };
    let shop = Shop::open_at(bed, "repaired", 1, far).await?;
    shop.workload("seat-map", 4).await?;
    bed.joiner()?.add_trouble(Trouble::WithoutTaints, Some(far.local_zone), Some(1));
    bed.joiner()?.add_trouble(Trouble::WithoutLabels, Some(far.local_zone), Some(1));
    shop.sale("tour", &plan(&[("seat-map", 40, 3)])).await?;
    shop.wait_for("tour", &[Phase::Ready, Phase::Live], SOON).await?;
    shop.expect_spread("seat-map", [16, 24, 0]).await?;
    let path = "jsonpath={range .items[*]}{.spec.taints[?(@.key==\"onsale.dev/pool\")].value}{\"\\n\"}{end}";
    let taints = bed.kubectl(&["get", "nodes", "-l", "onsale.dev/pool=repaired-lz", "-o", path]).await?.ok()?;
    ensure!(taints.lines().filter(|l| *l == "repaired-lz").count() == 2, "not every burst node is labelled and tainted: {taints:?}");
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn a_workload_that_does_not_exist_is_named_and_the_others_are_prepared(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "absent", 1).await?;
    shop.workload("seat-map", 4).await?;
    shop.sale("tour", &plan(&[("seat-map", 12, 3), ("chekcout", 12, 3)])).await?;
    shop.wait_for_condition("tour", "Feasible", "False", "Deployment chekcout does not exist").await?;
    wait_until("the other one is prepared", SOON, async || Ok(shop.replicas("seat-map").await? == 12)).await?;
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn an_hpa_whose_maximum_is_too_low_is_named(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "maximum", 1).await?;
    shop.workload("seat-map", 4).await?;
    bed.apply(&crate::hpa::manifest(shop.name, "seat-map", 4, 10)).await?;
    shop.sale("tour", &plan(&[("seat-map", 12, 3)])).await?;
    shop.wait_for_condition("tour", "Feasible", "False", "allows at most 10 replicas, 12 are wanted").await?;
    wait_until("it is raised as far as it may", SOON, async || Ok(shop.replicas("seat-map").await? == 10)).await?;
    shop.wait_until_over("tour").await?;
    ensure!(crate::hpa::min_replicas(&shop, "seat-map").await? == 4, "minReplicas is not restored");
    shop.expect_clean(&[]).await
}

async fn a_budget_that_is_too_small_is_a_no_go(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "budget", 1).await?;
    shop.workload("seat-map", 4).await?;
    let mut small = plan(&[("seat-map", 40, 3)]);
    (small.opens_in, small.more) = (600, json!({"budget": {"maxNodes": 1}}));
    shop.sale("tour", &small).await?;
    shop.wait_for_condition("tour", "Feasible", "False", "BudgetReached").await?;
    ensure!(shop.instances().await?.is_empty(), "a sale that only waits launched something");
    bed.kubectl(&["delete", "onsale", "tour", "-n", shop.name]).await?.ok()?;
    shop.expect_clean(&[("seat-map", 4)]).await
}
