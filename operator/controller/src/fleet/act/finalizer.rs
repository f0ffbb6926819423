//! Our finalizer on sales and pools, by merge patch under the resourceVersion that was read.

use std::fmt::Debug;

use kube::{Api, Resource, api::Patch, core::DeserializeGuard};
use onsale_api::{CapacityPool, OnSale, names};
use onsale_planner::snapshot::{Pool, SaleId};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Done, Job, Stop, as_manager, ledger, stale_or_failed};

/// Puts the finalizer on a sale, or takes it off.
pub async fn sale(job: &Job<'_>, id: &SaleId, on: bool) -> Result<Done, Stop> {
    let api: Api<OnSale> = Api::namespaced(job.context.client.clone(), &id.namespace);
    let uid = job.seen.sale(id).map(|s| s.uid.as_str()).unwrap_or_default();
    let object = match job.context.call(format!("read OnSale {id}"), api.get(&id.name)).await {
        Ok(object) => object,
        Err(error) if error.is_gone() && !on => return Ok(Done::Yes),
        Err(error) => return Err(stale_or_failed(error)),
    };
    if let Some(written) = set(job, &api, &object, uid, on).await? {
        job.world.sales.written(DeserializeGuard(Ok(written)));
    }
    Ok(Done::Yes)
}

/// Puts the finalizer on a pool, or takes it off: not while its ledger has entries, whatever the snapshot said.
pub async fn pool(job: &Job<'_>, pool: &Pool, on: bool) -> Result<Done, Stop> {
    let api: Api<CapacityPool> = Api::all(job.context.client.clone());
    let object = match ledger::fresh(job, pool).await {
        Ok(object) => object,
        Err(Stop::Stale(_)) if !on => return Ok(Done::Yes),
        Err(stop) => return Err(stop),
    };
    if !on && object.status.as_ref().is_some_and(|s| !s.launches.is_empty()) {
        return Err(Stop::Stale(format!("the launch ledger of CapacityPool {} is not empty", pool.name)));
    }
    if let Some(written) = set(job, &api, &object, &pool.uid, on).await? {
        job.world.pools.written(DeserializeGuard(Ok(written)));
    }
    Ok(Done::Yes)
}

/// The written object; `None` when it was so already, or is gone.
async fn set<K>(job: &Job<'_>, api: &Api<K>, object: &K, uid: &str, on: bool) -> Result<Option<K>, Stop>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let meta = object.meta();
    let name = meta.name.clone().unwrap_or_default();
    if meta.uid.as_deref() != Some(uid) {
        return Err(Stop::Stale(format!("{} {name} was made anew", K::kind(&()))));
    }
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    if finalizers.iter().any(|f| f == names::FINALIZER) == on || (on && meta.deletion_timestamp.is_some()) {
        return Ok(None);
    }
    finalizers.retain(|f| f != names::FINALIZER);
    if on {
        finalizers.push(names::FINALIZER.to_owned());
    }
    let patch = Patch::Merge(json!({"metadata": {"resourceVersion": meta.resource_version, "finalizers": finalizers}}));
    let what = format!("set the finalizers of {} {name}", K::kind(&()));
    match job.context.call(what, api.patch(&name, &as_manager(names::MANAGER), &patch)).await {
        Ok(written) => Ok(Some(written)),
        Err(error) if error.is_gone() && !on => Ok(None),
        Err(error) => Err(stale_or_failed(error)),
    }
}
