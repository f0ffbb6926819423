//! All objects, as JSON, with the rules that hold for every write: one version counter, generations, finalizers, and no trace of a write that
//! changes nothing.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use onsale_api::time::whole_seconds;
use serde_json::{Value, json};

use super::{failure::Failure, kinds::Kind, list::Pages};

/// What Kubernetes gives a pod that says nothing of it.
const DEFAULT_GRACE: i64 = 30;
/// What no update changes.
const FIXED: [&str; 8] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "name", "namespace", "resourceVersion"];

/// Namespace (empty for cluster-scoped kinds) and name.
pub type Key = (String, String);

/// Something that happened to an object.
#[derive(Clone, Debug)]
pub struct Event {
    /// Version of the store after it.
    pub version: u64,
    /// Which kind.
    pub kind: Kind,
    /// Before; `None`: it is new.
    pub old: Option<Arc<Value>>,
    /// After; for a deletion the last state.
    pub new: Arc<Value>,
    /// It is gone.
    pub deleted: bool,
}

/// All objects.
#[derive(Clone, Debug, Default)]
pub struct Store {
    version: u64,
    uids: u64,
    objects: BTreeMap<&'static str, BTreeMap<Key, Arc<Value>>>,
    /// Version of the last change of each kind.
    touched: BTreeMap<&'static str, u64>,
    /// What happened since the last [`Store::drain`].
    fresh: Vec<Event>,
    /// Lists that are under way.
    pub(super) pages: Pages,
}

/// An object's key.
#[must_use]
pub fn key_of(object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty())
}

/// It is being deleted.
#[must_use]
pub fn is_leaving(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// An instant as `metadata` carries it.
#[must_use]
pub fn stamp(at: Timestamp) -> String {
    whole_seconds(at).to_string()
}

impl Store {
    /// The version counter.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Version of the last change of a kind.
    #[must_use]
    pub fn touched(&self, kind: Kind) -> u64 {
        self.touched.get(kind.plural).copied().unwrap_or_default()
    }

    /// What happened since the last call.
    pub fn drain(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.fresh)
    }

    /// One object.
    #[must_use]
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.objects.get(kind.plural)?.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// All objects of a kind, by namespace and name.
    pub fn list(&self, kind: Kind) -> impl Iterator<Item = &Arc<Value>> {
        self.objects.get(kind.plural).into_iter().flat_map(BTreeMap::values)
    }

    /// Adds an object; `metadata` gets what the server adds.
    ///
    /// # Errors
    /// 409 when it is there.
    pub fn create(&mut self, kind: Kind, mut object: Value, now: Timestamp) -> Result<Arc<Value>, Failure> {
        let key = key_of(&object);
        if self.get(kind, &key.0, &key.1).is_some() {
            return Err(Failure::already_exists(kind, &key.1));
        }
        self.uids += 1;
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        let metadata = &mut object["metadata"];
        // Like a UID, but readable: a log line shows which it is.
        metadata["uid"] = json!(format!("{:08x}-0000-4000-8000-{:012x}", self.uids, self.uids));
        metadata["creationTimestamp"] = json!(stamp(now));
        if kind.generation {
            metadata["generation"] = json!(1);
        }
        Ok(self.commit(kind, None, object))
    }

    /// Changes an object as the server's own components do: without a manager, and silently where nothing changes or it is gone.
    pub fn update(&mut self, kind: Kind, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) {
        if let Some(old) = self.get(kind, namespace, name).cloned() {
            let mut new = (*old).clone();
            change(&mut new);
            self.put(kind, &old, new);
        }
    }

    /// Stores the next state of an object: generation, finalizers and version follow.
    pub fn put(&mut self, kind: Kind, old: &Arc<Value>, mut new: Value) -> Arc<Value> {
        for fixed in FIXED {
            let value = old["metadata"].get(fixed).cloned();
            if let Some(metadata) = new["metadata"].as_object_mut() {
                match value {
                    Some(value) => drop(metadata.insert(fixed.to_owned(), value)),
                    None => drop(metadata.remove(fixed)),
                }
            }
        }
        (new["apiVersion"], new["kind"]) = (old["apiVersion"].clone(), old["kind"].clone());
        if new == **old {
            return old.clone();
        }
        // Annotating a Deployment raises its generation too.
        let annotated = kind.plural == "deployments" && new["metadata"]["annotations"] != old["metadata"]["annotations"];
        if kind.generation && (new["spec"] != old["spec"] || new["template"] != old["template"] || annotated) {
            new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or_default() + 1);
        }
        if is_leaving(&new) && !has_finalizers(&new) && kind.plural != "pods" {
            return self.remove(kind, new);
        }
        self.commit(kind, Some(old.clone()), new)
    }

    /// Deletes an object, or marks it where finalizers hold it. Pods are marked: the kubelet ends them, unless nothing runs yet.
    pub fn delete(&mut self, kind: Kind, old: &Arc<Value>, now: Timestamp) -> Arc<Value> {
        let given = old["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(DEFAULT_GRACE);
        self.delete_within(kind, old, now, given)
    }

    /// The same, giving a running pod so many seconds; 0: none.
    pub fn delete_within(&mut self, kind: Kind, old: &Arc<Value>, now: Timestamp, seconds: i64) -> Arc<Value> {
        let runs = kind.plural == "pods" && old["spec"]["nodeName"].is_string();
        let grace = if runs { seconds } else { 0 };
        if !has_finalizers(old) && grace == 0 {
            return self.remove(kind, (**old).clone());
        }
        if is_leaving(old) {
            return old.clone();
        }
        let mut new = (**old).clone();
        // The instant when its time is over.
        let over = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now);
        new["metadata"]["deletionTimestamp"] = json!(stamp(over));
        new["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        if kind.generation {
            new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or_default() + 1);
        }
        self.commit(kind, Some(old.clone()), new)
    }

    /// Takes an object out of the store, whatever holds it.
    pub fn remove(&mut self, kind: Kind, mut last: Value) -> Arc<Value> {
        let key = key_of(&last);
        self.version += 1;
        self.touched.insert(kind.plural, self.version);
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let new = Arc::new(last);
        let old = self.objects.get_mut(kind.plural).and_then(|all| all.remove(&key));
        self.fresh.push(Event { version: self.version, kind, old, new: new.clone(), deleted: true });
        new
    }

    fn commit(&mut self, kind: Kind, old: Option<Arc<Value>>, mut new: Value) -> Arc<Value> {
        self.version += 1;
        self.touched.insert(kind.plural, self.version);
        new["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let new = Arc::new(new);
        self.objects.entry(kind.plural).or_default().insert(key_of(&new), new.clone());
        self.fresh.push(Event { version: self.version, kind, old, new: new.clone(), deleted: false });
        new
    }
}
