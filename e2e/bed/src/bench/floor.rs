//! The floor: nodes created and `/scale` set directly, as fast as the control plane takes it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use serde_json::{Value, json};

use crate::demo::Story;
use crate::demo::stage::is_ready;
use crate::nodes::{self, NodeSpecification};
use crate::progress::Progress;
use crate::{Bed, wait_until};

/// 1,000 pods take 15 s; beside a compiler, several times that.
const SOON: Duration = Duration::from_secs(180);

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    /// From the first node's creation to all pods Ready.
    pub seconds: f64,
    /// Requests that it took.
    pub calls: usize,
}

/// Measures it, with so many nodes besides the servers. The shop stays scaled.
pub async fn measure(bed: &Bed, story: &Story, count: usize, progress: Progress) -> Result<Floor> {
    let step = progress.step(format!("the floor: {count} nodes and every peak at once, directly"));
    let client = bed.client();
    let pods: Api<Pod> = Api::namespaced(client.clone(), story.namespace());
    let (store, writer) = reflector::store();
    let events = reflector::reflector(writer, watcher(pods.clone(), watcher::Config::default())).default_backoff();
    let watch = tokio::spawn(futures::StreamExt::for_each(events, |_| async {}));
    store.wait_until_ready().await.context("the watch ended")?;
    let peaks = peaks(story)?;
    let all: Vec<_> = (0..count).map(node).collect();
    let start = Instant::now();
    let scaled = async {
        for (name, replicas) in &peaks {
            scale(bed, story, name, *replicas).await?;
        }
        anyhow::Ok(())
    };
    // Both at once: nothing is waited for that need not be.
    tokio::try_join!(nodes::create(&client, &all), scaled)?;
    let wanted: usize = peaks.values().sum();
    wait_until(format!("{wanted} pods are Ready"), SOON, async || {
        let ready = store.state().iter().filter(|pod| is_ready(pod)).count();
        step.note(format!("{ready} of {wanted} pods Ready"));
        if ready >= wanted { Ok(true) } else { bail!("{ready} of {wanted} pods are Ready") }
    })
    .await?;
    let seconds = start.elapsed().as_secs_f64();
    watch.abort();
    step.done();
    Ok(Floor { seconds, calls: count + peaks.len() })
}

/// A rented node as the sale's pools describe it.
fn node(n: usize) -> NodeSpecification {
    let mut node = NodeSpecification::new(&format!("floor-{n}"), "us-west-2-phx-2a", "us-west-2", "16", "32Gi");
    node.allocatable = nodes::resources("15890m", "28Gi", "110");
    node
}

fn peaks(story: &Story) -> Result<BTreeMap<String, usize>> {
    let all = story.sale.pointer("/spec/workloads").and_then(Value::as_array).context("a sale without workloads")?;
    let peak = |w: &Value| Some((w.pointer("/target/name")?.as_str()?.to_owned(), usize::try_from(w.get("peakReplicas")?.as_u64()?).ok()?));
    Ok(all.iter().filter_map(peak).collect())
}

async fn scale(bed: &Bed, story: &Story, name: &str, replicas: usize) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(bed.client(), story.namespace());
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch_scale(name, &PatchParams::default(), &patch).await.map(drop).with_context(|| format!("could not scale {name}"))
}
