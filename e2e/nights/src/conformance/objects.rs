//! Objects: made once, replaced under the version that was read.

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::PodTemplate,
    events::v1::Event,
};
use kube::{Api, ResourceExt, api::PostParams};
use onsale_api::{CapacityPool, OnSale, WorkloadPlacement};
use serde_json::json;

use super::{
    Case, case,
    ground::{Ground, as_manager, causes, create, equal, merge, object, refused, version},
};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case!(a_new_object_has_what_the_server_adds),
        case!(a_second_create_is_a_conflict_of_its_own_kind),
        case!(what_is_not_there_is_not_found),
        case!(nothing_is_created_in_a_namespace_that_is_not_there),
        case!(a_kind_that_is_not_served_is_not_found),
        case!(a_stale_replace_is_a_conflict),
        case!(of_two_replaces_of_one_version_one_happens),
        case!(a_replace_of_a_custom_object_needs_a_version),
        case!(a_replace_of_a_namesake_is_a_conflict),
        case!(a_replace_of_what_is_gone_is_refused),
        case!(what_changes_nothing_leaves_no_trace),
        case!(generation_counts_changes_of_the_spec_alone),
        case!(annotating_a_deployment_raises_its_generation_and_no_stateful_sets),
        case!(events_as_the_operator_writes_them_are_accepted),
    ]
}

async fn a_new_object_has_what_the_server_adds(ground: Ground) -> Result<()> {
    let made = create(&ground.api::<OnSale>(), &ground.sale()?).await?;
    let meta = &made.metadata;
    ensure!(meta.uid.as_ref().is_some_and(|u| u.len() == 36), "no UID: {meta:?}");
    let at = meta.creation_timestamp.as_ref().context("no creationTimestamp")?;
    equal("creationTimestamp is in whole seconds", at.0.subsec_nanosecond(), 0)?;
    equal("generation", meta.generation, Some(1))?;
    ensure!(version(&made)? > 0, "no version");
    equal("namespace", made.namespace(), Some(ground.namespace.clone()))?;
    let template = create(&ground.api::<PodTemplate>(), &ground.template(&json!({}))?).await?;
    equal("generation of a PodTemplate", template.metadata.generation, Some(1))?;
    let merged = merge(&ground.api::<PodTemplate>(), &ground.name, json!({"template": {"metadata": {"labels": {"a": "b"}}}})).await?;
    equal("generation of a PodTemplate that changed", merged.metadata.generation, Some(2))
}

async fn a_second_create_is_a_conflict_of_its_own_kind(ground: Ground) -> Result<()> {
    let api = ground.api::<WorkloadPlacement>();
    create(&api, &ground.placement()?).await?;
    let status = refused(api.create(&as_manager(), &ground.placement()?).await, 409, "AlreadyExists")?;
    let details = status.details.context("no details")?;
    equal("name in details", details.name, ground.name.clone())?;
    equal("message", status.message, format!("workloadplacements.onsale.dev \"{}\" already exists", ground.name))
}

async fn what_is_not_there_is_not_found(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    let status = refused(api.get(&ground.name).await, 404, "NotFound")?;
    equal("message", status.message, format!("onsales.onsale.dev \"{}\" not found", ground.name))?;
    refused(merge(&api, &ground.name, json!({"spec": {"suspend": true}})).await, 404, "NotFound")?;
    refused(merge(&api, &ground.name, json!({"metadata": {"uid": "another"}})).await, 404, "NotFound")?;
    refused(api.delete(&ground.name, &Default::default()).await, 404, "NotFound")?;
    refused(ground.api::<Deployment>().get_scale(&ground.name).await, 404, "NotFound").map(drop)
}

async fn nothing_is_created_in_a_namespace_that_is_not_there(ground: Ground) -> Result<()> {
    let api: Api<WorkloadPlacement> = Api::namespaced(ground.client.clone(), &ground.name);
    let status = refused(api.create(&as_manager(), &ground.placement()?).await, 404, "NotFound")?;
    equal("message", status.message, format!("namespaces \"{}\" not found", ground.name))
}

async fn a_kind_that_is_not_served_is_not_found(ground: Ground) -> Result<()> {
    let kind = kube::core::GroupVersionKind::gvk("example.com", "v1", "Thing");
    let api: Api<kube::core::DynamicObject> =
        Api::namespaced_with(ground.client.clone(), &ground.namespace, &kube::core::ApiResource::from_gvk(&kind));
    // Bare text, and no `Status`: of a group that is not served, kube's own `is_not_found` does not know it.
    let answer = api.list(&Default::default()).await.map(drop);
    let Err(kube::Error::Api(status)) = answer else { bail!("{answer:?}") };
    equal("code and text", (status.code, status.message.as_str()), (404, "404 page not found"))
}

async fn a_stale_replace_is_a_conflict(ground: Ground) -> Result<()> {
    let api = ground.api::<WorkloadPlacement>();
    let mut first = create(&api, &ground.placement()?).await?;
    first.spec.intended = 8;
    let second = api.replace(&ground.name, &as_manager(), &first).await?;
    ensure!(version(&second)? > version(&first)?, "versions do not grow");
    first.spec.intended = 9;
    refused(api.replace(&ground.name, &as_manager(), &first).await, 409, "Conflict")?;
    equal("the faster one's value stays", api.get(&ground.name).await?.spec.intended, 8)
}

async fn of_two_replaces_of_one_version_one_happens(ground: Ground) -> Result<()> {
    let api = ground.api::<WorkloadPlacement>();
    let read = create(&api, &ground.placement()?).await?;
    let (mut one, mut two) = (read.clone(), read);
    (one.spec.intended, two.spec.intended) = (7, 8);
    let params = as_manager();
    let (one, two) = tokio::join!(api.replace(&ground.name, &params, &one), api.replace(&ground.name, &params, &two));
    match (one, two) {
        (Ok(done), other) | (other, Ok(done)) => {
            refused(other, 409, "Conflict")?;
            equal("the value is the winner's", api.get(&ground.name).await?.spec.intended, done.spec.intended)
        }
        neither => bail!("neither happened: {neither:?}"),
    }
}

async fn a_replace_of_a_custom_object_needs_a_version(ground: Ground) -> Result<()> {
    let api = ground.api::<WorkloadPlacement>();
    create(&api, &ground.placement()?).await?;
    let status = refused(api.replace(&ground.name, &as_manager(), &ground.placement()?).await, 422, "Invalid")?;
    ensure!(!causes(&status).is_empty(), "it would be taken for a failed test of a JSON Patch: {status:?}");
    let pools = ground.all::<CapacityPool>();
    create(&pools, &ground.pool()?).await?;
    refused(pools.replace_status(&ground.name, &as_manager(), &ground.pool()?).await, 422, "Invalid").map(drop)
}

async fn a_replace_of_a_namesake_is_a_conflict(ground: Ground) -> Result<()> {
    let api = ground.api::<WorkloadPlacement>();
    let mut made = create(&api, &ground.placement()?).await?;
    made.metadata.uid = Some("00000000-0000-4000-8000-00000000dead".to_owned());
    made.spec.intended = 9;
    refused(api.replace(&ground.name, &as_manager(), &made).await, 409, "Conflict").map(drop)
}

async fn a_replace_of_what_is_gone_is_refused(ground: Ground) -> Result<()> {
    let api = ground.api::<WorkloadPlacement>();
    let mut made = create(&api, &ground.placement()?).await?;
    api.delete(&ground.name, &Default::default()).await?;
    made.spec.intended = 9;
    refused(api.replace(&ground.name, &as_manager(), &made).await, 404, "NotFound").map(drop)
}

async fn what_changes_nothing_leaves_no_trace(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    let made = create(&api, &ground.sale()?).await?;
    let replaced = api.replace(&ground.name, &as_manager(), &made).await?;
    equal("version after the same replace", version(&replaced)?, version(&made)?)?;
    let merged = merge(&api, &ground.name, json!({"spec": {"opensAt": made.spec.opens_at}})).await?;
    equal("version after the same merge", version(&merged)?, version(&made)?)?;
    // Another manager that writes what is there is not noted either.
    let another = PostParams { field_manager: Some("another".to_owned()), ..PostParams::default() };
    let again = api.replace(&ground.name, &another, &made).await?;
    equal("version after another's same replace", version(&again)?, version(&made)?)
}

async fn generation_counts_changes_of_the_spec_alone(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    let made = create(&api, &ground.sale()?).await?;
    let labelled = merge(&api, &ground.name, json!({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}})).await?;
    equal("generation after labels", labelled.metadata.generation, Some(1))?;
    let told =
        api.patch_status(&ground.name, &Default::default(), &kube::api::Patch::Merge(json!({"status": {"phase": "Scheduled"}}))).await?;
    equal("generation after a status", told.metadata.generation, Some(1))?;
    let changed = merge(&api, &ground.name, json!({"spec": {"suspend": true}})).await?;
    equal("generation after a change", changed.metadata.generation, Some(2))?;
    ensure!(
        version(&changed)? > version(&told)? && version(&told)? > version(&labelled)? && version(&labelled)? > version(&made)?,
        "versions"
    );
    // The server alone counts.
    let forged = merge(&api, &ground.name, json!({"metadata": {"generation": 77}})).await?;
    equal("generation that was written", forged.metadata.generation, Some(2))
}

async fn annotating_a_deployment_raises_its_generation_and_no_stateful_sets(ground: Ground) -> Result<()> {
    let (deployments, sets) = (ground.api::<Deployment>(), ground.api::<StatefulSet>());
    create(&deployments, &ground.deployment(0)?).await?;
    let mut set = serde_json::to_value(ground.deployment(0)?)?;
    (set["kind"], set["spec"]["serviceName"]) = (json!("StatefulSet"), json!(ground.name));
    create(&sets, &object(set)?).await?;
    let note = json!({"metadata": {"annotations": {"a": "b"}}});
    equal("of the Deployment", merge(&deployments, &ground.name, note.clone()).await?.metadata.generation, Some(2))?;
    equal("of the StatefulSet", merge(&sets, &ground.name, note).await?.metadata.generation, Some(1))
}

async fn events_as_the_operator_writes_them_are_accepted(ground: Ground) -> Result<()> {
    for (space, about) in [
        (
            ground.namespace.as_str(),
            json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "OnSale", "namespace": ground.namespace, "name": ground.name}),
        ),
        ("default", json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "CapacityPool", "name": ground.name})),
    ] {
        let event = object(
            json!({"metadata": {"name": ground.name, "namespace": space}, "regarding": about, "eventTime": "2026-12-05T10:00:00.000000Z",
            "action": "Launched", "reason": "Launched", "note": "x".repeat(1024), "type": "Normal", "reportingController": "onsale-operator",
            "reportingInstance": "y".repeat(128)}),
        )?;
        Api::<Event>::namespaced(ground.client.clone(), space).create(&PostParams::default(), &event).await?;
    }
    Ok(())
}
