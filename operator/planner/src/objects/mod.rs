//! From Kubernetes' objects to the snapshot's records: pure, so that the operator and the preview read the world alike.
//!
//! - [`own`]: OnSales and CapacityPools; [`target`]: Deployments, StatefulSets and DaemonSets; [`scaler`]: HPAs, ScaledObjects, and the field that holds a floor
//! - [`node`]: nodes and the pool of each; [`pod`]: pods in brief; [`tenants`]: which pods are whose, and what runs on a node
//! - [`requests`]: what a pod asks for; [`managers`]: who wrote a field last; [`alike`]: what many objects say alike

pub mod alike;
pub mod managers;
pub mod node;
pub mod own;
pub mod pod;
pub mod requests;
pub mod scaler;
pub mod target;
pub mod tenants;
