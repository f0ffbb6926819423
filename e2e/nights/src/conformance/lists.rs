//! Lists: what is selected, and pages that belong together.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, PodTemplate};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use onsale_api::CapacityPool;
use serde_json::json;

use super::{
    Case, case,
    ground::{Ground, create, equal, merge, number, object, refused, version},
};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case!(labels_select),
        case!(fields_select),
        case!(a_list_speaks_of_one_version),
        case!(pages_belong_together),
        case!(a_page_of_nonsense_is_refused),
        case!(metadata_alone_can_be_listed),
    ]
}

async fn make(ground: &Ground, suffix: &str, labels: serde_json::Value) -> Result<PodTemplate> {
    let mut template = serde_json::to_value(ground.template(&json!({}))?)?;
    template["metadata"] = json!({"name": ground.named(suffix), "labels": labels});
    create(&ground.api(), &object(template)?).await
}

async fn found(ground: &Ground, params: &ListParams) -> Result<Vec<String>> {
    let all = ground.api::<PodTemplate>().list(params).await?.items;
    let prefix = format!("{}-", ground.name);
    let names = all.iter().filter_map(|o| o.name_any().strip_prefix(&prefix).map(str::to_owned));
    Ok(names.collect())
}

async fn labels_select(ground: Ground) -> Result<()> {
    make(&ground, "a", json!({"case": ground.name, "tier": "x"})).await?;
    make(&ground, "b", json!({"case": ground.name, "tier": "y"})).await?;
    make(&ground, "c", json!({"case": ground.name})).await?;
    for (selector, wanted) in [
        ("tier=x", "a"),
        ("tier==y", "b"),
        ("tier!=x", "b c"),
        ("tier", "a b"),
        ("!tier", "c"),
        ("tier in (x,y)", "a b"),
        ("tier notin (x)", "b c"),
    ] {
        let selector = format!("case={},{selector}", ground.name);
        equal(&selector, found(&ground, &ListParams::default().labels(&selector)).await?.join(" ").as_str(), wanted)?;
    }
    Ok(())
}

async fn fields_select(ground: Ground) -> Result<()> {
    make(&ground, "a", json!({})).await?;
    make(&ground, "b", json!({})).await?;
    let one = ListParams::default().fields(&format!("metadata.name={}", ground.named("b")));
    equal("by name", found(&ground, &one).await?.join(" ").as_str(), "b")?;
    let pods = ground.api::<Pod>();
    create(&pods, &ground.pod(&ground.name)?).await?;
    let mine = ListParams::default().labels(&format!("app={}", ground.name));
    equal("without a node", pods.list(&mine.clone().fields("spec.nodeName=")).await?.items.len(), 1)?;
    equal("on a node", pods.list(&mine.clone().fields("spec.nodeName=n1")).await?.items.len(), 0)?;
    equal("not running", pods.list(&mine.fields("status.phase!=Running")).await?.items.len(), 1)
}

async fn a_list_speaks_of_one_version(ground: Ground) -> Result<()> {
    let first = make(&ground, "a", json!({"case": ground.name})).await?;
    let list = ground.api::<PodTemplate>().list(&ListParams::default().labels(&format!("case={}", ground.name))).await?;
    ensure!(number(list.metadata.resource_version.as_deref())? >= version(&first)?, "{:?} is older than what it lists", list.metadata);
    equal("version of the item", version(&list.items[0])?, version(&first)?)?;
    let all: Api<PodTemplate> = Api::all(ground.client.clone());
    let everywhere = all.list(&ListParams::default().labels(&format!("case={}", ground.name))).await?;
    equal("in all namespaces", everywhere.items.len(), 1)
}

async fn pages_belong_together(ground: Ground) -> Result<()> {
    for suffix in ["a", "c", "e"] {
        make(&ground, suffix, json!({"case": ground.name})).await?;
    }
    let params = ListParams::default().labels(&format!("case={}", ground.name)).limit(2);
    let api = ground.api::<PodTemplate>();
    let first = api.list(&params).await?;
    equal("first page", first.items.len(), 2)?;
    // Between the pages one comes, one changes and one goes.
    make(&ground, "b", json!({"case": ground.name})).await?;
    make(&ground, "f", json!({"case": ground.name})).await?;
    merge(&api, &ground.named("a"), json!({"metadata": {"annotations": {"a": "b"}}})).await?;
    api.delete(&ground.named("e"), &DeleteParams::default()).await?;
    let rest = api.list(&params.clone().continue_token(first.metadata.continue_.as_deref().context("no second page")?)).await?;
    let names: Vec<String> = rest.items.iter().map(ResourceExt::name_any).collect();
    equal("second page", names, vec![ground.named("e")])?;
    // A watch from here must not miss what happened between the pages.
    equal("version of the second page", rest.metadata.resource_version, first.metadata.resource_version)?;
    equal("a third page", rest.metadata.continue_.filter(|c| !c.is_empty()), None)?;
    let now: Vec<String> = api.list(&params.limit(9)).await?.items.iter().map(ResourceExt::name_any).collect();
    equal("a fresh list", now, ["a", "b", "c", "f"].map(|s| ground.named(s)).to_vec())
}

async fn a_page_of_nonsense_is_refused(ground: Ground) -> Result<()> {
    let list = ground.api::<PodTemplate>().list(&ListParams::default().limit(2).continue_token("nonsense")).await;
    refused(list.map(|l| l.items.len()), 400, "BadRequest").map(drop)
}

async fn metadata_alone_can_be_listed(ground: Ground) -> Result<()> {
    let api = ground.all::<CapacityPool>();
    let made = create(&api, &ground.pool()?).await?;
    let one = ListParams::default().fields(&format!("metadata.name={}", ground.name));
    let list = api.list_metadata(&one).await?;
    equal("UIDs", list.items.into_iter().map(|o| o.metadata.uid).collect::<Vec<_>>(), vec![made.metadata.uid])
}
