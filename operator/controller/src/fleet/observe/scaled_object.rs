//! KEDA ScaledObjects: read on demand, only where one owns the HPA of a workload of ours, so that nothing is asked of clusters without KEDA.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kube::{
    Api,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
pub use onsale_planner::objects::scaler::{DEFAULT_MIN, ScaledObject, number};

use crate::context::{CallError, Context};

/// The API of ScaledObjects in a namespace.
#[must_use]
pub fn api(client: kube::Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
    Api::namespaced_with(client, namespace, &ApiResource::from_gvk_with_plural(&kind, "scaledobjects"))
}

/// What was read, and when. A read that fails leaves the last one in place: an old value is tested against before it is written, a missing one is not.
#[derive(Default)]
pub struct ScaledObjects(Mutex<BTreeMap<(String, String), (Duration, ScaledObject)>>);

impl ScaledObjects {
    /// What is known of it.
    pub fn get(&self, namespace: &str, name: &str) -> Option<ScaledObject> {
        let key = (namespace.to_owned(), name.to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).map(|(_, object)| object.clone())
    }

    /// Forgets that it was read lately: somebody, perhaps we, changed it.
    pub fn expire(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some((at, _)) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&key) {
            *at = Duration::ZERO;
        }
    }

    /// Reads it, unless that was done lately.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn refresh(&self, context: &Context, namespace: &str, name: &str) -> Result<(), CallError> {
        let now = context.clock.monotonic();
        let key = (namespace.to_owned(), name.to_owned());
        let fresh = |at: &Duration| *at > Duration::ZERO && now.saturating_sub(*at) < context.config.scaled_object_ttl;
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).is_some_and(|(at, _)| fresh(at)) {
            return Ok(());
        }
        let what = format!("read ScaledObject {namespace}/{name}");
        let object = context.call(what, api(context.client.clone(), namespace).get(name)).await?;
        let scaled = ScaledObject::of(&object.metadata, &object.data);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (now, scaled));
        Ok(())
    }
}
