//! HPAs and KEDA ScaledObjects in brief, and the field that holds a workload's floor.

use k8s_openapi::{api::autoscaling::v2::HorizontalPodAutoscaler, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use onsale_api::{
    onsale::TargetKind,
    placement::{FloorField, FloorKind},
};
use serde_json::Value;

use super::{managers, target::Target};

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

impl From<HorizontalPodAutoscaler> for ScalerRecord {
    fn from(object: HorizontalPodAutoscaler) -> Self {
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
}

impl ScalerRecord {
    /// Whether it scales this workload of its own namespace.
    #[must_use]
    pub fn scales(&self, kind: TargetKind, name: &str) -> bool {
        self.target.0 == format!("{kind:?}") && self.target.1 == name
    }
}

/// What is kept of a ScaledObject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaledObject {
    /// `minReplicaCount`.
    pub min: i32,
    /// `maxReplicaCount`.
    pub max: i32,
    /// Who wrote `minReplicaCount` last.
    pub manager: Option<String>,
}

/// KEDA's default for `minReplicaCount`.
pub const DEFAULT_MIN: i32 = 0;
/// KEDA's default for `maxReplicaCount`.
const DEFAULT_MAX: i32 = 100;

impl ScaledObject {
    /// From the object's metadata and the rest of it: KEDA's types are not ours.
    #[must_use]
    pub fn of(meta: &ObjectMeta, object: &Value) -> Self {
        Self {
            min: number(object, "minReplicaCount").unwrap_or(DEFAULT_MIN),
            max: number(object, "maxReplicaCount").unwrap_or(DEFAULT_MAX),
            manager: managers::of_spec(meta, "minReplicaCount"),
        }
    }
}

/// A whole number in the spec of a ScaledObject.
#[must_use]
pub fn number(object: &Value, field: &str) -> Option<i32> {
    object.get("spec").and_then(|s| s.get(field)).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok())
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
            tolerations: Vec::new(),
            own_deletion_cost: false,
        }
    }

    fn hpa(owner: serde_json::Value) -> ScalerRecord {
        let object = json!({"metadata": {"name": "h", "ownerReferences": owner},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "seat-map"}, "minReplicas": 4, "maxReplicas": 90}});
        serde_json::from_value::<HorizontalPodAutoscaler>(object).unwrap().into()
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
    fn scales_what_it_names_and_nothing_of_another_kind() {
        assert!(hpa(json!([])).scales(TargetKind::Deployment, "seat-map"));
        assert!(!hpa(json!([])).scales(TargetKind::StatefulSet, "seat-map"));
        assert!(!hpa(json!([])).scales(TargetKind::Deployment, "checkout"));
    }

    #[test]
    fn a_scaled_object_has_kedas_defaults() {
        let scaled = ScaledObject::of(&ObjectMeta::default(), &json!({"spec": {"maxReplicaCount": 7}}));
        assert_eq!((scaled.min, scaled.max, scaled.manager), (0, 7, None));
    }
}
