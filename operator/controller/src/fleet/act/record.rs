//! The WorkloadPlacement: stored before the first write, replaced whenever the intent changes, deleted when everything is restored.

use kube::{
    Api,
    api::DeleteParams,
    core::{DeserializeGuard, ObjectMeta},
};
use onsale_api::{WorkloadPlacement, WorkloadPlacementSpec, names};
use onsale_planner::snapshot::WorkloadId;

use super::{Done, Job, Stop, as_us, done_if_gone, floor, stale_or_failed};

fn api(job: &Job<'_>, id: &WorkloadId) -> Api<WorkloadPlacement> {
    Api::namespaced(job.context.client.clone(), &id.namespace)
}

/// Creates or replaces it, under the resourceVersion of a fresh read, and only if it is what the decision was made on: a list that is older than the last
/// leader's writes would otherwise make a floor the value to restore. No owner: it must outlive the sale that is deleted.
pub async fn write(job: &Job<'_>, id: &WorkloadId, spec: &WorkloadPlacementSpec) -> Result<Done, Stop> {
    let (api, name) = (api(job, id), id.placement_name());
    let what = |verb: &str| format!("{verb} WorkloadPlacement {}/{name}", id.namespace);
    let seen = job.seen.workload(id).and_then(|w| w.placement.as_ref()).map(|p| &p.spec);
    let stale = || Stop::Stale(format!("WorkloadPlacement {}/{name} is not the one that was seen", id.namespace));
    let written = match job.context.call(what("read"), api.get(&name)).await {
        Ok(object) if object.spec == *spec => object,
        Ok(object) if seen != Some(&object.spec) => {
            job.world.placements.written(DeserializeGuard(Ok(object)));
            return Err(stale());
        }
        Ok(mut object) => {
            object.spec = spec.clone();
            job.context.call(what("replace"), api.replace(&name, &as_us(), &object)).await.map_err(stale_or_failed)?
        }
        Err(error) if error.is_gone() && seen.is_some() => return Err(stale()),
        Err(error) if error.is_gone() => {
            // Nobody else may delete it: it is the only thing that knows what is to be restored.
            let finalizers = Some(vec![names::FINALIZER.to_owned()]);
            let metadata =
                ObjectMeta { name: Some(name.clone()), namespace: Some(id.namespace.clone()), finalizers, ..ObjectMeta::default() };
            let object = WorkloadPlacement { metadata, spec: spec.clone(), status: None };
            job.context.call(what("create"), api.create(&as_us(), &object)).await.map_err(stale_or_failed)?
        }
        Err(error) => return Err(Stop::Failed(error)),
    };
    job.world.placements.written(DeserializeGuard(Ok(written)));
    Ok(Done::Yes)
}

/// Deletes it: the last thing that knows what is to be restored, so the field is read from the API server itself first.
pub async fn remove(job: &Job<'_>, id: &WorkloadId) -> Result<Done, Stop> {
    let name = id.placement_name();
    if let Some(spec) = job.seen.workload(id).and_then(|w| w.placement.as_ref()).map(|p| &p.spec) {
        let value = floor::read(job, id, &spec.field).await?;
        if value.is_some_and(|v| v != spec.baseline) {
            return Err(Stop::Stale(format!("{} of {id} is not restored yet", floor::label(spec.field.kind))));
        }
    }
    let (api, what) = (api(job, id), |verb: &str| format!("{verb} WorkloadPlacement {}/{name}", id.namespace));
    match job.context.call(what("read"), api.get(&name)).await {
        Ok(mut object) if object.metadata.finalizers.as_ref().is_some_and(|f| !f.is_empty()) => {
            object.metadata.finalizers = None;
            job.context.call(what("release"), api.replace(&name, &as_us(), &object)).await.map_err(stale_or_failed)?;
        }
        Ok(_) => {}
        Err(error) if error.is_gone() => return Ok(Done::Yes),
        Err(error) => return Err(Stop::Failed(error)),
    }
    let done = done_if_gone(job.context.call(what("delete"), api.delete(&name, &DeleteParams::default())).await)?;
    job.world.placements.removed(&id.namespace, &name);
    Ok(done)
}
