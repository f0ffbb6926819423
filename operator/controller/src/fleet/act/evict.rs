//! Evict a pod. kube's own `evict` puts the UID where the server ignores it, and the wrong pod goes: the body is ours.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams};
use onsale_planner::snapshot::PodRef;
use serde_json::{Value, json};

use super::{Done, Job, Stop};

/// Asks for the eviction. A pod that is gone or was made anew is evicted; a budget that refuses is an answer, not a failure.
pub async fn evict(job: &Job<'_>, pod: &PodRef) -> Result<Done, Stop> {
    let api: Api<Pod> = Api::namespaced(job.context.client.clone(), &pod.namespace);
    let body = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": {"preconditions": {"uid": pod.uid}},
    });
    let params = PostParams::default();
    let call = api.create_subresource::<Value, Value>("eviction", &pod.name, &params, &body);
    let who = format!("Pod {}/{}", pod.namespace, pod.name);
    match job.context.call(format!("evict {who}"), call).await {
        Ok(_) => Ok(Done::Yes),
        Err(error) if error.is_gone() || error.is_conflict() => Ok(Done::Yes),
        Err(error) => match error.disruption_budget() {
            Some(why) => Ok(Done::Blocked(format!("{who}: {why}"))),
            None => Err(Stop::Failed(error)),
        },
    }
}
