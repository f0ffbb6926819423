//! Delete an unbound pod whose stamp is not the current one, so that its owner makes it again with the overlay that is in force.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use onsale_planner::snapshot::PodRef;

use super::{Done, Job, Stop};

/// Deletes it if it is exactly the pod that was seen, unbound still: a bound one may serve buyers already.
pub async fn replace(job: &Job<'_>, pod: &PodRef) -> Result<Done, Stop> {
    let api: Api<Pod> = Api::namespaced(job.context.client.clone(), &pod.namespace);
    let who = format!("Pod {}/{}", pod.namespace, pod.name);
    let seen = job.world.pods.get(&pod.namespace, &pod.name, |e| (e.uid == pod.uid && e.record.node.is_none()).then(|| e.version.clone()));
    let Some(resource_version) = seen.flatten() else { return Ok(Done::Yes) };
    let preconditions = Some(Preconditions { resource_version: Some(resource_version), uid: Some(pod.uid.clone()) });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    match job.context.call(format!("delete {who}"), api.delete(&pod.name, &params)).await {
        Ok(_) => Ok(Done::Yes),
        Err(error) if error.is_gone() => Ok(Done::Yes),
        // Changed since: the next pass looks whether it is unbound still. Other pods of the chain need not wait for that.
        Err(error) if error.is_conflict() => Ok(Done::Yes),
        Err(error) => Err(Stop::Failed(error)),
    }
}
