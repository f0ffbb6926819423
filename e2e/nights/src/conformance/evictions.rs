//! Evictions: of the pod that is meant, where its budget allows.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::{
    Api,
    api::{DeleteParams, Patch, PostParams},
};
use serde_json::{Value, json};

use super::{
    Case, case,
    ground::{Ground, MANAGER, create, equal, eventually, manager, object, refused},
};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case!(the_pod_that_is_meant_is_evicted_and_no_namesake),
        case!(a_budget_refuses_with_its_cause_until_there_are_enough),
        case!(two_budgets_for_one_pod_are_an_error),
        case!(a_budget_does_not_hold_a_pod_that_has_not_started),
        case!(a_budget_that_allows_none_needed_lets_pods_go_that_are_not_ready),
    ]
}

async fn evict(ground: &Ground, pod: &str, uid: Option<&str>) -> kube::Result<Value> {
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": ground.namespace},
        "deleteOptions": {"preconditions": {"uid": uid}}});
    ground.api::<Pod>().create_subresource("eviction", pod, &PostParams::default(), &body).await
}

/// A pod that says it runs, Ready or not.
async fn running(ground: &Ground, suffix: &str, ready: bool) -> Result<Pod> {
    let (api, name) = (ground.api::<Pod>(), ground.named(suffix));
    create(&api, &ground.pod(&name)?).await?;
    let condition = json!({"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": "2026-12-05T10:00:00Z"});
    let status = Patch::Merge(json!({"status": {"phase": "Running", "conditions": [condition]}}));
    api.patch_status(&name, &manager(MANAGER), &status).await.context("its status is not written")
}

async fn budget(ground: &Ground, suffix: &str, least: i32) -> Result<()> {
    let api: Api<PodDisruptionBudget> = ground.api();
    let manifest = json!({"metadata": {"name": ground.named(suffix)}, "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": ground.name}}}});
    create(&api, &object(manifest)?).await.map(drop)
}

async fn the_pod_that_is_meant_is_evicted_and_no_namesake(ground: Ground) -> Result<()> {
    let pod = running(&ground, "a", true).await?;
    let name = ground.named("a");
    refused(evict(&ground, &name, Some("another")).await, 409, "Conflict")?;
    ground.api::<Pod>().get(&name).await?;
    evict(&ground, &name, pod.metadata.uid.as_deref()).await?;
    refused(ground.api::<Pod>().get(&name).await, 404, "NotFound")?;
    refused(evict(&ground, &name, pod.metadata.uid.as_deref()).await, 404, "NotFound").map(drop)
}

async fn a_budget_refuses_with_its_cause_until_there_are_enough(ground: Ground) -> Result<()> {
    let (first, second) = (running(&ground, "a", true).await?, running(&ground, "b", true).await?);
    budget(&ground, "budget", 2).await?;
    let (name, uid) = (ground.named("a"), first.metadata.uid.as_deref());
    let needs = format!("The disruption budget {} needs 2 healthy pods and has 2 currently", ground.named("budget"));
    // Its controller counts first; until then nothing goes either.
    eventually("the budget refuses and says why", async || {
        let status = refused(evict(&ground, &name, uid).await, 429, "TooManyRequests")?;
        let causes = status.details.map(|d| d.causes).unwrap_or_default();
        equal("reasons", causes.iter().map(|c| c.reason.as_str()).collect::<Vec<_>>(), vec!["DisruptionBudget"])?;
        equal("sentence", causes[0].message.clone(), needs.clone())
    })
    .await?;
    running(&ground, "c", true).await?;
    eventually("a third pod makes room for one", async || evict(&ground, &name, uid).await.map(drop).context("refused")).await?;
    refused(evict(&ground, &ground.named("b"), second.metadata.uid.as_deref()).await, 429, "TooManyRequests").map(drop)
}

async fn two_budgets_for_one_pod_are_an_error(ground: Ground) -> Result<()> {
    let pod = running(&ground, "a", true).await?;
    budget(&ground, "one", 0).await?;
    budget(&ground, "two", 0).await?;
    let answer = evict(&ground, &ground.named("a"), pod.metadata.uid.as_deref()).await;
    let Err(kube::Error::Api(status)) = answer else { anyhow::bail!("{answer:?}") };
    equal("code", status.code, 500)?;
    ensure!(status.message.contains("more than one PodDisruptionBudget"), "{status:?}");
    Ok(())
}

async fn a_budget_does_not_hold_a_pod_that_has_not_started(ground: Ground) -> Result<()> {
    let api = ground.api::<Pod>();
    let pod = create(&api, &ground.pod(&ground.named("a"))?).await?;
    budget(&ground, "budget", 1).await?;
    evict(&ground, &ground.named("a"), pod.metadata.uid.as_deref()).await?;
    refused(api.get(&ground.named("a")).await, 404, "NotFound").map(drop)
}

async fn a_budget_that_allows_none_needed_lets_pods_go_that_are_not_ready(ground: Ground) -> Result<()> {
    running(&ground, "a", true).await?;
    let pod = running(&ground, "b", false).await?;
    budget(&ground, "met", 1).await?;
    let (name, uid) = (ground.named("b"), pod.metadata.uid.as_deref());
    // One Ready pod is what it needs, and one that is not Ready is none of them.
    eventually("the pod that is not Ready goes", async || evict(&ground, &name, uid).await.map(drop).context("refused")).await?;
    let late = running(&ground, "c", false).await?;
    ground.api::<PodDisruptionBudget>().delete(&ground.named("met"), &DeleteParams::default()).await?;
    budget(&ground, "unmet", 2).await?;
    let (name, uid) = (ground.named("c"), late.metadata.uid.as_deref());
    eventually("an unmet budget holds even what is not Ready", async || {
        let status = refused(evict(&ground, &name, uid).await, 429, "TooManyRequests")?;
        let causes = status.details.map(|d| d.causes).unwrap_or_default();
        ensure!(causes.iter().any(|c| c.message.contains("needs 2 healthy pods and has 1 currently")), "{causes:?}");
        Ok(())
    })
    .await
}
