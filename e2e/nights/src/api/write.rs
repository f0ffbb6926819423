//! Create, replace, patch and delete, with what each of them refuses.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    evict,
    failure::Failure,
    kinds::{self, Kind},
    managed::{self, Writer},
    patch,
    request::{Ask, PatchKind, Verb},
    scale, schema,
    store::{self, Store},
};

/// HTTP status code and body of an answer.
pub type Answer = (u16, Arc<Value>);

/// Carries out a write.
///
/// # Errors
/// As the real API server refuses it.
pub fn write(store: &mut Store, ask: &Ask, now: Timestamp) -> Result<Answer, Failure> {
    match (ask.verb, ask.sub.as_deref()) {
        (Verb::Create, Some("eviction")) => evict::evict(store, ask, now),
        (Verb::Create, None) => create(store, ask, now),
        (Verb::Replace | Verb::Patch(_), Some("scale")) => scale::write(store, ask, now),
        (Verb::Replace, None | Some("status")) => replace(store, ask, now),
        (Verb::Patch(kind), None | Some("status")) => patch(store, ask, kind, now),
        (Verb::Delete, None) => delete(store, ask, now),
        _ => Err(Failure::no_such_resource()),
    }
}

/// One object.
///
/// # Errors
/// 404.
pub fn get(store: &Store, kind: Kind, namespace: &str, name: &str) -> Result<Arc<Value>, Failure> {
    store.get(kind, namespace, name).cloned().ok_or_else(|| Failure::not_found(kind, name))
}

pub(super) fn writer(ask: &Ask, now: Timestamp) -> Writer<'_> {
    Writer { manager: ask.manager(), sub: ask.sub.as_deref(), now: store::stamp(now) }
}

fn create(store: &mut Store, ask: &Ask, now: Timestamp) -> Result<Answer, Failure> {
    let mut object = ask.body.clone();
    if ask.kind.namespaced {
        in_namespace(store, ask)?;
        object["metadata"]["namespace"] = json!(ask.namespace);
    }
    // Status is written through its subresource only; but a kubelet registers its node with what it has.
    if let Some(fields) = object.as_object_mut().filter(|_| has_status(ask.kind) && ask.kind != &kinds::NODES) {
        fields.remove("status");
    }
    if ask.kind == &kinds::PODS {
        object["status"] = json!({"phase": "Pending"});
    }
    validate(ask.kind, &mut object, None)?;
    managed::updated(None, &mut object, &writer(ask, now));
    Ok((201, store.create(ask.kind, object, now)?))
}

fn in_namespace(store: &Store, ask: &Ask) -> Result<(), Failure> {
    get(store, &kinds::NAMESPACES, "", &ask.namespace).map(drop)
}

fn replace(store: &mut Store, ask: &Ask, now: Timestamp) -> Result<Answer, Failure> {
    // A Lease may be made by a replace, so its UID is compared with that of nothing before it is missed.
    if ask.kind == &kinds::LEASES && ask.body["metadata"]["uid"].is_string() && store.get(ask.kind, &ask.namespace, &ask.name).is_none() {
        return Err(Failure::conflict(ask.kind, &ask.name, "Precondition failed: UID in precondition, UID in object meta: "));
    }
    let old = get(store, ask.kind, &ask.namespace, &ask.name)?;
    if (ask.kind.custom || ask.kind == &kinds::LEASES) && !ask.body["metadata"]["resourceVersion"].is_string() {
        return Err(Failure::invalid(ask.kind, &ask.name, "metadata.resourceVersion", "must be specified for an update"));
    }
    let mut new = ask.body.clone();
    new["metadata"]["managedFields"] = old["metadata"]["managedFields"].clone();
    finish(store, ask, &old, new, now)
}

fn patch(store: &mut Store, ask: &Ask, kind: PatchKind, now: Timestamp) -> Result<Answer, Failure> {
    if kind == PatchKind::Apply {
        return apply(store, ask, now);
    }
    let old = get(store, ask.kind, &ask.namespace, &ask.name)?;
    let mut new = (*old).clone();
    match kind {
        PatchKind::Merge => patch::merge(&mut new, &ask.body),
        _ => patch::json(&mut new, &ask.body)?,
    }
    finish(store, ask, &old, new, now)
}

/// Preconditions, what the endpoint may change, ownership; then the store.
fn finish(store: &mut Store, ask: &Ask, old: &Arc<Value>, mut new: Value, now: Timestamp) -> Result<Answer, Failure> {
    preconditions(ask, old, &new["metadata"])?;
    let status = ask.sub.as_deref() == Some("status");
    if status {
        let written = new["status"].take();
        new = (**old).clone();
        new["status"] = written;
    } else if has_status(ask.kind) {
        match (old.get("status"), new.as_object_mut()) {
            (Some(kept), Some(fields)) => drop(fields.insert("status".to_owned(), kept.clone())),
            (None, Some(fields)) => drop(fields.remove("status")),
            (_, None) => {}
        }
    }
    let is_new = |f: &Value| !old["metadata"]["finalizers"].as_array().is_some_and(|all| all.contains(f));
    if store::is_leaving(old) && new["metadata"]["finalizers"].as_array().into_iter().flatten().any(is_new) {
        return Err(Failure::invalid(
            ask.kind,
            &ask.name,
            "metadata.finalizers",
            "no new finalizers can be added if the object is being deleted",
        ));
    }
    validate(ask.kind, &mut new, Some(old))?;
    managed::updated(Some(old), &mut new, &writer(ask, now));
    Ok((200, store.put(ask.kind, old, new)))
}

fn has_status(kind: Kind) -> bool {
    kind.custom
        || ["nodes", "pods", "deployments", "statefulsets", "replicasets", "horizontalpodautoscalers", "namespaces", "poddisruptionbudgets"]
            .contains(&kind.plural)
}

/// UID and resourceVersion, where the write carries them, must be those of the object.
fn preconditions(ask: &Ask, old: &Value, given: &Value) -> Result<(), Failure> {
    let other = |field: &str| given[field].is_string() && given[field] != old["metadata"][field];
    if other("resourceVersion") {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Failure::conflict(ask.kind, &ask.name, why));
    }
    if !other("uid") {
        return Ok(());
    }
    match ask.verb {
        // Of a patch of a custom kind's status nothing of the metadata is taken, nor looked at.
        Verb::Patch(_) if ask.sub.is_some() && ask.kind.custom => Ok(()),
        Verb::Patch(_) => Err(Failure::invalid(ask.kind, &ask.name, "metadata.uid", "field is immutable")),
        _ => {
            let why = format!("Precondition failed: UID in precondition: {}, UID in object meta: {}", given["uid"], old["metadata"]["uid"]);
            Err(Failure::conflict(ask.kind, &ask.name, &why))
        }
    }
}

fn apply(store: &mut Store, ask: &Ask, now: Timestamp) -> Result<Answer, Failure> {
    let force = ask.param("force") == Some("true");
    let (namespace, name) = (ask.namespace.as_str(), ask.name.as_str());
    let Some(old) = store.get(ask.kind, namespace, name).cloned() else {
        if ask.body["metadata"]["uid"].is_string() {
            let why = "uid mismatch: the provided object specified a uid, and no existing object was found";
            return Err(Failure::conflict(ask.kind, name, why));
        }
        let mut object = json!({"apiVersion": ask.kind.api_version(), "metadata": {"name": name}});
        if ask.kind.namespaced {
            in_namespace(store, ask)?;
            object["metadata"]["namespace"] = json!(namespace);
        }
        managed::applied(&mut object, &ask.body, &writer(ask, now), true)?;
        validate(ask.kind, &mut object, None)?;
        return Ok((201, store.create(ask.kind, object, now)?));
    };
    preconditions(ask, &old, &ask.body["metadata"])?;
    let mut new = (*old).clone();
    managed::applied(&mut new, &ask.body, &writer(ask, now), force)?;
    validate(ask.kind, &mut new, Some(&old))?;
    // An apply that changes nothing leaves no trace: the time of its entry is no change.
    let bare = |o: &Value| {
        let mut bare = o.clone();
        for entry in bare["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
            entry["time"] = Value::Null;
        }
        bare
    };
    if bare(&new) == bare(&old) {
        return Ok((200, old));
    }
    Ok((200, store.put(ask.kind, &old, new)))
}

fn delete(store: &mut Store, ask: &Ask, now: Timestamp) -> Result<Answer, Failure> {
    let old = get(store, ask.kind, &ask.namespace, &ask.name)?;
    preconditions(ask, &old, &ask.body["preconditions"])?;
    let gone = match ask.body["gracePeriodSeconds"].as_i64() {
        Some(seconds) => store.delete_within(ask.kind, &old, now, seconds),
        None => store.delete(ask.kind, &old, now),
    };
    Ok((200, gone))
}

/// Our own kinds are read and written again, as a structural schema prunes and defaults; what cannot be read or breaks a rule is refused.
fn validate(kind: Kind, object: &mut Value, old: Option<&Value>) -> Result<(), Failure> {
    fn typed<T: serde::de::DeserializeOwned + serde::Serialize>(kind: Kind, object: &mut Value, part: &str) -> Result<(), Failure> {
        if object[part].is_null() {
            return Ok(());
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let read: Result<T, _> = serde_json::from_value(object[part].take());
        let written = read.and_then(|typed| serde_json::to_value(typed));
        object[part] = written.map_err(|e| Failure::invalid(kind, &name, part, &e.to_string()))?;
        Ok(())
    }
    if object["metadata"]["name"].as_str().is_none_or(str::is_empty) {
        return Err(Failure::invalid(kind, "", "metadata.name", "name or generateName is required"));
    }
    match kind.plural {
        "onsales" => {
            typed::<onsale_api::OnSaleSpec>(kind, object, "spec")?;
            typed::<onsale_api::OnSaleStatus>(kind, object, "status")?;
        }
        "capacitypools" => {
            typed::<onsale_api::CapacityPoolSpec>(kind, object, "spec")?;
            typed::<onsale_api::CapacityPoolStatus>(kind, object, "status")?;
        }
        "workloadplacements" => {
            typed::<onsale_api::WorkloadPlacementSpec>(kind, object, "spec")?;
            typed::<onsale_api::WorkloadPlacementStatus>(kind, object, "status")?;
        }
        "horizontalpodautoscalers" if object["spec"]["minReplicas"].as_i64() > object["spec"]["maxReplicas"].as_i64() => {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            return Err(Failure::invalid(kind, name, "spec.maxReplicas", "must be greater than or equal to `minReplicas`"));
        }
        _ => {}
    }
    schema::check(kind, object, old)
}
