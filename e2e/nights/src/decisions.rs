//! What was decided in a night, as data: what the controllers asked the cloud for, the floors they wrote, what they told, and what others did meanwhile.
//! The journal has every write; this is what a reader of a scenario wants to see of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use onsale_api::names;
use serde_json::Value;

use crate::{
    api::{
        evict::is_ready,
        kinds::{self, Kind},
        request::{Ask, Verb},
        store::key_of,
    },
    sim::Inner,
};

/// Something that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Instances were asked for.
    Launch {
        /// Name of the pool.
        pool: String,
        /// Instance type.
        instance_type: String,
        /// How many were asked for.
        asked: usize,
        /// How many there are now, or what the cloud said.
        got: Result<usize, String>,
    },
    /// Instances were given back.
    GiveBack {
        /// Name of the pool.
        pool: String,
        /// How many.
        count: usize,
        /// What the cloud said, where it refused.
        refused: Option<String>,
    },
    /// A floor was written.
    Floor {
        /// The object that holds it: `seat-map`, `hpa seat-map`.
        object: String,
        /// Value before.
        from: i64,
        /// Value now.
        to: i64,
    },
    /// A sale entered a phase.
    Entered {
        /// The sale.
        sale: String,
        /// The phase.
        phase: String,
        /// Ready pods of each of its workloads: how many, and how many in each zone.
        ready: Vec<(String, BTreeMap<String, usize>)>,
    },
    /// A condition turned, to the worse or back.
    Told {
        /// The object: `tour`, `pool lz`.
        object: String,
        /// Type of the condition.
        type_: String,
        /// Its status.
        status: String,
        /// Its reason.
        reason: String,
        /// Its sentence; empty where all is well again.
        message: String,
    },
    /// A pod was evicted.
    Evict {
        /// Owner of the pod.
        of: String,
    },
    /// An unbound pod was deleted.
    DeletePod {
        /// Owner of the pod.
        of: String,
    },
    /// What people, other tools, the cloud or a fault did, in words.
    Happened(String),
}

/// A decision, by whom and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// What.
    pub decision: Decision,
}

/// Fields that hold floors: plural of the kind, word before the name, path.
const FLOORS: [(&str, &str, &str); 4] = [
    ("deployments", "", "/spec/replicas"),
    ("statefulsets", "", "/spec/replicas"),
    ("horizontalpodautoscalers", "hpa ", "/spec/minReplicas"),
    ("scaledobjects", "scaledobject ", "/spec/minReplicaCount"),
];

/// What a write that was carried out decides.
#[must_use]
pub fn of_write(inner: &Inner, ask: &Ask, before: Option<&Value>, after: Option<&Value>) -> Vec<Decision> {
    let name = short(&ask.namespace, &ask.name);
    match (ask.kind.plural, ask.verb, ask.sub.as_deref()) {
        ("onsales", _, Some("status")) => of_sale(inner, &name, before, after),
        ("capacitypools", _, Some("status")) => of_conditions(&format!("pool {name}"), &["CapacityReady"], before, after),
        ("pods", Verb::Create, Some("eviction")) => vec![Decision::Evict { of: owner(before) }],
        ("pods", Verb::Delete, _) => vec![Decision::DeletePod { of: owner(before) }],
        (plural, ..) => FLOORS.iter().filter(|f| f.0 == plural).filter_map(|f| floor(&name, f, before, after)).collect(),
    }
}

/// A name, with its namespace where that is not the usual one.
#[must_use]
pub fn short(namespace: &str, name: &str) -> String {
    if namespace.is_empty() || namespace == crate::night::build::NAMESPACE { name.to_owned() } else { format!("{namespace}/{name}") }
}

fn owner(pod: Option<&Value>) -> String {
    let Some(pod) = pod else { return String::new() };
    let owner = pod["metadata"]["ownerReferences"][0]["name"].as_str().unwrap_or_default();
    // A ReplicaSet's name is its Deployment's and a hash.
    let set = pod["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet";
    let name = if set { owner.rsplit_once('-').map_or(owner, |(name, _)| name) } else { owner };
    short(&key_of(pod).0, name)
}

fn floor(name: &str, (_, word, path): &(&str, &str, &str), before: Option<&Value>, after: Option<&Value>) -> Option<Decision> {
    let value = |object: Option<&Value>| object?.pointer(path)?.as_i64();
    let (from, to) = (value(before)?, value(after)?);
    (from != to).then(|| Decision::Floor { object: format!("{word}{name}"), from, to })
}

fn of_sale(inner: &Inner, name: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<Decision> {
    let phase = |object: Option<&Value>| object.and_then(|o| o["status"]["phase"].as_str()).unwrap_or_default().to_owned();
    let mut all = Vec::new();
    if phase(before) != phase(after) {
        let ready = after.map(|sale| ready(inner, sale)).unwrap_or_default();
        all.push(Decision::Entered { sale: name.to_owned(), phase: phase(after), ready });
    }
    all.extend(of_conditions(name, &["Feasible", "AtRisk", "Contested", "Stalled", "Ready"], before, after));
    all
}

/// Ready pods of a sale's workloads by pool, or by zone where no pool is there.
fn ready(inner: &Inner, sale: &Value) -> Vec<(String, BTreeMap<String, usize>)> {
    let zone = |pool: &Value| Some((pool["spec"]["zone"].as_str()?.to_owned(), key_of(pool).1));
    let pools: BTreeMap<String, String> = inner.store.list(&kinds::POOLS).filter_map(|p| zone(p)).collect();
    let namespace = key_of(sale).0;
    let of = |workload: &Value| {
        let name = workload["target"]["name"].as_str()?.to_owned();
        let mut counts = BTreeMap::<String, usize>::new();
        let mine = |p: &Value| key_of(p).0 == namespace && owner(Some(p)) == short(&namespace, &name);
        for pod in inner.store.list(&kinds::PODS).filter(|p| is_ready(p) && mine(p)) {
            let zone = pod["metadata"]["labels"][names::ZONE].as_str().unwrap_or_default();
            *counts.entry(pools.get(zone).map_or(zone, String::as_str).to_owned()).or_default() += 1;
        }
        Some((name, counts))
    };
    sale["spec"]["workloads"].as_array().into_iter().flatten().filter_map(of).collect()
}

fn of_conditions(object: &str, types: &[&str], before: Option<&Value>, after: Option<&Value>) -> Vec<Decision> {
    let of = |object: Option<&Value>, type_: &str| {
        let all = object.and_then(|o| o["status"]["conditions"].as_array());
        all.into_iter().flatten().find(|c| c["type"] == type_).cloned().unwrap_or_default()
    };
    let turned = |type_: &&str| {
        let (old, new) = (of(before, type_), of(after, type_));
        let (was, is) = (worries(&old), worries(&new));
        let text = |field: &str| new[field].as_str().unwrap_or_default().to_owned();
        let again = old["status"] == new["status"] && old["reason"] == new["reason"];
        let told = || Decision::Told {
            object: object.to_owned(),
            type_: text("type"),
            status: text("status"),
            reason: text("reason"),
            message: if is { text("message") } else { String::new() },
        };
        ((was || is) && !again && !new.is_null()).then(told)
    };
    types.iter().filter_map(turned).collect()
}

/// Somebody should hear of it: not what every night goes through.
fn worries(condition: &Value) -> bool {
    let alarm = matches!(condition["type"].as_str(), Some("AtRisk" | "Contested" | "Stalled"));
    let usual = ["Scheduled", "Preparing", "Returning", "Draining", "Launching"].map(Value::from);
    match condition["status"].as_str() {
        None => false,
        Some("Unknown") => true,
        Some(status) => {
            status != if alarm { "False" } else { "True" } && (condition["type"] != "Ready" || !usual.contains(&condition["reason"]))
        }
    }
}

/// Instances of a call by pool.
#[must_use]
pub fn given_back(inner: &Inner, instances: &[String], refused: Option<&str>) -> Vec<Decision> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for machine in instances.iter().filter_map(|id| inner.cloud.machines.get(id)) {
        *counts.entry(&machine.pool_name).or_default() += 1;
    }
    let one = |(pool, count): (&str, usize)| Decision::GiveBack { pool: pool.to_owned(), count, refused: refused.map(str::to_owned) };
    counts.into_iter().map(one).collect()
}

/// A kind that has floors, by its name.
#[must_use]
pub fn floor_kind(kind: &str) -> Option<Kind> {
    [&kinds::DEPLOYMENTS, &kinds::STATEFUL_SETS, &kinds::SCALERS, &kinds::SCALED_OBJECTS].into_iter().find(|k| k.kind == kind)
}
