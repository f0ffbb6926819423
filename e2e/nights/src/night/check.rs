//! Whether a night ended clean: what it left behind, what it told, and what it promised.

use std::sync::Arc;

use jiff::Timestamp;
use onsale_api::names;
use serde_json::Value;

use super::build::NAMESPACE;
use crate::{
    api::{
        evict::is_ready,
        kinds::{self, Kind},
        managed,
        store::key_of,
    },
    rules::is_protected,
    sim::Inner,
};

/// A field that a test expects to differ from its value at the beginning: kind, name, value.
pub type Changed<'a> = (Kind, &'a str, i64);

/// The field that holds a floor, by kind.
const FIELDS: [(Kind, &[&str]); 4] = [
    (&kinds::DEPLOYMENTS, &["spec", "replicas"]),
    (&kinds::STATEFUL_SETS, &["spec", "replicas"]),
    (&kinds::SCALERS, &["spec", "minReplicas"]),
    (&kinds::SCALED_OBJECTS, &["spec", "minReplicaCount"]),
];

impl Inner {
    /// A sale's status.
    #[must_use]
    pub fn sale(&self, name: &str) -> Value {
        self.store.get(&kinds::SALES, NAMESPACE, name).map(|s| s["status"].clone()).unwrap_or_default()
    }

    /// A sale's phase; empty when it is gone.
    #[must_use]
    pub fn phase(&self, name: &str) -> String {
        let sale = self.store.get(&kinds::SALES, NAMESPACE, name);
        sale.and_then(|s| s["status"]["phase"].as_str()).unwrap_or_default().to_owned()
    }

    /// A condition of an object: its status and reason.
    #[must_use]
    pub fn condition(&self, kind: Kind, namespace: &str, name: &str, type_: &str) -> Option<(String, String)> {
        let object = self.store.get(kind, namespace, name)?;
        let all = object["status"]["conditions"].as_array()?;
        let one = all.iter().find(|c| c["type"] == type_)?;
        Some((one["status"].as_str()?.to_owned(), one["reason"].as_str()?.to_owned()))
    }

    /// `spec.replicas` of a Deployment; none when it is not there.
    #[must_use]
    pub fn replicas(&self, deployment: &str) -> Option<i64> {
        self.store.get(&kinds::DEPLOYMENTS, NAMESPACE, deployment)?["spec"]["replicas"].as_i64()
    }

    /// Ready pods of a Deployment.
    #[must_use]
    pub fn ready(&self, deployment: &str) -> usize {
        let prefix = format!("{deployment}-");
        self.store.list(&kinds::PODS).filter(|p| is_ready(p) && key_of(p).1.starts_with(&prefix)).count()
    }

    /// Pods of a Deployment by zone, as one line: `dc=8 zone-lz=12`.
    #[must_use]
    pub fn spread(&self, deployment: &str) -> String {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        let prefix = format!("{deployment}-");
        for pod in self.store.list(&kinds::PODS).filter(|p| key_of(p).1.starts_with(&prefix)) {
            *counts.entry(pod["metadata"]["labels"][names::ZONE].as_str().unwrap_or("unbound").to_owned()).or_default() += 1;
        }
        counts.into_iter().map(|(zone, n)| format!("{zone}={n}")).collect::<Vec<_>>().join(" ")
    }

    /// When a Deployment first had this many Ready pods.
    #[must_use]
    pub fn reached(&self, deployment: &str, ready: usize) -> Option<Timestamp> {
        let series = self.world.ready.get(&(NAMESPACE.to_owned(), deployment.to_owned()))?;
        series.iter().find(|(_, n)| *n >= ready).map(|(at, _)| *at)
    }

    /// The fewest Ready pods of a Deployment between two instants.
    #[must_use]
    pub fn fewest(&self, deployment: &str, from: Timestamp, to: Timestamp) -> usize {
        let series = self.world.ready.get(&(NAMESPACE.to_owned(), deployment.to_owned()));
        let before = series.into_iter().flatten().rfind(|(at, _)| *at <= from).map(|(_, n)| *n);
        let during = series.into_iter().flatten().filter(|(at, _)| *at > from && *at <= to).map(|(_, n)| *n);
        before.into_iter().chain(during).min().unwrap_or_default()
    }

    /// Everything that is not as it should be after all sales are over; fields are as at the beginning, but for `changed`.
    #[must_use]
    pub fn faults(&self, changed: &[Changed<'_>]) -> Vec<String> {
        let mut faults: Vec<String> = self.broken.iter().map(|b| format!("rule broken: {b}")).collect();
        let alive: Vec<&String> = self.cloud.machines.iter().filter(|(_, m)| m.is_alive()).map(|(id, _)| id).collect();
        if !alive.is_empty() {
            faults.push(format!("instances are left: {alive:?}"));
        }
        let burst = |n: &&Arc<Value>| n["spec"]["providerID"].as_str().is_some_and(|p| p.starts_with("aws:"));
        faults.extend(self.store.list(&kinds::NODES).filter(burst).map(|n| format!("burst node {} is left", key_of(n).1)));
        faults.extend(self.store.list(&kinds::PLACEMENTS).map(|p| format!("WorkloadPlacement {} is left", key_of(p).1)));
        let overlay = |t: &&Arc<Value>| t["metadata"]["labels"].get(names::PLACEMENT).is_some();
        faults.extend(self.store.list(&kinds::POD_TEMPLATES).filter(overlay).map(|t| format!("overlay {} is left", key_of(t).1)));
        for kind in [&kinds::SALES, &kinds::POOLS] {
            faults.extend(
                self.store.list(kind).filter(|o| is_protected(o)).map(|o| format!("{} {} keeps its finalizer", kind.kind, key_of(o).1)),
            );
        }
        self.fields(changed, &mut faults);
        self.pods(&mut faults);
        self.told(&mut faults);
        faults
    }

    fn fields(&self, changed: &[Changed<'_>], faults: &mut Vec<String>) {
        let scaled: Vec<&Value> = self.store.list(&kinds::SCALERS).map(|h| &h["spec"]["scaleTargetRef"]["name"]).collect();
        for (kind, path) in FIELDS {
            for origin in self.origin.list(kind) {
                let (namespace, name) = key_of(origin);
                let Some(now) = self.store.get(kind, &namespace, &name) else { continue };
                if path[1] == "replicas" && scaled.contains(&&origin["metadata"]["name"]) {
                    continue;
                }
                let (expected, actual) = (&origin[path[0]][path[1]], &now[path[0]][path[1]]);
                let override_ = changed.iter().find(|(k, n, _)| *k == kind && *n == name);
                if override_.map_or(expected != actual, |(.., value)| actual.as_i64() != Some(*value)) {
                    faults.push(format!("{} {name}: {} is {actual}, was {expected}", kind.kind, path[1]));
                }
                let (before, after) = (managed::owners(origin, path), managed::owners(now, path));
                if override_.is_none() && before != after {
                    faults.push(format!("{} {name}: {} belongs to {after:?}, not to {before:?}", kind.kind, path[1]));
                }
            }
        }
    }

    /// Every pod runs, where it ran before.
    fn pods(&self, faults: &mut Vec<String>) {
        let homeless = self.store.list(&kinds::PODS).filter(|p| !is_ready(p)).count();
        if homeless > 0 {
            faults.push(format!("{homeless} pods are not Ready"));
        }
    }

    /// No condition contradicts the world.
    fn told(&self, faults: &mut Vec<String>) {
        for kind in [&kinds::SALES, &kinds::POOLS] {
            for object in self.store.list(kind) {
                let name = format!("{} {}", kind.kind, key_of(object).1);
                let status = &object["status"];
                if status["observedGeneration"] != object["metadata"]["generation"] {
                    faults.push(format!(
                        "{name}: observedGeneration is {}, generation {}",
                        status["observedGeneration"], object["metadata"]["generation"]
                    ));
                }
                for condition in status["conditions"].as_array().into_iter().flatten() {
                    let alarm = matches!(condition["type"].as_str(), Some("AtRisk" | "Contested" | "Reconciling" | "Stalled"));
                    if condition["status"] != if alarm { "False" } else { "True" } {
                        let text = |field: &str| condition[field].as_str().unwrap_or_default();
                        faults.push(format!("{name}: {}={} ({}: {})", text("type"), text("status"), text("reason"), text("message")));
                    }
                }
            }
        }
        for pool in self.store.list(&kinds::POOLS).filter(|p| p["spec"]["nodes"]["ec2"].is_object()) {
            let status = &pool["status"];
            for field in ["planned", "launching", "ready", "draining"] {
                if status["nodes"][field].as_i64() != Some(0) {
                    faults.push(format!("CapacityPool {}: {field} is {}", key_of(pool).1, status["nodes"][field]));
                }
            }
            for list in ["launches", "shortfalls"] {
                if status[list].as_array().is_some_and(|l| !l.is_empty()) {
                    faults.push(format!("CapacityPool {}: {list} are left", key_of(pool).1));
                }
            }
        }
    }

    /// The sale of [`tour`](super::build::tour) was Ready at ready-by, and is over.
    ///
    /// # Panics
    /// When it was not, with the night's journal.
    pub fn assert_on_time(&self) {
        let reached = self.reached("seat-map", 70);
        assert!(reached.is_some_and(|t| t <= super::at("2026-12-05T16:50:00Z")), "{reached:?}\n{}", self.journal.text());
        assert_eq!(self.phase("tour"), "Completed", "{}", self.journal.text());
    }

    /// # Panics
    /// When the night did not end clean, with its journal.
    pub fn assert_clean(&self, changed: &[Changed<'_>]) {
        let faults = self.faults(changed);
        assert!(faults.is_empty(), "not clean:\n  {}\n{}", faults.join("\n  "), self.journal.text());
    }
}
