//! HPAs in brief, and the field that holds a workload's floor.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use onsale_api::{
    onsale::TargetKind,
    placement::{FloorField, FloorKind},
};

use super::{
    managers,
    scaled_object::ScaledObject,
    store::{Entry, Key, Record},
    target::Target,
};
use crate::metrics::Kind;

/// What is kept of an HPA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalerRecord {
    /// Kind and name of what it scales.
    pub target: (String, String),
    /// `minReplicas`.
    pub min: i32,
    /// `maxReplicas`.
    pub max: i32,
    /// Who wrote `minReplicas` last.
    pub manager: Option<String>,
    /// The ScaledObject that owns it.
    pub scaled_object: Option<String>,
}

impl Record for ScalerRecord {
    type Object = HorizontalPodAutoscaler;
    const KIND: Kind = Kind::HorizontalPodAutoscaler;
    fn fold(_: Option<&Self>, object: HorizontalPodAutoscaler) -> Self {
        let manager = managers::of_spec(&object.metadata, "minReplicas");
        let spec = object.spec;
        let owners = object.metadata.owner_references.unwrap_or_default();
        let owner = owners.into_iter().find(|o| o.kind == "ScaledObject" && o.api_version.starts_with("keda.sh/"));
        Self {
            target: (spec.scale_target_ref.kind, spec.scale_target_ref.name),
            min: spec.min_replicas.unwrap_or(1),
            max: spec.max_replicas,
            manager,
            scaled_object: owner.map(|o| o.name),
        }
    }
    fn matters(&self, previous: &Self) -> bool {
        self != previous
    }
}

/// The HPA that scales a workload; the first by name where several claim to.
#[must_use]
pub fn of<'a>(
    all: &'a BTreeMap<Key, Entry<ScalerRecord>>,
    namespace: &str,
    kind: TargetKind,
    name: &str,
) -> Option<(&'a str, &'a ScalerRecord)> {
    let kind = format!("{kind:?}");
    let first = (namespace.to_owned(), String::new());
    let here = all.range(first..).take_while(|((ns, _), _)| ns == namespace);
    here.map(|((_, hpa), entry)| (hpa.as_str(), &entry.record)).find(|(_, hpa)| hpa.target.0 == kind && hpa.target.1 == name)
}

/// The field that holds a floor, with its value now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Which field.
    pub field: FloorField,
    /// Its value.
    pub value: i32,
    /// Who wrote it last.
    pub manager: Option<String>,
    /// The most that the scaler allows.
    pub max: Option<i32>,
}

/// Where a workload's floor is: in the ScaledObject that owns its HPA, in the HPA, or in its own `replicas`. `None` when a ScaledObject is
/// there and could not be read: unknown.
#[must_use]
pub fn floor(name: &str, target: &Target, hpa: Option<(&str, &ScalerRecord)>, scaled: Option<&ScaledObject>) -> Option<Floor> {
    let field = |kind, name: &str| FloorField { kind, name: name.to_owned() };
    let Some((hpa_name, hpa)) = hpa else {
        let manager = target.manager.clone();
        return Some(Floor { field: field(FloorKind::Replicas, name), value: target.replicas, manager, max: None });
    };
    let Some(owner) = &hpa.scaled_object else {
        let manager = hpa.manager.clone();
        return Some(Floor { field: field(FloorKind::HpaMinReplicas, hpa_name), value: hpa.min, manager, max: Some(hpa.max) });
    };
    let scaled = scaled?;
    Some(Floor {
        field: field(FloorKind::ScaledObjectMinReplicaCount, owner),
        value: scaled.min,
        manager: scaled.manager.clone(),
        max: Some(scaled.max),
    })
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;

    fn target() -> Target {
        Target {
            replicas: 7,
            manager: Some("kubectl".into()),
            requests: Default::default(),
            requests_missing: false,
            grace: SignedDuration::ZERO,
            zone_skew: None,
            node_terms: Vec::new(),
            own_deletion_cost: false,
        }
    }

    fn hpa(owner: serde_json::Value) -> ScalerRecord {
        let object = json!({"metadata": {"name": "h", "ownerReferences": owner},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "seat-map"}, "minReplicas": 4, "maxReplicas": 90}});
        ScalerRecord::fold(None, serde_json::from_value(object).unwrap())
    }

    #[test]
    fn without_an_hpa_the_floor_is_the_workloads_own_replicas() {
        let floor = floor("seat-map", &target(), None, None).unwrap();
        assert_eq!((floor.field.kind, floor.field.name.as_str(), floor.value, floor.max), (FloorKind::Replicas, "seat-map", 7, None));
        assert_eq!(floor.manager.as_deref(), Some("kubectl"));
    }

    #[test]
    fn an_hpa_holds_the_floor_in_min_replicas() {
        let floor = floor("seat-map", &target(), Some(("h", &hpa(json!([])))), None).unwrap();
        assert_eq!((floor.field.kind, floor.field.name.as_str(), floor.value, floor.max), (FloorKind::HpaMinReplicas, "h", 4, Some(90)));
    }

    #[test]
    fn a_scaled_object_that_owns_the_hpa_holds_it_and_is_unknown_until_read() {
        let owned = hpa(json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "so", "uid": "u"}]));
        assert_eq!(floor("seat-map", &target(), Some(("h", &owned)), None), None);
        let scaled = ScaledObject { min: 2, max: 50, manager: None };
        let floor = floor("seat-map", &target(), Some(("h", &owned)), Some(&scaled)).unwrap();
        assert_eq!((floor.field.kind, floor.value, floor.max), (FloorKind::ScaledObjectMinReplicaCount, 2, Some(50)));
    }

    #[test]
    fn finds_the_hpa_of_the_same_namespace_and_kind() {
        let entry = |r| Entry { uid: String::new(), version: String::new(), record: r };
        let all = BTreeMap::from([(("shop".to_owned(), "h".to_owned()), entry(hpa(json!([]))))]);
        assert!(of(&all, "shop", TargetKind::Deployment, "seat-map").is_some());
        assert!(of(&all, "shop", TargetKind::StatefulSet, "seat-map").is_none());
        assert!(of(&all, "other", TargetKind::Deployment, "seat-map").is_none());
    }
}
