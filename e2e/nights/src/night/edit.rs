//! What people and their tools do in the middle of a night, and how it must end then.

use std::time::Duration;

use onsale_api::names;
use serde_json::{Value, json};

use super::{
    build::{NAMESPACE, OWNER, delete, put, scale},
    check::Changed,
};
use crate::{
    api::{
        kinds::{self, Kind},
        store::key_of,
    },
    sim::Inner,
};

/// Something that somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// `kubectl scale` to 1.
    Lower,
    /// `kubectl scale` to two more than there are.
    Raise,
    /// `kubectl replace --force`: the Deployment and its pods go, and it comes anew as it is in Git.
    Recreate,
    /// A GitOps tool applies a lower `minReplicas` to the HPA.
    LowerScaler,
    /// The HPA is pruned and applied anew.
    RecreateScaler,
    /// Somebody deletes the overlays, which they do not know.
    DropOverlays,
    /// Somebody deletes the WorkloadPlacements, which they do not know.
    DropRecords,
    /// The platform team lowers the pool's limit to what is used, and measures 40 ms.
    Pool,
    /// A tool takes label and taint from a burst node that it does not know.
    Unmark,
    /// The sale is held for half a minute longer.
    Extend,
}

/// How it must end after an edit.
pub struct Expected {
    /// Fields that end otherwise than they began; any of these.
    pub any_of: Vec<Vec<Changed<'static>>>,
    /// Whoever has less time left than this before ready-by cannot make up for it.
    pub takes: Duration,
}

impl Edit {
    /// Those that are made in the plain night.
    pub const PLAIN: [Self; 8] =
        [Self::Lower, Self::Raise, Self::Recreate, Self::DropOverlays, Self::DropRecords, Self::Pool, Self::Unmark, Self::Extend];
    /// Those that need the HPA of the rough one.
    pub const ROUGH: [Self; 2] = [Self::LowerScaler, Self::RecreateScaler];

    /// As the table calls it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Lower => "somebody scales the workload down",
            Self::Raise => "somebody scales the workload up",
            Self::Recreate => "the workload is deleted and made anew",
            Self::LowerScaler => "a tool lowers the HPA's minReplicas",
            Self::RecreateScaler => "the HPA is deleted and made anew",
            Self::DropOverlays => "somebody deletes the overlay",
            Self::DropRecords => "somebody deletes the WorkloadPlacement",
            Self::Pool => "the pool's limit and latency are edited",
            Self::Unmark => "a node loses its label and taint",
            Self::Extend => "the sale is extended",
        }
    }

    /// Makes it. `None`: there is nothing to do it to.
    pub fn make(self, inner: &mut Inner) -> Option<Expected> {
        let recorded = inner.store.list(&kinds::PLACEMENTS).next().is_some();
        let (as_before, field) = (vec![Vec::new()], |kind: Kind, value: i64| vec![vec![(kind, "seat-map", value)]]);
        let (any_of, seconds) = match self {
            Self::Lower => {
                scale(inner, "seat-map", 1, "kubectl-scale");
                (field(&kinds::DEPLOYMENTS, 1), 25)
            }
            Self::Raise => {
                let more = inner.replicas("seat-map").unwrap_or_default() + 2;
                scale(inner, "seat-map", more, "kubectl-scale");
                // Before it was recorded, and once it is back, it is what the workload has when no sale is on.
                let own = if recorded && !["Returning", "Completed"].contains(&inner.phase("tour").as_str()) {
                    Vec::new()
                } else {
                    field(&kinds::DEPLOYMENTS, more)
                };
                (own.into_iter().chain(recorded.then_some(as_before).into_iter().flatten()).collect(), 0)
            }
            Self::Recreate => {
                recreate(inner, &kinds::DEPLOYMENTS);
                (as_before, 30)
            }
            Self::LowerScaler => {
                apply(inner, &kinds::SCALERS, "seat-map", &json!({"minReplicas": 1}), "argocd-controller");
                (field(&kinds::SCALERS, 1), 45)
            }
            Self::RecreateScaler => {
                recreate(inner, &kinds::SCALERS);
                (as_before, 45)
            }
            Self::DropOverlays => (delete_all(inner, &kinds::POD_TEMPLATES).then_some(as_before)?, 15),
            Self::DropRecords => (delete_all(inner, &kinds::PLACEMENTS).then_some(as_before)?, 15),
            Self::Pool => {
                apply(inner, &kinds::POOLS, "lz", &json!({"limits": {"maxNodes": 2}, "latency": [{"site": "dc", "rtt": "40ms"}]}), OWNER);
                (as_before, 0)
            }
            Self::Unmark => (unmark(inner).then_some(as_before)?, 15),
            Self::Extend => {
                apply(inner, &kinds::SALES, "tour", &json!({"duration": "90s"}), OWNER);
                (as_before, 0)
            }
        };
        Some(Expected { any_of, takes: Duration::from_secs(seconds) })
    }
}

/// Writes a part of the spec.
fn apply(inner: &mut Inner, kind: Kind, name: &str, spec: &Value, manager: &str) {
    let mut metadata = json!({"name": name});
    if kind.namespaced {
        metadata["namespace"] = json!(NAMESPACE);
    }
    put(inner, &json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata, "spec": spec}), manager);
}

fn delete_all(inner: &mut Inner, kind: Kind) -> bool {
    let names: Vec<String> = inner.store.list(kind).map(|o| key_of(o).1).collect();
    names.iter().for_each(|name| delete(inner, kind, name));
    !names.is_empty()
}

/// The object as it began, in place of the one that is there; what it owns goes too.
fn recreate(inner: &mut Inner, kind: Kind) {
    let Some(origin) = inner.origin.get(kind, NAMESPACE, "seat-map").cloned() else { return };
    delete(inner, kind, "seat-map");
    if kind == &kinds::DEPLOYMENTS {
        let owned = |kind: Kind, inner: &Inner| -> Vec<String> {
            inner.store.list(kind).map(|o| key_of(o).1).filter(|name| name.starts_with("seat-map-")).collect()
        };
        for kind in [&kinds::REPLICA_SETS, &kinds::PODS] {
            owned(kind, inner).iter().for_each(|name| delete(inner, kind, name));
        }
    }
    apply(inner, kind, "seat-map", &origin["spec"], OWNER);
}

fn unmark(inner: &mut Inner) -> bool {
    let burst = |n: &Value| n["spec"]["providerID"].is_string();
    let Some(name) = inner.store.list(&kinds::NODES).find(|n| burst(n)).map(|n| key_of(n).1) else { return false };
    inner.store.update(&kinds::NODES, "", &name, |node| {
        node["spec"]["taints"] = json!([]);
        if let Some(labels) = node["metadata"]["labels"].as_object_mut() {
            labels.remove(names::POOL);
        }
    });
    true
}
