//! The kinds that this API serves: those that the controller, the world and the tests use. All others are 404, as where a CRD is not installed.

/// One kind of resource.
#[derive(Debug, PartialEq, Eq)]
pub struct Info {
    /// API group; empty: core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Plural name, unique in this table.
    pub plural: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Lives in namespaces.
    pub namespaced: bool,
    /// Has `/scale`.
    pub scale: bool,
    /// Counts changes of its spec in `metadata.generation`.
    pub generation: bool,
    /// A custom kind: `replace` needs a resourceVersion.
    pub custom: bool,
}

/// One kind of resource.
pub type Kind = &'static Info;

const fn info(group: &'static str, version: &'static str, plural: &'static str, kind: &'static str) -> Info {
    Info { group, version, plural, kind, namespaced: true, scale: false, generation: true, custom: false }
}

/// Namespaces.
pub static NAMESPACES: Info = Info { namespaced: false, generation: false, ..info("", "v1", "namespaces", "Namespace") };
/// Nodes.
pub static NODES: Info = Info { namespaced: false, generation: false, ..info("", "v1", "nodes", "Node") };
/// Pods.
pub static PODS: Info = Info { generation: false, ..info("", "v1", "pods", "Pod") };
/// PodTemplates: the overlays.
pub static POD_TEMPLATES: Info = info("", "v1", "podtemplates", "PodTemplate");
/// Deployments.
pub static DEPLOYMENTS: Info = Info { scale: true, ..info("apps", "v1", "deployments", "Deployment") };
/// ReplicaSets.
pub static REPLICA_SETS: Info = Info { scale: true, ..info("apps", "v1", "replicasets", "ReplicaSet") };
/// StatefulSets.
pub static STATEFUL_SETS: Info = Info { scale: true, ..info("apps", "v1", "statefulsets", "StatefulSet") };
/// DaemonSets.
pub static DAEMON_SETS: Info = info("apps", "v1", "daemonsets", "DaemonSet");
/// HPAs.
pub static SCALERS: Info = Info { generation: false, ..info("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler") };
/// PodDisruptionBudgets.
pub static BUDGETS: Info = info("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget");
/// Leases.
pub static LEASES: Info = Info { generation: false, ..info("coordination.k8s.io", "v1", "leases", "Lease") };
/// Events.
pub static EVENTS: Info = Info { generation: false, ..info("events.k8s.io", "v1", "events", "Event") };
/// OnSales.
pub static SALES: Info = Info { custom: true, ..info("onsale.dev", "v1alpha1", "onsales", "OnSale") };
/// CapacityPools.
pub static POOLS: Info = Info { custom: true, namespaced: false, ..info("onsale.dev", "v1alpha1", "capacitypools", "CapacityPool") };
/// WorkloadPlacements.
pub static PLACEMENTS: Info = Info { custom: true, ..info("onsale.dev", "v1alpha1", "workloadplacements", "WorkloadPlacement") };
/// KEDA's ScaledObjects.
pub static SCALED_OBJECTS: Info = Info { custom: true, ..info("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject") };

/// All of them.
pub static ALL: [Kind; 16] = [
    &NAMESPACES,
    &NODES,
    &PODS,
    &POD_TEMPLATES,
    &DEPLOYMENTS,
    &REPLICA_SETS,
    &STATEFUL_SETS,
    &DAEMON_SETS,
    &SCALERS,
    &BUDGETS,
    &LEASES,
    &EVENTS,
    &SALES,
    &POOLS,
    &PLACEMENTS,
    &SCALED_OBJECTS,
];

impl Info {
    /// `apps/v1`, or `v1` for the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// The kind of a manifest with this `apiVersion` and `kind`.
#[must_use]
pub fn of(api_version: &str, kind: &str) -> Option<Kind> {
    ALL.iter().find(|k| k.kind == kind && k.api_version() == api_version).copied()
}

/// The kind at this place of the API.
#[must_use]
pub fn at(group: &str, version: &str, plural: &str) -> Option<Kind> {
    ALL.iter().find(|k| k.group == group && k.version == version && k.plural == plural).copied()
}
