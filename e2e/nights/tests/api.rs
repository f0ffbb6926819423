//! The in-process API through a real `kube::Client`: the answers that the controller's code relies on.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v1::Scale,
    core::v1::{Node, Pod, PodTemplate},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent, WatchParams},
    runtime::{WatchStreamExt, watcher},
};
use onsale_api::{CapacityPool, OnSale, WorkloadPlacement};
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

fn json_patch(operations: Value) -> Patch<()> {
    Patch::Json(serde_json::from_value(operations).unwrap())
}

fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String) {
    match result.unwrap_err() {
        kube::Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("{other}"),
    }
}

fn sale(name: &str) -> OnSale {
    serde_json::from_value(json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "OnSale", "metadata": {"name": name},
        "spec": {"opensAt": "2026-12-05T12:00:00Z", "workloads": [{"target": {"kind": "Deployment", "name": "seat-map"}, "peakReplicas": 9}]}}))
    .unwrap()
}

#[test]
fn a_stale_replace_and_a_second_create_are_conflicts() {
    stage(async |_, client| {
        let api: Api<OnSale> = Api::namespaced(client, SPACE);
        let first = api.create(&PostParams::default(), &sale("tour")).await.unwrap();
        assert_eq!((first.metadata.generation, first.spec.duration.to_string().as_str()), (Some(1), "1h"));
        assert_eq!(code(api.create(&PostParams::default(), &sale("tour")).await), (409, "AlreadyExists".into()));
        let mut newer = first.clone();
        newer.spec.suspend = true;
        let second = api.replace("tour", &PostParams::default(), &newer).await.unwrap();
        assert_eq!(second.metadata.generation, Some(2));
        assert_eq!(code(api.replace("tour", &PostParams::default(), &newer).await), (409, "Conflict".into()));
        let same = api.replace("tour", &PostParams::default(), &second).await.unwrap();
        assert_eq!(same.metadata.resource_version, second.metadata.resource_version, "what changes nothing leaves no trace");
        assert_eq!(code(api.replace("tour", &PostParams::default(), &sale("tour")).await).0, 422);
    });
}

#[test]
fn status_is_written_through_its_subresource_only_and_raises_no_generation() {
    stage(async |_, client| {
        let api: Api<OnSale> = Api::namespaced(client, SPACE);
        let first = api.create(&PostParams::default(), &sale("tour")).await.unwrap();
        let patch = Patch::Merge(json!({"status": {"phase": "Live"}, "spec": {"suspend": true}}));
        let plain = api.patch("tour", &manager("m"), &Patch::Merge(json!({"status": {"phase": "Live"}}))).await.unwrap();
        assert!(plain.status.is_none());
        let told = api.patch_status("tour", &manager("m"), &patch).await.unwrap();
        assert_eq!((told.status.unwrap().phase, told.spec.suspend), (Some(onsale_api::Phase::Live), false));
        assert_eq!(told.metadata.generation, first.metadata.generation);
        let stale = Patch::Merge(json!({"metadata": {"resourceVersion": first.metadata.resource_version}, "status": {"phase": "Ready"}}));
        assert_eq!(code(api.patch_status("tour", &manager("m"), &stale).await).0, 409);
        let unreadable = Patch::Merge(json!({"status": {"phase": "Nonsense"}}));
        assert_eq!(code(api.patch_status("tour", &manager("m"), &unreadable).await), (422, "Invalid".into()));
    });
}

#[test]
fn a_finalizer_holds_an_object_until_it_is_taken_off() {
    stage(async |_, client| {
        let api: Api<CapacityPool> = Api::all(client);
        let on = Patch::Merge(json!({"metadata": {"finalizers": ["onsale.dev/return"]}}));
        api.patch("dc", &manager("m"), &on).await.unwrap();
        let deleted = api.delete("dc", &DeleteParams::default()).await.unwrap();
        assert!(deleted.left().unwrap().metadata.deletion_timestamp.is_some());
        let more = Patch::Merge(json!({"metadata": {"finalizers": ["onsale.dev/return", "another"]}}));
        assert_eq!(code(api.patch("dc", &manager("m"), &more).await).0, 422);
        api.patch("dc", &manager("m"), &Patch::Merge(json!({"metadata": {"finalizers": []}}))).await.unwrap();
        assert_eq!(code(api.get("dc").await), (404, "NotFound".into()));
        assert_eq!(code(api.patch("dc", &manager("m"), &on).await).0, 404);
    });
}

#[test]
fn scale_is_patched_by_test_and_replace_and_takes_the_field_from_its_owner() {
    stage(async |stage, client| {
        let api: Api<Deployment> = Api::namespaced(client.clone(), SPACE);
        let change = |from: i32, to: i32| {
            json_patch(
                json!([{"op": "test", "path": "/spec/replicas", "value": from}, {"op": "replace", "path": "/spec/replicas", "value": to}]),
            )
        };
        let scaled: Scale = api.patch_scale("seat-map", &manager("onsale-operator"), &change(4, 6)).await.unwrap();
        assert_eq!(scaled.spec.unwrap().replicas, Some(6));
        let (status, reason) = code(api.patch_scale("seat-map", &manager("m"), &change(4, 9)).await);
        assert_eq!((status, reason.as_str()), (422, "Invalid"));
        stage.run_for(Duration::from_secs(5)).await;
        let ready = api.get("seat-map").await.unwrap();
        assert_eq!(ready.status.unwrap().ready_replicas, Some(6));
        let owners = |d: &Deployment| -> Vec<String> {
            let has = |f: &Value| f["f:spec"].get("f:replicas").is_some();
            let all = d.metadata.managed_fields.iter().flatten().filter(|m| m.fields_v1.as_ref().is_some_and(|f| has(&f.0)));
            all.filter_map(|m| m.manager.clone()).collect()
        };
        assert_eq!(owners(&api.get("seat-map").await.unwrap()), ["onsale-operator"]);
        // Back in the name of the owner: the next apply of the same file finds everything as it says.
        api.patch_scale("seat-map", &manager("kubectl-client-side-apply"), &change(6, 4)).await.unwrap();
        assert_eq!(owners(&api.get("seat-map").await.unwrap()), ["kubectl-client-side-apply"]);
        let zero = json_patch(json!([{"op": "replace", "path": "/spec/replicas", "value": 0}]));
        api.patch_scale("seat-map", &manager("m"), &zero).await.unwrap();
        assert_eq!(api.get_scale("seat-map").await.unwrap().spec.unwrap().replicas, None, "a scale of 0 leaves its field out");
    });
}

#[test]
fn apply_creates_merges_prunes_and_conflicts() {
    stage(async |_, client| {
        let api: Api<PodTemplate> = Api::namespaced(client.clone(), SPACE);
        let apply = |annotations: Value| {
            Patch::Apply(
                json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "t", "annotations": annotations}, "template": {"spec": {"containers": []}}}),
            )
        };
        let ours = PatchParams::apply("onsale-operator").force();
        let first = api.patch("t", &ours, &apply(json!({"a": "1", "b": "1"}))).await.unwrap();
        let again = api.patch("t", &ours, &apply(json!({"a": "1", "b": "1"}))).await.unwrap();
        assert_eq!(first.metadata.resource_version, again.metadata.resource_version);
        let less = api.patch("t", &ours, &apply(json!({"a": "2"}))).await.unwrap();
        let left: Vec<String> = less.metadata.annotations.unwrap().into_iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(left, ["a=2"]);
        let theirs = PatchParams::apply("flux");
        assert_eq!(code(api.patch("t", &theirs, &apply(json!({"a": "3"}))).await), (409, "Conflict".into()));
        api.patch("t", &theirs, &apply(json!({"a": "2"}))).await.unwrap();
    });
}

#[test]
fn a_node_that_was_made_anew_or_is_gone_is_not_patched() {
    stage(async |_, client| {
        let api: Api<Node> = Api::all(client);
        let patch = |uid: &str| Patch::Merge(json!({"metadata": {"uid": uid}, "spec": {"unschedulable": true}}));
        assert_eq!(code(api.patch("dc-1", &manager("m"), &patch("another")).await).0, 409);
        assert_eq!(code(api.patch("dc-9", &manager("m"), &patch("another")).await).0, 404);
        let node = api.get("dc-1").await.unwrap();
        let version = json!({"op": "test", "path": "/metadata/resourceVersion", "value": node.metadata.resource_version});
        let taint = json!({"op": "add", "path": "/spec/taints", "value": [{"key": "k", "effect": "NoSchedule"}]});
        let patch = json_patch(json!([version, taint]));
        api.patch("dc-1", &manager("m"), &patch).await.unwrap();
        assert_eq!(code(api.patch("dc-1", &manager("m"), &patch).await).0, 422);
    });
}

#[test]
fn evictions_heed_uid_and_budget() {
    stage(async |stage, client| {
        stage.run_for(Duration::from_secs(5)).await;
        let api: Api<Pod> = Api::namespaced(client, SPACE);
        let pods = api.list(&ListParams::default().labels("app=seat-map")).await.unwrap().items;
        let evict = async |pod: &Pod, uid: &str| {
            let name = pod.metadata.name.clone().unwrap();
            let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": {"preconditions": {"uid": uid}}});
            api.create_subresource::<Value, Value>("eviction", &name, &PostParams::default(), &body).await
        };
        assert_eq!(code(evict(&pods[0], "another").await).0, 409);
        stage.sim.with(|inner| {
            let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b", "namespace": SPACE},
                "spec": {"minAvailable": 4, "selector": {"matchLabels": {"app": "seat-map"}}}});
            onsale_nights::night::build::put(inner, &budget, "kubectl");
        });
        let uid = pods[0].metadata.uid.clone().unwrap();
        let kube::Error::Api(status) = evict(&pods[0], &uid).await.unwrap_err() else { panic!("no status") };
        assert_eq!((status.code, status.details.as_ref().unwrap().causes[0].reason.as_str()), (429, "DisruptionBudget"));
        stage.sim.with(|inner| inner.store.update(&kinds::BUDGETS, SPACE, "b", |b| b["spec"]["minAvailable"] = json!("50%")));
        evict(&pods[0], &uid).await.unwrap();
        stage.run_for(Duration::from_secs(8)).await;
        assert_eq!(code(api.get(pods[0].metadata.name.as_ref().unwrap()).await).0, 404);
        assert_eq!(stage.state().ready("seat-map"), 4, "another was made");
        let wrong = DeleteParams {
            preconditions: Some(Preconditions { uid: Some("another".into()), resource_version: None }),
            ..DeleteParams::default()
        };
        assert_eq!(code(api.delete(pods[1].metadata.name.as_ref().unwrap(), &wrong).await).0, 409);
    });
}

#[test]
fn lists_come_in_pages_and_watches_go_on_from_them() {
    stage(async |stage, client| {
        let api: Api<Pod> = Api::namespaced(client.clone(), SPACE);
        let page = api.list(&ListParams::default().limit(3)).await.unwrap();
        let rest = api.list(&ListParams::default().limit(3).continue_token(page.metadata.continue_.as_ref().unwrap())).await.unwrap();
        assert_eq!((page.items.len(), rest.items.len(), rest.metadata.continue_), (3, 1, None));
        let since = rest.metadata.resource_version.unwrap();
        stage.run_for(Duration::from_secs(6)).await;
        let watch = api.watch(&WatchParams::default().timeout(10), &since).await.unwrap();
        let seen: Vec<WatchEvent<Pod>> = watch.try_collect().await.unwrap();
        assert!(seen.iter().filter(|e| matches!(e, WatchEvent::Modified(_))).count() >= 4, "{seen:?}");
        stage.sim.hub(|hub| hub.compact());
        let gone: Vec<WatchEvent<Pod>> = api.watch(&WatchParams::default().timeout(10), "1").await.unwrap().try_collect().await.unwrap();
        assert!(matches!(&gone[..], [WatchEvent::Error(status)] if status.code == 410), "{gone:?}");
    });
}

#[test]
fn a_watcher_sees_selected_objects_come_change_and_go_and_survives_cuts() {
    stage(async |stage, client| {
        let api: Api<PodTemplate> = Api::namespaced(client.clone(), SPACE);
        let config = watcher::Config::default().labels("onsale.dev/placement");
        let names =
            watcher(api.clone(), config).default_backoff().touched_objects().map(|o| o.map(|o| o.metadata.name.unwrap_or_default()));
        let mut names = Box::pin(names);
        let make = |name: &str, labels: Value| -> PodTemplate {
            serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "template": {"spec": {"containers": []}}})).unwrap()
        };
        let put = async |name: &str, labels: Value| api.create(&PostParams::default(), &make(name, labels)).await.unwrap();
        put("a", json!({"onsale.dev/placement": ""})).await;
        assert_eq!(names.next().await.unwrap().unwrap(), "a");
        put("other", json!({})).await;
        put("b", json!({"onsale.dev/placement": ""})).await;
        assert_eq!(names.next().await.unwrap().unwrap(), "b");
        stage.sim.hub(|hub| hub.cut());
        api.delete("b", &DeleteParams::default()).await.unwrap();
        assert_eq!(names.next().await.unwrap().unwrap(), "b");
        let relabel = Patch::Merge(json!({"metadata": {"labels": {"onsale.dev/placement": null}}}));
        api.patch("a", &manager("m"), &relabel).await.unwrap();
        assert_eq!(names.next().await.unwrap().unwrap(), "a", "what is not selected any more is gone");
    });
}

#[test]
fn kinds_that_are_not_served_are_404_and_rights_can_be_taken_away() {
    stage(async |stage, client| {
        let kind = kube::core::GroupVersionKind::gvk("example.com", "v1", "Thing");
        let api: Api<kube::core::DynamicObject> = Api::namespaced_with(client, SPACE, &kube::core::ApiResource::from_gvk(&kind));
        assert_eq!(code(api.list(&ListParams::default()).await).0, 404);
        stage.sim.forbid(&kinds::PLACEMENTS, true);
        let controlled = onsale_nights::sim::Caller { name: "c".into(), controlled: true };
        let client = onsale_nights::api::serve::Server::client(&stage.sim, controlled);
        let api: Api<WorkloadPlacement> = Api::all(client);
        assert_eq!(code(api.list(&ListParams::default()).await), (403, "Forbidden".into()));
    });
}
