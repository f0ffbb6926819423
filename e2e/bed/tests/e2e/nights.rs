//! Whole sales against the real operator: out, open, back, and nothing left.

use anyhow::{Result, ensure};
use jiff::Timestamp;
use onsale_api::Phase;
use serde_json::json;

use crate::harness::{Case, Ground, beside};
use crate::shop::{SOON, Shop, plan};

pub fn cases() -> Vec<Case> {
    vec![
        beside!(on_prem_alone_holds_a_small_sale),
        beside!(a_night_goes_out_to_the_near_places_first_and_comes_back),
        beside!(daemon_sets_have_their_room_before_any_node_is_there),
        beside!(a_second_sale_follows_the_first),
        beside!(applied_after_its_start_it_says_that_it_is_late),
        beside!(applied_after_ready_by_it_catches_up),
        beside!(applied_after_its_end_it_is_missed),
    ]
}

async fn on_prem_alone_holds_a_small_sale(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "small", 2).await?;
    shop.workload("seat-map", 4).await?;
    shop.sale("club", &plan(&[("seat-map", 20, 3)])).await?;
    let sale = shop.wait_for("club", &[Phase::Ready], SOON).await?;
    let status = sale.status.unwrap_or_default();
    ensure!(status.ready.as_deref() == Some("20/20"), "ready is {:?}", status.ready);
    shop.expect_spread("seat-map", [20, 0, 0]).await?;
    ensure!(shop.instances().await?.is_empty(), "nodes were launched without need");
    shop.wait_until_over("club").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn a_night_goes_out_to_the_near_places_first_and_comes_back(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "night", 2).await?;
    shop.workload("checkout", 8).await?;
    shop.workload("seat-map", 8).await?;
    // The Local Zone may hold two nodes of 15 pods: the rest is for the region.
    bed.kubectl(&["patch", "capacitypool", "night-lz", "--type=merge", "-p", r#"{"spec":{"limits":{"maxNodes":2}}}"#]).await?.ok()?;
    let manifest = crate::workloads::deployment(shop.name, "checkout", 8, &json!({})).replace("2Gi", "1Gi");
    let opens_at = shop.sale("tour", &plan(&[("checkout", 24, 12), ("seat-map", 60, 3)])).await?;
    let sale = shop.wait_for("tour", &[Phase::Ready], SOON).await?;
    ensure!(Timestamp::now() < opens_at, "Ready after the opening");
    shop.expect_spread("checkout", [24, 0, 0]).await?;
    shop.expect_spread("seat-map", [8, 30, 22]).await?;
    ensure!(shop.instances().await?.len() == 4, "{} instances, not 4", shop.instances().await?.len());
    let misplaced: i32 = sale.status.iter().flat_map(|s| &s.workloads).map(|w| w.misplaced).sum();
    ensure!(misplaced == 0, "{misplaced} pods are misplaced");
    shop.wait_for("tour", &[Phase::Live], SOON).await?;
    shop.wait_for("tour", &[Phase::Returning], SOON).await?;
    let over = shop.wait_until_over("tour").await?;
    ensure!(
        over.status.and_then(|s| s.report).is_some_and(|r| r.on_time && r.restored && r.nodes_peak == 4),
        "the report tells another story"
    );
    shop.expect_clean(&[("checkout", 8), ("seat-map", 8)]).await?;
    shop.expect_spread("seat-map", [8, 0, 0]).await?;
    let said = bed.apply(&manifest).await?;
    ensure!(said.contains("unchanged"), "the next apply says {said:?}");
    Ok(())
}

/// An agent of 4 CPU on each rented node of 16: 24 replicas take three of them, and that is known before the first one has joined.
async fn daemon_sets_have_their_room_before_any_node_is_there(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "agents", 1).await?;
    let on_rented = json!([{"key": "onsale.dev/pool", "operator": "In", "values": ["agents-lz", "agents-or"]}]);
    let agent = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "namespace": shop.name},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": {
            "metadata": {"labels": {"app": "agent"}},
            "spec": {
                "tolerations": [{"operator": "Exists"}],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": on_rented}]}}},
                "containers": [{"name": "agent", "image": "agent:1", "resources": {"requests": {"cpu": "4", "memory": "1Gi"}}}],
            },
        }},
    });
    bed.apply(&agent.to_string()).await?;
    shop.workload("seat-map", 4).await?;
    shop.sale("tour", &plan(&[("seat-map", 40, 3)])).await?;
    shop.wait_for("tour", &[Phase::Ready], SOON).await?;
    shop.expect_spread("seat-map", [16, 24, 0]).await?;
    let launches: Vec<_> = shop.instances().await?.iter().map(|i| i.tags.get("onsale.dev/launch").cloned()).collect();
    ensure!(launches.len() == 3 && launches.iter().all(|l| *l == launches[0]), "not three at once: {launches:?}");
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn a_second_sale_follows_the_first(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "twice", 1).await?;
    shop.workload("seat-map", 4).await?;
    shop.sale("first", &plan(&[("seat-map", 40, 3)])).await?;
    let mut second = plan(&[("seat-map", 30, 3)]);
    second.opens_in = 40;
    shop.sale("second", &second).await?;
    shop.wait_for("first", &[Phase::Completed], SOON).await?;
    shop.wait_for("second", &[Phase::Live], SOON).await?;
    ensure!(shop.pods().await?.len() == 30, "{} pods in the second sale", shop.pods().await?.len());
    shop.wait_until_over("second").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn applied_after_its_start_it_says_that_it_is_late(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "behind", 1).await?;
    shop.workload("seat-map", 4).await?;
    // Nodes have a lead time of 4 to 6 s, and ready-by is in 6 s.
    let mut behind = plan(&[("seat-map", 30, 3)]);
    behind.opens_in = 8;
    shop.sale("behind", &behind).await?;
    shop.wait_for_condition("behind", "Ready", "False", "LateStart").await?;
    let (status, reason, message) = shop.condition("behind", "Feasible").await?;
    ensure!((status.as_str(), reason.as_str()) == ("False", "LateStart"), "Feasible is {status}, {reason}: {message}");
    shop.wait_for("behind", &[Phase::Live], SOON).await?;
    shop.wait_until_over("behind").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn applied_after_ready_by_it_catches_up(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "late", 1).await?;
    shop.workload("seat-map", 4).await?;
    let mut late = plan(&[("seat-map", 30, 3)]);
    (late.opens_in, late.duration) = (1, 20);
    shop.sale("late", &late).await?;
    shop.wait_for("late", &[Phase::Live], SOON).await?;
    shop.wait_for_condition("late", "AtRisk", "True", "OpenedUnready").await?;
    onsale_bed::wait_until("all replicas are Ready although it opened already", SOON, async || {
        Ok(shop.get("late").await?.and_then(|s| s.status).and_then(|s| s.ready).as_deref() == Some("30/30"))
    })
    .await?;
    shop.wait_until_over("late").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn applied_after_its_end_it_is_missed(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "missed", 1).await?;
    shop.workload("seat-map", 4).await?;
    let mut over = plan(&[("seat-map", 30, 3)]);
    over.opens_in = -60;
    shop.sale("over", &over).await?;
    shop.wait_for("over", &[Phase::Missed], SOON).await?;
    ensure!(shop.replicas("seat-map").await? == 4, "a missed sale touched its workload");
    shop.expect_clean(&[("seat-map", 4)]).await
}
