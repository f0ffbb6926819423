//! managedFields: who wrote what, which says to whom a floor is given back.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    Case, case,
    ground::{Ground, MANAGER, create, equal, json_patch, manager, merge, object, version},
};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case!(a_field_belongs_to_who_changed_it_last),
        case!(the_same_value_in_anothers_name_changes_no_owner),
        case!(what_is_applied_and_then_changed_belongs_to_who_changed_it),
        case!(a_manager_that_lost_its_last_field_is_noted_no_more),
    ]
}

fn scaler(ground: &Ground) -> Result<HorizontalPodAutoscaler> {
    object(json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": ground.name},
        "spec": {"minReplicas": 2, "maxReplicas": 50, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": ground.name},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}]}}))
}

/// Manager and operation of the entries without subresource that have `spec.<field>`.
async fn owners(api: &Api<HorizontalPodAutoscaler>, name: &str, field: &str) -> Result<Vec<String>> {
    let fields = api.get(name).await?.metadata.managed_fields.context("no managedFields")?;
    let has = |f: &Value| f["f:spec"].get(format!("f:{field}")).is_some();
    let all = fields.into_iter().filter(|m| m.subresource.is_none() && m.fields_v1.as_ref().is_some_and(|f| has(&f.0)));
    Ok(all.map(|m| format!("{} {}", m.manager.unwrap_or_default(), m.operation.unwrap_or_default())).collect())
}

fn raise(from: i32, to: i32) -> Result<Patch<()>> {
    json_patch(
        json!([{"op": "test", "path": "/spec/minReplicas", "value": from}, {"op": "replace", "path": "/spec/minReplicas", "value": to}]),
    )
}

async fn a_field_belongs_to_who_changed_it_last(ground: Ground) -> Result<()> {
    let api = ground.api::<HorizontalPodAutoscaler>();
    create(&api, &scaler(&ground)?).await?;
    equal("at first", owners(&api, &ground.name, "minReplicas").await?, vec![format!("{MANAGER} Update")])?;
    api.patch(&ground.name, &manager("operator"), &raise(2, 7)?).await?;
    equal("after our write", owners(&api, &ground.name, "minReplicas").await?, vec!["operator Update".to_owned()])?;
    equal("of another field", owners(&api, &ground.name, "maxReplicas").await?, vec![format!("{MANAGER} Update")])?;
    api.patch(&ground.name, &manager(MANAGER), &raise(7, 2)?).await?;
    equal("after the return", owners(&api, &ground.name, "minReplicas").await?, vec![format!("{MANAGER} Update")])
}

async fn the_same_value_in_anothers_name_changes_no_owner(ground: Ground) -> Result<()> {
    let api = ground.api::<HorizontalPodAutoscaler>();
    create(&api, &scaler(&ground)?).await?;
    api.patch(&ground.name, &manager("another"), &raise(2, 2)?).await?;
    equal("owners", owners(&api, &ground.name, "minReplicas").await?, vec![format!("{MANAGER} Update")])
}

async fn what_is_applied_and_then_changed_belongs_to_who_changed_it(ground: Ground) -> Result<()> {
    let api = ground.api::<HorizontalPodAutoscaler>();
    let manifest = scaler(&ground)?;
    api.patch(&ground.name, &PatchParams::apply("flux"), &Patch::Apply(&manifest)).await?;
    equal("at first", owners(&api, &ground.name, "minReplicas").await?, vec!["flux Apply".to_owned()])?;
    api.patch(&ground.name, &manager("operator"), &raise(2, 7)?).await?;
    equal("after our write", owners(&api, &ground.name, "minReplicas").await?, vec!["operator Update".to_owned()])?;
    // Put back in the name of the owner: the next apply of the same manifest finds nothing to do.
    let back = api.patch(&ground.name, &manager("flux"), &raise(7, 2)?).await?;
    let applied = api.patch(&ground.name, &PatchParams::apply("flux"), &Patch::Apply(&manifest)).await?;
    equal("minReplicas", applied.spec.min_replicas, back.spec.min_replicas)?;
    ensure!(version(&applied)? >= version(&back)?, "versions do not grow");
    equal("generation", applied.metadata.generation, back.metadata.generation)
}

async fn a_manager_that_lost_its_last_field_is_noted_no_more(ground: Ground) -> Result<()> {
    let api = ground.api::<HorizontalPodAutoscaler>();
    create(&api, &scaler(&ground)?).await?;
    api.patch(&ground.name, &manager("operator"), &raise(2, 7)?).await?;
    let after = merge(&api, &ground.name, json!({"spec": {"minReplicas": 2}})).await?;
    let managers = after.metadata.managed_fields.unwrap_or_default().into_iter().filter_map(|m| m.manager);
    ensure!(!managers.collect::<Vec<_>>().contains(&"operator".to_owned()), "an entry without fields stays");
    Ok(())
}
