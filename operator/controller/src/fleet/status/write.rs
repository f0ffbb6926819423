//! The difference between two statuses as a merge patch of the status subresource, under the resourceVersion that it was made from: so it never
//! lands on a namesake. A UID would not do: the API server looks at nothing else of the metadata in a patch of a custom kind's status.

use std::fmt::Debug;

use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
    core::{DeserializeGuard, NamespaceResourceScope},
};
use onsale_api::{CapacityPool, CapacityPoolStatus, OnSale, OnSaleStatus, WorkloadPlacement, WorkloadPlacementStatus, names};
use onsale_planner::snapshot::{Pool, Sale, Workload};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::{
    context::Context,
    fleet::observe::{
        World,
        store::{Record, Store},
    },
};

/// Which kind a status is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// An OnSale.
    Sale,
    /// A CapacityPool.
    Pool,
    /// A WorkloadPlacement.
    Placement,
}

/// One status to be written.
#[derive(Debug)]
pub struct Write {
    pub of: Of,
    pub namespace: String,
    pub name: String,
    pub uid: Option<String>,
    pub status: Value,
}

/// Written by the launch ledger alone: a status never touches them.
const LEDGER: [&str; 3] = ["launches", "lastSequence", "shortfalls"];

pub fn sale(sale: &Sale, new: &OnSaleStatus) -> Option<Write> {
    let status = difference(&*sale.status, new, &[])?;
    let (namespace, name) = (sale.id.namespace.clone(), sale.id.name.clone());
    Some(Write { of: Of::Sale, namespace, name, uid: Some(sale.uid.clone()), status })
}

pub fn pool(pool: &Pool, new: &CapacityPoolStatus) -> Option<Write> {
    let status = difference(&pool.status, new, &LEDGER)?;
    Some(Write { of: Of::Pool, namespace: String::new(), name: pool.name.clone(), uid: Some(pool.uid.clone()), status })
}

pub fn placement(workload: &Workload, new: &WorkloadPlacementStatus) -> Option<Write> {
    // The contest is written by its own step, before the write that it is about.
    let status = difference(&workload.placement.as_ref()?.status, new, &["contest"])?;
    let (namespace, name) = (workload.id.namespace.clone(), workload.id.placement_name());
    Some(Write { of: Of::Placement, namespace, name, uid: None, status })
}

/// What a merge patch must say to turn `old` into `new`; `None` when nothing.
fn difference<S: Serialize + PartialEq>(old: &S, new: &S, except: &[&str]) -> Option<Value> {
    // Mostly nothing has changed, and that is found out without rendering either.
    if old == new {
        return None;
    }
    let (Ok(Value::Object(mut old)), Ok(Value::Object(mut new))) = (serde_json::to_value(old), serde_json::to_value(new)) else {
        return None;
    };
    for key in except {
        old.remove(*key);
        new.remove(*key);
    }
    let patch = merge_patch(&old, &new);
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn merge_patch(old: &Map<String, Value>, new: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match (old.get(key), value) {
            (Some(before), _) if before == value => {}
            // Whole: what is stored may lack what `old` has by default, and the schema wants the object complete.
            (Some(Value::Object(before)), Value::Object(after)) => {
                let gone = before.keys().filter(|k| !after.contains_key(*k)).map(|k| (k.clone(), Value::Null));
                patch.insert(key.clone(), Value::Object(after.clone().into_iter().chain(gone).collect()));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    patch
}

impl Write {
    /// Sends it. An object that is gone or was made anew needs no status. Returns whether that is settled.
    pub async fn send(self, context: &Context, world: &World) -> bool {
        let client = context.client.clone();
        match self.of {
            Of::Sale => {
                let api = namespaced::<OnSale>(client, &self.namespace);
                let object = self.patch(context, &api, self.version(&world.sales)).await;
                object.map(|o| o.into_iter().for_each(|o| world.sales.written(DeserializeGuard(Ok(o))))).is_ok()
            }
            Of::Pool => {
                let object = self.patch(context, &Api::<CapacityPool>::all(client), self.version(&world.pools)).await;
                object.map(|o| o.into_iter().for_each(|o| world.pools.written(DeserializeGuard(Ok(o))))).is_ok()
            }
            Of::Placement => {
                let api = namespaced::<WorkloadPlacement>(client, &self.namespace);
                let object = self.patch(context, &api, self.version(&world.placements)).await;
                object.map(|o| o.into_iter().for_each(|o| world.placements.written(DeserializeGuard(Ok(o))))).is_ok()
            }
        }
    }

    /// Version of the object that it is about, as it was last seen, or written by us since; `None`: it is gone, or another has its name.
    fn version<R: Record>(&self, store: &Store<R>) -> Option<String> {
        let is_same = |uid: &str| self.uid.as_ref().is_none_or(|own| own == uid);
        store.get(&self.namespace, &self.name, |e| is_same(&e.uid).then(|| e.version.clone())).flatten()
    }

    async fn patch<K>(&self, context: &Context, api: &Api<K>, version: Option<String>) -> Result<Option<K>, ()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let Some(version) = version else { return Ok(None) };
        let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version}, "status": self.status}));
        let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
        let what = format!("write the status of {} {}/{}", K::kind(&()), self.namespace, self.name);
        match context.call(what, api.patch_status(&self.name, &params, &patch)).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => {
                tracing::warn!(%error, "status not written, trying again");
                Err(())
            }
        }
    }
}

fn namespaced<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(client: kube::Client, namespace: &str) -> Api<K> {
    Api::namespaced(client, namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn says_only_what_changed_and_takes_away_what_is_gone() {
        let old = object(json!({"a": 1, "b": {"x": 1, "y": 2, "z": 1}, "list": [1, 2], "gone": true}));
        let new = object(json!({"a": 1, "b": {"x": 1, "y": 3}, "list": [2]}));
        assert_eq!(Value::Object(merge_patch(&old, &new)), json!({"b": {"x": 1, "y": 3, "z": null}, "list": [2], "gone": null}));
        assert!(merge_patch(&new, &new).is_empty());
    }

    #[test]
    fn never_touches_the_launch_ledger() {
        let old = CapacityPoolStatus { last_sequence: 4, ..CapacityPoolStatus::default() };
        let new = CapacityPoolStatus { last_sequence: 3, observed_generation: Some(2), ..CapacityPoolStatus::default() };
        assert_eq!(difference(&old, &new, &LEDGER), Some(json!({"observedGeneration": 2})));
    }
}
