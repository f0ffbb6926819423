//! Labels, annotations, taints, finalizers and field managers that the operator writes or reads.

/// Node label and taint key of a burst node; the value is the name of its `CapacityPool`.
pub const POOL: &str = "onsale.dev/pool";
/// Label of the overlay PodTemplates (empty value) and, on pods, the stamp `<workload>.<revision>`.
pub const PLACEMENT: &str = "onsale.dev/placement";
/// Overlay annotation: kind of the controller that owns the workload's pods (`ReplicaSet` or `StatefulSet`).
pub const OWNER_KIND: &str = "onsale.dev/owner-kind";
/// Overlay annotation: RE2 pattern of that controller's name.
pub const OWNER_PATTERN: &str = "onsale.dev/owner-pattern";
/// Overlay annotation: RE2 pattern of the names of the workload's pods.
pub const POD_PATTERN: &str = "onsale.dev/pod-pattern";
/// Overlay annotation: `zone=cost,...`, the pod-deletion-cost by zone; empty: none is stamped.
pub const ZONE_COSTS: &str = "onsale.dev/zone-costs";
/// On an OnSale: `Now` returns at once, without `returnOver`.
pub const RETURN: &str = "onsale.dev/return";
/// Finalizer on OnSales (from the first write until everything is back) and CapacityPools (while they have instances).
pub const FINALIZER: &str = "onsale.dev/return";
/// Field manager of everything that the operator writes in its own name.
pub const MANAGER: &str = "onsale-operator";
/// Annotation of a node that the operator cordoned and drains: tells our cordon from anybody else's.
pub const DRAINING: &str = "onsale.dev/draining";
/// A ReplicaSet's scale-down takes pods with a lower cost first (core Kubernetes annotation).
pub const POD_DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Takes a node out of external load balancers (core Kubernetes label).
pub const EXCLUDE_FROM_LOAD_BALANCERS: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// Zone of a node (core Kubernetes label).
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Region of a node (core Kubernetes label).
pub const REGION: &str = "topology.kubernetes.io/region";
/// Operating system of a node (core Kubernetes label).
pub const OS: &str = "kubernetes.io/os";
/// CPU architecture of a node (core Kubernetes label).
pub const ARCH: &str = "kubernetes.io/arch";
/// EC2 instance type of a node (core Kubernetes label).
pub const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// Tag on instances: the cluster that they belong to (`--cluster-name`).
pub const TAG_CLUSTER: &str = "onsale.dev/cluster";
/// Tag on instances: the UID of their CapacityPool.
pub const TAG_POOL: &str = "onsale.dev/pool-uid";
/// Tag on instances: the name of their CapacityPool, for people.
pub const TAG_POOL_NAME: &str = "onsale.dev/pool";
/// Tag on instances: the sequence of the launch that made them.
pub const TAG_LAUNCH: &str = "onsale.dev/launch";
