//! What a scenario's file says: what happens.

use onsale_api::GoDuration;
use serde::Deserialize;
use serde_json::Value;

use super::time::{Moment, Takes};

/// Something that goes wrong. Without `from` it is so from the beginning, without `until` to the end.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// A pool's zone has few instances of a type, or none.
    NoCapacity(NoCapacity),
    /// The account may have no more than so many instances of a type, everywhere together.
    Quota(Quota),
    /// Launches are refused for another reason.
    Refused(Refused),
    /// Every call to the cloud is throttled.
    Throttled(Span),
    /// The cloud does not answer.
    Silent(Span),
    /// Lists of instances fail; everything else works.
    Blind(Span),
    /// Instances of a pool take their time to boot.
    SlowBoots(SlowBoots),
    /// The next instances to be launched never become nodes.
    NeverJoin(Next),
    /// The next nodes register without the pool's label and taint.
    Unmarked(Next),
    /// A host of a pool fails, with its instance.
    NodeLost(NodeLost),
    /// All nodes of a zone are not Ready: the line to it is cut.
    ZoneDown(ZoneDown),
    /// The admission policies are not in force.
    PoliciesOff(Span),
    /// No operator runs.
    OperatorDown(Span),
    /// Another process of the operator becomes the leader.
    LeadershipLost(LeadershipLost),
}

/// From when to when.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Span {
    /// Default: from the beginning.
    pub from: Option<Moment>,
    /// Default: to the end.
    pub until: Option<Moment>,
}

/// A pool's zone has few instances of a type, or none.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NoCapacity {
    /// Name of the pool.
    pub pool: String,
    /// Instance type. Default: each of the pool.
    pub r#type: Option<String>,
    /// How many there are, those that run included. Default 0.
    #[serde(default)]
    pub most: usize,
    /// Default: from the beginning.
    pub from: Option<Moment>,
    /// Default: to the end.
    pub until: Option<Moment>,
}

/// A quota of the account.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quota {
    /// Instance type.
    pub r#type: String,
    /// How many may run at once.
    pub most: usize,
    /// Default: from the beginning.
    pub from: Option<Moment>,
    /// Default: to the end.
    pub until: Option<Moment>,
}

/// Launches are refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// Default: from the beginning.
    pub from: Option<Moment>,
    /// Default: to the end.
    pub until: Option<Moment>,
}

/// Why launches are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Refusal {
    /// Credentials.
    Unauthorized,
    /// The launch template.
    InvalidConfiguration,
}

/// Instances of a pool take their time.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlowBoots {
    /// Name of the pool.
    pub pool: String,
    /// From launch to running.
    pub boot: Takes,
    /// Default: from the beginning.
    pub from: Option<Moment>,
    /// Default: to the end.
    pub until: Option<Moment>,
}

/// The next few.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Next {
    /// How many.
    pub count: usize,
    /// Default: from the beginning.
    pub from: Option<Moment>,
}

/// A host fails.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeLost {
    /// Name of the pool; the oldest instance of it fails.
    pub pool: String,
    /// When.
    pub at: Moment,
}

/// The line to a zone is cut.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ZoneDown {
    /// Name of the pool in that zone.
    pub pool: String,
    /// When it is cut.
    pub from: Moment,
    /// When it is back.
    pub until: Moment,
}

/// Another process becomes the leader.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeadershipLost {
    /// When the other one starts.
    pub at: Moment,
    /// How long the first one does not notice. Default 0s.
    #[serde(default)]
    pub overlap: Option<GoDuration>,
}

/// Something that people, other tools or buyers do.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Edit {
    /// Writes a Deployment's replicas.
    Scale(Scale),
    /// Buyers come and go: an HPA wants other replicas.
    Load(Load),
    /// Changes fields of an OnSale.
    Change(Change),
    /// Applies a manifest: creates the object, or merges it into what is there.
    Apply(Apply),
    /// Deletes an object.
    Delete(Delete),
}

/// Writes a Deployment's replicas.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scale {
    /// When.
    pub at: Moment,
    /// Field manager. Default kubectl-scale.
    #[serde(default = "kubectl_scale")]
    pub by: String,
    /// The Deployment.
    pub workload: String,
    /// Its replicas.
    pub replicas: i64,
    /// Again and again, with this time between. Default: once.
    pub every: Option<GoDuration>,
    /// The last time, where `every` is there. Default: the end.
    pub until: Option<Moment>,
}

fn kubectl_scale() -> String {
    "kubectl-scale".to_owned()
}
fn kubectl() -> String {
    "kubectl".to_owned()
}

/// Buyers come and go.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Load {
    /// When.
    pub at: Moment,
    /// The Deployment, which has an HPA.
    pub workload: String,
    /// Replicas that the load would keep busy.
    pub replicas: i64,
}

/// Changes fields of an OnSale.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// When.
    pub at: Moment,
    /// Field manager. Default kubectl.
    #[serde(default = "kubectl")]
    pub by: String,
    /// The sale.
    pub sale: String,
    /// Merged into its `spec` (RFC 7386).
    pub spec: Value,
}

/// Applies a manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Apply {
    /// When.
    pub at: Moment,
    /// Field manager. Default kubectl.
    #[serde(default = "kubectl")]
    pub by: String,
    /// The manifest.
    pub manifest: Value,
}

/// Deletes an object.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delete {
    /// When.
    pub at: Moment,
    /// By whom. Default kubectl.
    #[serde(default = "kubectl")]
    pub by: String,
    /// Kind, such as OnSale, Deployment or CapacityPool.
    pub kind: String,
    /// Name, or `namespace/name`.
    pub name: String,
}
