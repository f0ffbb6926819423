//! The cloud, nodes and workloads that do not do as they should.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use onsale_api::Phase;
use onsale_bed::ec2::Fault;
use onsale_bed::joiner::Trouble;
use onsale_bed::{Bed, wait_until};
use serde_json::json;

use crate::harness::{Case, case};
use crate::shop::{SOON, Shop, ZONES, plan};

pub fn cases() -> Vec<Case> {
    vec![
        case!(a_local_zone_that_runs_dry_is_made_up_for_in_the_region_in_time),
        case!(an_instance_that_never_joins_is_given_up_and_made_up_for),
        case!(a_lost_answer_launches_nothing_twice),
        case!(a_node_lost_while_live_is_replaced),
        case!(refused_credentials_are_named_and_the_sale_goes_on_once_they_are_back),
        case!(nodes_without_label_or_taint_are_repaired),
        case!(a_workload_that_does_not_exist_is_named_and_the_others_are_prepared),
        case!(an_hpa_whose_maximum_is_too_low_is_named),
        case!(a_budget_that_is_too_small_is_a_no_go),
    ]
}

async fn a_local_zone_that_runs_dry_is_made_up_for_in_the_region_in_time(bed: &Bed) -> Result<()> {
    let shop = Shop::open(bed, "dry", 1).await?;
    shop.workload("seat-map", 4).await?;
    bed.ec2()?.set_capacity(ZONES[1], "c6i.4xlarge", Some(1)).await?;
    let mut long = plan(&[("seat-map", 60, 3)]);
    long.opens_in = 26;
    let opens_at = shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Ready], SOON).await?;
    ensure!(Timestamp::now() < opens_at, "Ready after the opening");
    shop.expect_spread("seat-map", [16, 15, 29]).await?;
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await?;
    let empty = bed.ec2()?.calls(0).await?.into_iter().filter(|c| c.action == "RunInstances" && c.zone.as_deref() == Some(ZONES[1]));
    ensure!(empty.count() <= 2, "an empty zone was asked again and again");
    Ok(())
}

async fn an_instance_that_never_joins_is_given_up_and_made_up_for(bed: &Bed) -> Result<()> {
    let shop = Shop::open(bed, "never", 1).await?;
    shop.workload("seat-map", 4).await?;
    bed.joiner()?.add_trouble(Trouble::NeverJoins, Some(ZONES[1]), Some(1));
    let mut long = plan(&[("seat-map", 40, 3)]);
    (long.opens_in, long.duration) = (20, 40);
    shop.sale("tour", &long).await?;
    wait_until("all 40 replicas are Ready", SOON, async || {
        Ok(shop.get("tour").await?.and_then(|s| s.status).and_then(|s| s.ready).as_deref() == Some("40/40"))
    })
    .await?;
    let events = bed.kubectl(&["get", "events", "-A", "-o", "jsonpath={range .items[*]}{.reason}{\"\\n\"}{end}"]).await?.ok()?;
    ensure!(events.lines().any(|l| l == "NeverJoined"), "no event says NeverJoined");
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn a_lost_answer_launches_nothing_twice(bed: &Bed) -> Result<()> {
    let shop = Shop::open(bed, "lost", 1).await?;
    shop.workload("seat-map", 4).await?;
    // Longer than the SDK's own tries: the operator's ledger has to replay it.
    bed.ec2()?.add_fault(&Fault::lost("RunInstances").times(Some(4)).in_zone(ZONES[1])).await?;
    let mut long = plan(&[("seat-map", 30, 3)]);
    (long.opens_in, long.duration) = (30, 10);
    shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Ready, Phase::Live], SOON).await?;
    let calls = bed.ec2()?.calls(0).await?;
    let launched: u32 = calls.iter().filter_map(|c| c.launched).sum();
    ensure!(calls.iter().any(|c| c.lost), "no answer was lost");
    ensure!(launched == 1 && shop.instances().await?.len() == 1, "{launched} instances were launched, 1 was wanted");
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn a_node_lost_while_live_is_replaced(bed: &Bed) -> Result<()> {
    let shop = Shop::open(bed, "replaced", 1).await?;
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

async fn refused_credentials_are_named_and_the_sale_goes_on_once_they_are_back(bed: &Bed) -> Result<()> {
    let shop = Shop::open(bed, "refused", 1).await?;
    shop.workload("seat-map", 4).await?;
    bed.ec2()?.add_fault(&Fault { status: Some(403), ..Fault::error("RunInstances", "UnauthorizedOperation").times(None) }).await?;
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
    shop.wait_for("tour", &[Phase::Completed], SOON * 3).await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn nodes_without_label_or_taint_are_repaired(bed: &Bed) -> Result<()> {
    let shop = Shop::open(bed, "repaired", 1).await?;
    shop.workload("seat-map", 4).await?;
    bed.joiner()?.add_trouble(Trouble::WithoutTaints, None, Some(1));
    bed.joiner()?.add_trouble(Trouble::WithoutLabels, None, Some(1));
    shop.sale("tour", &plan(&[("seat-map", 40, 3)])).await?;
    shop.wait_for("tour", &[Phase::Ready, Phase::Live], SOON).await?;
    shop.expect_spread("seat-map", [16, 24, 0]).await?;
    let path = "jsonpath={range .items[*]}{.spec.taints[?(@.key==\"onsale.dev/pool\")].value}{\"\\n\"}{end}";
    let taints = bed.kubectl(&["get", "nodes", "-l", "onsale.dev/pool=repaired-lz", "-o", path]).await?.ok()?;
    ensure!(taints.lines().filter(|l| *l == "repaired-lz").count() == 2, "not every burst node is labelled and tainted: {taints:?}");
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn a_workload_that_does_not_exist_is_named_and_the_others_are_prepared(bed: &Bed) -> Result<()> {
    let shop = Shop::open(bed, "absent", 1).await?;
    shop.workload("seat-map", 4).await?;
    shop.sale("tour", &plan(&[("seat-map", 12, 3), ("chekcout", 12, 3)])).await?;
    shop.wait_for_condition("tour", "Feasible", "False", "Deployment chekcout does not exist").await?;
    wait_until("the other one is prepared", SOON, async || Ok(shop.replicas("seat-map").await? == 12)).await?;
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn an_hpa_whose_maximum_is_too_low_is_named(bed: &Bed) -> Result<()> {
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

async fn a_budget_that_is_too_small_is_a_no_go(bed: &Bed) -> Result<()> {
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
