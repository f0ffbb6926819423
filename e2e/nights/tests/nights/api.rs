//! What the in-process API can do besides what a real one does (`conformance.rs`): faults on request; and the cluster around it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, PodTemplate},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    runtime::{WatchStreamExt, watcher},
};
use onsale_api::WorkloadPlacement;
use onsale_nights::{
    api::kinds,
    night::{Stage, build::night, play},
};
use serde_json::{Value, json};

const SPACE: &str = "ticketing";

fn stage<T>(script: impl AsyncFnOnce(&mut Stage, Client) -> T) -> T {
    let state = night("2026-12-05T10:00:00Z", 7).nodes("dc", 2).existing("dc", "200us").deployment("seat-map", 4, "1").build();
    play(state, async |stage| {
        let client = stage.client("test");
        script(stage, client).await
    })
}

fn manager(name: &str) -> PatchParams {
    PatchParams { field_manager: Some(name.to_owned()), ..PatchParams::default() }
}

fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String) {
    match result.unwrap_err() {
        kube::Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_scaled_has_so_many_ready_pods_in_a_moment() {
    stage(async |stage, client| {
        let api: Api<Deployment> = Api::namespaced(client.clone(), SPACE);
        api.patch_scale("seat-map", &manager("m"), &Patch::Merge(json!({"spec": {"replicas": 6}}))).await.unwrap();
        stage.run_for(Duration::from_secs(5)).await;
        assert_eq!(api.get("seat-map").await.unwrap().status.unwrap().ready_replicas, Some(6));
    });
}

#[test]
fn an_evicted_pod_is_made_anew_once_its_budget_of_a_share_allows() {
    stage(async |stage, client| {
        stage.run_for(Duration::from_secs(5)).await;
        let api: Api<Pod> = Api::namespaced(client, SPACE);
        let pods = api.list(&ListParams::default().labels("app=seat-map")).await.unwrap().items;
        let name = pods[0].metadata.name.clone().unwrap();
        let evict = async || {
            let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
            api.create_subresource::<Value, Value>("eviction", &name, &PostParams::default(), &body).await
        };
        stage.sim.with(|inner| {
            let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b", "namespace": SPACE},
                "spec": {"minAvailable": "100%", "selector": {"matchLabels": {"app": "seat-map"}}}});
            onsale_nights::night::build::put(inner, &budget, "kubectl");
        });
        assert_eq!(code(evict().await).0, 429);
        stage.sim.with(|inner| inner.store.update(&kinds::BUDGETS, SPACE, "b", |b| b["spec"]["minAvailable"] = json!("50%")));
        evict().await.unwrap();
        stage.run_for(Duration::from_secs(8)).await;
        assert_eq!(code(api.get(&name).await).0, 404);
        assert_eq!(stage.state().ready("seat-map"), 4, "another was made");
    });
}

#[test]
fn a_watch_from_before_a_compaction_is_told_so() {
    stage(async |stage, client| {
        let api: Api<Pod> = Api::namespaced(client.clone(), SPACE);
        let since = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
        stage.run_for(Duration::from_secs(6)).await;
        let watch = api.watch(&WatchParams::default().timeout(10), &since).await.unwrap();
        let seen: Vec<WatchEvent<Pod>> = watch.try_collect().await.unwrap();
        assert!(seen.iter().filter(|e| matches!(e, WatchEvent::Modified(_))).count() >= 4, "{seen:?}");
        stage.sim.hub(|hub| hub.compact());
        let gone: Vec<WatchEvent<Pod>> = api.watch(&WatchParams::default().timeout(10), &since).await.unwrap().try_collect().await.unwrap();
        assert!(matches!(&gone[..], [WatchEvent::Error(status)] if status.code == 410), "{gone:?}");
    });
}

#[test]
fn a_watcher_survives_cuts() {
    stage(async |stage, client| {
        let api: Api<PodTemplate> = Api::namespaced(client.clone(), SPACE);
        let names = watcher(api.clone(), watcher::Config::default()).default_backoff().touched_objects();
        let mut names = Box::pin(names.map(|o| o.map(|o| o.metadata.name.unwrap_or_default())));
        let made = serde_json::from_value(json!({"metadata": {"name": "a"}, "template": {"spec": {"containers": []}}})).unwrap();
        api.create(&PostParams::default(), &made).await.unwrap();
        assert_eq!(names.next().await.unwrap().unwrap(), "a");
        stage.sim.hub(|hub| hub.cut());
        api.delete("a", &DeleteParams::default()).await.unwrap();
        assert_eq!(names.next().await.unwrap().unwrap(), "a");
    });
}

#[test]
fn rights_can_be_taken_away() {
    stage(async |stage, _| {
        stage.sim.forbid(&kinds::PLACEMENTS, true);
        let controlled = onsale_nights::sim::Caller { name: "c".into(), controlled: true };
        let client = onsale_nights::api::serve::Server::client(&stage.sim, controlled);
        let api: Api<WorkloadPlacement> = Api::all(client);
        assert_eq!(code(api.list(&ListParams::default()).await), (403, "Forbidden".into()));
    });
}
