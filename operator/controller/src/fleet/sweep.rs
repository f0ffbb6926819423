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
use onsale_api::{CapacityPool, names};
use onsale_cloud::{CloudError, Instance, InstanceState};
use onsale_planner::Snapshot;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    context::{CallError, Context},
    fleet::observe::{node::NodeRecord, store::Store},
};

/// Label of a node with its region.
const REGION: &str = "topology.kubernetes.io/region";

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

/// The regions where this cluster may have instances: those of the pools that exist, and of nodes that carry a pool's mark, for a pool may be gone. What
/// was noticed once is kept as long as the process lives. So an instance is missed only where the last pool of its region went by force, no node of
/// a pool is left there, and this process began after that.
pub fn notice(regions: &watch::Sender<Regions>, seen: &Snapshot, nodes: &Store<NodeRecord>) {
    let of_pools = seen.pools.iter().filter_map(|p| p.spec.nodes.ec2.as_ref()).map(|e| e.region.clone());
    let mut found: Regions = of_pools.collect();
    nodes.read(|all| found.extend(all.values().filter_map(|e| region_of_node(&e.record)).map(str::to_owned)));
    regions.send_if_modified(|known| {
        let before = known.len();
        known.extend(found);
        known.len() > before
    });
}

/// The region of a burst node. A label is easily set: what is no region's name must not become a part of an address.
fn region_of_node(node: &NodeRecord) -> Option<&str> {
    let ours = node.instance.is_some() && (node.taint.is_some() || node.labels.contains_key(names::POOL));
    node.labels.get(REGION).filter(|_| ours).map(String::as_str).filter(|region| is_region(region))
}

/// As the schema of a pool's region has it: us-west-2, us-gov-east-1.
fn is_region(text: &str) -> bool {
    let words: Vec<&str> = text.split('-').collect();
    let all = |word: &str, is: fn(&u8) -> bool| !word.is_empty() && word.bytes().all(|b| is(&b));
    let [country, places @ .., number] = words.as_slice() else { return false };
    let named = !places.is_empty() && places.iter().all(|place| all(place, u8::is_ascii_lowercase));
    country.len() == 2 && all(country, u8::is_ascii_lowercase) && named && all(number, u8::is_ascii_digit)
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
    use k8s_openapi::api::core::v1::Node;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::fleet::observe::slim::Slim;

    fn node(name: &str, provider_id: &str, labels: serde_json::Value) -> Event<Slim<NodeRecord, Node>> {
        Event::Apply(
            serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "spec": {"providerID": provider_id}})).unwrap(),
        )
    }

    #[test]
    fn regions_come_from_burst_nodes_too_and_are_kept() {
        let (regions, nodes) = (watch::channel(Regions::default()).0, Store::<NodeRecord>::default());
        nodes.fold(Event::InitDone);
        nodes.fold(node("ours", "aws:///us-gov-east-1a/i-0abc", json!({REGION: "us-gov-east-1", names::POOL: "gone"})));
        nodes.fold(node("theirs", "aws:///eu-west-1a/i-0def", json!({REGION: "eu-west-1"})));
        for (name, odd) in [("a", "us-west-2.evil.example"), ("b", "us-west"), ("c", "us--2"), ("d", "USA-west-2"), ("e", "2")] {
            nodes.fold(node(name, "aws:///z/i-0abd", json!({REGION: odd, names::POOL: "gone"})));
        }
        notice(&regions, &Snapshot::default(), &nodes);
        notice(&regions, &Snapshot::default(), &Store::default());
        assert_eq!(*regions.borrow(), Regions::from(["us-gov-east-1".to_owned()]));
    }

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
