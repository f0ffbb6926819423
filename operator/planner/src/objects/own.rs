//! OnSales and CapacityPools, as the planner sees them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use onsale_api::{CapacityPool, OnSale, names};

use crate::snapshot::{Instance, Pool, Sale, SaleId};

/// The object carries our finalizer.
#[must_use]
pub fn is_protected(meta: &ObjectMeta) -> bool {
    meta.finalizers.iter().flatten().any(|f| f == names::FINALIZER)
}

/// The sale is annotated to return at once.
#[must_use]
pub fn returns_now(meta: &ObjectMeta) -> bool {
    meta.annotations.as_ref().is_some_and(|a| a.get(names::RETURN).is_some_and(|v| v == "Now"))
}

/// A sale.
#[must_use]
pub fn sale(id: SaleId, uid: &str, object: &OnSale) -> Sale {
    let meta = &object.metadata;
    Sale {
        id,
        uid: uid.to_owned(),
        generation: meta.generation.unwrap_or_default(),
        created_at: meta.creation_timestamp.as_ref().map(|t| t.0).unwrap_or_default(),
        spec: object.spec.clone().into(),
        status: object.status.clone().unwrap_or_default().into(),
        deleting: meta.deletion_timestamp.is_some(),
        protected: is_protected(meta),
        return_now: returns_now(meta),
    }
}

/// A pool with its instances; `None` when nobody knows them.
#[must_use]
pub fn pool(name: &str, uid: &str, object: &CapacityPool, instances: Option<Vec<Instance>>) -> Pool {
    Pool {
        name: name.to_owned(),
        uid: uid.to_owned(),
        labels: object.metadata.labels.clone().unwrap_or_default(),
        spec: object.spec.clone(),
        instances,
        status: object.status.clone().unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        protected: is_protected(&object.metadata),
    }
}
