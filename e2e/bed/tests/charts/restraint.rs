//! What the operator may change of nodes and HPAs, and what the restraint policy refuses although its ClusterRole would let it.

use onsale_bed::Bed;
use serde_json::{Value, json};

use crate::policies::{OPERATOR, apply, cluster};

/// A change, and whether the operator may make it.
struct Case {
    what: &'static str,
    object: &'static str,
    patch: Patch,
    allowed: bool,
}

enum Patch {
    Merge(Value),
    Json(Value),
}

fn may(object: &'static str, what: &'static str, merge: Value) -> Case {
    Case { what, object, patch: Patch::Merge(merge), allowed: true }
}

fn may_not(object: &'static str, what: &'static str, merge: Value) -> Case {
    Case { allowed: false, ..may(object, what, merge) }
}

fn json_patch(case: Case, operations: Value) -> Case {
    Case { patch: Patch::Json(operations), ..case }
}

const DRAINING: &str = "onsale.dev/draining";
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

async fn objects(bed: &Bed) {
    let node = |name: &str, provider: &str, labels: Value, taints: Value| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {"providerID": provider, "taints": taints}});
    let pool = |effect: &str| json!({"key": "onsale.dev/pool", "value": "lz", "effect": effect});
    for node in [
        node("young", "aws:///us-west-2a/i-0aaa", json!({"a": "b"}), json!([{"key": "q", "effect": "NoSchedule"}])),
        node("old", "aws:///us-west-2a/i-0abc", json!({"a": "b"}), json!([])),
        node("on-prem", "eks-hybrid:///r/c/mi-0a", json!({"a": "b"}), json!([])),
        node("managed", "aws:///us-west-2a/i-0bbb", json!({"a": "b", "eks.amazonaws.com/nodegroup": "x"}), json!([])),
        node(
            "burst",
            "aws:///us-west-2a/i-0ccc",
            json!({"onsale.dev/pool": "lz", "a": "b"}),
            json!([pool("NoSchedule"), {"key": "x", "effect": "NoSchedule"}]),
        ),
    ] {
        apply(bed, &node).await;
    }
    apply(bed, &json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web", "namespace": "default", "labels": {"a": "b"}},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 9,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]},
    }))
    .await;
    // A heartbeat two hours after its creation: a node that has long been somebody's.
    let created = bed.kubectl(&["get", "node", "old", "-o", "jsonpath={.metadata.creationTimestamp}"]).await.unwrap().ok().unwrap();
    let later = created.trim().parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_hours(2);
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": later.to_string()}]}});
    bed.kubectl(&["patch", "node", "old", "--subresource=status", "--type=merge", "-p", &status.to_string()]).await.unwrap().ok().unwrap();
}

fn marks() -> Vec<Case> {
    let label = |also: Value| {
        let mut patch = json!({"metadata": {"labels": {"onsale.dev/pool": "lz"}}});
        merge(&mut patch, also);
        patch
    };
    let taint = |effect: &str| json!([{"op": "add", "path": "/spec/taints/-", "value": {"key": "onsale.dev/pool", "value": "lz", "effect": effect}}]);
    vec![
        may("node/young", "repair the label of a node that has just joined", label(json!({}))),
        json_patch(may("node/young", "repair its taint", json!({})), taint("NoSchedule")),
        json_patch(may_not("node/young", "evict by its taint", json!({})), taint("NoExecute")),
        may_not("node/young", "cordon a node of nobody's", json!({"spec": {"unschedulable": true}})),
        may_not("node/young", "mark and cordon in one", label(json!({"spec": {"unschedulable": true}}))),
        may_not("node/young", "mark and take out of load balancers in one", label(json!({"metadata": {"labels": {EXCLUDED: "true"}}}))),
        may_not("node/young", "mark and drain in one", label(json!({"metadata": {"annotations": {DRAINING: "true"}}}))),
        may_not("node/young", "mark and label in one", label(json!({"metadata": {"labels": {"z": "y"}}}))),
        may_not("node/old", "mark a node that has long been somebody's", label(json!({}))),
        may_not("node/on-prem", "mark a server", label(json!({}))),
        may_not("node/managed", "mark a node of a managed group", label(json!({}))),
    ]
}

fn own_nodes() -> Vec<Case> {
    let first_taint = |value: Value| json!([{"op": "replace", "path": "/spec/taints/0", "value": value}]);
    let drain = json!({"metadata": {"labels": {EXCLUDED: "true"}, "annotations": {DRAINING: "true"}}, "spec": {"unschedulable": true}});
    vec![
        may("node/burst", "drain", drain),
        json_patch(
            may("node/burst", "name another pool", json!({})),
            first_taint(json!({"key": "onsale.dev/pool", "value": "or", "effect": "NoSchedule"})),
        ),
        json_patch(
            may_not("node/burst", "evict by its taint", json!({})),
            first_taint(json!({"key": "onsale.dev/pool", "value": "or", "effect": "NoExecute"})),
        ),
        json_patch(may_not("node/burst", "remove a taint of others", json!({})), json!([{"op": "remove", "path": "/spec/taints/1"}])),
        may_not("node/burst", "change a label of others", json!({"metadata": {"labels": {"a": "c"}}})),
        may_not("node/burst", "remove a label of others", json!({"metadata": {"labels": {"a": null}}})),
        may_not("node/burst", "annotate", json!({"metadata": {"annotations": {"x": "c"}}})),
        may_not(
            "node/burst",
            "own",
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "x", "uid": "u"}]}}),
        ),
        may_not("node/burst", "keep from deletion", json!({"metadata": {"finalizers": ["a.b/c"]}})),
        may_not("node/burst", "give addresses", json!({"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}})),
    ]
}

fn autoscalers() -> Vec<Case> {
    let by_v1 = "horizontalpodautoscalers.v1.autoscaling/web";
    let floor =
        json!([{"op": "test", "path": "/spec/minReplicas", "value": 2}, {"op": "replace", "path": "/spec/minReplicas", "value": 5}]);
    vec![
        json_patch(may("hpa/web", "raise the minimum", json!({})), floor),
        may(by_v1, "raise the minimum", json!({"spec": {"minReplicas": 3}})),
        may_not("hpa/web", "raise the maximum", json!({"spec": {"minReplicas": 5, "maxReplicas": 90}})),
        may_not(by_v1, "raise the maximum", json!({"spec": {"maxReplicas": 90}})),
        may_not("hpa/web", "drop the metrics", json!({"spec": {"metrics": null}})),
        may_not("hpa/web", "change the behavior", json!({"spec": {"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}})),
        may_not("hpa/web", "scale something else", json!({"spec": {"scaleTargetRef": {"name": "db"}}})),
        may_not("hpa/web", "label", json!({"metadata": {"labels": {"a": "c"}}})),
    ]
}

/// Sets members of objects in depth.
fn merge(onto: &mut Value, change: Value) {
    match (onto, change) {
        (Value::Object(target), Value::Object(change)) => {
            change.into_iter().for_each(|(key, value)| merge(target.entry(key).or_insert(Value::Null), value));
        }
        (target, change) => *target = change,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_nodes_and_autoscalers_the_operator_changes_what_it_must_and_no_more() {
    let bed = cluster("charts-changes").await;
    objects(&bed).await;
    let mut wrong = Vec::new();
    for case in marks().into_iter().chain(own_nodes()).chain(autoscalers()) {
        let (kind, patch) = match &case.patch {
            Patch::Merge(patch) => ("--type=merge", patch.to_string()),
            Patch::Json(patch) => ("--type=json", patch.to_string()),
        };
        let args = [OPERATOR, "--field-manager=onsale-operator", "--dry-run=server", "patch", case.object, kind, "-p", &patch];
        let output = bed.kubectl(&args).await.unwrap();
        let by_policy = output.stderr.contains("restraint.onsale.dev");
        if output.success() != case.allowed || (!case.allowed && !by_policy) {
            wrong.push(format!("{} {} {}: {output:?}", if case.allowed { "may" } else { "may not" }, case.what, case.object));
        }
        let others = ["--dry-run=server", "patch", case.object, kind, "-p", &patch];
        assert!(bed.kubectl(&others).await.unwrap().success(), "the change is one that others may make: {} {patch}", case.object);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    bed.down().await.unwrap();
}
