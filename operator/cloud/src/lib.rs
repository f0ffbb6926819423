//! The seam between the operator and a cloud that rents nodes: few, level-based, idempotent verbs and typed errors.
//!
//! - [`Cloud`]: the verbs; [`LaunchOrder`], [`Instance`]: what goes in and comes out
//! - [`facts`]: what bounds launches besides capacity: free addresses, quotas
//! - [`CloudError`]: every way in which a cloud says no, and when to try again
//! - [`fake`]: a cloud in memory that counts, fails on request and loses answers

pub mod error;
pub mod facts;
pub mod fake;

use async_trait::async_trait;
use jiff::Timestamp;
use onsale_api::pool::LaunchTemplate;

pub use error::CloudError;

/// Who an instance belongs to: written as tags in the launch call itself, and the only way instances are found again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// UID of the CapacityPool.
    pub pool_uid: String,
    /// Name of the CapacityPool: the value of the tag for people.
    pub pool_name: String,
    /// Region whose API is called.
    pub region: String,
}

/// One launch, exactly as it stands in the pool's ledger: the same order is the same launch, however often it is placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchOrder {
    /// Owner of the instances.
    pub owner: Owner,
    /// Sequence of the ledger entry, written as a tag.
    pub sequence: i64,
    /// Idempotency token of the call.
    pub token: String,
    /// Instance type.
    pub instance_type: String,
    /// Subnet.
    pub subnet: String,
    /// Launch template.
    pub launch_template: LaunchTemplate,
    /// Most instances to launch; the cloud may launch fewer, at least 1.
    pub count: i32,
}

/// Life of an instance, as far as the operator cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstanceState {
    /// Launched, does not run yet.
    Pending,
    /// Runs.
    Running,
    /// Stopped or stopping: of no use, and does not leave by itself.
    Stopped,
    /// On its way out.
    Leaving,
    /// Terminated; shown for a while, which tells it from an instance that is too young to be shown.
    Gone,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// ID; the last part of the node's providerID.
    pub id: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// State.
    pub state: InstanceState,
    /// When it was launched.
    pub launched_at: Timestamp,
    /// Sequence of the launch that made it, from its tag; 0 where the tag is missing.
    pub sequence: i64,
}

/// What a launch made.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Launched {
    /// IDs of the instances: between 1 and the count asked for.
    pub instances: Vec<String>,
}

/// A cloud that rents nodes. Every verb may be called again with the same arguments at any time, by any process.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// Launches up to `order.count` instances, tagged in the same call, and returns those that exist because of this order: a replay of an
    /// order that was carried out returns the same instances and launches none. Fewer than asked for means that capacity ended there.
    ///
    /// # Errors
    /// [`CloudError`]; after `Unavailable` it is unknown whether instances were launched: place the same order again.
    async fn launch(&self, order: &LaunchOrder) -> Result<Launched, CloudError>;

    /// Every instance of the owner, those included that were terminated a while ago ([`InstanceState::Gone`]). May miss instances launched in the last
    /// minutes: the ledger knows them.
    ///
    /// # Errors
    /// [`CloudError`]; an error is never an empty list.
    async fn list(&self, owner: &Owner) -> Result<Vec<Instance>, CloudError>;

    /// Terminates the instances. Terminated ones are no error. Those that the cloud does not show (too young, or forgotten) are
    /// [`CloudError::Unavailable`], after the others have been terminated.
    ///
    /// # Errors
    /// [`CloudError`]; then some may be terminated and others not: list and call again.
    async fn terminate(&self, region: &str, instances: &[String]) -> Result<(), CloudError>;

    /// Every instance in `region` that carries the cluster's tag and is not terminated, with the UID of the pool it belongs to: what the sweeper compares with the pools that exist.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn list_cluster(&self, region: &str) -> Result<Vec<(String, Instance)>, CloudError>;

    /// Free addresses of the subnets, and the quotas that the instance types count against with what others use of them, in one region. What cannot be read, or
    /// does not exist, is missing or an error, never a zero: unknown bounds nothing.
    async fn facts(&self, question: &facts::Question) -> facts::Facts;
}
