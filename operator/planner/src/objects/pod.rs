//! Pods in brief: 20,000 of them must stay small.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use onsale_api::{names, onsale::TargetKind};

use super::{alike::Alike, requests};
use crate::{resources::Resources, snapshot};

/// Marks the API's copy of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Longest hash that a Deployment puts behind its ReplicaSets' names.
const LONGEST_HASH: usize = 10;

/// What is kept of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRecord {
    /// What it has in common with its siblings.
    pub kin: Arc<Kin>,
    /// Node that it is bound to.
    pub node: Option<Arc<str>>,
    /// Succeeded or Failed: it holds nothing any more.
    pub finished: bool,
    /// Condition `Ready` is true.
    pub ready: bool,
    /// Revision of the placement that stamped it.
    pub revision: Option<i64>,
    /// When it was created.
    pub created_at: Timestamp,
    /// It is being deleted.
    pub terminating: bool,
    /// A copy of a static pod: the kubelet's own, it cannot be evicted.
    pub mirror: bool,
}

/// What the pods of one controller have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kin {
    /// Kind and name of the controller.
    pub owner: Option<(String, String)>,
    /// What one pod asks for.
    pub requests: Resources,
}

/// What many pods say alike.
#[derive(Debug, Default)]
pub struct Common {
    kin: Alike<Kin>,
    nodes: Alike<str>,
}

impl From<Pod> for PodRecord {
    fn from(object: Pod) -> Self {
        let (meta, spec, status) = (object.metadata, object.spec.unwrap_or_default(), object.status.unwrap_or_default());
        let owner = meta.owner_references.unwrap_or_default().into_iter().find(|o| o.controller == Some(true));
        let conditions = status.conditions.unwrap_or_default();
        Self {
            kin: Arc::new(Kin { owner: owner.map(|o| (o.kind, o.name)), requests: requests::of(&spec) }),
            node: spec.node_name.filter(|n| !n.is_empty()).map(Arc::from),
            finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            ready: conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
            revision: meta.labels.as_ref().and_then(|l| l.get(names::PLACEMENT)).and_then(|stamp| revision(stamp)),
            created_at: meta.creation_timestamp.map(|t| t.0).unwrap_or_default(),
            terminating: meta.deletion_timestamp.is_some(),
            mirror: meta.annotations.is_some_and(|a| a.contains_key(MIRROR)),
        }
    }
}

/// The revision in a stamp `<placement>.<revision>`. Names of workloads may hold dots, so it is what follows the last one.
#[must_use]
pub fn revision(stamp: &str) -> Option<i64> {
    stamp.rsplit_once('.').and_then(|(_, revision)| revision.parse().ok())
}

impl PodRecord {
    /// Keeps once what others say alike.
    pub fn share(&mut self, common: &mut Common) {
        common.kin.share(&mut self.kin);
        if let Some(node) = &mut self.node {
            common.nodes.share(node);
        }
    }

    /// The workload that it belongs to, as far as its owner's name tells: whether such a workload exists is for the caller to know.
    #[must_use]
    pub fn workload(&self) -> Option<(TargetKind, &str)> {
        let (kind, name) = self.kin.owner.as_ref()?;
        match kind.as_str() {
            "ReplicaSet" => {
                let (deployment, hash) = name.rsplit_once('-')?;
                let fits = (1..=LONGEST_HASH).contains(&hash.len()) && hash.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
                fits.then_some((TargetKind::Deployment, deployment))
            }
            "StatefulSet" => Some((TargetKind::StatefulSet, name)),
            _ => None,
        }
    }

    /// A drain must evict it: not those of DaemonSets, which come back, nor static ones, nor finished ones.
    #[must_use]
    pub fn is_evictable(&self) -> bool {
        !self.finished && !self.mirror && self.kin.owner.as_ref().is_none_or(|(kind, _)| kind != "DaemonSet")
    }

    /// As the planner sees a pod of a workload.
    #[must_use]
    pub fn brief(&self, name: &str, uid: &str) -> snapshot::Pod {
        snapshot::Pod {
            name: name.to_owned(),
            uid: uid.to_owned(),
            node: self.node.as_deref().map(str::to_owned),
            ready: self.ready && !self.terminating,
            revision: self.revision,
            created_at: self.created_at,
            terminating: self.terminating,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(owner: &str, name: &str, extra: &Value) -> PodRecord {
        let mut object = json!({
            "metadata": {"name": "p", "ownerReferences": [{"apiVersion": "apps/v1", "kind": owner, "name": name, "uid": "u", "controller": true}],
                "labels": {"onsale.dev/placement": "deployment-seat-map.4"}, "creationTimestamp": "2026-12-05T09:00:00Z"},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        for (key, value) in extra.as_object().into_iter().flatten() {
            object[key].as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        }
        serde_json::from_value::<Pod>(object).unwrap().into()
    }

    #[test]
    fn belongs_to_the_deployment_whose_name_its_replica_set_starts_with() {
        assert_eq!(pod("ReplicaSet", "seat-map-7c9d5b6f8", &Value::Null).workload(), Some((TargetKind::Deployment, "seat-map")));
        assert_eq!(pod("ReplicaSet", "seat-map-UPPER", &Value::Null).workload(), None);
        assert_eq!(pod("ReplicaSet", "seatmap", &Value::Null).workload(), None);
        assert_eq!(pod("ReplicaSet", "seat-abcdefghijk", &Value::Null).workload(), None);
        assert_eq!(pod("StatefulSet", "queue", &Value::Null).workload(), Some((TargetKind::StatefulSet, "queue")));
        assert_eq!(pod("Job", "x-1", &Value::Null).workload(), None);
    }

    #[test]
    fn folds_binding_readiness_stamp_and_requests() {
        let brief = pod("ReplicaSet", "seat-map-1", &Value::Null);
        assert_eq!((brief.node.as_deref(), brief.ready, brief.revision, brief.kin.requests.cpu), (Some("n1"), true, Some(4), 500));
        let leaving = pod("ReplicaSet", "seat-map-1", &json!({"metadata": {"deletionTimestamp": "2026-12-05T09:01:00Z"}}));
        assert!(leaving.terminating && !leaving.brief("p", "u").ready);
    }

    #[test]
    fn siblings_share_what_they_have_in_common() {
        let mut common = Common::default();
        let mut share = |owner: &str, extra: &Value| {
            let mut record = pod("ReplicaSet", owner, extra);
            record.share(&mut common);
            record
        };
        let (one, other, third) =
            (share("a-1", &Value::Null), share("a-1", &Value::Null), share("b-1", &json!({"spec": {"nodeName": "n2"}})));
        assert!(Arc::ptr_eq(&one.kin, &other.kin) && one == other && third.kin != one.kin);
        assert!(one.node.zip(other.node).is_some_and(|(a, b)| Arc::ptr_eq(&a, &b)) && third.node.as_deref() == Some("n2"));
    }

    #[test]
    fn a_drain_leaves_daemon_sets_static_and_finished_pods_alone() {
        assert!(pod("ReplicaSet", "seat-map-1", &Value::Null).is_evictable());
        assert!(!pod("DaemonSet", "log", &Value::Null).is_evictable());
        assert!(!pod("Node", "n1", &json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}})).is_evictable());
        assert!(!pod("Job", "j", &json!({"status": {"phase": "Succeeded"}})).is_evictable());
    }

    #[test]
    fn the_revision_follows_the_last_dot() {
        assert_eq!(revision("deployment-seat.map.17"), Some(17));
        assert_eq!(revision("deployment-seat-map"), None);
        assert_eq!(revision("x.y"), None);
    }
}
