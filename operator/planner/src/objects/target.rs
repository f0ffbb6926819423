//! Deployments, StatefulSets and DaemonSets in brief: what one pod asks for, where it may go by its own word, and who wrote `spec.replicas`.

use jiff::SignedDuration;
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet as ClusterDaemonSet, Deployment, StatefulSet},
        core::v1::{NodeSelectorTerm, PodSpec, PodTemplateSpec},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use onsale_api::names;

use super::{managers, requests, scaler::Floor};
use crate::{
    resources::Resources,
    snapshot::{DaemonSet, Requirement, TargetState, Toleration},
};

/// What Kubernetes sets where `terminationGracePeriodSeconds` is not.
const DEFAULT_GRACE: i64 = 30;

/// What is kept of a scalable object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `spec.replicas`.
    pub replicas: i32,
    /// Who wrote it last.
    pub manager: Option<String>,
    /// Requests of one pod.
    pub requests: Resources,
    /// CPU or memory requests are missing.
    pub requests_missing: bool,
    /// `terminationGracePeriodSeconds`.
    pub grace: SignedDuration,
    /// `maxSkew` of its hard constraint over zones.
    pub zone_skew: Option<i32>,
    /// Required node labels.
    pub node_terms: Vec<Vec<Requirement>>,
    /// Tolerations of its pods.
    pub tolerations: Vec<Toleration>,
    /// The template brings its own pod-deletion-cost.
    pub own_deletion_cost: bool,
}

impl From<Deployment> for Target {
    fn from(object: Deployment) -> Self {
        let spec = object.spec.unwrap_or_default();
        target(&object.metadata, spec.replicas, &spec.template)
    }
}

impl From<StatefulSet> for Target {
    fn from(object: StatefulSet) -> Self {
        let spec = object.spec.unwrap_or_default();
        target(&object.metadata, spec.replicas, &spec.template)
    }
}

impl From<ClusterDaemonSet> for DaemonSet {
    fn from(object: ClusterDaemonSet) -> Self {
        let spec = object.spec.and_then(|spec| spec.template.spec).unwrap_or_default();
        Self { requests: requests::of(&spec), node_terms: node_terms(&spec), tolerations: tolerations(&spec) }
    }
}

impl Target {
    /// As the planner sees it, with the field that holds its floor.
    #[must_use]
    pub fn state(self, floor: Floor) -> TargetState {
        TargetState {
            requests: self.requests,
            requests_missing: self.requests_missing,
            replicas: self.replicas,
            field: floor.field,
            value: floor.value,
            manager: floor.manager,
            max: floor.max,
            grace: self.grace,
            zone_skew: self.zone_skew,
            node_terms: self.node_terms,
            tolerations: self.tolerations,
            own_deletion_cost: self.own_deletion_cost,
        }
    }
}

fn target(meta: &ObjectMeta, replicas: Option<i32>, template: &PodTemplateSpec) -> Target {
    let empty = PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&empty);
    let annotations = template.metadata.as_ref().and_then(|m| m.annotations.as_ref());
    Target {
        replicas: replicas.unwrap_or(1),
        manager: managers::of_spec(meta, "replicas"),
        requests: requests::of(spec),
        requests_missing: requests::missing(spec),
        grace: SignedDuration::from_secs(spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE)),
        zone_skew: zone_skew(spec),
        node_terms: node_terms(spec),
        tolerations: tolerations(spec),
        own_deletion_cost: annotations.is_some_and(|a| a.contains_key(names::POD_DELETION_COST)),
    }
}

fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let read = |t: &k8s_openapi::api::core::v1::Toleration| {
        let exists = t.operator.as_deref() == Some("Exists");
        Toleration {
            key: t.key.clone().filter(|key| !key.is_empty()),
            value: (!exists).then(|| t.value.clone().unwrap_or_default()),
            effect: t.effect.clone().filter(|effect| !effect.is_empty()),
        }
    };
    spec.tolerations.iter().flatten().map(read).collect()
}

fn zone_skew(spec: &PodSpec) -> Option<i32> {
    let hard = spec.topology_spread_constraints.iter().flatten().filter(|c| c.when_unsatisfiable == "DoNotSchedule");
    hard.filter(|c| c.topology_key == names::ZONE).map(|c| c.max_skew).min()
}

/// `nodeSelector` and required node affinity as terms of which one must hold; empty: any node.
fn node_terms(spec: &PodSpec) -> Vec<Vec<Requirement>> {
    let selector = spec.node_selector.iter().flatten();
    let always: Vec<Requirement> =
        selector.map(|(key, value)| Requirement { key: key.clone(), operator: "In".to_owned(), values: vec![value.clone()] }).collect();
    let required = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|n| n.required_during_scheduling_ignored_during_execution.as_ref());
    match required {
        Some(required) => required.node_selector_terms.iter().map(|term| [always.clone(), requirements(term)].concat()).collect(),
        None if always.is_empty() => Vec::new(),
        None => vec![always],
    }
}

fn requirements(term: &NodeSelectorTerm) -> Vec<Requirement> {
    let all = term.match_expressions.iter().flatten();
    all.map(|e| Requirement { key: e.key.clone(), operator: e.operator.clone(), values: e.values.clone().unwrap_or_default() }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn folds_a_deployment_with_its_own_constraints() {
        let object = json!({
            "metadata": {"name": "seat-map", "managedFields": [{"manager": "flux", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]},
            "spec": {"replicas": 7, "selector": {}, "template": {
                "metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "5"}},
                "spec": {
                    "containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}],
                    "terminationGracePeriodSeconds": 90,
                    "nodeSelector": {"arch": "amd64"},
                    "tolerations": [{"key": "dedicated", "value": "tickets"}, {"operator": "Exists", "effect": "NoExecute"}],
                    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]}}},
                    "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}],
                }}},
        });
        let t = Target::from(serde_json::from_value::<Deployment>(object).unwrap());
        assert_eq!((t.replicas, t.manager.as_deref(), t.requests.cpu, t.requests_missing), (7, Some("flux"), 1_000, false));
        assert_eq!((t.grace.as_secs(), t.zone_skew, t.own_deletion_cost), (90, Some(2), true));
        let tolerated = |key: &str, value: &str, effect: &str| {
            let taint = crate::snapshot::Taint { key: key.into(), value: value.into(), effect: effect.into() };
            t.tolerations.iter().any(|t| t.tolerates(&taint))
        };
        assert!(tolerated("dedicated", "tickets", "NoSchedule") && tolerated("maintenance", "", "NoExecute"));
        assert!(!tolerated("dedicated", "others", "NoSchedule") && !tolerated("maintenance", "", "NoSchedule"));
        let keys: Vec<&str> = t.node_terms[0].iter().map(|r| r.key.as_str()).collect();
        assert_eq!((t.node_terms.len(), keys), (1, vec!["arch", "disk"]));
    }
}
