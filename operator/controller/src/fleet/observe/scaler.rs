//! HPAs, as the planner reads them.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use onsale_api::onsale::TargetKind;
pub use onsale_planner::objects::scaler::{Floor, ScalerRecord, floor};

use super::store::{Entries, Record};
use crate::metrics::Kind;

impl Record for ScalerRecord {
    type Object = HorizontalPodAutoscaler;
    const KIND: Kind = Kind::HorizontalPodAutoscaler;
    fn fold(_: Option<&Self>, object: HorizontalPodAutoscaler) -> Self {
        object.into()
    }
    fn matters(&self, previous: &Self) -> bool {
        self != previous
    }
}

/// The HPA that scales a workload; the first by name where several claim to.
#[must_use]
pub fn of<'a>(all: &'a Entries<ScalerRecord>, namespace: &str, kind: TargetKind, name: &str) -> Option<(&'a str, &'a ScalerRecord)> {
    let first = (namespace.to_owned(), String::new());
    let here = all.range(first..).take_while(|((ns, _), _)| ns == namespace);
    here.map(|((_, hpa), entry)| (hpa.as_str(), &entry.record)).find(|(_, hpa)| hpa.scales(kind, name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::fleet::observe::store::Entry;

    #[test]
    fn finds_the_hpa_of_the_same_namespace_and_kind() {
        let hpa: HorizontalPodAutoscaler = serde_json::from_value(json!({"metadata": {"name": "h"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "seat-map"}, "minReplicas": 4, "maxReplicas": 90}}))
        .unwrap();
        let entry = |r| Box::new(Entry { uid: String::new(), version: String::new(), record: r });
        let all = BTreeMap::from([(("shop".to_owned(), "h".to_owned()), entry(ScalerRecord::from(hpa)))]);
        assert!(of(&all, "shop", TargetKind::Deployment, "seat-map").is_some());
        assert!(of(&all, "shop", TargetKind::StatefulSet, "seat-map").is_none());
        assert!(of(&all, "other", TargetKind::Deployment, "seat-map").is_none());
    }
}
