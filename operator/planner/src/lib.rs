//! The planner: pure, total, deterministic, free of I/O and of the clock. It runs in the operator, in simulations and in previews.
//!
//! - [`snapshot`]: everything the planner may know; [`objects`]: how it is read from Kubernetes' objects; [`resources`]: vectors of CPU, memory, pods and more
//! - [`plan`]: `plan(snapshot, now)`, what must hold now and why nothing more can be done; [`lifecycle`]: the phases of a sale
//! - [`residency`]: which places a workload may use at all; [`distance`]: latency arithmetic and ranks; [`fleet`]: what each pool has; [`alike`]: what is worked out once; [`addresses`], [`quotas`]: what subnets and the account leave; [`overhead`]: what DaemonSets leave of a node; [`packing`]: which replica goes where and which nodes that takes; [`lead`]: lead times; [`launch_rate`]: what the cloud's API hands out
//! - [`spending`]: what a sale spends, so far and in all, and what its budget leaves
//! - [`demand`]: what the active sales want of a workload; [`release`]: where its new pods may go, and when; [`floors`]: floors and the way back; [`pools`], [`sales`]: what that means for each; [`overlay`]: what the admission policies do to new pods
//! - [`steps`]: `due(plan, snapshot, now)`, the idempotent actions that are due, as independent chains

pub mod addresses;
pub mod alike;
pub mod demand;
pub mod distance;
pub mod fleet;
pub mod floors;
pub mod forecast;
pub mod index;
pub mod launch_rate;
pub mod lead;
pub mod lifecycle;
pub mod objects;
pub mod overhead;
pub mod overlay;
pub mod packing;
pub mod plan;
pub mod pools;
pub mod quotas;
pub mod release;
pub mod residency;
pub mod resources;
pub mod sales;
pub mod shared;
pub mod snapshot;
pub mod spending;
pub mod steps;

#[cfg(test)]
mod nights;
#[cfg(test)]
mod testing;

pub use plan::{Plan, plan};
pub use snapshot::Snapshot;
pub use steps::{Chain, Step, due};
