//! The overlay PodTemplate of a workload: what the admission policies do to its new pods, ready-made. A kind of ours, written by apply.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Affinity, Container, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, PodTemplate, PodTemplateSpec,
        PreferredSchedulingTerm, Toleration, TopologySpreadConstraint,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use onsale_api::names;
use onsale_planner::{
    overlay::Overlay,
    snapshot::{Requirement, WorkloadId},
};

use super::{Done, Job, Stop, done_if_gone};

/// So large that the constraint never binds: it is there only because a pod with any constraint is spared the scheduler's default spreading.
const NEVER_BINDING: i32 = 1_000_000;

fn api(job: &Job<'_>, id: &WorkloadId) -> Api<PodTemplate> {
    Api::namespaced(job.context.client.clone(), &id.namespace)
}

/// Applies it. Refused before it is sent when a list is empty that the policies read without asking.
pub async fn write(job: &Job<'_>, id: &WorkloadId, overlay: &Overlay) -> Result<Done, Stop> {
    let lacks = [("required terms", overlay.required.is_empty()), ("preferred terms", overlay.preferred.is_empty())];
    let empty_term = overlay.required.iter().chain(overlay.preferred.iter().map(|(_, t)| t)).any(|term| term.is_empty());
    let lack = lacks.iter().find(|(_, lacks)| *lacks).map(|(what, _)| *what).or(empty_term.then_some("requirements in a term"));
    if let Some(what) = lack {
        return Err(Stop::Impossible(format!("the overlay of {id} has no {what}: this is a fault of the operator, report it")));
    }
    let (name, object) = (id.placement_name(), render(id, overlay));
    let what = format!("apply PodTemplate {}/{name}", id.namespace);
    let params = PatchParams::apply(names::MANAGER).force();
    let written = job.context.call(what, api(job, id).patch(&name, &params, &Patch::Apply(&object))).await?;
    job.world.overlays.written(written);
    Ok(Done::Yes)
}

/// Deletes it.
pub async fn remove(job: &Job<'_>, id: &WorkloadId) -> Result<Done, Stop> {
    let name = id.placement_name();
    let what = format!("delete PodTemplate {}/{name}", id.namespace);
    done_if_gone(job.context.call(what, api(job, id).delete(&name, &DeleteParams::default())).await)
}

/// The PodTemplate.
#[must_use]
pub fn render(id: &WorkloadId, overlay: &Overlay) -> PodTemplate {
    let costs: Vec<String> = overlay.zone_costs.iter().map(|(zone, cost)| format!("{zone}={cost}")).collect();
    let annotations = [
        (names::OWNER_KIND, overlay.owner_kind.to_owned()),
        (names::OWNER_PATTERN, overlay.owner_pattern.clone()),
        (names::POD_PATTERN, overlay.pod_pattern.clone()),
        (names::ZONE_COSTS, costs.join(",")),
    ];
    PodTemplate {
        metadata: ObjectMeta {
            name: Some(id.placement_name()),
            namespace: Some(id.namespace.clone()),
            labels: Some(one(names::PLACEMENT, "")),
            annotations: Some(annotations.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            ..ObjectMeta::default()
        },
        template: Some(PodTemplateSpec {
            metadata: Some(ObjectMeta { labels: Some(one(names::PLACEMENT, &overlay.stamp)), ..ObjectMeta::default() }),
            spec: Some(spec(overlay)),
        }),
    }
}

fn one(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

fn spec(overlay: &Overlay) -> PodSpec {
    // Where no rented pool is permitted, the taint of a pool without a name is tolerated, which no node has: the policies need one entry.
    let pools = if overlay.tolerated.is_empty() { &[String::new()] } else { overlay.tolerated.as_slice() };
    let tolerations = pools.iter().map(|pool| Toleration {
        key: Some(names::POOL.to_owned()),
        operator: Some("Equal".to_owned()),
        value: Some(pool.clone()),
        effect: Some("NoSchedule".to_owned()),
        ..Toleration::default()
    });
    let node_affinity = NodeAffinity {
        required_during_scheduling_ignored_during_execution: Some(NodeSelector {
            node_selector_terms: overlay.required.iter().map(|t| term(t)).collect(),
        }),
        preferred_during_scheduling_ignored_during_execution: Some(
            overlay.preferred.iter().map(|(weight, t)| PreferredSchedulingTerm { weight: *weight, preference: term(t) }).collect(),
        ),
    };
    PodSpec {
        tolerations: Some(tolerations.collect()),
        affinity: Some(Affinity { node_affinity: Some(node_affinity), ..Affinity::default() }),
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            max_skew: NEVER_BINDING,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "DoNotSchedule".to_owned(),
            label_selector: Some(LabelSelector { match_labels: Some(one(names::PLACEMENT, &overlay.stamp)), ..LabelSelector::default() }),
            ..TopologySpreadConstraint::default()
        }]),
        containers: vec![Container {
            name: "never-run".to_owned(),
            image: Some("registry.invalid/never-run".to_owned()),
            ..Container::default()
        }],
        ..PodSpec::default()
    }
}

fn term(requirements: &[Requirement]) -> NodeSelectorTerm {
    let all = requirements.iter().map(|r| NodeSelectorRequirement {
        key: r.key.clone(),
        operator: r.operator.clone(),
        values: (!r.values.is_empty()).then(|| r.values.clone()),
    });
    NodeSelectorTerm { match_expressions: Some(all.collect()), match_fields: None }
}

#[cfg(test)]
mod tests {
    use onsale_api::onsale::TargetKind;

    use super::*;

    fn is_in(key: &str, value: &str) -> Requirement {
        Requirement { key: key.into(), operator: "In".into(), values: vec![value.into()] }
    }

    #[test]
    fn renders_what_the_policies_read() {
        let id = WorkloadId { namespace: "ticketing".into(), kind: TargetKind::Deployment, name: "seat-map".into() };
        let overlay = Overlay {
            owner_kind: "ReplicaSet",
            owner_pattern: "^seat-map-[a-z0-9]{1,10}$".into(),
            pod_pattern: "^seat-map-[a-z0-9]{1,10}-[a-z0-9]{5}$".into(),
            zone_costs: vec![("us-west-2-phx-2a".into(), -10), ("us-west-2a".into(), -20)].into(),
            stamp: "deployment-seat-map.7".into(),
            required: vec![vec![is_in("site", "phx-dc")].into(), vec![is_in(names::POOL, "phx-local-zone")].into()],
            preferred: vec![(100, vec![is_in("site", "phx-dc")].into()), (50, vec![is_in(names::POOL, "phx-local-zone")].into())],
            tolerated: vec!["phx-local-zone".into()],
        };
        insta::assert_yaml_snapshot!(render(&id, &overlay));
    }
}
