//! Sales that are deleted, suspended or edited while they are on.

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use kube::api::DeleteParams;
use onsale_api::Phase;
use onsale_bed::wait_until;
use serde_json::json;

use crate::harness::{Case, Ground, beside};
use crate::shop::{SOON, Shop, plan};

pub fn cases() -> Vec<Case> {
    vec![
        beside!(deleted_while_preparing_it_is_undone_at_once),
        beside!(deleted_while_live_it_returns_at_its_pace),
        beside!(suspended_it_is_called_off_and_resumed_it_comes_back),
        beside!(postponed_while_ready_it_gives_its_nodes_back),
        beside!(peak_and_duration_raised_while_live_are_followed),
        beside!(the_opening_of_a_live_sale_cannot_move),
    ]
}

async fn gone(shop: &Shop<'_>, sale: &str) -> Result<()> {
    wait_until(format!("{sale} is gone"), SOON, async || Ok(shop.get(sale).await?.is_none())).await
}

async fn deleted_while_preparing_it_is_undone_at_once(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "undone", 1).await?;
    shop.workload("seat-map", 4).await?;
    let mut long = plan(&[("seat-map", 40, 3)]);
    (long.opens_in, long.return_over) = (120, 600);
    long.more = json!({"readyBefore": "115s"});
    shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Preparing], SOON).await?;
    wait_until("instances are launched", SOON, async || Ok(!shop.instances().await?.is_empty())).await?;
    shop.sales().delete("tour", &DeleteParams::default()).await?;
    gone(&shop, "tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn deleted_while_live_it_returns_at_its_pace(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "pruned", 1).await?;
    shop.workload("seat-map", 4).await?;
    let mut long = plan(&[("seat-map", 40, 3)]);
    (long.duration, long.return_over) = (300, 10);
    shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Live], SOON).await?;
    let deleted = Timestamp::now();
    shop.sales().delete("tour", &DeleteParams::default()).await?;
    shop.wait_for("tour", &[Phase::Returning], SOON).await?;
    ensure!(shop.replicas("seat-map").await? > 4, "a live sale was cut off at once");
    gone(&shop, "tour").await?;
    ensure!(Timestamp::now().duration_since(deleted) >= SignedDuration::from_secs(8), "the way back took less than returnOver");
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn suspended_it_is_called_off_and_resumed_it_comes_back(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "suspended", 1).await?;
    shop.workload("seat-map", 4).await?;
    let mut long = plan(&[("seat-map", 30, 3)]);
    (long.opens_in, long.more) = (40, json!({"readyBefore": "30s"}));
    shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Ready], SOON).await?;
    shop.edit("tour", json!({"suspend": true})).await?;
    shop.wait_for("tour", &[Phase::Cancelled], SOON).await?;
    shop.expect_clean(&[("seat-map", 4)]).await?;
    shop.edit("tour", json!({"suspend": false})).await?;
    shop.wait_for("tour", &[Phase::Live], SOON + SOON).await?;
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn postponed_while_ready_it_gives_its_nodes_back(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "postponed", 1).await?;
    shop.workload("seat-map", 4).await?;
    let mut long = plan(&[("seat-map", 30, 3)]);
    (long.opens_in, long.more) = (60, json!({"readyBefore": "50s"}));
    shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Ready], SOON).await?;
    let later = onsale_api::time::whole_seconds(Timestamp::now() + SignedDuration::from_hours(6));
    shop.edit("tour", json!({"opensAt": later.to_string()})).await?;
    let sale = shop.wait_for("tour", &[Phase::Scheduled], SOON).await?;
    ensure!(sale.status.and_then(|s| s.opens_at).is_some_and(|t| t.0 == later), "the status still names the old opening");
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn peak_and_duration_raised_while_live_are_followed(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "raised", 1).await?;
    shop.workload("seat-map", 4).await?;
    let mut long = plan(&[("seat-map", 20, 3)]);
    long.duration = 10;
    let opens_at = shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Live], SOON).await?;
    let workloads = json!([{"target": {"kind": "Deployment", "name": "seat-map"}, "peakReplicas": 45, "dependencies": [{"site": "phx-dc", "serialCalls": 3}]}]);
    shop.edit("tour", json!({"workloads": workloads, "duration": "20s"})).await?;
    wait_until("all 45 replicas are Ready", SOON, async || {
        Ok(shop.get("tour").await?.and_then(|s| s.status).and_then(|s| s.ready).as_deref() == Some("45/45"))
    })
    .await?;
    let sale = shop.wait_for("tour", &[Phase::Returning], SOON).await?;
    let entered = sale.status.and_then(|s| s.entered.returning).context("no time of the way back")?;
    ensure!(entered.0.duration_since(opens_at) >= SignedDuration::from_secs(20), "the extension was not followed");
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}

async fn the_opening_of_a_live_sale_cannot_move(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "fixed", 1).await?;
    shop.workload("seat-map", 4).await?;
    shop.sale("tour", &plan(&[("seat-map", 8, 3)])).await?;
    shop.wait_for("tour", &[Phase::Live], SOON).await?;
    let refusal = shop.edit("tour", json!({"opensAt": "2030-01-01T00:00:00Z"})).await.err().context("the edit was accepted")?;
    let text = format!("{refusal:#}");
    ensure!(text.contains("opensAt and timeZone of a Live sale cannot move"), "{text}");
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[("seat-map", 4)]).await
}
