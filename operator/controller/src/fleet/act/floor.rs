//! Write the floor: JSON Patch `test` + `replace`, so that a value that changed meanwhile is never overwritten unseen, and a GitOps tool keeps
//! its ownership of everything else. A failed test ends the chain; the next pass decides.

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    autoscaling::v1::Scale,
    autoscaling::v2::HorizontalPodAutoscaler,
};
use kube::Api;
use onsale_api::{
    Reason, names,
    onsale::TargetKind,
    placement::{FloorField, FloorKind},
};
use onsale_planner::snapshot::WorkloadId;
use serde_json::{Value, json};

use super::{Done, Job, Stop, as_manager, json_patch, stale_or_failed};
use crate::{
    context::CallError,
    events::{self, Note},
    fleet::observe::{
        scaled_object::{self, DEFAULT_MIN},
        target::Target,
    },
};

/// What to write.
pub struct Change<'a> {
    /// Where.
    pub field: &'a FloorField,
    /// Value expected there.
    pub from: i32,
    /// Value to write.
    pub to: i32,
    /// In whose name; `None`: our own.
    pub manager: Option<&'a str>,
}

impl Change<'_> {
    fn manager(&self) -> &str {
        self.manager.unwrap_or(names::MANAGER)
    }
    fn operations(&self, path: &str) -> Value {
        json!([{"op": "test", "path": path, "value": self.from}, {"op": "replace", "path": path, "value": self.to}])
    }
    /// For a field that is not there: what is tested is the object's version.
    fn addition(&self, path: &str, version: Option<&str>) -> Value {
        json!([{"op": "test", "path": "/metadata/resourceVersion", "value": version}, {"op": "add", "path": path, "value": self.to}])
    }
}

/// Writes it, and says so.
pub async fn write(job: &Job<'_>, id: &WorkloadId, change: &Change<'_>) -> Result<Done, Stop> {
    match change.field.kind {
        FloorKind::Replicas => replicas(job, id, change).await?,
        FloorKind::HpaMinReplicas => hpa(job, id, change).await?,
        FloorKind::ScaledObjectMinReplicaCount => scaled(job, id, change).await?,
    }
    let (kind, raised) = (format!("{:?}", id.kind), change.to > change.from);
    let uid = match id.kind {
        TargetKind::Deployment => job.world.deployments.get(&id.namespace, &id.name, |e| e.uid.clone()),
        TargetKind::StatefulSet => job.world.stateful_sets.get(&id.namespace, &id.name, |e| e.uid.clone()),
    };
    let about = events::reference("apps/v1", &kind, Some(&id.namespace), &id.name, uid.as_deref());
    let reason = if raised { Reason::FloorRaised } else { Reason::FloorLowered };
    let text = format!("{} of {}: {} to {}", label(change.field.kind), change.field.name, change.from, change.to);
    job.context.say(Note { about, reason, warning: false, text, at: job.now });
    Ok(Done::Yes)
}

/// The field as people know it.
pub fn label(kind: FloorKind) -> &'static str {
    match kind {
        FloorKind::Replicas => "replicas",
        FloorKind::HpaMinReplicas => "minReplicas",
        FloorKind::ScaledObjectMinReplicaCount => "minReplicaCount",
    }
}

async fn replicas(job: &Job<'_>, id: &WorkloadId, change: &Change<'_>) -> Result<(), Stop> {
    let client = job.context.client.clone();
    match id.kind {
        TargetKind::Deployment => scale(job, &Api::<Deployment>::namespaced(client, &id.namespace), id, change).await,
        TargetKind::StatefulSet => scale(job, &Api::<StatefulSet>::namespaced(client, &id.namespace), id, change).await,
    }
}

async fn scale<K: Clone + serde::de::DeserializeOwned>(
    job: &Job<'_>,
    api: &Api<K>,
    id: &WorkloadId,
    change: &Change<'_>,
) -> Result<(), Stop> {
    const PATH: &str = "/spec/replicas";
    let what = |verb: &str| format!("{verb} the scale of {id}");
    // A scale of 0 leaves its field out, and a test of what is not there fails.
    let operations = if change.from == 0 {
        let now: Scale = job.context.call(what("read"), api.get_scale(&id.name)).await.map_err(stale_or_failed)?;
        if now.spec.and_then(|s| s.replicas).unwrap_or_default() != 0 {
            return Err(Stop::Stale(format!("replicas of {id} are not 0")));
        }
        change.addition(PATH, now.metadata.resource_version.as_deref())
    } else {
        change.operations(PATH)
    };
    let patch = json_patch(operations)?;
    let params = as_manager(change.manager());
    let written = job.context.call(what("write"), api.patch_scale(&id.name, &params, &patch)).await.map_err(stale_or_failed)?;
    let adjust = |target: &mut Target| {
        target.replicas = change.to;
        target.manager = Some(change.manager().to_owned());
    };
    let version = written.metadata.resource_version.as_deref();
    match id.kind {
        TargetKind::Deployment => job.world.deployments.adjusted(&id.namespace, &id.name, version, |r| adjust(&mut r.0)),
        TargetKind::StatefulSet => job.world.stateful_sets.adjusted(&id.namespace, &id.name, version, |r| adjust(&mut r.0)),
    }
    Ok(())
}

/// The field's value as the API server has it now; `None`: its object is gone.
pub async fn read(job: &Job<'_>, id: &WorkloadId, field: &FloorField) -> Result<Option<i32>, Stop> {
    let (client, namespace) = (job.context.client.clone(), id.namespace.as_str());
    let what = format!("read {} of {namespace}/{}", label(field.kind), field.name);
    let value = match (field.kind, id.kind) {
        (FloorKind::Replicas, TargetKind::Deployment) => {
            let api = Api::<Deployment>::namespaced(client, namespace);
            job.context.call(what, api.get_scale(&id.name)).await.map(|s| s.spec.and_then(|s| s.replicas).unwrap_or_default())
        }
        (FloorKind::Replicas, TargetKind::StatefulSet) => {
            let api = Api::<StatefulSet>::namespaced(client, namespace);
            job.context.call(what, api.get_scale(&id.name)).await.map(|s| s.spec.and_then(|s| s.replicas).unwrap_or_default())
        }
        (FloorKind::HpaMinReplicas, _) => {
            let api = Api::<HorizontalPodAutoscaler>::namespaced(client, namespace);
            job.context.call(what, api.get(&field.name)).await.map(|h| h.spec.min_replicas.unwrap_or(1))
        }
        (FloorKind::ScaledObjectMinReplicaCount, _) => {
            let api = scaled_object::api(client, namespace);
            let value = |o: kube::core::DynamicObject| scaled_object::number(&o.data, "minReplicaCount").unwrap_or(DEFAULT_MIN);
            job.context.call(what, api.get(&field.name)).await.map(value)
        }
    };
    match value {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(Stop::Failed(error)),
    }
}

async fn hpa(job: &Job<'_>, id: &WorkloadId, change: &Change<'_>) -> Result<(), Stop> {
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(job.context.client.clone(), &id.namespace);
    let patch = json_patch(change.operations("/spec/minReplicas"))?;
    let what = format!("write minReplicas of HorizontalPodAutoscaler {}/{}", id.namespace, change.field.name);
    let params = as_manager(change.manager());
    let written = job.context.call(what, api.patch(&change.field.name, &params, &patch)).await.map_err(stale_or_failed)?;
    job.world.scalers.written(written);
    Ok(())
}

async fn scaled(job: &Job<'_>, id: &WorkloadId, change: &Change<'_>) -> Result<(), Stop> {
    const PATH: &str = "/spec/minReplicaCount";
    let (api, name) = (scaled_object::api(job.context.client.clone(), &id.namespace), &change.field.name);
    let what = |verb: &str| format!("{verb} minReplicaCount of ScaledObject {}/{name}", id.namespace);
    let object = job.context.call(what("read"), api.get(name)).await.map_err(stale_or_failed)?;
    let operations = match scaled_object::number(&object.data, "minReplicaCount") {
        Some(_) => change.operations(PATH),
        None if change.from == DEFAULT_MIN => change.addition(PATH, object.metadata.resource_version.as_deref()),
        None => return Err(Stop::Stale(format!("ScaledObject {}/{name} has no minReplicaCount", id.namespace))),
    };
    let patch = json_patch(operations)?;
    let result: Result<_, CallError> = job.context.call(what("write"), api.patch(name, &as_manager(change.manager()), &patch)).await;
    job.world.scaled_objects.expire(&id.namespace, name);
    result.map(drop).map_err(stale_or_failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_the_old_value_before_it_writes_the_new_one() {
        let field = FloorField { kind: FloorKind::Replicas, name: "seat-map".into() };
        let change = Change { field: &field, from: 7, to: 40, manager: None };
        let operations = change.operations("/spec/replicas");
        assert_eq!((&operations[0]["op"], &operations[0]["value"]), (&json!("test"), &json!(7)));
        assert_eq!((&operations[1]["op"], &operations[1]["value"]), (&json!("replace"), &json!(40)));
        assert!(json_patch(operations).is_ok());
        assert_eq!(change.addition("/spec/replicas", Some("12"))[0]["value"], "12");
    }
}
