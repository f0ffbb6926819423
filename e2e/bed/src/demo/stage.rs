//! What stands before the curtain rises: 20 servers in Phoenix, launch templates and subnets as the pools name them, the shop on an ordinary day.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use onsale_api::CapacityPool;

use super::story::Story;
use crate::ec2::{FixtureRequest, Timing, node_config};
use crate::nodes::{self, NodeSpecification};
use crate::progress::Progress;
use crate::{Bed, wait_until};

/// Servers in Phoenix.
pub const SERVERS: usize = 20;
/// Zone of the data centre.
const HOME: &str = "phx-dc";
/// 300 pods take 5 s; beside a compiler, several times that.
const SOON: Duration = Duration::from_secs(90);

/// Builds the stage and opens the shop.
pub async fn build(bed: &Bed, story: &Story, progress: Progress) -> Result<()> {
    let step = progress.step(format!("EC2: launch templates and subnets of {} pools", rented(story)?.len()));
    templates(bed, story).await?;
    set_delays(bed, story).await?;
    step.done();
    let step = progress.step(format!("{SERVERS} servers in Phoenix, 20 CPU and 96 GiB each"));
    let all: Vec<_> = (1..=SERVERS).map(|n| NodeSpecification::on_prem(&format!("phx-{n:02}"), HOME, "us-west-2", "20", "96Gi")).collect();
    nodes::create(&bed.client(), &all).await?;
    step.done();
    open(bed, story, progress).await
}

/// The rented pools: name, zone, template, subnets.
fn rented(story: &Story) -> Result<Vec<CapacityPool>> {
    let pools = story
        .pools
        .iter()
        .map(|pool| serde_json::from_value::<CapacityPool>(pool.clone()).context("a pool of the examples cannot be read"));
    Ok(pools.collect::<Result<Vec<_>>>()?.into_iter().filter(|pool| pool.spec.nodes.ec2.is_some()).collect())
}

async fn templates(bed: &Bed, story: &Story) -> Result<()> {
    let ec2 = bed.ec2()?;
    let pools = rented(story)?;
    let mut subnets = BTreeMap::new();
    for pool in &pools {
        let Some(nodes) = &pool.spec.nodes.ec2 else { continue };
        let subnet = nodes.subnets.first().context("a pool without subnets")?;
        subnets.insert(pool.spec.zone.clone(), subnet.clone());
        // Local Zones are opted in to by group: their zone without its last letter. Zones of the region need none.
        if pool.spec.zone.strip_prefix(&nodes.region).is_none_or(|rest| rest.len() != 1) {
            ec2.set_opted_in(&pool.spec.zone[..pool.spec.zone.len() - 1], true).await?;
        }
    }
    for pool in &pools {
        let Some(nodes) = &pool.spec.nodes.ec2 else { continue };
        let name = nodes.launch_template.name.clone().context("the examples name their templates")?;
        let network = Some("ticketing".to_owned());
        let user_data = Some(node_config(pool.metadata.name.as_deref().unwrap_or_default()));
        let request = FixtureRequest { name: name.clone(), network, subnet_ids: subnets.clone(), user_data, ..FixtureRequest::default() };
        let made = ec2.fixture(&request).await?;
        ensure!(
            made.launch_template.version.to_string() == nodes.launch_template.version
                && nodes.subnets.first() == made.subnets.get(&pool.spec.zone),
            "the emulator made {made:?}, the examples name {nodes:?}"
        );
    }
    Ok(())
}

async fn set_delays(bed: &Bed, story: &Story) -> Result<()> {
    let seconds = |span: SignedDuration| Some(story.lapse(span).as_secs_f64());
    let delays = story.delays;
    let timing = Timing {
        boot_seconds: seconds(delays.boot),
        boot_jitter: seconds(delays.boot_jitter),
        shutdown_seconds: seconds(delays.shutdown),
        ..Timing::default()
    };
    bed.ec2()?.set_timing(&timing).await?;
    bed.joiner()?.set_delay(story.lapse(delays.join).unsigned_abs());
    Ok(())
}

async fn open(bed: &Bed, story: &Story, progress: Progress) -> Result<()> {
    let step = progress.step("kubectl apply -f examples/shop.yaml: the shop on an ordinary day");
    for file in &story.shop {
        bed.apply_file(file).await?;
    }
    let pods: Api<Pod> = Api::namespaced(bed.client(), story.namespace());
    wait_until("the shop is Ready", SOON, async || {
        let rollouts = bed
            .kubectl(&["get", "deployments", "-n", story.namespace(), "-o", r#"jsonpath={range .items[*]}{.spec.replicas} {end}"#])
            .await?
            .ok()?;
        let wanted: usize = rollouts.split_whitespace().filter_map(|n| n.parse::<usize>().ok()).sum();
        let ready = pods.list(&ListParams::default().match_any()).await?.items.iter().filter(|pod| is_ready(pod)).count();
        step.note(format!("{ready} of {wanted} pods Ready"));
        if wanted > 0 && ready == wanted { Ok(true) } else { bail!("{ready} of {wanted} pods are Ready") }
    })
    .await?;
    step.done();
    Ok(())
}

/// Whether a pod is Ready and stays.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.is_some_and(|all| all.iter().any(|it| it.type_ == "Ready" && it.status == "True"))
}
