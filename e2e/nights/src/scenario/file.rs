//! What a scenario's file says: what there is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use onsale_api::GoDuration;
use serde::Deserialize;
use serde_json::Value;

use super::{
    budget::Budget,
    time::{Moment, Takes},
    trouble::{Edit, Fault},
};

/// A night: what there is, what happens, and what must come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// One sentence: what happens, and what must come of it.
    pub about: String,
    /// Seed of everything that varies. Default 1.
    #[serde(default = "one")]
    pub seed: u64,
    /// Time zone of the times of day in this file and in the outcome: a name of the IANA database. Default UTC.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// When the night begins: an instant. The operator starts then.
    pub begins: Timestamp,
    /// When it ends: everything must be over by then.
    pub ends: Moment,
    /// Manifests that are applied first, as they are: paths from the root of the repository.
    #[serde(default)]
    pub manifests: Vec<String>,
    /// Where pods can run.
    #[serde(default)]
    pub fleet: Fleet,
    /// Labels of further namespaces, by name; `ticketing` is always there.
    #[serde(default)]
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Deployments.
    #[serde(default)]
    pub workloads: Vec<Workload>,
    /// OnSales that are there from the beginning.
    #[serde(default)]
    pub sales: Vec<Sale>,
    /// What goes wrong with the cloud, nodes and the operator.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// What people, other tools and buyers do.
    #[serde(default)]
    pub edits: Vec<Edit>,
    /// What must come of it.
    pub budget: Budget,
}

fn one() -> u64 {
    1
}
fn utc() -> String {
    "UTC".to_owned()
}

/// Where pods can run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fleet {
    /// Nodes that are there already.
    #[serde(default)]
    pub existing: Vec<Existing>,
    /// Pools of rented nodes.
    #[serde(default)]
    pub rented: Vec<Rented>,
    /// From launch to a running instance. Default 8 s to 15 s, all alike.
    pub boot: Option<Takes>,
    /// A launched instance is missing from lists for this long. Default 3s.
    pub listed_after: Option<GoDuration>,
    /// From a running instance to a node. Default 5 s to 12 s.
    pub join: Option<Takes>,
    /// From a node to a Ready node. Default 1 s to 4 s.
    pub node_ready: Option<Takes>,
    /// From a bound pod to a Ready one: image pull, start, probes. Default 800 ms to 3 s.
    pub pod_start: Option<Takes>,
    /// From a deleted pod to one that is gone. Default 500 ms to 2 s.
    pub pod_stop: Option<Takes>,
}

/// Nodes that are there already, all alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Existing {
    /// Name of their pool, and of its zone.
    pub pool: String,
    /// How many.
    pub nodes: usize,
    /// CPU of each. Default 16.
    #[serde(default = "sixteen")]
    pub cpu: String,
    /// Memory of each. Default 64Gi.
    #[serde(default = "much")]
    pub memory: String,
    /// Round trip to the site `dc`. Left out: the pool is one of `manifests`.
    pub rtt: Option<String>,
}

/// A pool of rented nodes, in a zone of its name.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rented {
    /// Name of the pool, and of its zone.
    pub pool: String,
    /// Round trip to the site `dc`.
    pub rtt: String,
    /// Most nodes at once.
    pub max_nodes: i32,
    /// Most nodes at once for each namespace. Default: no such limit.
    pub max_nodes_each: Option<i32>,
    /// Instance types by name, tried in order of their names where they cost the same.
    pub types: BTreeMap<String, Machine>,
    /// Region. Default us-west-2.
    #[serde(default = "oregon")]
    pub region: String,
    /// Lead time that the pool declares. Default p50 30 s, p95 60 s.
    #[serde(default)]
    pub lead_time: LeadTime,
}

/// What an instance type offers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Machine {
    /// Price of an hour. Default 0.85.
    #[serde(default = "price")]
    pub hourly_cost: String,
    /// Allocatable CPU. Default 16.
    #[serde(default = "sixteen")]
    pub cpu: String,
    /// Allocatable memory. Default 28Gi.
    #[serde(default = "some")]
    pub memory: String,
}

/// A declared lead time.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeadTime {
    /// Median.
    pub p50: String,
    /// 95th percentile.
    pub p95: String,
}

impl Default for LeadTime {
    fn default() -> Self {
        Self { p50: "30s".to_owned(), p95: "60s".to_owned() }
    }
}

fn sixteen() -> String {
    "16".to_owned()
}
fn much() -> String {
    "64Gi".to_owned()
}
fn some() -> String {
    "28Gi".to_owned()
}
fn oregon() -> String {
    "us-west-2".to_owned()
}
fn price() -> String {
    "0.85".to_owned()
}

/// A Deployment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// Name, or `namespace/name`; the namespace is `ticketing` by default.
    pub name: String,
    /// Replicas at the beginning.
    pub replicas: i32,
    /// CPU that each pod asks for. Default 1.
    #[serde(default = "one_cpu")]
    pub cpu: String,
    /// Memory that each pod asks for. Default 1Gi.
    #[serde(default = "one_gib")]
    pub memory: String,
    /// An HPA of the same name.
    pub hpa: Option<Hpa>,
    /// `maxUnavailable` of a PodDisruptionBudget of the same name: a number, or a percentage.
    pub max_unavailable: Option<Value>,
    /// Merged into the pods' spec.
    pub pod_spec: Option<Value>,
}

fn one_cpu() -> String {
    "1".to_owned()
}
fn one_gib() -> String {
    "1Gi".to_owned()
}

/// An HPA.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hpa {
    /// `minReplicas`.
    pub min: i32,
    /// `maxReplicas`.
    pub max: i32,
    /// Replicas that the load would keep busy. Default 0; edits change it.
    #[serde(default)]
    pub load: i64,
}

/// An OnSale.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sale {
    /// Name, or `namespace/name`; the namespace is `ticketing` by default.
    pub name: String,
    /// Its `spec`, as in a manifest.
    pub spec: Value,
}
