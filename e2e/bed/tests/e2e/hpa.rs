//! Floors on an HPA and on a ScaledObject that owns one: scaling is never taken away from them.

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Api;
use onsale_api::Phase;
use onsale_bed::metrics::{Load, Target};
use onsale_bed::wait_until;
use serde_json::json;

use crate::harness::{Case, Ground, beside};
use crate::shop::{SOON, Shop, plan};

pub fn cases() -> Vec<Case> {
    vec![beside!(an_hpa_grows_above_its_floor_while_live_and_everything_returns), beside!(a_scaled_object_that_owns_the_hpa_gets_the_floor)]
}

/// An HPA at 50 % of 1 CPU.
pub fn manifest(namespace: &str, name: &str, min: i32, max: i32) -> String {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}, "minReplicas": min, "maxReplicas": max,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
            "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0}, "scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    })
    .to_string()
}

/// `spec.minReplicas` of an HPA.
pub async fn min_replicas(shop: &Shop<'_>, name: &str) -> Result<i64> {
    let hpa = Api::<HorizontalPodAutoscaler>::namespaced(shop.bed.client(), shop.name).get(name).await?;
    hpa.spec.min_replicas.map(i64::from).context("no minReplicas")
}

async fn an_hpa_grows_above_its_floor_while_live_and_everything_returns(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "hpa", 1).await?;
    shop.workload("seat-map", 4).await?;
    let manifest = manifest(shop.name, "seat-map", 4, 80);
    bed.apply(&manifest).await?;
    bed.metrics()?.set_load(shop.name, Target::label("app", "seat-map"), Load::Total(400));
    let mut long = plan(&[("seat-map", 30, 3)]);
    (long.opens_in, long.duration) = (24, 45);
    shop.sale("tour", &long).await?;
    shop.wait_for("tour", &[Phase::Ready], SOON).await?;
    ensure!(min_replicas(&shop, "seat-map").await? == 30, "the floor is {}", min_replicas(&shop, "seat-map").await?);
    shop.expect_spread("seat-map", [16, 14, 0]).await?;
    shop.wait_for("tour", &[Phase::Live], SOON).await?;
    // 25 CPU at 50 % of 1 CPU: 50 replicas, above floor and headroom.
    bed.metrics()?.set_load(shop.name, Target::label("app", "seat-map"), Load::Total(25_000));
    wait_until("the HPA has grown to 50, and all run", SOON, async || {
        let spread = shop.spread("seat-map").await?;
        if spread.get("us-west-2-phx-2a") == Some(&34) { Ok(true) } else { bail!("{spread:?}") }
    })
    .await?;
    shop.edit("tour", json!({"duration": "1s"})).await?;
    shop.wait_for("tour", &[Phase::Returning], SOON).await?;
    // Buyers are still there: nodes stay as long as the HPA wants its replicas.
    wait_until("the floor is back and the HPA still holds its replicas", SOON, async || Ok(min_replicas(&shop, "seat-map").await? == 4))
        .await?;
    ensure!(shop.pods().await?.len() >= 50, "replicas were taken away from the HPA");
    ensure!(!shop.instances().await?.is_empty(), "nodes were taken away from the HPA");
    bed.metrics()?.set_load(shop.name, Target::label("app", "seat-map"), Load::Total(400));
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[]).await?;
    ensure!(min_replicas(&shop, "seat-map").await? == 4, "minReplicas is not restored");
    ensure!(bed.apply(&manifest).await?.contains("unchanged"), "the next apply of the HPA changes something");
    Ok(())
}

/// The part of KEDA that matters here: the kind, and that the HPA belongs to it.
const SCALED_OBJECTS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: scaledobjects.keda.sh}
spec:
  group: keda.sh
  scope: Namespaced
  names: {plural: scaledobjects, singular: scaledobject, kind: ScaledObject}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
"#;

async fn a_scaled_object_that_owns_the_hpa_gets_the_floor(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "keda", 1).await?;
    shop.workload("seat-map", 4).await?;
    bed.apply(SCALED_OBJECTS).await?;
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "seat-map", "namespace": shop.name},
        "spec": {"scaleTargetRef": {"name": "seat-map"}, "minReplicaCount": 4, "maxReplicaCount": 60},
    })
    .to_string();
    wait_until("the kind is served", SOON, async || Ok(bed.apply(&object).await.is_ok())).await?;
    let uid = bed.kubectl(&["get", "scaledobject", "seat-map", "-n", shop.name, "-o", "jsonpath={.metadata.uid}"]).await?.ok()?;
    let mut hpa: serde_json::Value = serde_json::from_str(&manifest(shop.name, "seat-map", 4, 60))?;
    let owner = json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "seat-map", "uid": uid, "controller": true}]);
    hpa["metadata"]["ownerReferences"] = owner;
    bed.apply(&hpa.to_string()).await?;
    let mut long = plan(&[("seat-map", 12, 3)]);
    long.duration = 8;
    shop.sale("tour", &long).await?;
    let reaches = async |wanted: &str| -> Result<()> {
        wait_until(format!("minReplicaCount is {wanted}"), SOON, async || {
            let text =
                bed.kubectl(&["get", "scaledobject", "seat-map", "-n", shop.name, "-o", "jsonpath={.spec.minReplicaCount}"]).await?.ok()?;
            // KEDA hands it on to its HPA.
            let patch = format!(r#"{{"spec":{{"minReplicas":{text}}}}}"#);
            bed.kubectl(&["patch", "hpa", "seat-map", "-n", shop.name, "--type=merge", "-p", &patch]).await?.ok()?;
            Ok(text == wanted)
        })
        .await
    };
    reaches("12").await?;
    shop.wait_for("tour", &[Phase::Returning], SOON).await?;
    reaches("4").await?;
    shop.wait_until_over("tour").await?;
    shop.expect_clean(&[]).await
}
