//! `/scale`: how floors are read and written.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    autoscaling::v1::Scale,
};
use kube::{Api, api::Patch};
use serde_json::{Value, json};

use super::{
    Case, case,
    ground::{Ground, MANAGER, causes, create, equal, eventually, json_patch, manager, number, object, refused, version},
};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case!(a_scale_is_changed_by_test_and_replace),
        case!(a_stateful_set_scales_alike),
        case!(a_scale_of_0_leaves_its_field_out),
        case!(a_scale_heeds_a_version),
        case!(a_scale_answers_with_the_version_of_its_object),
        case!(a_scale_is_owned_by_who_changed_it_last),
        case!(a_scale_that_changes_nothing_leaves_no_trace),
    ]
}

fn change(from: i32, to: i32) -> Result<Patch<()>> {
    json_patch(json!([{"op": "test", "path": "/spec/replicas", "value": from}, {"op": "replace", "path": "/spec/replicas", "value": to}]))
}

fn replicas(scale: &Scale) -> Option<i32> {
    scale.spec.as_ref().and_then(|s| s.replicas)
}

async fn a_scale_is_changed_by_test_and_replace(ground: Ground) -> Result<()> {
    let api = ground.api::<Deployment>();
    create(&api, &ground.deployment(4)?).await?;
    let scaled = api.patch_scale(&ground.name, &manager("operator"), &change(4, 6)?).await?;
    equal("replicas", replicas(&scaled), Some(6))?;
    let status = refused(api.patch_scale(&ground.name, &manager("operator"), &change(4, 9)?).await, 422, "Invalid")?;
    ensure!(causes(&status).is_empty(), "it would be taken for a value that is refused: {status:?}");
    let found = api.get(&ground.name).await?;
    equal("replicas of the Deployment", found.spec.and_then(|s| s.replicas), Some(6))?;
    equal("generation", found.metadata.generation, Some(2))
}

async fn a_stateful_set_scales_alike(ground: Ground) -> Result<()> {
    let api = ground.api::<StatefulSet>();
    let mut set = serde_json::to_value(ground.deployment(1)?)?;
    (set["kind"], set["spec"]["serviceName"]) = (json!("StatefulSet"), json!(ground.name));
    create(&api, &object(set)?).await?;
    let scaled = api.patch_scale(&ground.name, &manager("operator"), &change(1, 3)?).await?;
    equal("replicas", replicas(&scaled), Some(3))?;
    equal("replicas that are read", replicas(&api.get_scale(&ground.name).await?), Some(3))?;
    refused(api.patch_scale(&ground.name, &manager("operator"), &change(1, 9)?).await, 422, "Invalid").map(drop)
}

async fn a_scale_of_0_leaves_its_field_out(ground: Ground) -> Result<()> {
    let api = ground.api::<Deployment>();
    create(&api, &ground.deployment(0)?).await?;
    equal("replicas", replicas(&api.get_scale(&ground.name).await?), None)?;
    refused(api.patch_scale(&ground.name, &manager("operator"), &change(0, 3)?).await, 422, "Invalid")?;
    // Its own controller writes too.
    eventually("0 replicas become 3 under the version that was read", async || {
        let read = api.get_scale(&ground.name).await?;
        let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": read.metadata.resource_version});
        let add = json!({"op": "add", "path": "/spec/replicas", "value": 3});
        let scaled = api.patch_scale(&ground.name, &manager("operator"), &json_patch(json!([test, add]))?).await?;
        equal("replicas", replicas(&scaled), Some(3))
    })
    .await
}

async fn a_scale_heeds_a_version(ground: Ground) -> Result<()> {
    let api = ground.api::<Deployment>();
    let made = create(&api, &ground.deployment(2)?).await?;
    api.patch_scale(&ground.name, &manager("operator"), &change(2, 3)?).await?;
    let old = made.metadata.resource_version;
    let stale = json_patch(
        json!([{"op": "test", "path": "/metadata/resourceVersion", "value": old}, {"op": "replace", "path": "/spec/replicas", "value": 9}]),
    )?;
    refused(api.patch_scale(&ground.name, &manager("operator"), &stale).await, 422, "Invalid")?;
    let stale = Patch::Merge(json!({"metadata": {"resourceVersion": old}, "spec": {"replicas": 9}}));
    refused(api.patch_scale(&ground.name, &manager("operator"), &stale).await, 409, "Conflict").map(drop)
}

async fn a_scale_answers_with_the_version_of_its_object(ground: Ground) -> Result<()> {
    let api = ground.api::<Deployment>();
    let made = create(&api, &ground.deployment(2)?).await?;
    let scaled = api.patch_scale(&ground.name, &manager("operator"), &change(2, 3)?).await?;
    let (scaled_at, now) = (number(scaled.metadata.resource_version.as_deref())?, version(&api.get(&ground.name).await?)?);
    ensure!(version(&made)? < scaled_at && scaled_at <= now, "made at {:?}, scaled at {scaled_at}, now {now}", version(&made)?);
    equal("UID", scaled.metadata.uid, made.metadata.uid)
}

/// Manager, operation, subresource of the entries that have `spec.replicas`.
async fn owners(api: &Api<Deployment>, name: &str) -> Result<Vec<String>> {
    let fields = api.get(name).await?.metadata.managed_fields.context("no managedFields")?;
    let has = |f: &Value| f["f:spec"].get("f:replicas").is_some();
    let all = fields.into_iter().filter(|m| m.fields_v1.as_ref().is_some_and(|f| has(&f.0)));
    let text = |t: Option<String>| t.unwrap_or_else(|| "-".to_owned());
    Ok(all.map(|m| format!("{} {} {} timed:{}", text(m.manager), text(m.operation), text(m.subresource), m.time.is_some())).collect())
}

async fn a_scale_is_owned_by_who_changed_it_last(ground: Ground) -> Result<()> {
    let api = ground.api::<Deployment>();
    create(&api, &ground.deployment(2)?).await?;
    equal("at first", owners(&api, &ground.name).await?, vec![format!("{MANAGER} Update - timed:true")])?;
    api.patch_scale(&ground.name, &manager("operator"), &change(2, 3)?).await?;
    equal("after our write", owners(&api, &ground.name).await?, vec!["operator Update scale timed:false".to_owned()])?;
    // Given back in the name of the former owner.
    api.patch_scale(&ground.name, &manager(MANAGER), &change(3, 2)?).await?;
    equal("after the return", owners(&api, &ground.name).await?, vec![format!("{MANAGER} Update scale timed:false")])
}

async fn a_scale_that_changes_nothing_leaves_no_trace(ground: Ground) -> Result<()> {
    let api = ground.api::<Deployment>();
    create(&api, &ground.deployment(2)?).await?;
    let before = owners(&api, &ground.name).await?;
    api.patch_scale(&ground.name, &manager("operator"), &change(2, 2)?).await?;
    let found = api.get(&ground.name).await?;
    equal("generation", found.metadata.generation, Some(1))?;
    // The time of the entry goes, whatever for.
    let names = |owners: &[String]| owners.iter().filter_map(|o| o.split(" timed").next().map(str::to_owned)).collect::<Vec<_>>();
    equal("owners", names(&owners(&api, &ground.name).await?), names(&before))
}
