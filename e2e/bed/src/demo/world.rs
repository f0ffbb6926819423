//! What the cluster looks like now, seen from outside: watches of our own on pods, nodes and the three kinds, none of the operator's own counting.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use onsale_api::names::{DRAINING, ZONE};
use onsale_api::{CapacityPool, OnSale, OnSaleStatus, WorkloadPlacement};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::stage::is_ready;
use super::story::Story;
use crate::nodes;

/// The first lists take tenths of a second.
const SOON: Duration = Duration::from_secs(30);

/// The watched cluster. The watches end with it.
#[derive(Debug)]
pub struct World {
    namespace: String,
    sale: String,
    workloads: Vec<(String, usize)>,
    pools: Vec<(String, String)>,
    sales: Store<OnSale>,
    statuses: Store<CapacityPool>,
    placements: Store<WorkloadPlacement>,
    pods: Store<Pod>,
    nodes: Store<Node>,
    _watches: JoinSet<()>,
}

impl World {
    /// Watches, and waits until all is known.
    pub async fn watch(client: &Client, story: &Story) -> Result<Self> {
        let mut watches = JoinSet::new();
        let namespace = story.namespace();
        let peaks = story.sale.pointer("/spec/workloads").and_then(|w| w.as_array()).context("a sale without workloads")?;
        let peak = |w: &serde_json::Value| {
            Some((w.pointer("/target/name")?.as_str()?.to_owned(), usize::try_from(w.get("peakReplicas")?.as_u64()?).ok()?))
        };
        let pool = |p: &serde_json::Value| {
            Some((p.pointer("/metadata/name")?.as_str()?.to_owned(), p.pointer("/spec/zone")?.as_str()?.to_owned()))
        };
        let world = Self {
            namespace: namespace.into(),
            sale: story.name().into(),
            workloads: peaks.iter().filter_map(peak).collect(),
            pools: story.pools.iter().filter_map(pool).collect(),
            sales: store(Api::namespaced(client.clone(), namespace), &mut watches),
            statuses: store(Api::all(client.clone()), &mut watches),
            placements: store(Api::namespaced(client.clone(), namespace), &mut watches),
            pods: store(Api::namespaced(client.clone(), namespace), &mut watches),
            nodes: store(Api::all(client.clone()), &mut watches),
            _watches: watches,
        };
        let all = async {
            world.sales.wait_until_ready().await?;
            world.statuses.wait_until_ready().await?;
            world.placements.wait_until_ready().await?;
            world.pods.wait_until_ready().await?;
            world.nodes.wait_until_ready().await
        };
        tokio::time::timeout(SOON, all).await.context("the watches know nothing yet")?.context("a watch ended")?;
        Ok(world)
    }

    /// The sale's status.
    pub fn status(&self) -> OnSaleStatus {
        let sale = self.sales.find(|sale| sale.name_any() == self.sale && sale.namespace().as_deref() == Some(&self.namespace));
        sale.and_then(|sale| sale.status.clone()).unwrap_or_default()
    }

    /// The sale's spec generation that exists, to tell whether the status speaks of it.
    pub fn generation(&self) -> Option<i64> {
        self.sales.find(|sale| sale.name_any() == self.sale).and_then(|sale| sale.metadata.generation)
    }

    /// Replicas that the operator plans for each workload in each pool.
    pub fn planned(&self) -> Spread {
        let mut spread = Spread::new();
        for placement in self.placements.state() {
            let pools = placement.status.iter().flat_map(|status| &status.pools);
            let counts = pools.map(|pool| (pool.pool.clone(), usize::try_from(pool.planned).unwrap_or_default()));
            spread.insert(placement.spec.target.name.clone(), counts.filter(|(_, n)| *n > 0).collect());
        }
        spread
    }

    /// Everything at this moment.
    pub fn scene(&self, now: Timestamp) -> Scene {
        let zones: BTreeMap<String, String> = self.nodes.state().iter().map(|node| (node.name_any(), zone(node))).collect();
        let pool_in = |zone: &str| self.pools.iter().find(|(_, z)| z == zone).map(|(name, _)| name.clone()).unwrap_or_default();
        let mut seen: BTreeMap<String, Counted> = BTreeMap::new();
        for pod in self.pods.state().iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            let counted = seen.entry(pod.labels().get("app").cloned().unwrap_or_default()).or_default();
            counted.ready += usize::from(is_ready(pod));
            match pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) {
                None => counted.pending += 1,
                Some(node) => *counted.pools.entry(zones.get(node).map(|zone| pool_in(zone)).unwrap_or_default()).or_default() += 1,
            }
        }
        let status = self.status();
        let workload = |(name, peak): &(String, usize)| {
            let told = status.workloads.iter().find(|w| w.name == *name);
            let number = |n: Option<i32>| n.and_then(|n| usize::try_from(n).ok());
            let counted = seen.get(name).cloned().unwrap_or_default();
            let baseline = number(told.map(|t| t.baseline)).unwrap_or(counted.ready);
            WorkloadScene { name: name.clone(), floor: number(told.map(|t| t.floor)).unwrap_or(baseline), baseline, peak: *peak, counted }
        };
        let pools = self.pools.iter().map(|(name, zone)| self.pool(name, zone, &seen)).collect();
        Scene { at: now, workloads: self.workloads.iter().map(workload).collect(), pools, sale: status, others: self.others(&seen) }
    }

    fn pool(&self, name: &str, in_zone: &str, pods: &BTreeMap<String, Counted>) -> PoolScene {
        let of_zone: Vec<_> = self.nodes.state().into_iter().filter(|node| zone(node) == in_zone).collect();
        let leaving =
            |node: &Node| node.annotations().contains_key(DRAINING) || node.spec.as_ref().is_some_and(|s| s.unschedulable == Some(true));
        let status = self.statuses.find(|pool| pool.name_any() == name).and_then(|pool| pool.status.clone()).unwrap_or_default();
        let told = |n: i32| usize::try_from(n).unwrap_or_default();
        PoolScene {
            name: name.into(),
            planned: told(status.nodes.planned),
            launching: told(status.nodes.launching),
            ready: of_zone.iter().filter(|node| nodes::is_ready(node) && !leaving(node)).count(),
            leaving: of_zone.iter().filter(|node| leaving(node)).count(),
            pods: pods.values().filter_map(|counted| counted.pools.get(name)).sum(),
        }
    }

    /// Pods of workloads that the sale does not name.
    fn others(&self, seen: &BTreeMap<String, Counted>) -> usize {
        let named = |name: &String| self.workloads.iter().any(|(workload, _)| workload == name);
        seen.iter().filter(|(name, _)| !named(name)).map(|(_, counted)| counted.ready).sum()
    }
}

fn zone(node: &Node) -> String {
    node.labels().get(ZONE).cloned().unwrap_or_default()
}

fn store<K>(api: Api<K>, watches: &mut JoinSet<()>) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    // The watcher begins anew by itself after every error.
    let events = reflector::reflector(writer, watcher(api, watcher::Config::default())).default_backoff();
    watches.spawn(events.for_each(|_| async {}));
    store
}

/// Replicas by workload and pool.
pub type Spread = BTreeMap<String, BTreeMap<String, usize>>;

/// Pods of one workload, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Ready, wherever.
    pub ready: usize,
    /// Without a node.
    pub pending: usize,
    /// Bound, by pool; the empty name is a node of no pool.
    pub pools: BTreeMap<String, usize>,
}

/// One workload now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadScene {
    /// Its name.
    pub name: String,
    /// Replicas on an ordinary day.
    pub baseline: usize,
    /// Replicas that the operator guarantees now.
    pub floor: usize,
    /// Replicas that the sale needs.
    pub peak: usize,
    /// Its pods.
    pub counted: Counted,
}

/// One pool now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolScene {
    /// Its name.
    pub name: String,
    /// Nodes that the plan wants at its peak.
    pub planned: usize,
    /// Instances that are no node yet.
    pub launching: usize,
    /// Nodes that are Ready and take pods.
    pub ready: usize,
    /// Nodes on their way out.
    pub leaving: usize,
    /// Pods bound there.
    pub pods: usize,
}

/// Everything now.
#[derive(Debug, Clone)]
pub struct Scene {
    /// When.
    pub at: Timestamp,
    /// What the operator says.
    pub sale: OnSaleStatus,
    /// The sale's workloads.
    pub workloads: Vec<WorkloadScene>,
    /// All pools, nearest first.
    pub pools: Vec<PoolScene>,
    /// Ready pods of workloads that the sale does not name.
    pub others: usize,
}

impl Scene {
    /// Ready replicas of the sale's workloads.
    pub fn ready(&self) -> usize {
        self.workloads.iter().map(|w| w.counted.ready).sum()
    }

    /// Replicas that the sale needs.
    pub fn peak(&self) -> usize {
        self.workloads.iter().map(|w| w.peak).sum()
    }

    /// Replicas on an ordinary day.
    pub fn baseline(&self) -> usize {
        self.workloads.iter().map(|w| w.baseline).sum()
    }

    /// Every workload has as many Ready replicas as the sale needs.
    pub fn all_ready(&self) -> bool {
        self.workloads.iter().all(|w| w.counted.ready >= w.peak)
    }

    /// Ready nodes, all pools together.
    pub fn nodes(&self) -> usize {
        self.pools.iter().map(|p| p.ready + p.leaving).sum()
    }

    /// Replicas by workload and pool.
    pub fn spread(&self) -> Spread {
        self.workloads.iter().map(|w| (w.name.clone(), w.counted.pools.clone())).collect()
    }
}
