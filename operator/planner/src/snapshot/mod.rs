//! Everything the planner may know. What could not be read is `None`: unknown, which is not the same as empty.
//!
//! [`new`]: objects that nothing has happened to yet; [`selection`]: which nodes pods may be on by their own word

mod new;
mod selection;

use std::{collections::BTreeMap, fmt};

use jiff::{SignedDuration, Timestamp};
use onsale_api::{
    CapacityPoolSpec, CapacityPoolStatus, OnSaleSpec, OnSaleStatus, Phase, WorkloadPlacementSpec, WorkloadPlacementStatus,
    onsale::TargetKind, placement::FloorField,
};
use serde::Serialize;

use crate::{resources::Resources, shared::Shared};

pub use selection::{Requirement, Taint, Toleration};

/// A sale by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SaleId {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for SaleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A workload by namespace, kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct WorkloadId {
    /// Namespace.
    pub namespace: String,
    /// Kind.
    pub kind: TargetKind,
    /// Name.
    pub name: String,
}

impl WorkloadId {
    /// Name of the WorkloadPlacement and of the overlay PodTemplate: `deployment-seat-map`.
    #[must_use]
    pub fn placement_name(&self) -> String {
        match self.kind {
            TargetKind::Deployment => format!("deployment-{}", self.name),
            TargetKind::StatefulSet => format!("statefulset-{}", self.name),
        }
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// The world, as far as it is known at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Every OnSale that something may have to be done about now or within [`Settings::horizon`], sorted by id.
    pub sales: Vec<Sale>,
    /// Every CapacityPool, sorted by name.
    pub pools: Vec<Pool>,
    /// Every workload that an unfinished sale names or that has a WorkloadPlacement, sorted by id.
    pub workloads: Vec<Workload>,
    /// Nodes of the pools, sorted by name; `None` until the watch has listed once.
    pub nodes: Option<Vec<Node>>,
    /// DaemonSets of the cluster, whose pods take room on nodes that are to be launched; empty until their watch has listed.
    pub daemon_sets: Vec<DaemonSet>,
    /// Labels of every namespace with a sale.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// What the operator is configured with.
    pub settings: Settings,
}

/// What the operator is configured with, as far as plans depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long an HPA takes at most to follow its `minReplicas`: the HPA controller's sync period. Default 15 s.
    pub hpa_sync: SignedDuration,
    /// Added to every lead time, as a share of it in percent, for what nobody has measured. Default 25.
    pub margin_percent: i64,
    /// Instances that the cloud's API hands out per second and region once its burst is used up. Default 2 (EC2's RunInstances resource bucket).
    pub launch_rate: i64,
    /// Instances that the API hands out at once in a region, at least 1. Default 1000 (the same bucket).
    pub launch_burst: i64,
    /// Unbound pods older than this count as unschedulable where they are permitted. Default 30 s.
    pub unschedulable_after: SignedDuration,
    /// Whether everything can be had is looked at from so long before a sale's ready-by on. Default 31 days: long enough to ask for quota, and a year of sales
    /// in Git costs each plan no more than what a month of them does.
    pub horizon: SignedDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hpa_sync: SignedDuration::from_secs(15),
            margin_percent: 25,
            launch_rate: 2,
            launch_burst: 1000,
            unschedulable_after: SignedDuration::from_secs(30),
            horizon: SignedDuration::from_hours(31 * 24),
        }
    }
}

/// One OnSale.
#[derive(Clone, Debug, PartialEq)]
pub struct Sale {
    /// Namespace and name.
    pub id: SaleId,
    /// UID.
    pub uid: String,
    /// Generation of the spec.
    pub generation: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// The wish.
    pub spec: Shared<OnSaleSpec>,
    /// The memory.
    pub status: Shared<OnSaleStatus>,
    /// It is being deleted.
    pub deleting: bool,
    /// It carries our finalizer.
    pub protected: bool,
    /// It is annotated `onsale.dev/return: Now`.
    pub return_now: bool,
}

/// One CapacityPool.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Labels, which sales select by.
    pub labels: BTreeMap<String, String>,
    /// The declaration.
    pub spec: CapacityPoolSpec,
    /// The memory, the launch ledger in it.
    pub status: CapacityPoolStatus,
    /// It is being deleted.
    pub deleting: bool,
    /// It carries our finalizer.
    pub protected: bool,
    /// Its instances, sorted by ID; `None` when the cloud did not say. Empty for pools of existing nodes.
    pub instances: Option<Vec<Instance>>,
}

/// One instance of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// ID.
    pub id: String,
    /// Instance type.
    pub instance_type: String,
    /// It is terminating or stopped: no longer of use.
    pub leaving: bool,
    /// It is stopped: it does not leave by itself.
    pub stopped: bool,
    /// When it was launched.
    pub launched_at: Timestamp,
}

/// One node of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// The pool that it belongs to: by instance ID, or by the selector of existing nodes.
    pub pool: String,
    /// Instance ID from its providerID, for nodes of rented pools.
    pub instance: Option<String>,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// Condition `Ready` is true.
    pub ready: bool,
    /// Since when it is, by the cluster's clock; unset while it is not.
    pub ready_since: Option<Timestamp>,
    /// `spec.unschedulable`.
    pub cordoned: bool,
    /// We cordoned it (annotation `onsale.dev/draining`).
    pub draining: bool,
    /// It carries the pool's label; always true for existing nodes.
    pub labelled: bool,
    /// It carries the pool's taint; always true for existing nodes.
    pub tainted: bool,
    /// Taints of others that keep pods away, on nodes that exist. What a rented node carries besides its pool's taint goes away once it has started.
    pub taints: Vec<Taint>,
    /// What it offers.
    pub allocatable: Resources,
    /// What pods that belong to none of the snapshot's workloads ask for there, those of DaemonSets included.
    pub others: Resources,
    /// Pods there that a drain must evict (all but those of DaemonSets, static and finished ones), sorted.
    pub evictable: Vec<PodRef>,
}

/// A pod by name and UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PodRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID: the precondition of whatever is done to it.
    pub uid: String,
    /// It is being deleted already.
    pub terminating: bool,
}

/// One workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Namespace, kind and name.
    pub id: WorkloadId,
    /// What is known of the object; `None` when it does not exist.
    pub target: Option<TargetState>,
    /// Its WorkloadPlacement.
    pub placement: Option<Placement>,
    /// Stamp of the overlay PodTemplate that exists.
    pub overlay: Option<i64>,
    /// Its pods that are neither finished nor failed, sorted by name.
    pub pods: Vec<Pod>,
}

/// The object of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetState {
    /// Requests of one pod, `pods: 1` included.
    pub requests: Resources,
    /// CPU or memory requests are missing in some container.
    pub requests_missing: bool,
    /// `spec.replicas` now.
    pub replicas: i32,
    /// The field that holds the floor.
    pub field: FloorField,
    /// Its value now.
    pub value: i32,
    /// Field manager that wrote it last.
    pub manager: Option<String>,
    /// `maxReplicas` of the HPA or `maxReplicaCount` of the ScaledObject, where there is one.
    pub max: Option<i32>,
    /// `terminationGracePeriodSeconds` of the pods.
    pub grace: SignedDuration,
    /// `maxSkew` of the pods' own hard topology constraint over zones.
    pub zone_skew: Option<i32>,
    /// The pods' own required node labels (`nodeSelector` and required node affinity): one of the terms must hold; empty: any node.
    pub node_terms: Vec<Vec<Requirement>>,
    /// Taints that the pods tolerate by their own word.
    pub tolerations: Vec<Toleration>,
    /// The pod template brings its own pod-deletion-cost.
    pub own_deletion_cost: bool,
}

impl TargetState {
    /// Whether the pods' own words let them onto the node: its labels are what they require, and they tolerate its taints.
    #[must_use]
    pub fn may_be_on(&self, node: &Node) -> bool {
        let labelled = self.node_terms.is_empty() || self.node_terms.iter().any(|term| term.iter().all(|r| r.holds(&node.labels)));
        labelled && node.taints.iter().all(|taint| self.tolerations.iter().any(|t| t.tolerates(taint)))
    }
}

/// A DaemonSet, as far as its pods take room on nodes that are to be launched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonSet {
    /// Requests of one pod, `pods: 1` included.
    pub requests: Resources,
    /// Required node labels, as in [`TargetState::node_terms`].
    pub node_terms: Vec<Vec<Requirement>>,
    /// Taints that its pods tolerate by their own word.
    pub tolerations: Vec<Toleration>,
}

/// A WorkloadPlacement.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// The intent.
    pub spec: WorkloadPlacementSpec,
    /// What was observed.
    pub status: WorkloadPlacementStatus,
}

/// One pod in brief.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Node that it is bound to.
    pub node: Option<String>,
    /// Condition `Ready` is true, readiness gates included.
    pub ready: bool,
    /// Revision of the placement that stamped it.
    pub revision: Option<i64>,
    /// When it was created.
    pub created_at: Timestamp,
    /// It is being deleted, or its node is gone: Kubernetes removes it, which takes a minute.
    pub terminating: bool,
}

impl Snapshot {
    /// The sale, if there is one.
    #[must_use]
    pub fn sale(&self, id: &SaleId) -> Option<&Sale> {
        self.sales.iter().find(|s| s.id == *id)
    }
    /// The pool, if there is one.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|p| p.name == name)
    }
    /// The workload, if it is in the snapshot.
    #[must_use]
    pub fn workload(&self, id: &WorkloadId) -> Option<&Workload> {
        self.workloads.iter().find(|w| w.id == *id)
    }
    /// The known nodes; none while they are unknown.
    pub fn known_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }
}

impl Sale {
    /// Over, and not edited since.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let over = matches!(self.status.phase, Some(Phase::Completed | Phase::Missed | Phase::Cancelled));
        over && self.status.observed_generation == Some(self.generation)
    }

    /// The workloads that it names.
    pub fn workload_ids(&self) -> impl Iterator<Item = WorkloadId> {
        self.spec.workloads.iter().map(|w| WorkloadId {
            namespace: self.id.namespace.clone(),
            kind: w.target.kind,
            name: w.target.name.clone(),
        })
    }
}
