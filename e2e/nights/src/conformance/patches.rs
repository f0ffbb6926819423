//! Patches: what they change, and under which conditions.

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::core::v1::PodTemplate;
use kube::api::{Patch, PatchParams};
use onsale_api::OnSale;
use serde_json::{Value, json};

use super::{
    Case, case,
    ground::{Ground, MANAGER, causes, create, equal, json_patch, manager, merge, named, refused, version},
};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case!(a_merge_patch_heeds_a_version_and_a_uid_where_it_names_them),
        case!(a_merge_patch_merges_objects_and_replaces_lists),
        case!(a_json_patch_is_done_whole_or_not_at_all),
        case!(of_two_json_patches_that_test_one_value_one_happens),
        case!(an_apply_creates_merges_and_prunes),
        case!(an_apply_of_the_same_leaves_no_trace),
        case!(an_apply_to_anothers_value_is_a_conflict_unless_forced),
        case!(an_apply_with_a_uid_makes_nothing_anew),
    ]
}

async fn a_merge_patch_heeds_a_version_and_a_uid_where_it_names_them(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    let first = create(&api, &ground.sale()?).await?;
    let second = merge(&api, &ground.name, json!({"metadata": {"annotations": {"a": "1"}}})).await?;
    let at = |version: &Option<String>| json!({"metadata": {"resourceVersion": version, "finalizers": ["onsale.dev/conformance"]}});
    refused(merge(&api, &ground.name, at(&first.metadata.resource_version)).await, 409, "Conflict")?;
    merge(&api, &ground.name, at(&second.metadata.resource_version)).await?;
    let of = |uid: &str| json!({"metadata": {"uid": uid, "finalizers": null}});
    named(&refused(merge(&api, &ground.name, of("another")).await, 422, "Invalid")?)?;
    let let_go = merge(&api, &ground.name, of(first.metadata.uid.as_deref().unwrap_or_default())).await?;
    equal("finalizers", let_go.metadata.finalizers, None)
}

async fn a_merge_patch_merges_objects_and_replaces_lists(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    create(&api, &ground.sale()?).await?;
    merge(&api, &ground.name, json!({"metadata": {"labels": {"a": "1", "b": "1"}}})).await?;
    let target = json!({"target": {"kind": "Deployment", "name": "checkout"}, "peakReplicas": 3});
    let merged = merge(&api, &ground.name, json!({"metadata": {"labels": {"a": null, "c": "1"}}, "spec": {"workloads": [target]}})).await?;
    let labels: Vec<String> = merged.metadata.labels.unwrap_or_default().into_keys().collect();
    equal("labels", labels, vec!["b".to_owned(), "c".to_owned()])?;
    equal("workloads", merged.spec.workloads.iter().map(|w| w.target.name.as_str()).collect::<Vec<_>>(), vec!["checkout"])
}

async fn a_json_patch_is_done_whole_or_not_at_all(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    let made = create(&api, &ground.sale()?).await?;
    let set = json!({"op": "add", "path": "/spec/suspend", "value": true});
    for failing in [
        json!({"op": "test", "path": "/spec/combine", "value": "Max"}),
        json!({"op": "test", "path": "/spec/budget", "value": {}}),
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": "1"}),
        json!({"op": "replace", "path": "/spec/budget/maxNodes", "value": 4}),
    ] {
        let patch = json_patch(json!([set, failing]))?;
        let status = refused(api.patch(&ground.name, &manager(MANAGER), &patch).await, 422, "Invalid")?;
        ensure!(causes(&status).is_empty(), "it would be taken for a value that is refused: {status:?}");
    }
    equal("version", version(&api.get(&ground.name).await?)?, version(&made)?)?;
    let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": made.metadata.resource_version});
    let done = api.patch(&ground.name, &manager(MANAGER), &json_patch(json!([test, set]))?).await?;
    equal("suspend", done.spec.suspend, true)
}

async fn of_two_json_patches_that_test_one_value_one_happens(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    create(&api, &ground.sale()?).await?;
    let path = "/spec/workloads/0/peakReplicas";
    let to = |value: i32| json_patch(json!([{"op": "test", "path": path, "value": 9}, {"op": "replace", "path": path, "value": value}]));
    let (seven, eight, params) = (to(7)?, to(8)?, manager(MANAGER));
    let (one, two) = tokio::join!(api.patch(&ground.name, &params, &seven), api.patch(&ground.name, &params, &eight));
    match (one, two) {
        (Ok(_), other) | (other, Ok(_)) => refused(other, 422, "Invalid").map(drop),
        neither => bail!("neither happened: {neither:?}"),
    }
}

fn apply(ground: &Ground, annotations: &Value) -> Result<Patch<PodTemplate>> {
    Ok(Patch::Apply(ground.template(annotations)?))
}

fn annotations(template: &PodTemplate) -> Vec<String> {
    template.metadata.annotations.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect()
}

async fn an_apply_creates_merges_and_prunes(ground: Ground) -> Result<()> {
    let (api, ours) = (ground.api::<PodTemplate>(), PatchParams::apply("operator").force());
    let made = api.patch(&ground.name, &ours, &apply(&ground, &json!({"a": "1", "b": "1"}))?).await?;
    equal("annotations", annotations(&made), vec!["a=1".to_owned(), "b=1".to_owned()])?;
    merge(&api, &ground.name, json!({"metadata": {"annotations": {"theirs": "1"}}})).await?;
    let less = api.patch(&ground.name, &ours, &apply(&ground, &json!({"a": "2"}))?).await?;
    equal("annotations of a smaller apply", annotations(&less), vec!["a=2".to_owned(), "theirs=1".to_owned()])?;
    let container = less.template.as_ref().and_then(|t| t.spec.as_ref()).map(|s| s.containers.len());
    equal("containers", container, Some(1))
}

async fn an_apply_of_the_same_leaves_no_trace(ground: Ground) -> Result<()> {
    let (api, ours) = (ground.api::<PodTemplate>(), PatchParams::apply("operator").force());
    let first = api.patch(&ground.name, &ours, &apply(&ground, &json!({"a": "1"}))?).await?;
    let second = api.patch(&ground.name, &ours, &apply(&ground, &json!({"a": "1"}))?).await?;
    equal("version", version(&second)?, version(&first)?)
}

async fn an_apply_to_anothers_value_is_a_conflict_unless_forced(ground: Ground) -> Result<()> {
    let (api, theirs) = (ground.api::<PodTemplate>(), PatchParams::apply("flux"));
    api.patch(&ground.name, &PatchParams::apply("operator"), &apply(&ground, &json!({"a": "1"}))?).await?;
    let status = refused(api.patch(&ground.name, &theirs, &apply(&ground, &json!({"a": "2"}))?).await, 409, "Conflict")?;
    ensure!(status.message.contains("conflict with \"operator\""), "it names nobody: {status:?}");
    equal("causes", causes(&status), vec!["FieldManagerConflict"])?;
    // The same value is no conflict: it is both's from then on.
    api.patch(&ground.name, &theirs, &apply(&ground, &json!({"a": "1"}))?).await?;
    let shared = api.patch(&ground.name, &PatchParams::apply("operator"), &apply(&ground, &json!({}))?).await?;
    equal("what another still applies", annotations(&shared), vec!["a=1".to_owned()])?;
    let forced = api.patch(&ground.name, &PatchParams::apply("operator").force(), &apply(&ground, &json!({"a": "3"}))?).await?;
    equal("what was forced", annotations(&forced), vec!["a=3".to_owned()])
}

async fn an_apply_with_a_uid_makes_nothing_anew(ground: Ground) -> Result<()> {
    let api = ground.api::<PodTemplate>();
    let mut template = ground.template(&json!({}))?;
    template.metadata.uid = Some("00000000-0000-4000-8000-00000000dead".to_owned());
    let patch = Patch::Apply(&template);
    refused(api.patch(&ground.name, &PatchParams::apply("operator").force(), &patch).await, 409, "Conflict")?;
    refused(api.get(&ground.name).await, 404, "NotFound").map(drop)
}
