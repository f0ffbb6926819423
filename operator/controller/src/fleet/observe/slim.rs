//! An object that is decoded into what is kept of it right away: a page of a list never holds hundreds of whole ones.

use std::{borrow::Cow, marker::PhantomData};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer};

/// What is kept of a `K`.
#[derive(Debug)]
pub struct Slim<R, K> {
    /// Namespace, name, UID and resourceVersion.
    meta: ObjectMeta,
    /// The record.
    pub record: R,
    object: PhantomData<fn() -> K>,
}

impl<R: Clone, K> Clone for Slim<R, K> {
    fn clone(&self) -> Self {
        Self { meta: self.meta.clone(), record: self.record.clone(), object: PhantomData }
    }
}

impl<R: From<K>, K: Resource> From<K> for Slim<R, K> {
    fn from(mut object: K) -> Self {
        let all = object.meta_mut();
        let meta = ObjectMeta {
            namespace: all.namespace.clone(),
            name: all.name.clone(),
            uid: all.uid.take(),
            resource_version: all.resource_version.take(),
            ..ObjectMeta::default()
        };
        Self { meta, record: object.into(), object: PhantomData }
    }
}

impl<'de, R: From<K>, K: Resource + Deserialize<'de>> Deserialize<'de> for Slim<R, K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        K::deserialize(deserializer).map(Self::from)
    }
}

impl<R, K: Resource> Resource for Slim<R, K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }
    fn group(dt: &K::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }
    fn version(dt: &K::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }
    fn plural(dt: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;
    use onsale_planner::objects::node::NodeRecord;
    use serde_json::json;

    use super::*;

    #[test]
    fn is_known_by_the_same_name_and_version_and_says_the_same() {
        let object = json!({"metadata": {"name": "n1", "uid": "u", "resourceVersion": "7", "labels": {"site": "dc"}}});
        let slim: Slim<NodeRecord, Node> = serde_json::from_value(object.clone()).unwrap();
        let (meta, whole) = (slim.meta(), serde_json::from_value::<Node>(object).unwrap());
        assert_eq!((meta.name.as_deref(), meta.uid.as_deref(), meta.resource_version.as_deref()), (Some("n1"), Some("u"), Some("7")));
        assert!(slim.record == NodeRecord::from(whole) && meta.labels.is_none());
        assert_eq!(Slim::<NodeRecord, Node>::plural(&()), "nodes");
    }
}
