//! Our own kinds but OnSales. What users write may not be readable: such an object is reported by name, and blocks nothing.

use std::fmt::Debug;

use kube::{
    Resource,
    core::{DeserializeGuard, object::HasSpec},
};
use onsale_api::{CapacityPool, WorkloadPlacement};
use serde::de::DeserializeOwned;

use super::store::Record;
use crate::metrics::Kind;

/// One of our kinds.
pub trait Ours: Resource<DynamicType = ()> + HasSpec<Spec: PartialEq> + Clone + Debug + DeserializeOwned + Send + 'static {
    /// Which.
    const KIND: Kind;
}

impl Ours for CapacityPool {
    const KIND: Kind = Kind::CapacityPool;
}
impl Ours for WorkloadPlacement {
    const KIND: Kind = Kind::WorkloadPlacement;
}

/// An object, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Custom<K> {
    /// The object; the last readable state of it, if it has become unreadable; `None` if it never was readable.
    pub object: Option<K>,
    /// Why it cannot be read.
    pub unreadable: Option<String>,
}

impl<K: Ours> Record for Custom<K> {
    type Object = DeserializeGuard<K>;
    const KIND: Kind = K::KIND;

    fn fold(previous: Option<&Self>, object: DeserializeGuard<K>) -> Self {
        match object.0 {
            Ok(mut object) => {
                object.meta_mut().managed_fields = None;
                Self { object: Some(object), unreadable: None }
            }
            Err(invalid) => Self { object: previous.and_then(|p| p.object.clone()), unreadable: Some(invalid.error) },
        }
    }

    /// Status is written by us alone: a change of it is no news, and would make every write cost another pass.
    fn matters(&self, previous: &Self) -> bool {
        let significant = |a: &K, b: &K| {
            let (x, y) = (a.meta(), b.meta());
            a.spec() != b.spec()
                || x.generation != y.generation
                || x.deletion_timestamp != y.deletion_timestamp
                || x.finalizers != y.finalizers
                || x.annotations != y.annotations
                || x.labels != y.labels
        };
        self.unreadable != previous.unreadable
            || match (&self.object, &previous.object) {
                (Some(a), Some(b)) => significant(a, b),
                (None, None) => false,
                _ => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pool(spec: Value, status: Value) -> DeserializeGuard<CapacityPool> {
        serde_json::from_value(json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "CapacityPool", "metadata": {"name": "dc", "uid": "u"},
            "spec": spec, "status": status}))
        .unwrap()
    }

    fn good(status: Value) -> DeserializeGuard<CapacityPool> {
        pool(
            json!({"tier": "OnPrem", "zone": "dc", "latency": [{"site": "dc", "rtt": "1ms"}], "nodes": {"existing": {"selector": {"matchLabels": {"rack": "a"}}}}}),
            status,
        )
    }

    #[test]
    fn an_object_that_becomes_unreadable_keeps_its_last_readable_state() {
        let first = Custom::fold(None, good(json!({})));
        assert!(first.object.is_some(), "{:?}", first.unreadable);
        let bad = Custom::fold(Some(&first), pool(json!({"zone": 7}), json!({})));
        assert!(bad.object.is_some() && bad.unreadable.is_some() && bad.matters(&first));
        assert!(Custom::<CapacityPool>::fold(None, pool(json!({"zone": 7}), json!({}))).object.is_none());
    }

    #[test]
    fn a_change_of_status_alone_is_no_news() {
        let (a, b) = (Custom::fold(None, good(json!({}))), Custom::fold(None, good(json!({"lastSequence": 3}))));
        assert!(!b.matters(&a));
    }
}
