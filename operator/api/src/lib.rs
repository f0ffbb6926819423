//! The API of the onsale operator, group `onsale.dev`, version `v1alpha1`: plain data, no I/O.
//!
//! - [`onsale`], [`pool`], [`placement`]: the three kinds, their schema, CEL rules and status
//! - [`conditions`]: condition types, [`conditions::Reason`] (every reason there is) and the one function that makes a condition
//! - [`duration`], [`money`], [`percent`], [`quantity`]: typed values that users write as text
//! - [`time`]: from `opensAt` and `timeZone` to an instant
//! - [`quota`]: which of EC2's vCPU quotas an instance type counts against
//! - [`selector`]: label selectors, evaluated
//! - [`names`]: labels, annotations, taints and field managers
//! - [`generated`]: every file that is derived from these types

pub mod conditions;
pub mod duration;
pub mod generated;
pub mod money;
pub mod names;
pub mod onsale;
pub mod percent;
pub mod placement;
pub mod pool;
pub mod quantity;
pub mod quota;
pub mod selector;
pub mod time;

pub use conditions::Reason;
pub use duration::GoDuration;
pub use money::Money;
pub use onsale::{OnSale, OnSaleSpec, OnSaleStatus, Phase};
pub use percent::Percent;
pub use placement::{WorkloadPlacement, WorkloadPlacementSpec, WorkloadPlacementStatus};
pub use pool::{CapacityPool, CapacityPoolSpec, CapacityPoolStatus};
pub use quantity::Amount;

/// API group of all kinds.
pub const GROUP: &str = "onsale.dev";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";
