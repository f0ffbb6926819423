//! How it all must end: nothing of a sale is left, and the checker had nothing to say.

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use onsale_api::{CapacityPool, OnSale, Phase, WorkloadPlacement};
use onsale_bed::{Bed, wait_until};
use serde_json::Value;

use crate::shop::{SOON, Shop, opened};
use crate::tidy::SHOP;

/// What conditions of a sale that is over must say.
const OVER: [(&str, &str); 6] =
    [("Ready", "True"), ("Feasible", "True"), ("Reconciling", "False"), ("Stalled", "False"), ("AtRisk", "False"), ("Contested", "False")];

impl Shop<'_> {
    /// Nothing is left: no instance, no burst node, every field as it was, no record, no overlay, no finalizer, no cordon, no pod that waits for a
    /// node, no condition that contradicts it.
    pub async fn expect_clean(&self, replicas: &[(&str, i64)]) -> Result<()> {
        wait_until("no instance is left", SOON, async || {
            let left = self.instances().await?;
            if left.is_empty() { Ok(true) } else { bail!("{} instances: {left:?}", left.len()) }
        })
        .await?;
        wait_until("no burst node is left", SOON, async || {
            let nodes = Api::<Node>::all(self.bed.client()).list(&ListParams::default().labels("onsale.dev/pool")).await?;
            Ok(nodes.items.iter().all(|n| !n.labels()["onsale.dev/pool"].starts_with(&format!("{}-", self.name))))
        })
        .await?;
        for (app, wanted) in replicas {
            let found = self.replicas(app).await?;
            ensure!(found == *wanted, "{app} has {found} replicas, {wanted} before the sale");
        }
        self.expect_minima_restored().await?;
        let records = Api::<WorkloadPlacement>::namespaced(self.bed.client(), self.name).list(&ListParams::default()).await?;
        let names: Vec<String> = records.items.iter().map(ResourceExt::name_any).collect();
        ensure!(names.is_empty(), "a WorkloadPlacement is left: {names:?}");
        let overlays = self.bed.kubectl(&["get", "podtemplates", "-n", self.name, "-o", "name"]).await?.ok()?;
        ensure!(overlays.trim().is_empty(), "an overlay is left: {overlays}");
        self.expect_nodes_and_pods_at_rest().await?;
        self.expect_settled().await?;
        self.expect_checker_content().await
    }

    /// HPAs and ScaledObjects have the minimum that their own last `kubectl apply` gave them.
    async fn expect_minima_restored(&self) -> Result<()> {
        for (kind, field) in [("hpa", "minReplicas"), ("scaledobjects.keda.sh", "minReplicaCount")] {
            let listed = self.bed.kubectl(&["get", kind, "-n", self.name, "-o", "json"]).await?;
            if !listed.success() && listed.stderr.contains("the server doesn't have a resource type") {
                continue;
            }
            let list: Value = serde_json::from_str(&listed.ok()?)?;
            for object in list["items"].as_array().context("no list")? {
                let applied = object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str();
                let applied: Value = serde_json::from_str(applied.with_context(|| format!("{kind} was not applied by kubectl"))?)?;
                let (is, was) = (&object["spec"][field], &applied["spec"][field]);
                ensure!(is == was, "{field} of {kind} {} is {is}, and was {was} before the sale", object["metadata"]["name"]);
            }
        }
        Ok(())
    }

    /// On-prem nodes take pods again and serve, and every pod has its place and keeps it.
    async fn expect_nodes_and_pods_at_rest(&self) -> Result<()> {
        wait_until("nodes and pods are at rest", SOON, async || {
            let on_prem = ListParams::default().labels(&format!("{SHOP}={}", self.name));
            for node in Api::<Node>::all(self.bed.client()).list(&on_prem).await?.items {
                let marks = marks(&node);
                ensure!(marks.is_empty(), "node {} keeps {marks:?}", node.name_any());
            }
            for pod in self.pods().await? {
                let unrest = unrest(&pod);
                ensure!(unrest.is_empty(), "pod {} has {unrest:?}", pod.name_any());
            }
            Ok(true)
        })
        .await
    }

    /// The checker had nothing to say against any plan or step since the shop opened that is about it, or about no shop in particular.
    pub async fn expect_checker_content(&self) -> Result<()> {
        let new: Vec<String> = objections(self.bed)?.split_off(self.objections);
        let shops = opened();
        let about_others = |line: &String| !names(line, self.name) && shops.iter().any(|shop| names(line, shop));
        let mine: Vec<&String> = new.iter().filter(|line| !about_others(line)).collect();
        ensure!(mine.is_empty(), "the checker objects {} times, first: {}", mine.len(), mine[0]);
        Ok(())
    }

    /// Finalizers are gone, and every status agrees with the world.
    async fn expect_settled(&self) -> Result<()> {
        wait_until("finalizers are gone and statuses have settled", SOON, async || {
            for sale in self.sales().list(&ListParams::default()).await?.items {
                sale_is_settled(&sale)?;
            }
            let own = ListParams::default().labels(&format!("{SHOP}={}", self.name));
            for pool in Api::<CapacityPool>::all(self.bed.client()).list(&own).await?.items {
                ensure!(pool.finalizers().is_empty(), "pool {} keeps {:?}", pool.name_any(), pool.finalizers());
                let status = pool.status.clone().unwrap_or_default();
                let counts = (status.nodes.launching, status.nodes.draining, status.launches.len());
                ensure!(counts == (0, 0, 0), "pool {} still says {:?}, {} launches", pool.name_any(), status.nodes, status.launches.len());
            }
            Ok(true)
        })
        .await
    }
}

fn sale_is_settled(sale: &OnSale) -> Result<()> {
    ensure!(sale.finalizers().is_empty(), "{} keeps {:?}", sale.name_any(), sale.finalizers());
    let status = sale.status.clone().unwrap_or_default();
    ensure!(!status.phase.is_some_and(Phase::is_active), "{} is still {:?}", sale.name_any(), status.phase);
    let over = matches!(status.phase, Some(Phase::Completed | Phase::Cancelled));
    for (type_, wanted) in OVER.iter().filter(|_| over) {
        let found = status.conditions.iter().find(|c| c.type_ == *type_);
        ensure!(found.is_some_and(|c| c.status == *wanted), "{} is over and says {found:?}", sale.name_any());
    }
    Ok(())
}

/// What the operator puts on a node that it gives back.
fn marks(node: &Node) -> Vec<String> {
    let cordoned = node.spec.as_ref().is_some_and(|s| s.unschedulable == Some(true)).then(|| "a cordon".to_owned());
    let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten()).map(|t| t.key.clone());
    let keys = node.labels().keys().chain(node.annotations().keys()).cloned();
    let ours = |key: &String| key.starts_with("onsale.dev/") || key == "node.kubernetes.io/exclude-from-external-load-balancers";
    cordoned.into_iter().chain(taints.chain(keys).filter(ours)).collect()
}

/// Conditions of a pod without a node, or of one that is being moved.
fn unrest(pod: &Pod) -> Vec<String> {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let bad =
        conditions.filter(|c| matches!((c.type_.as_str(), c.status.as_str()), ("PodScheduled", "False") | ("DisruptionTarget", "True")));
    bad.map(|c| format!("{}={} {}", c.type_, c.status, c.reason.as_deref().unwrap_or_default())).collect()
}

/// Whether a text names a shop: its namespace in `shop/object`, or one of its pools or nodes.
fn names(text: &str, shop: &str) -> bool {
    text.match_indices(shop).any(|(at, _)| {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !text[..at].ends_with(inside) && text[at + shop.len()..].starts_with(['/', '-'])
    })
}

/// What the checker has objected to so far, in the words of the logs of all operators, whether they still run or not.
pub fn objections(bed: &Bed) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for name in bed.processes().names().iter().filter(|n| n.starts_with("onsale-operator-")) {
        let log = bed.processes().log(name);
        let text = std::fs::read(&log).with_context(|| format!("could not read {}", log.display()))?;
        let lines = String::from_utf8_lossy(&text);
        all.extend(lines.lines().filter(|l| l.contains("the plan breaks a rule") || l.contains("the checker panicked")).map(str::to_owned));
    }
    // Each begins with its instant.
    all.sort();
    Ok(all)
}
