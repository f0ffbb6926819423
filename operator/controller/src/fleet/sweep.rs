//! The sweeper: terminates instances of this cluster whose pool does not exist any more. A pool's finalizer keeps that from happening; a finalizer can be
//! removed by hand, and a cluster can be restored from an older backup. It runs beside the passes, each region by itself: a slow one holds up nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::join_all};
use jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt, api::ListParams};
use onsale_api::CapacityPool;
use onsale_cloud::{CloudError, Instance, InstanceState};
use onsale_planner::Snapshot;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::context::{CallError, Context};

/// The regions to sweep.
pub type Regions = BTreeSet<String>;

/// Why a sweep broke off.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Cloud(#[from] CloudError),
}

/// The regions of the pools that exist; those that were noticed before are kept.
pub fn notice(regions: &watch::Sender<Regions>, seen: &Snapshot) {
    let of_pools = seen.pools.iter().filter_map(|p| p.spec.nodes.ec2.as_ref()).map(|e| e.region.clone());
    let found: Regions = of_pools.collect();
    regions.send_if_modified(|known| {
        let before = known.len();
        known.extend(found);
        known.len() > before
    });
}

/// Sweeps as soon as a region is noticed, and then again and again, until nobody can notice any more.
pub async fn run(context: Arc<Context>, mut regions: watch::Receiver<Regions>) {
    loop {
        let known = regions.borrow_and_update().clone();
        join_all(known.iter().map(|region| sweep(&context, region))).await;
        if let Ok(Err(_)) = timeout_at(Instant::now() + context.config.sweep, regions.changed()).await {
            return;
        }
    }
}

async fn sweep(context: &Context, region: &str) {
    let now = context.clock.now();
    match AssertUnwindSafe(region_of(context, region, now)).catch_unwind().await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(region, %error, "could not look for instances without an owner"),
        Err(_) => tracing::error!(region, "a sweep panicked; the next one starts anew"),
    }
}

async fn region_of(context: &Context, region: &str, now: Timestamp) -> Result<(), Error> {
    let found = context.cloud_call("list_cluster", context.cloud.list_cluster(region)).await?;
    if found.is_empty() {
        return Ok(());
    }
    // Read from the API server itself and after the instances: a pool that is missing here is missing.
    let pools = Api::<CapacityPool>::all(context.client.clone());
    let pools = context.call("list CapacityPools", pools.list_metadata(&ListParams::default())).await?;
    let owners: BTreeSet<String> = pools.items.iter().filter_map(ResourceExt::uid).collect();
    let lost = ownerless(found, &owners, now, context.config.ledger_grace);
    // One that cannot be terminated must not save those of other pools.
    let mut result = Ok(());
    for (uid, instances) in &lost {
        tracing::warn!(region, pool_uid = uid, ?instances, "terminating instances whose CapacityPool does not exist");
        let terminated = context.cloud_call("terminate", context.cloud.terminate(region, instances)).await;
        result = result.and(terminated.map_err(Error::from));
    }
    result
}

/// Instances by the UID of a pool that does not exist; young ones may belong to a pool that was made a moment ago.
fn ownerless(found: Vec<(String, Instance)>, owners: &BTreeSet<String>, now: Timestamp, grace: Duration) -> BTreeMap<String, Vec<String>> {
    let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
    let mut lost: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (uid, instance) in found {
        let going = matches!(instance.state, InstanceState::Leaving | InstanceState::Gone);
        if !going && !owners.contains(&uid) && now.duration_since(instance.launched_at) > grace {
            lost.entry(uid).or_default().push(instance.id);
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: &str, state: InstanceState, launched_at: &str) -> Instance {
        let (id, launched_at) = (id.to_owned(), launched_at.parse().unwrap());
        Instance { id, instance_type: "c6i.large".into(), zone: "z".into(), state, launched_at, sequence: 1 }
    }

    #[test]
    fn only_old_instances_of_pools_that_do_not_exist_are_swept() {
        let old = "2026-12-05T10:00:00Z";
        let found = vec![
            ("gone".to_owned(), instance("i-1", InstanceState::Running, old)),
            ("gone".to_owned(), instance("i-2", InstanceState::Leaving, old)),
            ("gone".to_owned(), instance("i-3", InstanceState::Running, "2026-12-05T10:58:00Z")),
            ("here".to_owned(), instance("i-4", InstanceState::Running, old)),
        ];
        let owners = BTreeSet::from(["here".to_owned()]);
        let lost = ownerless(found, &owners, "2026-12-05T11:00:00Z".parse().unwrap(), Duration::from_secs(300));
        assert_eq!(lost, BTreeMap::from([("gone".to_owned(), vec!["i-1".to_owned()])]));
    }
}
