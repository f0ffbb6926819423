//! Watches: nothing is missed between a list and a watch, and between two watches, or it is said.

use std::pin::pin;

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::PodTemplate;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, WatchEvent, WatchParams},
    runtime::{WatchStreamExt, watcher},
};
use onsale_api::{OnSale, WorkloadPlacement};
use serde_json::{Value, json};

use super::{
    Case, case,
    ground::{FINALIZER, Ground, create, equal, merge, number, object, version},
};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case!(a_watch_goes_on_where_a_list_ended),
        case!(a_watch_shows_versions_in_order),
        case!(what_leaves_the_selection_is_deleted_and_what_enters_it_is_added),
        case!(a_watch_by_name_shows_one_object),
        case!(an_object_that_is_held_is_modified_and_then_deleted),
        case!(what_changes_nothing_is_not_shown),
        case!(an_idle_watch_tells_how_far_it_is_and_ends_in_time),
        case!(a_watch_from_too_far_back_is_told_so),
        case!(a_watcher_sees_objects_come_change_and_go),
    ]
}

/// Longer than any case takes, shorter than anybody's patience.
const SECONDS: u32 = 20;

async fn make(ground: &Ground, suffix: &str, labels: Value) -> Result<PodTemplate> {
    let mut template = serde_json::to_value(ground.template(&json!({}))?)?;
    template["metadata"] = json!({"name": ground.named(suffix), "labels": labels});
    create(&ground.api(), &object(template)?).await
}

async fn now<K>(api: &Api<K>) -> Result<String>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.list(&ListParams::default().limit(1)).await?.metadata.resource_version.context("a list without a version")
}

fn mine(ground: &Ground) -> WatchParams {
    WatchParams::default().labels(&format!("case={}", ground.name)).timeout(SECONDS)
}

/// The first events but bookmarks, as `ADDED a`, with the objects.
async fn events<K>(api: &Api<K>, params: &WatchParams, since: &str, count: usize) -> Result<Vec<(String, K)>>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let mut stream = pin!(api.watch(params, since).await?);
    let mut seen = Vec::new();
    while seen.len() < count {
        let Some(event) = stream.try_next().await? else { bail!("the watch ended after {seen:?}") };
        let (word, object) = match event {
            WatchEvent::Added(object) => ("ADDED", object),
            WatchEvent::Modified(object) => ("MODIFIED", object),
            WatchEvent::Deleted(object) => ("DELETED", object),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => bail!("{status:?}"),
        };
        let name = object.name_any();
        seen.push((format!("{word} {}", name.rsplit('-').next().unwrap_or_default()), object));
    }
    Ok(seen)
}

fn words<K>(events: &[(String, K)]) -> Vec<&str> {
    events.iter().map(|(word, _)| word.as_str()).collect()
}

async fn a_watch_goes_on_where_a_list_ended(ground: Ground) -> Result<()> {
    let api = ground.api::<PodTemplate>();
    make(&ground, "old", json!({"case": ground.name})).await?;
    let since = now(&api).await?;
    make(&ground, "new", json!({"case": ground.name})).await?;
    make(&ground, "other", json!({})).await?;
    merge(&api, &ground.named("old"), json!({"metadata": {"annotations": {"a": "b"}}})).await?;
    api.delete(&ground.named("new"), &DeleteParams::default()).await?;
    let seen = events(&api, &mine(&ground), &since, 3).await?;
    equal("events", words(&seen), vec!["ADDED new", "MODIFIED old", "DELETED new"])?;
    let everywhere: Api<PodTemplate> = Api::all(ground.client.clone());
    equal("in all namespaces", words(&events(&everywhere, &mine(&ground), &since, 3).await?), words(&seen))
}

async fn a_watch_shows_versions_in_order(ground: Ground) -> Result<()> {
    let api = ground.api::<PodTemplate>();
    let since = now(&api).await?;
    let made = make(&ground, "a", json!({"case": ground.name})).await?;
    let changed = merge(&api, &ground.named("a"), json!({"metadata": {"annotations": {"a": "b"}}})).await?;
    api.delete(&ground.named("a"), &DeleteParams::default()).await?;
    let seen = events(&api, &mine(&ground), &since, 3).await?;
    let versions: Vec<u64> = seen.iter().map(|(_, o)| version(o)).collect::<Result<_>>()?;
    equal("versions of the first two", versions[..2].to_vec(), vec![version(&made)?, version(&changed)?])?;
    ensure!(versions[2] > versions[1], "a deletion has a version of its own: {versions:?}");
    equal("UID of what is deleted", seen[2].1.metadata.uid.as_ref(), made.metadata.uid.as_ref())?;
    // From the middle on.
    let rest = events(&api, &mine(&ground), &versions[1].to_string(), 1).await?;
    equal("after the second", words(&rest), vec!["DELETED a"])
}

async fn what_leaves_the_selection_is_deleted_and_what_enters_it_is_added(ground: Ground) -> Result<()> {
    let api = ground.api::<PodTemplate>();
    make(&ground, "a", json!({"case": ground.name})).await?;
    make(&ground, "b", json!({})).await?;
    let since = now(&api).await?;
    let left = merge(&api, &ground.named("a"), json!({"metadata": {"labels": {"case": null}}})).await?;
    merge(&api, &ground.named("b"), json!({"metadata": {"labels": {"case": ground.name}}})).await?;
    let seen = events(&api, &mine(&ground), &since, 2).await?;
    equal("events", words(&seen), vec!["DELETED a", "ADDED b"])?;
    // As it was when it was selected, at the version when it no longer was.
    equal("version", version(&seen[0].1)?, version(&left)?)?;
    ensure!(seen[0].1.labels().contains_key("case"), "labels of what left: {:?}", seen[0].1.labels());
    Ok(())
}

async fn a_watch_by_name_shows_one_object(ground: Ground) -> Result<()> {
    let api = ground.api::<PodTemplate>();
    let since = now(&api).await?;
    make(&ground, "a", json!({})).await?;
    make(&ground, "b", json!({})).await?;
    let params = WatchParams::default().fields(&format!("metadata.name={}", ground.named("b"))).timeout(SECONDS);
    equal("events", words(&events(&api, &params, &since, 1).await?), vec!["ADDED b"])
}

async fn an_object_that_is_held_is_modified_and_then_deleted(ground: Ground) -> Result<()> {
    let api = ground.api::<WorkloadPlacement>();
    let mut record = ground.placement()?;
    record.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    let made = create(&api, &record).await?;
    api.delete(&ground.name, &DeleteParams::default()).await?;
    merge(&api, &ground.name, json!({"metadata": {"finalizers": null}})).await?;
    let params = WatchParams::default().fields(&format!("metadata.name={}", ground.name)).timeout(SECONDS);
    let seen = events(&api, &params, &version(&made)?.to_string(), 2).await?;
    let kinds: Vec<&str> = words(&seen).into_iter().filter_map(|w| w.split(' ').next()).collect();
    equal("events", kinds, vec!["MODIFIED", "DELETED"])?;
    ensure!(seen.iter().all(|(_, o)| o.metadata.deletion_timestamp.is_some()), "an event without the mark");
    Ok(())
}

async fn what_changes_nothing_is_not_shown(ground: Ground) -> Result<()> {
    let api = ground.api::<PodTemplate>();
    make(&ground, "a", json!({"case": ground.name})).await?;
    let since = now(&api).await?;
    merge(&api, &ground.named("a"), json!({"metadata": {"labels": {"case": ground.name}}})).await?;
    make(&ground, "b", json!({"case": ground.name})).await?;
    equal("events", words(&events(&api, &mine(&ground), &since, 1).await?), vec!["ADDED b"])
}

async fn an_idle_watch_tells_how_far_it_is_and_ends_in_time(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    let since = now(&api).await?;
    let params = WatchParams::default().labels(&format!("case={}", ground.name)).timeout(5);
    let seen: Vec<WatchEvent<OnSale>> = api.watch(&params, &since).await?.try_collect().await.context("it ended with an error")?;
    let Some(WatchEvent::Bookmark(last)) = seen.last() else { bail!("no bookmark: {seen:?}") };
    let reached = last.metadata.resource_version.clone();
    ensure!(number(Some(&reached))? >= number(Some(&since))?, "it went back from {since} to {reached}");
    // And on from there.
    let mut sale = ground.sale()?;
    sale.metadata.labels = Some([("case".to_owned(), ground.name.clone())].into());
    create(&api, &sale).await?;
    equal("events", events(&api, &mine(&ground), &reached, 1).await?.len(), 1)
}

async fn a_watch_from_too_far_back_is_told_so(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    create(&api, &ground.sale()?).await?;
    let seen: Vec<WatchEvent<OnSale>> = api.watch(&WatchParams::default().timeout(SECONDS), "1").await?.try_collect().await?;
    match &seen[..] {
        [WatchEvent::Error(status)] => equal("code and reason", (status.code, status.reason.as_str()), (410, "Expired")),
        other => bail!("not one error but {other:?}"),
    }
}

async fn a_watcher_sees_objects_come_change_and_go(ground: Ground) -> Result<()> {
    let api = ground.api::<PodTemplate>();
    make(&ground, "first", json!({"case": ground.name})).await?;
    let config = watcher::Config::default().labels(&format!("case={}", ground.name)).timeout(SECONDS).page_size(1);
    let mut seen = pin!(watcher(api.clone(), config).default_backoff().touched_objects());
    let mut next = async || -> Result<String> {
        let object = seen.next().await.context("the watcher ended")??;
        Ok(object.name_any().rsplit('-').next().unwrap_or_default().to_owned())
    };
    equal("from the list", next().await?.as_str(), "first")?;
    make(&ground, "second", json!({"case": ground.name})).await?;
    equal("what comes", next().await?.as_str(), "second")?;
    merge(&api, &ground.named("first"), json!({"metadata": {"annotations": {"a": "b"}}})).await?;
    equal("what changes", next().await?.as_str(), "first")?;
    api.delete(&ground.named("second"), &DeleteParams::default()).await?;
    equal("what goes", next().await?.as_str(), "second")
}
