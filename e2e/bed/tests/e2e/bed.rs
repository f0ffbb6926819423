//! The bed itself: what it promises to the tests that build on it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use onsale_api::names;
use onsale_bed::ec2::{FixtureRequest, Timing, node_config};
use onsale_bed::joiner::Trouble;
use onsale_bed::kwok::{NEVER_READY, READY_AFTER};
use onsale_bed::metrics::{Load, Target};
use onsale_bed::nodes;
use onsale_bed::{Bed, wait_until};
use serde_json::json;

use crate::harness::{Case, Ground, alone};
use crate::workloads::{deployment, is_ready, namespace, on_prem_nodes, pods, wait_for_pods};

pub fn cases() -> Vec<Case> {
    vec![
        alone!(the_control_plane_is_the_real_one),
        alone!(rbac_holds_for_users_and_service_accounts),
        alone!(three_hundred_pods_are_scheduled_and_ready),
        alone!(pods_are_slow_or_never_ready_as_annotated),
        alone!(a_node_that_is_cut_off_is_tainted_and_comes_back),
        alone!(instances_become_nodes_and_nodes_leave_with_them),
        alone!(instances_join_late_wrongly_or_never_as_told),
        alone!(an_hpa_follows_the_load_up_and_back),
        alone!(the_api_server_survives_a_crash),
    ]
}

const ZONE: &str = "us-west-2a";

async fn the_control_plane_is_the_real_one(bed: &Ground<'_>) -> Result<()> {
    let version = bed.client().apiserver_version().await?;
    ensure!(version.git_version == "v1.36.3", "{version:?}");
    let kinds = bed.kubectl(&["api-resources", "--api-group=admissionregistration.k8s.io", "-o", "name"]).await?.ok()?;
    ensure!(kinds.contains("mutatingadmissionpolicies"), "{kinds}");
    bed.helm(&["list", "-A"]).await?.ok()?;
    let refused = bed.kubectl(&["get", "no-such-kind"]).await?;
    ensure!(refused.code == 1 && refused.stderr.contains("no-such-kind"), "{refused:?}");
    Ok(())
}

async fn rbac_holds_for_users_and_service_accounts(bed: &Ground<'_>) -> Result<()> {
    namespace(bed, "rbac").await?;
    bed.kubectl(&["create", "serviceaccount", "operator", "-n", "rbac"]).await?.ok()?;
    bed.kubectl(&["create", "role", "reader", "-n", "rbac", "--verb=list", "--resource=pods"]).await?.ok()?;
    bed.kubectl(&["create", "rolebinding", "reader", "-n", "rbac", "--role=reader", "--serviceaccount=rbac:operator"]).await?.ok()?;
    let operator = bed.commands().with_kubeconfig(&bed.service_account_kubeconfig("rbac", "operator").await?);
    operator.kubectl(["get", "pods", "-n", "rbac"]).await?.ok()?;
    let refused = operator.kubectl(["get", "nodes"]).await?;
    ensure!(refused.stderr.contains("system:serviceaccount:rbac:operator"), "{refused:?}");
    let user = bed.commands().with_kubeconfig(&bed.user_kubeconfig("fan", Some("fans"))?);
    let refused = user.kubectl(["get", "pods"]).await?;
    ensure!(refused.stderr.contains("User \"fan\" cannot list"), "{refused:?}");
    Ok(())
}

async fn three_hundred_pods_are_scheduled_and_ready(bed: &Ground<'_>) -> Result<()> {
    namespace(bed, "many").await?;
    on_prem_nodes(bed, "many", 20).await?;
    let start = Instant::now();
    bed.apply(&deployment("many", "seat-map", 300, &json!({}))).await?;
    wait_for_pods(bed, "many", "seat-map", 300, Duration::from_secs(60)).await?;
    eprintln!("    300 pods Ready in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

async fn pods_are_slow_or_never_ready_as_annotated(bed: &Ground<'_>) -> Result<()> {
    namespace(bed, "slow").await?;
    on_prem_nodes(bed, "slow", 1).await?;
    let start = Instant::now();
    bed.apply(&deployment("slow", "late", 1, &json!({READY_AFTER: "3s"}))).await?;
    bed.apply(&deployment("slow", "never", 1, &json!({NEVER_READY: "true"}))).await?;
    wait_for_pods(bed, "slow", "late", 1, Duration::from_secs(20)).await?;
    ensure!(start.elapsed() > Duration::from_secs(3), "Ready after {:?}", start.elapsed());
    let never = pods(bed, "slow", "never").await?;
    let running = never.iter().all(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running"));
    ensure!(never.len() == 1 && running && !is_ready(&never[0]), "{never:?}");
    Ok(())
}

async fn a_node_that_is_cut_off_is_tainted_and_comes_back(bed: &Ground<'_>) -> Result<()> {
    namespace(bed, "link").await?;
    on_prem_nodes(bed, "link", 1).await?;
    bed.apply(&deployment("link", "served", 2, &json!({}))).await?;
    wait_for_pods(bed, "link", "served", 2, Duration::from_secs(20)).await?;
    let api: Api<Node> = Api::all(bed.client());
    let has_taint = |node: &Node| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        taints.iter().any(|taint| taint.key == "node.kubernetes.io/unreachable")
    };
    nodes::set_down(&bed.client(), "link-0", true).await?;
    wait_until("the node is tainted", Duration::from_secs(20), async || Ok(has_taint(&api.get("link-0").await?))).await?;
    let serving = pods(bed, "link", "served").await?;
    ensure!(serving.len() == 2 && !serving.iter().any(is_ready), "{serving:?}");
    nodes::set_down(&bed.client(), "link-0", false).await?;
    wait_until("the node is back", Duration::from_secs(20), async || {
        let node = api.get("link-0").await?;
        Ok(nodes::is_ready(&node) && !has_taint(&node))
    })
    .await?;
    wait_for_pods(bed, "link", "served", 2, Duration::from_secs(20)).await
}

/// Launches through EC2's own API; gives back what it answered.
async fn launch(bed: &Bed, count: usize) -> Result<String> {
    let ec2 = bed.ec2()?;
    let request = FixtureRequest { name: "burst".into(), user_data: Some(node_config("region")), ..Default::default() };
    let fixture = ec2.fixture(&request).await?;
    let subnet = fixture.subnets.get(ZONE).context("no subnet")?;
    let count = count.to_string();
    let params = [
        ("MinCount", count.as_str()),
        ("MaxCount", &count),
        ("SubnetId", subnet),
        ("InstanceType", "c6i.4xlarge"),
        ("LaunchTemplate.LaunchTemplateId", &fixture.launch_template.id),
    ];
    ec2.call("us-west-2", "RunInstances", &params).await
}

async fn burst_nodes(bed: &Bed) -> Result<Vec<Node>> {
    Ok(Api::<Node>::all(bed.client()).list(&ListParams::default().labels("bed.onsale.dev/from=ec2")).await?.items)
}

async fn wait_for_burst_nodes(bed: &Bed, count: usize) -> Result<Vec<Node>> {
    wait_until(format!("{count} burst nodes are Ready"), Duration::from_secs(30), async || {
        let all = burst_nodes(bed).await?;
        let ready = all.iter().filter(|node| nodes::is_ready(node)).count();
        if all.len() != count || ready != count {
            bail!("{} nodes, {ready} Ready; joiner: {:?}", all.len(), bed.joiner()?.failure())
        }
        Ok(true)
    })
    .await?;
    burst_nodes(bed).await
}

async fn instances_become_nodes_and_nodes_leave_with_them(bed: &Ground<'_>) -> Result<()> {
    bed.ec2()?.set_timing(&Timing { boot_seconds: Some(1.0), shutdown_seconds: Some(1.0), ..Default::default() }).await?;
    launch(bed, 2).await?;
    let all = wait_for_burst_nodes(bed, 2).await?;
    let instances = bed.ec2()?.instances().await?;
    for instance in &instances {
        let id = format!("aws:///{ZONE}/{}", instance.id);
        let node = all.iter().find(|node| node.spec.as_ref().is_some_and(|spec| spec.provider_id.as_deref() == Some(&id)));
        let node = serde_json::to_value(node.with_context(|| format!("no node of {id}"))?)?;
        ensure!(node["spec"]["taints"][0]["key"] == "onsale.dev/pool" && node["spec"]["taints"][0]["value"] == "region", "{node:#}");
        ensure!(node["metadata"]["labels"]["onsale.dev/pool"] == "region", "{node:#}");
        ensure!(node["metadata"]["labels"]["topology.kubernetes.io/zone"] == ZONE, "{node:#}");
        ensure!(node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == "c6i.4xlarge", "{node:#}");
        ensure!(node["status"]["allocatable"]["cpu"] == "15890m" && node["status"]["allocatable"]["memory"] == "28Gi", "{node:#}");
    }
    bed.ec2()?.call("us-west-2", "TerminateInstances", &[("InstanceId.1", &instances[0].id)]).await?;
    let left = wait_for_burst_nodes(bed, 1).await?;
    let provider = left[0].spec.as_ref().and_then(|spec| spec.provider_id.clone()).unwrap_or_default();
    ensure!(provider.ends_with(&instances[1].id), "the wrong node left: {provider}");
    let actions: Vec<String> = bed.ec2()?.calls(0).await?.into_iter().map(|call| call.action).collect();
    ensure!(actions == ["RunInstances", "TerminateInstances"], "{actions:?}");
    Ok(())
}

async fn instances_join_late_wrongly_or_never_as_told(bed: &Ground<'_>) -> Result<()> {
    let joiner = bed.joiner()?;
    joiner.set_delay(Duration::from_secs(2));
    joiner.add_trouble(Trouble::NeverJoins, Some(ZONE), Some(1));
    joiner.add_trouble(Trouble::WithoutTaints, None, Some(2));
    let start = Instant::now();
    launch(bed, 3).await?;
    let all = wait_for_burst_nodes(bed, 2).await?;
    ensure!(start.elapsed() > Duration::from_secs(2), "joined after {:?}", start.elapsed());
    // The first instance suffers both; so one of the two that join is without its taint.
    // Kubernetes' own taint of a node that was not Ready a moment ago is no matter.
    let tainted = |node: &&Node| node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(|taint| taint.key == names::POOL);
    let untainted = all.len() - all.iter().filter(tainted).count();
    ensure!(untainted == 1, "{untainted} without taint");
    Ok(())
}

async fn an_hpa_follows_the_load_up_and_back(bed: &Ground<'_>) -> Result<()> {
    namespace(bed, "hpa").await?;
    on_prem_nodes(bed, "hpa", 4).await?;
    bed.apply(&deployment("hpa", "checkout", 2, &json!({}))).await?;
    let policies = json!({"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 900, "periodSeconds": 1}]});
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "checkout", "namespace": "hpa"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "minReplicas": 2, "maxReplicas": 40,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
            "behavior": {"scaleUp": policies, "scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 1}]}},
        },
    });
    bed.apply(&hpa.to_string()).await?;
    wait_for_pods(bed, "hpa", "checkout", 2, Duration::from_secs(20)).await?;
    // 10,000 millicores at 500 each: 20 pods.
    bed.metrics()?.set_load("hpa", Target::label("app", "checkout"), Load::Total(10_000));
    wait_for_pods(bed, "hpa", "checkout", 20, Duration::from_secs(40)).await?;
    let top = bed.kubectl(&["top", "pods", "-n", "hpa", "--no-headers"]).await?.ok()?;
    ensure!(top.lines().count() == 20 && top.lines().all(|line| line.contains("500m")), "{top}");
    bed.metrics()?.set_load("hpa", Target::label("app", "checkout"), Load::Total(3_000));
    wait_for_pods(bed, "hpa", "checkout", 6, Duration::from_secs(40)).await
}

async fn the_api_server_survives_a_crash(bed: &Ground<'_>) -> Result<()> {
    namespace(bed, "crash").await?;
    bed.restart_api_server().await?;
    bed.kubectl(&["get", "namespace", "crash"]).await?.ok()?;
    Ok(())
}
