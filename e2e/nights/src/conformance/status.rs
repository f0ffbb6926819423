//! Status: written through its subresource, which writes nothing else.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Node};
use kube::{Api, api::Patch};
use onsale_api::{CapacityPool, CapacityPoolStatus, OnSale, Phase};
use serde_json::{Value, json};

use super::{
    Case, case,
    ground::{Ground, MANAGER, as_manager, causes, create, equal, manager, merge, object, refused, version},
};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case!(a_status_in_a_create_is_dropped_but_for_nodes),
        case!(the_main_resource_writes_no_status),
        case!(the_status_resource_writes_nothing_else),
        case!(a_status_is_replaced_under_the_version_that_was_read),
        case!(a_version_keeps_a_status_off_a_namesake_and_a_uid_does_not),
        case!(a_status_that_the_schema_refuses_is_refused),
        case!(what_the_schema_does_not_know_is_dropped),
        case!(the_same_status_leaves_no_trace),
        case!(null_takes_a_field_of_the_status_away),
        case!(a_status_is_noted_under_its_manager_and_subresource),
    ]
}

async fn tell(ground: &Ground, api: &Api<OnSale>, patch: Value) -> kube::Result<OnSale> {
    api.patch_status(&ground.name, &manager(MANAGER), &Patch::Merge(patch)).await
}

async fn a_status_in_a_create_is_dropped_but_for_nodes(ground: Ground) -> Result<()> {
    let mut sale = ground.sale()?;
    sale.status = Some(onsale_api::OnSaleStatus { phase: Some(Phase::Live), ..Default::default() });
    let made = create(&ground.api::<OnSale>(), &sale).await?;
    ensure!(made.status.is_none(), "{:?}", made.status);
    let mut deployment = serde_json::to_value(ground.deployment(0)?)?;
    deployment["status"] = json!({"replicas": 7, "readyReplicas": 7});
    let made = create(&ground.api::<Deployment>(), &object(deployment)?).await?;
    equal("readyReplicas", made.status.and_then(|s| s.ready_replicas), None)?;
    let node = create(&ground.all::<Node>(), &ground.node()?).await?;
    ground.all::<Node>().delete(&ground.name, &Default::default()).await?;
    ensure!(node.status.and_then(|s| s.allocatable).is_some_and(|a| a.contains_key("cpu")), "a kubelet registers with what it has");
    Ok(())
}

async fn the_main_resource_writes_no_status(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    create(&api, &ground.sale()?).await?;
    let merged = merge(&api, &ground.name, json!({"status": {"phase": "Live"}})).await?;
    ensure!(merged.status.is_none(), "{:?}", merged.status);
    let told = tell(&ground, &api, json!({"status": {"phase": "Scheduled"}})).await?;
    let mut changed = told.clone();
    changed.status = None;
    changed.spec.suspend = true;
    let replaced = api.replace(&ground.name, &as_manager(), &changed).await?;
    equal("phase", replaced.status.and_then(|s| s.phase), Some(Phase::Scheduled))?;
    equal("suspend", replaced.spec.suspend, true)
}

async fn the_status_resource_writes_nothing_else(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    let made = create(&api, &ground.sale()?).await?;
    let all =
        json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["onsale.dev/x"]}, "spec": {"suspend": true}, "status": {"phase": "Live"}});
    let told = tell(&ground, &api, all).await?;
    equal("phase", told.status.as_ref().and_then(|s| s.phase), Some(Phase::Live))?;
    equal("suspend", told.spec.suspend, false)?;
    equal("labels and finalizers", (&told.metadata.labels, &told.metadata.finalizers), (&None, &None))?;
    equal("generation", told.metadata.generation, made.metadata.generation)?;
    ensure!(version(&told)? > version(&made)?, "versions do not grow");
    Ok(())
}

async fn a_status_is_replaced_under_the_version_that_was_read(ground: Ground) -> Result<()> {
    let api = ground.all::<CapacityPool>();
    let mut first = create(&api, &ground.pool()?).await?;
    first.status = Some(CapacityPoolStatus { last_sequence: 1, ..CapacityPoolStatus::default() });
    first.spec.zone = "elsewhere".to_owned();
    let second = api.replace_status(&ground.name, &as_manager(), &first).await?;
    equal("zone", second.spec.zone.as_str(), "nowhere")?;
    equal("lastSequence", second.status.as_ref().map(|s| s.last_sequence), Some(1))?;
    refused(api.replace_status(&ground.name, &as_manager(), &first).await, 409, "Conflict")?;
    let stale = json!({"metadata": {"resourceVersion": first.metadata.resource_version}, "status": {"lastSequence": 9}});
    refused(api.patch_status(&ground.name, &manager(MANAGER), &Patch::Merge(stale)).await, 409, "Conflict")?;
    api.replace_status(&ground.name, &as_manager(), &second).await?;
    api.delete(&ground.name, &Default::default()).await?;
    let late = api.replace_status(&ground.name, &as_manager(), &second).await.map(drop);
    ensure!(
        matches!(&late, Err(kube::Error::Api(s)) if s.code == 409 || s.code == 404),
        "the status of what is gone was written: {late:?}"
    );
    Ok(())
}

async fn a_version_keeps_a_status_off_a_namesake_and_a_uid_does_not(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    let first = create(&api, &ground.sale()?).await?;
    api.delete(&ground.name, &Default::default()).await?;
    let of = |field: &str, value: &Option<String>| json!({"metadata": {field: value}, "status": {"phase": "Live"}});
    refused(tell(&ground, &api, of("resourceVersion", &first.metadata.resource_version)).await, 404, "NotFound")?;
    let second = create(&api, &ground.sale()?).await?;
    refused(tell(&ground, &api, of("resourceVersion", &first.metadata.resource_version)).await, 409, "Conflict")?;
    tell(&ground, &api, of("resourceVersion", &second.metadata.resource_version)).await?;
    // Of a patch, nothing of the metadata is taken, and its UID is not looked at.
    tell(&ground, &api, of("uid", &first.metadata.uid)).await.map(drop).context("a foreign UID")
}

async fn a_status_that_the_schema_refuses_is_refused(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    create(&api, &ground.sale()?).await?;
    let status = refused(tell(&ground, &api, json!({"status": {"phase": "Nonsense"}})).await, 422, "Invalid")?;
    ensure!(!causes(&status).is_empty(), "it would be taken for a failed test of a JSON Patch: {status:?}");
    refused(tell(&ground, &api, json!({"status": {"conditions": [{"type": "Ready"}]}})).await, 422, "Invalid")?;
    // Longer than the schema's bound on the ledger.
    let pools = ground.all::<CapacityPool>();
    create(&pools, &ground.pool()?).await?;
    let short = json!({"instanceType": "*", "reason": "QuotaExhausted", "message": "m", "at": "2026-12-05T10:00:00Z", "attempts": 1, "retryAt": "2026-12-05T10:00:00Z"});
    let many = |count| Patch::Merge(json!({"status": {"shortfalls": vec![short.clone(); count]}}));
    pools.patch_status(&ground.name, &manager(MANAGER), &many(64)).await.context("64 shortfalls")?;
    refused(pools.patch_status(&ground.name, &manager(MANAGER), &many(65)).await, 422, "Invalid").map(drop)
}

async fn what_the_schema_does_not_know_is_dropped(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    let made = create(&api, &ground.sale()?).await?;
    let told = tell(&ground, &api, json!({"status": {"colour": "red"}})).await?;
    ensure!(!serde_json::to_string(&told)?.contains("colour"), "{told:?}");
    let merged = merge(&api, &ground.name, json!({"spec": {"colour": "red"}})).await?;
    equal("generation", merged.metadata.generation, made.metadata.generation)
}

async fn the_same_status_leaves_no_trace(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    create(&api, &ground.sale()?).await?;
    let condition =
        json!({"type": "Ready", "status": "False", "reason": "Waiting", "message": "", "lastTransitionTime": "2026-12-05T10:00:00Z"});
    let status = json!({"status": {"phase": "Scheduled", "conditions": [condition]}});
    let first = tell(&ground, &api, status.clone()).await?;
    let second = tell(&ground, &api, status).await?;
    equal("version", version(&second)?, version(&first)?)
}

async fn null_takes_a_field_of_the_status_away(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    create(&api, &ground.sale()?).await?;
    tell(&ground, &api, json!({"status": {"phase": "Live", "observedGeneration": 1}})).await?;
    let told = tell(&ground, &api, json!({"status": {"phase": null}})).await?.status.context("no status")?;
    equal("phase and observedGeneration", (told.phase, told.observed_generation), (None, Some(1)))
}

async fn a_status_is_noted_under_its_manager_and_subresource(ground: Ground) -> Result<()> {
    let api = ground.all::<CapacityPool>();
    create(&api, &ground.pool()?).await?;
    let told = Patch::Merge(json!({"status": {"lastSequence": 4}}));
    let told = api.patch_status(&ground.name, &manager("somebody"), &told).await?;
    let noted = told.metadata.managed_fields.unwrap_or_default();
    let theirs = noted.iter().find(|m| m.manager.as_deref() == Some("somebody")).context("not noted")?;
    equal("operation", theirs.operation.as_deref(), Some("Update"))?;
    equal("subresource", theirs.subresource.as_deref(), Some("status"))?;
    ensure!(theirs.time.is_some(), "kubectl onsale tells the age of a status by it");
    let fields = theirs.fields_v1.as_ref().context("no fields")?;
    ensure!(fields.0["f:status"].get("f:lastSequence").is_some(), "{fields:?}");
    Ok(())
}
