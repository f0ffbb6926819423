//! The sweeper: terminates instances of this cluster whose pool does not exist any more. A pool's finalizer keeps that from happening; a finalizer can be
//! removed by hand, and a cluster can be restored from an older backup.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt, api::ListParams};
use onsale_api::CapacityPool;
use onsale_cloud::{CloudError, Instance, InstanceState};
use onsale_planner::Snapshot;

use crate::context::{CallError, Context};

/// When the sweeper swept last, by the monotonic clock.
#[derive(Default)]
pub struct Sweeper {
    last: Option<Duration>,
}

/// Why a sweep broke off.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Cloud(#[from] CloudError),
}

impl Sweeper {
    /// Sweeps the regions of all pools, if it is time to.
    pub async fn sweep(&mut self, context: &Context, seen: &Snapshot, now: Timestamp) {
        let monotonic = context.clock.monotonic();
        if self.last.is_some_and(|last| monotonic.saturating_sub(last) < context.config.sweep) {
            return;
        }
        let regions: BTreeSet<&str> = seen.pools.iter().filter_map(|p| p.spec.nodes.ec2.as_ref()).map(|e| e.region.as_str()).collect();
        self.last = Some(monotonic);
        for region in regions {
            if let Err(error) = region_of(context, region, now).await {
                tracing::warn!(region, %error, "could not look for instances without an owner");
            }
        }
    }

    /// How long until the next sweep.
    pub fn due_in(&self, context: &Context) -> Duration {
        self.last.map_or(Duration::ZERO, |last| (last + context.config.sweep).saturating_sub(context.clock.monotonic()))
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
    for (uid, instances) in &lost {
        tracing::warn!(region, pool_uid = uid, ?instances, "terminating instances whose CapacityPool does not exist");
        context.cloud_call("terminate", context.cloud.terminate(region, instances)).await?;
    }
    Ok(())
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
