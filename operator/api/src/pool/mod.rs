//! `CapacityPool`: one place where pods can run, written by the platform team. The declaration is here; [`status`] is what the pool has and does.

mod status;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Amount, GoDuration, Money};

pub use status::{CapacityPoolStatus, Launch, LeadTimeSample, NodeCounts, QuotaFacts, Shortfall, SubnetFacts};

/// One place where pods can run: a zone, a way to get nodes, limits, latency.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "onsale.dev",
    version = "v1alpha1",
    kind = "CapacityPool",
    plural = "capacitypools",
    status = "CapacityPoolStatus",
    derive = "PartialEq",
    shortname = "cpool",
    category = "onsale-operator",
    doc = "CapacityPool is one place where pods can run: a zone, a way to get nodes there, its limits and its latency to the sites that workloads depend on.",
    printcolumn(name = "Tier", type_ = "string", json_path = ".spec.tier"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.zone"),
    printcolumn(name = "Planned", type_ = "integer", json_path = ".status.nodes.planned"),
    printcolumn(name = "Launching", type_ = "integer", json_path = ".status.nodes.launching"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.nodes.ready"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.conditions[?(@.type=='CapacityReady')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 52").message("metadata.name must have at most 52 characters")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.nodes.ec2) || (has(self.limits) && has(self.limits.maxNodes))")
    .message("limits.maxNodes is required with nodes.ec2: say how many instances may be rented at most"))]
#[x_kube(validation = Rule::new("has(self.nodes.ec2) == has(oldSelf.nodes.ec2)")
    .message("nodes cannot change its kind; make a new pool and delete this one when it is empty"))]
pub struct CapacityPoolSpec {
    /// `OnPrem`, `LocalZone` or `Region`: a label for people. The order of places comes from latency, never from the tier.
    pub tier: Tier,
    /// Value of the label topology.kubernetes.io/zone on this pool's nodes, such as us-west-2-phx-2a or the name of a data centre.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')").message("zone must be a label value, such as us-west-2-phx-2a"))]
    pub zone: String,
    /// Round trip from here to each site that workloads depend on, 1 to 64. A site may be listed once for each path to it: the lowest figure counts. A site that is not listed is
    /// unknown, never zero: workloads that call it are not placed here.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["site", "path"]))]
    pub latency: Vec<SiteLatency>,
    /// How long it takes from the first cloud call to Ready pods. What nodes of the pool really took (status.leadTimes) makes it longer where they took longer, never shorter.
    /// Unset: p50 90s, p95 180s for ec2 until nodes are measured, and then what they took, these counting like ten more of them; for existing nodes, which are not measured, p50 10s, p95 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self.p50) > duration('0s') && duration(self.p50) <= duration(self.p95) && duration(self.p95) <= duration('24h')")
        .message("leadTime needs 0s < p50 <= p95 <= 24h"))]
    pub lead_time: Option<LeadTime>,
    /// Where nodes come from: exactly one of `existing` and `ec2`.
    #[x_kube(validation = Rule::new("has(self.existing) != has(self.ec2)").message("nodes must have exactly one of existing and ec2"))]
    pub nodes: Nodes,
    /// What may be used at most. Required for ec2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Which namespaces' sales may use the pool. Unset: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("(self.from == 'Selector') == has(self.selector)").message("allowedNamespaces.selector goes with from: Selector, and only with it"))]
    pub allowed_namespaces: Option<AllowedNamespaces>,
}

/// A label for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Tier {
    /// Own data centre, EKS Hybrid Nodes.
    OnPrem,
    /// AWS Local Zone.
    LocalZone,
    /// Availability Zone of the parent region.
    Region,
}

/// Round trip to one site.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SiteLatency {
    /// Name of the site, such as phx-dc.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message("site must be a name in lower case, such as phx-dc"))]
    pub site: String,
    /// Name of the way to the site, such as internet or direct-connect, for sites that several ways lead to. Default `default`.
    #[serde(default = "default_path")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message("path must be a name in lower case, such as direct-connect"))]
    pub path: String,
    /// Round-trip time, 0s to 10s, such as 1.6ms.
    #[x_kube(validation = Rule::new("duration(self) <= duration('10s')").message("rtt must be from 0s to 10s, for example 1.6ms"))]
    pub rtt: GoDuration,
}

fn default_path() -> String {
    "default".to_owned()
}

/// Lead time as two quantiles of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeadTime {
    /// Half of the nodes are there in this time: more than 0s, at most p95.
    pub p50: GoDuration,
    /// 95 of 100 nodes are there in this time, at most 24h. Also decides, with what was measured, when a node is given up: never before half again this time.
    pub p95: GoDuration,
}

/// Where nodes come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Nodes {
    /// Nodes that exist already, such as EKS Hybrid Nodes: capacity is what is free on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<ExistingNodes>,
    /// EC2 instances that the operator launches and terminates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ec2: Option<Ec2Nodes>,
}

/// Nodes that exist already.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0) || (has(self.selector.matchExpressions) && size(self.selector.matchExpressions) > 0)")
    .message("existing.selector must not be empty: name the labels of the pool's nodes"))]
pub struct ExistingNodes {
    /// Labels of the nodes.
    pub selector: LabelSelector,
}

/// EC2 instances from a launch template.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.region == oldSelf.region").message("region cannot change; make a new pool"))]
pub struct Ec2Nodes {
    /// AWS region whose API is called, such as us-west-2; for a Local Zone its parent region.
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z]{2}(-[a-z]+)+-[0-9]+$')").message("region must be a region such as us-west-2, not a zone"))]
    pub region: String,
    /// Launch template at a fixed version. Its user data must register the node with the label and the taint onsale.dev/pool=<name of this pool>.
    pub launch_template: LaunchTemplate,
    /// Subnets of the pool's zone, 1 to 16; launches take turns. One that is full is passed over until its pause is over; when all are, the pool is short.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"), inner(length(max = 32)))]
    #[x_kube(validation = Rule::new("self.all(s, s.matches('^subnet-[0-9a-f]{6,32}$'))").message("subnets must be subnet IDs such as subnet-0abc1234"))]
    pub subnets: Vec<String>,
    /// Instance types that may be launched, 1 to 16. The cheapest way to hold the pods is chosen.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub instance_types: Vec<InstanceType>,
}

/// A launch template at a fixed version.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.name) != has(self.id)").message("launchTemplate must have exactly one of name and id"))]
pub struct LaunchTemplate {
    /// Name of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 128))]
    pub name: Option<String>,
    /// ID of the template, lt-...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^lt-[0-9a-f]{6,32}$')").message("launchTemplate.id must be an ID such as lt-0abc1234"))]
    pub id: Option<String>,
    /// Version number in quotes. Not $Latest or $Default: a sale must not boot something that nobody rehearsed.
    #[schemars(length(max = 10))]
    #[x_kube(validation = Rule::new("self.matches('^[1-9][0-9]*$')").message("launchTemplate.version must be a fixed number in quotes, such as \"7\"; $Latest and $Default are refused"))]
    pub version: String,
}

/// An instance type and what it offers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("'cpu' in self.allocatable && 'memory' in self.allocatable").message("allocatable must name cpu and memory, as kubectl describe node shows them"))]
pub struct InstanceType {
    /// Name, such as c6i.4xlarge.
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9-]+[.][a-z0-9-]+$')").message("instance type must be a name such as c6i.4xlarge"))]
    pub name: String,
    /// Price of one instance for one hour, a decimal in quotes such as "0.85", in one currency for all pools.
    pub hourly_cost: Money,
    /// What a node of this type offers to pods, as `kubectl describe node` shows under Allocatable: cpu, memory, pods (default 110), extended resources. What DaemonSets take is subtracted by the operator.
    #[schemars(extend("maxProperties" = 16))]
    pub allocatable: BTreeMap<String, Amount>,
    /// vCPUs of an instance, as EC2's quotas count them, 1 to 2000. Unset: the declared CPU, rounded up to whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2000))]
    pub vcpus: Option<i32>,
    /// IPv4 addresses that an instance takes from its subnet as soon as it runs, 1 to 1000. Default 1, its primary one. The VPC CNI takes more for pods: with secondary addresses what it
    /// keeps warm and what pods use, up to one for each pod; with prefixes 16 at a time. Say here what a full node of this type takes in the pool's subnets.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 1000))]
    pub addresses_per_node: i32,
}

impl InstanceType {
    /// vCPUs of an instance, as EC2's quotas count them.
    #[must_use]
    pub fn vcpus(&self) -> i32 {
        let declared = || self.allocatable.get("cpu").map_or(1, |cpu| (cpu.milli() + 999) / 1_000);
        self.vcpus.unwrap_or_else(|| i32::try_from(declared()).unwrap_or(i32::MAX))
    }
}

const fn one() -> i32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_one(n: &i32) -> bool {
    *n == 1
}

/// What may be used at most.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Most rented nodes at once, 0 to 5000. 0: launch nothing; what runs is drained only by its sale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5000))]
    pub max_nodes: Option<i32>,
}

/// Which namespaces' sales may use a pool.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AllowedNamespaces {
    /// `All` or `Selector`.
    pub from: NamespacesFrom,
    /// Labels of the namespaces, with `from: Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Most rented nodes for each namespace, 0 to 5000. Unset: no bound but the pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5000))]
    pub max_nodes_each: Option<i32>,
}

/// How namespaces are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NamespacesFrom {
    /// Every namespace.
    All,
    /// By labels.
    Selector,
}
