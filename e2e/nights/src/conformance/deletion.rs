//! Objects that go: at once, or when their last finalizer is taken off.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};
use onsale_api::{CapacityPool, OnSale, WorkloadPlacement};
use serde_json::json;

use super::{
    Case, case,
    ground::{FINALIZER, Ground, as_manager, causes, create, equal, merge, object, refused, version},
};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case!(what_nothing_holds_is_gone_at_once),
        case!(a_finalizer_holds_an_object_until_it_is_taken_off),
        case!(a_second_delete_of_what_is_held_changes_nothing),
        case!(what_is_leaving_takes_no_new_finalizer),
        case!(what_is_leaving_can_be_written_still_and_its_mark_cannot),
        case!(a_replace_without_finalizers_lets_it_go),
        case!(a_deletion_heeds_uid_and_version),
        case!(a_pod_without_a_node_goes_at_once_and_a_bound_one_when_its_kubelet_says_so),
    ]
}

fn with(uid: Option<String>, resource_version: Option<String>) -> DeleteParams {
    DeleteParams { preconditions: Some(Preconditions { uid, resource_version }), ..DeleteParams::default() }
}

async fn what_nothing_holds_is_gone_at_once(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    let first = create(&api, &ground.sale()?).await?;
    api.delete(&ground.name, &DeleteParams::default()).await?;
    refused(api.get(&ground.name).await, 404, "NotFound")?;
    let second = create(&api, &ground.sale()?).await?;
    ensure!(second.metadata.uid != first.metadata.uid, "a namesake has the same UID");
    equal("generation of the namesake", second.metadata.generation, Some(1))
}

async fn a_finalizer_holds_an_object_until_it_is_taken_off(ground: Ground) -> Result<()> {
    let api = ground.all::<CapacityPool>();
    create(&api, &ground.pool()?).await?;
    let held = merge(&api, &ground.name, json!({"metadata": {"finalizers": [FINALIZER, "onsale.dev/second"]}})).await?;
    equal("generation with finalizers", held.metadata.generation, Some(1))?;
    let leaving = api.delete(&ground.name, &DeleteParams::default()).await?.left().context("gone at once")?;
    ensure!(leaving.metadata.deletion_timestamp.is_some() && version(&leaving)? > version(&held)?, "{:?}", leaving.metadata);
    equal("generation of what is leaving", leaving.metadata.generation, Some(2))?;
    equal("deletionGracePeriodSeconds", leaving.metadata.deletion_grace_period_seconds, Some(0))?;
    merge(&api, &ground.name, json!({"metadata": {"finalizers": [FINALIZER]}})).await?;
    api.get(&ground.name).await?;
    let last = merge(&api, &ground.name, json!({"metadata": {"finalizers": []}})).await?;
    ensure!(last.metadata.deletion_timestamp.is_some(), "the answer to the last write is the object");
    refused(api.get(&ground.name).await, 404, "NotFound").map(drop)
}

async fn a_second_delete_of_what_is_held_changes_nothing(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    let mut sale = ground.sale()?;
    sale.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    create(&api, &sale).await?;
    let first = api.delete(&ground.name, &DeleteParams::default()).await?.left().context("gone at once")?;
    let second = api.delete(&ground.name, &DeleteParams::default()).await?.left().context("gone the second time")?;
    equal("version", version(&second)?, version(&first)?)?;
    equal("deletionTimestamp", second.metadata.deletion_timestamp, first.metadata.deletion_timestamp)?;
    merge(&api, &ground.name, json!({"metadata": {"finalizers": null}})).await.map(drop).context("cannot be let go")
}

async fn what_is_leaving_takes_no_new_finalizer(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    let mut sale = ground.sale()?;
    sale.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    create(&api, &sale).await?;
    api.delete(&ground.name, &DeleteParams::default()).await?;
    for finalizers in [json!([FINALIZER, "onsale.dev/another"]), json!(["onsale.dev/another"])] {
        let status = refused(merge(&api, &ground.name, json!({"metadata": {"finalizers": finalizers}})).await, 422, "Invalid")?;
        ensure!(!causes(&status).is_empty(), "it would be taken for a failed test of a JSON Patch: {status:?}");
    }
    merge(&api, &ground.name, json!({"metadata": {"finalizers": null}})).await.map(drop).context("cannot be let go")
}

async fn what_is_leaving_can_be_written_still_and_its_mark_cannot(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    let mut sale = ground.sale()?;
    sale.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    create(&api, &sale).await?;
    let leaving = api.delete(&ground.name, &DeleteParams::default()).await?.left().context("gone at once")?;
    let patch = json!({"metadata": {"deletionTimestamp": null, "annotations": {"a": "b"}}, "spec": {"suspend": true}});
    let written = merge(&api, &ground.name, patch).await?;
    equal("deletionTimestamp", &written.metadata.deletion_timestamp, &leaving.metadata.deletion_timestamp)?;
    equal("suspend", written.spec.suspend, true)?;
    let told = kube::api::Patch::Merge(json!({"status": {"phase": "Returning"}}));
    let told = api.patch_status(&ground.name, &Default::default(), &told).await?;
    equal("phase", told.status.and_then(|s| s.phase), Some(onsale_api::Phase::Returning))?;
    merge(&api, &ground.name, json!({"metadata": {"finalizers": null}})).await.map(drop).context("cannot be let go")
}

async fn a_replace_without_finalizers_lets_it_go(ground: Ground) -> Result<()> {
    let api = ground.api::<WorkloadPlacement>();
    let mut record = ground.placement()?;
    record.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    create(&api, &record).await?;
    let mut leaving = api.delete(&ground.name, &DeleteParams::default()).await?.left().context("gone at once")?;
    leaving.metadata.finalizers = None;
    api.replace(&ground.name, &as_manager(), &leaving).await?;
    refused(api.get(&ground.name).await, 404, "NotFound").map(drop)
}

async fn a_deletion_heeds_uid_and_version(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    let first = create(&api, &ground.sale()?).await?;
    let second = merge(&api, &ground.name, json!({"spec": {"suspend": true}})).await?;
    refused(api.delete(&ground.name, &with(Some("another".to_owned()), None)).await, 409, "Conflict")?;
    let (uid, stale) = (first.metadata.uid, first.metadata.resource_version);
    refused(api.delete(&ground.name, &with(uid.clone(), stale)).await, 409, "Conflict")?;
    api.delete(&ground.name, &with(uid.clone(), second.metadata.resource_version)).await?;
    refused(api.delete(&ground.name, &with(uid, None)).await, 404, "NotFound").map(drop)
}

async fn a_pod_without_a_node_goes_at_once_and_a_bound_one_when_its_kubelet_says_so(ground: Ground) -> Result<()> {
    let api = ground.api::<Pod>();
    create(&api, &ground.pod(&ground.name)?).await?;
    api.delete(&ground.name, &DeleteParams::default()).await?;
    refused(api.get(&ground.name).await, 404, "NotFound")?;
    let mut bound = serde_json::to_value(ground.pod(&ground.name)?)?;
    (bound["spec"]["nodeName"], bound["spec"]["terminationGracePeriodSeconds"]) = (json!("nowhere"), json!(7));
    create(&api, &object(bound)?).await?;
    api.delete(&ground.name, &DeleteParams::default()).await?;
    let leaving = api.get(&ground.name).await?;
    ensure!(leaving.metadata.deletion_timestamp.is_some(), "{:?}", leaving.metadata);
    equal("deletionGracePeriodSeconds", leaving.metadata.deletion_grace_period_seconds, Some(7))?;
    api.delete(&ground.name, &DeleteParams::default().grace_period(0)).await?;
    refused(api.get(&ground.name).await, 404, "NotFound").map(drop)
}
