//! Operators that die, and two at once.

use anyhow::{Result, bail, ensure};
use jiff::Timestamp;
use onsale_api::Phase;
use onsale_bed::ec2::Fault;
use onsale_bed::{Bed, wait_until};

use crate::harness::{Case, case};
use crate::shop::{FIRST, Plan, SOON, Shop, plan};

pub fn cases() -> Vec<Case> {
    vec![
        case!(killed_after_the_finalizer_it_goes_on),
        case!(killed_between_ledger_and_launch_it_launches_once),
        case!(killed_after_the_launch_before_its_answer_it_launches_once),
        case!(killed_after_the_first_floor_it_goes_on),
        case!(killed_while_live_and_during_the_return_it_finishes),
        case!(stopped_and_started_it_lets_go_of_the_lease),
        case!(the_leader_of_two_is_killed_and_the_other_goes_on),
    ]
}

fn long() -> Plan {
    let mut long = plan(&[("seat-map", 40, 3)]);
    (long.opens_in, long.duration) = (30, 8);
    long
}

async fn restart(shop: &Shop<'_>) -> Result<()> {
    shop.expect_checker_content().await?;
    shop.operator.kill(shop.bed, FIRST)?;
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

async fn killed_after_the_finalizer_it_goes_on(bed: &Bed) -> Result<()> {
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

async fn killed_between_ledger_and_launch_it_launches_once(bed: &Bed) -> Result<()> {
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

async fn killed_after_the_launch_before_its_answer_it_launches_once(bed: &Bed) -> Result<()> {
    let shop = Shop::open(bed, "crash-c", 1).await?;
    shop.workload("seat-map", 4).await?;
    let hangs = Fault { delay_seconds: Some(3.0), ..Fault::lost("RunInstances") };
    bed.ec2()?.add_fault(&hangs).await?;
    let opens_at = shop.sale("tour", &long()).await?;
    wait_until("the instances exist", SOON, async || Ok(!shop.instances().await?.is_empty())).await?;
    restart(&shop).await?;
    expect_well(&shop, opens_at).await
}

async fn killed_after_the_first_floor_it_goes_on(bed: &Bed) -> Result<()> {
    let shop = Shop::open(bed, "crash-d", 1).await?;
    shop.workload("seat-map", 4).await?;
    let opens_at = shop.sale("tour", &long()).await?;
    wait_until("the first floor is written", SOON, async || Ok(shop.replicas("seat-map").await? > 4)).await?;
    restart(&shop).await?;
    expect_well(&shop, opens_at).await
}

async fn killed_while_live_and_during_the_return_it_finishes(bed: &Bed) -> Result<()> {
    let shop = Shop::open(bed, "crash-e", 1).await?;
    shop.workload("seat-map", 4).await?;
    shop.sale("tour", &long()).await?;
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

async fn stopped_and_started_it_lets_go_of_the_lease(bed: &Bed) -> Result<()> {
    let shop = Shop::open(bed, "stopped", 1).await?;
    shop.operator.stop(bed, FIRST).await?;
    let holder =
        bed.kubectl(&["get", "lease", "onsale-operator", "-n", "onsale-system", "-o", "jsonpath={.spec.holderIdentity}"]).await?.ok()?;
    ensure!(holder.is_empty(), "the lease is still held by {holder:?}");
    shop.operator.start(bed, FIRST).await
}

async fn the_leader_of_two_is_killed_and_the_other_goes_on(bed: &Bed) -> Result<()> {
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
