//! The `/scale` subresource.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    failure::Failure,
    managed, patch,
    request::{Ask, PatchKind, Verb},
    store::Store,
    write::{Answer, get, writer},
};

/// The Scale of an object. Replicas of 0 leave their field out, as on a real API server.
fn view(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"]},
        "spec": {}, "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or_default()},
    });
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
    if replicas != 0 {
        scale["spec"]["replicas"] = json!(replicas);
    }
    scale
}

/// Reads it.
///
/// # Errors
/// 404 where there is no such object, or its kind has no scale.
pub fn read(store: &Store, ask: &Ask) -> Result<Answer, Failure> {
    if !ask.kind.scale {
        return Err(Failure::no_such_resource());
    }
    Ok((200, Arc::new(view(&*get(store, ask.kind, &ask.namespace, &ask.name)?))))
}

/// Writes it, by replacing or patching the Scale.
///
/// # Errors
/// As other writes: 404, 409, 422.
pub fn write(store: &mut Store, ask: &Ask, now: Timestamp) -> Result<Answer, Failure> {
    if !ask.kind.scale {
        return Err(Failure::no_such_resource());
    }
    let old = get(store, ask.kind, &ask.namespace, &ask.name)?;
    let mut scale = view(&old);
    match ask.verb {
        Verb::Patch(PatchKind::Json) => patch::json(&mut scale, &ask.body)?,
        Verb::Patch(_) => patch::merge(&mut scale, &ask.body),
        _ => scale = ask.body.clone(),
    }
    let given = &scale["metadata"]["resourceVersion"];
    if given.is_string() && *given != old["metadata"]["resourceVersion"] {
        return Err(Failure::conflict(ask.kind, &ask.name, "the object has been modified"));
    }
    if scale["spec"]["replicas"].as_i64().is_some_and(|n| n < 0) {
        return Err(Failure::invalid(ask.kind, &ask.name, "spec.replicas", "must be greater than or equal to 0"));
    }
    let mut new = (*old).clone();
    new["spec"]["replicas"] = json!(scale["spec"]["replicas"].as_i64().unwrap_or_default());
    managed::updated(Some(&old), &mut new, &writer(ask, now));
    Ok((200, Arc::new(view(&store.put(ask.kind, &old, new)))))
}
