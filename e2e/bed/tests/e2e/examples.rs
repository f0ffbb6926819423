//! The manifests of `examples/`, applied as they are but for instants and durations: the demo's own night, judged by its report.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use onsale_api::Phase;
use onsale_bed::demo::world::Scene;
use onsale_bed::demo::{FACTOR, Night, Report, Story, View, stage};
use onsale_bed::metrics::{Load, Target};
use onsale_bed::progress::Progress;
use onsale_bed::wait_until;

use crate::harness::{Case, Ground, TEST, quiet};
use crate::shop::{FIRST, running_operator};

pub fn cases() -> Vec<Case> {
    vec![quiet!(the_whole_night_of_the_examples), quiet!(an_hpa_goes_above_its_floor_while_live_and_comes_back)]
}

async fn the_whole_night_of_the_examples(bed: &Ground<'_>) -> Result<()> {
    let report = play(bed, &Story::read(FACTOR)?, |_| Ok(())).await?;
    ensure!(report.on_time && report.restored && report.misplaced == 0 && report.instances_left == 0, "{}", report.page());
    ensure!((report.replicas_wanted, report.replicas_ready) == (1260, 1260), "{}", report.page());
    ensure!(
        (85..=105).contains(&report.nodes_peak) && report.nodes_peak - report.instances_launched == stage::SERVERS,
        "{}",
        report.page()
    );
    let back = &report.way_back;
    ensure!(back.at_home == 300 && back.fewest_at_home >= 300, "{}", report.page());
    expect_by_latency(&report)
}

/// Whoever makes more calls home is nearer to it: 20 and 12 calls in Phoenix, 6 in Los Angeles at the farthest until it is full, one call wherever.
fn expect_by_latency(report: &Report) -> Result<()> {
    let pools = |workload: &str| -> BTreeMap<&str, usize> {
        let spread = report.replicas_by_workload.get(workload).into_iter().flatten();
        spread.filter(|(_, n)| **n > 0).map(|(pool, n)| (pool.as_str(), *n)).collect()
    };
    let phoenix = BTreeSet::from(["phx-dc", "phx-local-zone"]);
    for workload in ["inventory", "checkout"] {
        ensure!(pools(workload).keys().all(|pool| phoenix.contains(pool)), "{workload} left Phoenix: {:?}", pools(workload));
    }
    ensure!(report.replicas_by_pool.get("lax-local-zone") == Some(&180), "Oregon is used while Los Angeles has room: {}", report.page());
    ensure!(
        pools("seat-map").get("lax-local-zone") == Some(&180),
        "somebody with fewer calls took a place in Los Angeles: {}",
        report.page()
    );
    Ok(())
}

async fn an_hpa_goes_above_its_floor_while_live_and_comes_back(bed: &Ground<'_>) -> Result<()> {
    let story = Story::read(30.0)?.only(&["seat-map"]).with("seat-map-hpa.yaml");
    let metrics = bed.metrics()?.clone();
    // 60 % of 1300 millicores is what a replica shall carry.
    let buyers = |replicas: u64| Load::Total(replicas * 780);
    let map = || Target::label("app", "seat-map");
    metrics.set_load("ticketing", map(), buyers(60));
    let (mut most, mut used) = (0, BTreeSet::new());
    let during = |scene: &Scene| {
        match scene.sale.phase {
            Some(Phase::Live) => metrics.set_load("ticketing", map(), buyers(500)),
            _ => metrics.set_load("ticketing", map(), buyers(60)),
        }
        for workload in scene.workloads.iter().filter(|w| w.name == "seat-map") {
            most = most.max(workload.counted.ready);
            used.extend(workload.counted.pools.iter().filter(|(_, n)| **n > 0).map(|(pool, _)| pool.clone()));
        }
        Ok(())
    };
    let report = play(bed, &story, during).await?;
    ensure!(report.problems.is_empty(), "{}", report.page());
    // It rounds: 499 carry what 500 should.
    ensure!((495..=505).contains(&most), "the HPA wanted 500 replicas, {most} were Ready at most");
    ensure!(
        used == BTreeSet::from(["phx-dc".to_owned(), "phx-local-zone".to_owned()]),
        "there was room in Phoenix, and pods went to {used:?}"
    );
    let field = ["get", "hpa", "seat-map", "-n", "ticketing", "-o", "jsonpath={.spec.minReplicas} {.spec.maxReplicas}"];
    ensure!(bed.kubectl(&field).await?.ok()? == "100 600", "the HPA is not as it was");
    Ok(())
}

/// Plays a night and takes the pools and the shop away again.
async fn play(bed: &Ground<'_>, story: &Story, during: impl FnMut(&Scene) -> Result<()>) -> Result<Report> {
    running_operator(bed).await?;
    let namespaces: Api<Namespace> = Api::all(bed.client());
    wait_until("the shop of an earlier test is gone", Duration::from_secs(60), async || {
        Ok(namespaces.get_opt(story.namespace()).await?.is_none())
    })
    .await?;
    let progress = Progress::quiet();
    stage::build(bed, story, progress).await?;
    bed.kubectl(&["label", "namespace", story.namespace(), &format!("{TEST}=true")]).await?.ok()?;
    let night = Night { bed, story, operator: FIRST, progress, view: View::quiet() };
    let report = night.play(during).await?;
    bed.kubectl(&["delete", "onsales", "--all", "-n", story.namespace(), "--timeout=30s"]).await?.ok()?;
    for pool in story.pools.iter().filter_map(|pool| pool.pointer("/metadata/name")?.as_str()) {
        bed.kubectl(&["delete", "capacitypool", pool, "--timeout=30s"]).await?.ok()?;
    }
    if !report.problems.is_empty() {
        eprintln!("{}", report.page());
    }
    Ok(report)
}
