//! `OnSale`: one scheduled sale, written by users. The wish is here; [`status`] is what the operator says about it.

mod status;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{GoDuration, Money, Percent, pool::Tier};

pub use status::{Cost, Entered, OnSaleStatus, PoolProgress, Report, Spent, WaitingFor, WorkloadProgress};

/// What must be Ready when.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "onsale.dev",
    version = "v1alpha1",
    kind = "OnSale",
    plural = "onsales",
    namespaced,
    status = "OnSaleStatus",
    derive = "PartialEq",
    shortname = "sale",
    category = "onsale-operator",
    doc = "OnSale is one scheduled sale: what must be Ready before it opens, and for how long. The operator prepares it ahead of time and puts everything back afterwards.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Opens", type_ = "string", json_path = ".status.opensAt"),
    printcolumn(name = "Ready-By", type_ = "string", json_path = ".status.readyBy"),
    printcolumn(name = "Slack", type_ = "string", json_path = ".status.slack"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.next", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 52").message("metadata.name must have at most 52 characters"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase != 'Live' || (self.spec.opensAt == oldSelf.spec.opensAt && has(self.spec.timeZone) == has(oldSelf.spec.timeZone) && (!has(self.spec.timeZone) || self.spec.timeZone == oldSelf.spec.timeZone))")
        .message("opensAt and timeZone of a Live sale cannot move; change duration to end it earlier or later, or suspend it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.opensAt.matches('(Z|[+-][0-9]{2}:[0-9]{2})$') || has(self.timeZone)")
    .message("opensAt is a local time: add timeZone, for example America/Phoenix, or write an offset such as 2026-12-05T10:00:00-07:00"))]
#[x_kube(validation = Rule::new("!(self.opensAt.matches('(Z|[+-][0-9]{2}:[0-9]{2})$') && has(self.timeZone))")
    .message("opensAt carries an offset: remove timeZone, or write the local time without the offset"))]
pub struct OnSaleSpec {
    /// When the sale opens: local wall time such as `2026-12-05T10:00:00` together with `timeZone`, or RFC 3339 with an offset such as
    /// `2026-12-05T10:00:00-07:00`. Local times that the clocks skip or repeat are refused in status. A Live sale cannot move.
    #[schemars(length(max = 40))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?$') && !format.datetime().validate(self.matches('(Z|[+-][0-9]{2}:[0-9]{2})$') ? self : self + 'Z').hasValue()")
        .message("opensAt must be a date and time that exists, such as 2026-12-05T10:00:00 (with timeZone) or 2026-12-05T10:00:00-07:00"))]
    pub opens_at: String,
    /// IANA name of the time zone of `opensAt`, such as `America/Phoenix`. Required when `opensAt` has no offset, forbidden when it has one. Unknown zones are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$') && self != 'Local' && timestamp('2026-01-01T00:00:00Z').getHours(self) >= 0")
        .message("timeZone must be a name of the IANA database, such as America/Phoenix"))]
    pub time_zone: Option<String>,
    /// How long before `opensAt` everything must be Ready, 0s to 24h. Default 10m.
    #[serde(default = "ten_minutes")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')").message("readyBefore must be from 0s to 24h"))]
    pub ready_before: GoDuration,
    /// How long the floors are held after `opensAt`, 1s to 168h. Default 1h. May be changed while the sale is Live.
    #[serde(default = "one_hour")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('168h')").message("duration must be from 1s to 168h"))]
    pub duration: GoDuration,
    /// How long the way back may take, 0s to 24h: floors fall in steps over this time. Nothing is forced when it has passed. Default 30m.
    #[serde(default = "half_an_hour")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')").message("returnOver must be from 0s to 24h"))]
    pub return_over: GoDuration,
    /// How sales that overlap on one workload add up: `Sum` (baseline plus the sum of what each adds) or `Max` (the largest). Default Sum;
    /// where sales disagree, Sum holds.
    #[serde(default)]
    pub combine: Combine,
    /// What to scale, 1 to 32 workloads of this namespace, each named once.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("self.all(w, self.exists_one(x, x.target.kind == w.target.kind && x.target.name == w.target.name))")
        .message("each workload may be named only once in a sale; remove the second one"))]
    pub workloads: Vec<SaleWorkload>,
    /// Which places all workloads of this sale may use; `workloads[].placement` narrows it for one. Unset: every CapacityPool that is open to this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// What this sale may cost at most. Unset: only the pools' own limits hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What to do when not everything can be had: `Proceed`: go on and try what was refused again, or `Hold`: keep what could be had, and ask for nothing again that was refused, until you change the sale or its pools. Default Proceed.
    #[serde(default)]
    pub on_shortfall: OnShortfall,
    /// `Live` acts; `Plan` computes and reports and changes nothing. Default Live.
    #[serde(default)]
    pub mode: Mode,
    /// True calls the sale off: a sale that is Preparing is undone at once, one that is Live returns at its orderly pace. Default false.
    #[serde(default)]
    pub suspend: bool,
}

fn ten_minutes() -> GoDuration {
    GoDuration::from_mins(10)
}
fn one_hour() -> GoDuration {
    GoDuration::from_mins(60)
}
fn half_an_hour() -> GoDuration {
    GoDuration::from_mins(30)
}
fn ten_percent() -> Percent {
    Percent::new(10)
}

/// How the extras of several sales on one workload add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Combine {
    /// Baseline plus the sum of what each sale adds.
    #[default]
    Sum,
    /// Baseline plus the largest of what the sales add.
    Max,
}

/// What to do when not everything can be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnShortfall {
    /// Go on with what can be had.
    #[default]
    Proceed,
    /// Prepare what can be had; the rest waits for a person.
    Hold,
}

/// Whether the operator acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// The operator acts.
    #[default]
    Live,
    /// The operator computes and reports, and changes nothing.
    Plan,
}

/// One workload of a sale.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SaleWorkload {
    /// The object to scale.
    pub target: Target,
    /// Replicas that must be Ready when the sale opens, 1 to 10000, all of the workload's replicas counted. Never lowers a workload.
    #[schemars(range(min = 1, max = 10000))]
    pub peak_replicas: i32,
    /// Room planned above the floor for an HPA to grow into, 0% to 1000% of the floor. Planned only for workloads that an HPA scales. Default 10%.
    #[serde(default = "ten_percent")]
    pub headroom: Percent,
    /// What one request calls, by site, at most 16 sites; decides which pool is near. Unset: one call to every site that the pools declare.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["site"]))]
    pub dependencies: Vec<Dependency>,
    /// Most latency that one request may spend on its serial calls: pools that cost more are not used, 1us to 1h. Unset: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('1h')").message("maxLatency must be more than 0s and at most 1h, for example 120ms"))]
    pub max_latency: Option<GoDuration>,
    /// Most of this workload's replicas that one pool may hold, 1% to 100%, so that the loss of one place is no loss of the sale. Unset: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^([1-9]|[1-9][0-9]|100)%$')").message("maxSharePerPool must be from 1% to 100%"))]
    pub max_share_per_pool: Option<Percent>,
    /// Which places this workload may use, besides what the sale's own `placement` says: both hold, and where several sales name the workload, those of all of
    /// them. What runs elsewhere already stays there, and nothing new goes there. Unset: what the sale says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// How long a user's session lasts, 0s to 24h: a pod whose terminationGracePeriod is shorter is reported, for the way back would cut sessions. Unset: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')").message("sessionLength must be from 0s to 24h"))]
    pub session_length: Option<GoDuration>,
}

/// The object to scale, in the sale's own namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// API version of the kind. Default apps/v1, the only one for Deployment and StatefulSet.
    #[serde(default = "apps_v1")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule::new("self == 'apps/v1'").message("apiVersion must be apps/v1: a Deployment or a StatefulSet"))]
    pub api_version: String,
    /// Deployment or StatefulSet. An HPA or a KEDA ScaledObject that scales it is found by itself: name the workload, not the scaler.
    pub kind: TargetKind,
    /// Name of the object.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message("target.name must be the name of the object, in lower case"))]
    pub name: String,
}

fn apps_v1() -> String {
    "apps/v1".to_owned()
}

/// Kinds that can be scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TargetKind {
    /// `apps/v1` Deployment.
    #[default]
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
}

/// One dependency of a workload.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Name of the site that is called, as in the pools' `latency`.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message("site must be a name in lower case, such as phx-dc"))]
    pub site: String,
    /// How many calls to it follow one another in one request, 1 to 1000: each costs one round trip.
    #[schemars(range(min = 1, max = 1000))]
    pub serial_calls: i32,
}

/// Which places may be used: pools that meet everything that is said here. A change holds at once for what is new; what runs already stays where it is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Labels of the CapacityPools that may be used, such as a fleet, or the country that a pool is in. Unset or empty: every pool that is open to this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_selector: Option<LabelSelector>,
    /// Tiers that may be used, as in the pools' `tier`, each named once. Unset or empty: every tier.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub tiers: Vec<Tier>,
    /// Zones that may be used, as in the pools' `zone`, at most 64, each named once. Unset or empty: every zone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "set"), inner(length(min = 1, max = 63)))]
    #[x_kube(validation = Rule::new("self.all(z, z.matches('^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))").message("placement.zones must be zones of CapacityPools, such as us-west-2-phx-2a"))]
    pub zones: Vec<String>,
}

/// What a sale may cost at most. What it forbids is reported as a shortfall.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Most rented nodes at once, 0 to 5000. 0: stay on nodes that exist. Unset: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5000))]
    pub max_nodes: Option<i32>,
    /// Most that all rented nodes together may cost per hour: a decimal in quotes such as "70" or "70.50", in the currency of the pools' hourlyCost. Unset: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_hourly_cost: Option<Money>,
    /// Most that all rented nodes together may cost in the whole window: what was spent so far, and what the nodes of the plan cost until opensAt + duration + returnOver. A decimal in quotes such as "70" or "70.50", in the
    /// currency of the pools' hourlyCost. Unset: no bound. A node is charged to the first sale that uses it, of several on one workload each with its own part of the replicas; one
    /// that is still there when another sale is over is charged from then on, which kubectl onsale plan foresees and status does not. May be changed at any time: nodes that are there stay, and nothing new is launched beyond it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_total_cost: Option<Money>,
}

/// Where a sale is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Waits for its computed start.
    #[default]
    Scheduled,
    /// Nodes, then floors are on their way.
    Preparing,
    /// Everything is Ready and waits for `opensAt`.
    Ready,
    /// Open: floors are held.
    Live,
    /// Floors fall, nodes go.
    Returning,
    /// Everything is back.
    Completed,
    /// The window was over when the sale was first seen; nothing was touched.
    Missed,
    /// Deleted or suspended, and returned.
    Cancelled,
    /// A condition says why; nothing runs.
    Invalid,
}

impl Phase {
    /// The sale has claims on workloads and pools.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Preparing | Self::Ready | Self::Live | Self::Returning)
    }
    /// The sale raises floors and holds nodes: active, and not on its way back.
    #[must_use]
    pub const fn holds(self) -> bool {
        matches!(self, Self::Preparing | Self::Ready | Self::Live)
    }
}
