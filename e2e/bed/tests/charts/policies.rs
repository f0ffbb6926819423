//! The admission policies on a real API server: what an overlay does to pods, and what the operator is kept from.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use onsale_bed::{Bed, Options, commands::Output, tools, wait_until};
use serde_json::{Value, json};

pub const OPERATOR: &str = "--as=system:serviceaccount:onsale-system:onsale-operator";

/// A cluster with the chart, two nodes and a namespace `shop`.
pub async fn cluster(name: &str) -> Bed {
    let bed = Bed::up(Options { ec2: false, metrics: false, ..Options::new(name) }).await.unwrap();
    let chart = tools::checkout().join("charts/onsale-operator");
    let args = [
        "install",
        "onsale-operator",
        chart.to_str().unwrap(),
        "--namespace=onsale-system",
        "--create-namespace",
        "--set=clusterName=test",
    ];
    bed.helm(&args).await.unwrap().ok().unwrap();
    apply(&bed, &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})).await;
    for (node, zone) in [("near", "us-west-2-phx-2a"), ("far", "us-west-2a")] {
        let labels = json!({"topology.kubernetes.io/zone": zone});
        let spec = json!({"providerID": format!("aws:///{zone}/i-0{node}")});
        apply(&bed, &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}, "spec": spec})).await;
    }
    effective(&bed).await;
    bed
}

/// An API server that runs takes a moment to notice policies, each by itself, and parameters: milliseconds, seconds on a loaded machine.
const NOTICE: Duration = Duration::from_secs(30);
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Waits until the three policies are.
async fn effective(bed: &Bed) {
    write(bed, |_| ()).await;
    let marks = async || {
        let pod = format!("web-abc-{:05}", NUMBER.fetch_add(1, SeqCst));
        Ok(cost(bed, &pod, "far", json!({})).await == "-20")
    };
    wait_until("a bound pod is marked", NOTICE, marks).await.unwrap();
    let cordon = [OPERATOR, "patch", "node/far", "--type=merge", r#"--patch={"spec":{"unschedulable":true}}"#, "--dry-run=server"];
    wait_until("the operator is restrained", NOTICE, async || Ok(!bed.kubectl(&cordon).await?.success())).await.unwrap();
}

pub async fn apply(bed: &Bed, object: &Value) {
    bed.apply(&object.to_string()).await.unwrap();
}

async fn kubectl(bed: &Bed, args: &[&str], input: &Value) -> Output {
    bed.commands().kubectl_with(args, &input.to_string()).await.unwrap()
}

fn term(key: &str, value: &str) -> Value {
    json!({"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]})
}

/// The overlay of the Deployment `web`, as the operator writes it.
fn overlay() -> Value {
    let pools = ["near", "far"];
    let terms = pools.map(|p| term("onsale.dev/pool", p));
    json!({
        "apiVersion": "v1", "kind": "PodTemplate",
        "metadata": {
            "name": "deployment-web", "namespace": "shop", "labels": {"onsale.dev/placement": ""},
            "annotations": {
                "onsale.dev/owner-kind": "ReplicaSet", "onsale.dev/owner-pattern": "^web-[a-z0-9]{1,10}$",
                "onsale.dev/pod-pattern": "^web-[a-z0-9]{1,10}-[a-z0-9]{5}$",
                "onsale.dev/zone-costs": "us-west-2-phx-2a=-10,us-west-2a=-20",
            },
        },
        "template": {
            "metadata": {"labels": {"onsale.dev/placement": "deployment-web.7"}},
            "spec": {
                "containers": [{"name": "overlay", "image": "none"}],
                "tolerations": pools.map(|p| json!({"key": "onsale.dev/pool", "value": p, "effect": "NoSchedule"})),
                "affinity": {"nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": terms[0]}, {"weight": 1, "preference": terms[1]}],
                }},
                "topologySpreadConstraints": [{"maxSkew": 1_000_000, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}],
            },
        },
    })
}

/// Writes the overlay with a change. Behind it goes another, for a workload of its own: once that one acts, the API server knows the first.
async fn write(bed: &Bed, change: impl FnOnce(&mut Value)) {
    let (mut object, mut behind) = (overlay(), overlay());
    change(&mut object);
    let name = format!("behind-{}", NUMBER.fetch_add(1, SeqCst));
    behind["metadata"]["name"] = json!(name);
    behind["metadata"]["annotations"]["onsale.dev/owner-pattern"] = json!(format!("^{name}$"));
    behind["metadata"]["annotations"]["onsale.dev/pod-pattern"] = json!(format!("^{name}$"));
    behind["template"]["metadata"]["labels"]["onsale.dev/placement"] = json!(name);
    bed.kubectl(&["delete", "podtemplates", "--all", "--namespace=shop"]).await.unwrap().ok().unwrap();
    apply(bed, &object).await;
    apply(bed, &behind).await;
    let acts = async || Ok(admitted(bed, ("ReplicaSet", &name), json!({})).await.0.as_ref() == Some(&name));
    wait_until("the overlay acts", NOTICE, acts).await.unwrap();
}

/// A pod of `web` with a change to its spec, as the API server would store it: stamp, tolerations, required terms, weights, skews.
async fn admitted(bed: &Bed, owner: (&str, &str), spec: Value) -> (Option<String>, [usize; 2], Value, Value) {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-abc-xxxxx", "namespace": "shop", "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": owner.0, "name": owner.1, "controller": true, "uid": "11111111-1111-1111-1111-111111111111"}]},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    });
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let answer = kubectl(bed, &["create", "--dry-run=server", "--output=json", "--filename=-"], &pod).await.ok().unwrap();
    let pod: Value = serde_json::from_str(&answer).unwrap();
    let affinity = &pod["spec"]["affinity"]["nodeAffinity"];
    let ours = |t: &&Value| t["key"] == "onsale.dev/pool";
    let tolerations = pod["spec"]["tolerations"].as_array().into_iter().flatten().filter(ours).count();
    let spread = pod["spec"]["topologySpreadConstraints"].as_array().map_or(0, Vec::len);
    let weights =
        affinity["preferredDuringSchedulingIgnoredDuringExecution"].as_array().into_iter().flatten().map(|p| p["weight"].clone()).collect();
    let stamp = pod["metadata"]["labels"]["onsale.dev/placement"].as_str().map(Into::into);
    let terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"].clone();
    (stamp, [tolerations, spread], terms, Value::Array(weights))
}

type Change = fn(&mut Value);

const WEB: (&str, &str) = ("ReplicaSet", "web-abc");

#[tokio::test(flavor = "multi_thread")]
async fn an_overlay_reaches_the_pods_it_is_for_and_leaves_what_they_bring() {
    let bed = cluster("charts-overlay").await;
    write(&bed, |_| ()).await;
    let stamp = Some("deployment-web.7".to_owned());
    let both = json!([term("onsale.dev/pool", "near"), term("onsale.dev/pool", "far")]);
    assert_eq!(admitted(&bed, WEB, json!({})).await, (stamp.clone(), [2, 1], both.clone(), json!([100, 1])));
    let own = json!({"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term("arch", "arm"), {}]},
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "preference": term("disk", "ssd")}]}});
    let (_, _, terms, weights) = admitted(&bed, WEB, json!({"affinity": own})).await;
    let keys = |t: &Value| t["matchExpressions"].as_array().unwrap().iter().map(|e| format!("{} ", e["values"][0])).collect::<String>();
    let terms: Vec<_> = terms.as_array().unwrap().iter().map(keys).collect();
    assert_eq!((terms, weights), (vec![r#""arm" "near" "#.into(), r#""arm" "far" "#.to_owned()], json!([7, 100, 1])));
    let spread = json!([{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}]);
    let (_, counts, ..) =
        admitted(&bed, WEB, json!({"topologySpreadConstraints": spread, "tolerations": [{"operator": "Exists", "key": "gpu"}]})).await;
    assert_eq!(counts, [2, 1], "its own constraint, and our tolerations beside its own");
    let untouched = (None, [0, 0], Value::Null, json!([]));
    for (owner, spec) in
        [(("ReplicaSet", "web-canary-abc"), json!({})), (("Job", "web-abc"), json!({})), (WEB, json!({"nodeName": "near"}))]
    {
        assert_eq!(admitted(&bed, owner, spec.clone()).await, untouched, "{owner:?} {spec}");
    }
    bed.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlay_that_does_not_fit_never_costs_a_pod() {
    let bed = cluster("charts-misfit").await;
    let untouched = (None, [0, 0], Value::Null, json!([]));
    let misfits: [(&str, Change); 7] = [
        ("no annotations", |o| o["metadata"]["annotations"] = json!({})),
        ("a pattern for everything", |o| o["metadata"]["annotations"]["onsale.dev/owner-pattern"] = json!("web")),
        ("an empty pattern", |o| o["metadata"]["annotations"]["onsale.dev/owner-pattern"] = json!("^$")),
        ("a pattern that is none", |o| o["metadata"]["annotations"]["onsale.dev/owner-pattern"] = json!("^web-[$")),
        ("no kind", |o| o["metadata"]["annotations"]["onsale.dev/owner-kind"] = json!("")),
        ("no stamp", |o| o["template"]["metadata"] = json!({})),
        ("nowhere to go", |o| o["template"]["spec"]["affinity"] = json!({})),
    ];
    for (name, change) in misfits {
        write(&bed, change).await;
        assert_eq!(admitted(&bed, WEB, json!({})).await, untouched, "{name}");
    }
    let stamp = Some("deployment-web.7".to_owned());
    let least: Change = |o| {
        let spec = o["template"]["spec"].as_object_mut().unwrap();
        spec.retain(|key, _| !["tolerations", "topologySpreadConstraints"].contains(&key.as_str()));
        spec["affinity"]["nodeAffinity"].as_object_mut().unwrap().retain(|key, _| key.starts_with("required"));
    };
    write(&bed, least).await;
    let (stamped, counts, _, weights) = admitted(&bed, WEB, json!({})).await;
    assert_eq!((stamped, counts, weights), (stamp, [0, 0], json!([])));
    bed.down().await.unwrap();
}

/// Binds a new pod to a node and says which deletion cost it has then.
async fn cost(bed: &Bed, pod: &str, node: &str, annotations: Value) -> Value {
    let metadata = json!({"name": pod, "namespace": "shop", "annotations": annotations});
    let spec = json!({"schedulerName": "none", "containers": [{"name": "web", "image": "web"}]});
    apply(bed, &json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": {"apiVersion": "v1", "kind": "Node", "name": node}});
    let path = format!("--raw=/api/v1/namespaces/shop/pods/{pod}/binding");
    kubectl(bed, &["create", &path, "--filename=-"], &binding).await.ok().unwrap();
    let text = bed.kubectl(&["get", "pod", pod, "--namespace=shop", "--output=json"]).await.unwrap().ok().unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_marked_with_the_cost_of_its_zone_and_only_if_it_brings_none() {
    let bed = cluster("charts-costs").await;
    write(&bed, |_| ()).await;
    assert_eq!(cost(&bed, "web-abc-near0", "near", json!({})).await, json!("-10"));
    assert_eq!(cost(&bed, "web-abc-far00", "far", json!({})).await, json!("-20"));
    assert_eq!(cost(&bed, "stranger-abc-far00", "far", json!({})).await, Value::Null);
    let odd: [(&str, &str); 5] = [
        ("", "web-abc-empty"),
        ("us-west-2=-5", "web-abc-prefx"),
        ("us-west-2a=far", "web-abc-words"),
        (",", "web-abc-comma"),
        ("us-west-2a", "web-abc-nonum"),
    ];
    for (costs, pod) in odd {
        write(&bed, |o| o["metadata"]["annotations"]["onsale.dev/zone-costs"] = json!(costs)).await;
        assert_eq!(cost(&bed, pod, "far", json!({})).await, Value::Null, "{costs:?}");
    }
    // What the operator writes for a workload whose template brings a cost: no costs.
    write(&bed, |o| o["metadata"]["annotations"]["onsale.dev/zone-costs"] = json!("")).await;
    let own = json!({"controller.kubernetes.io/pod-deletion-cost": "99"});
    assert_eq!(cost(&bed, "web-abc-owner", "far", own).await, json!("99"));
    bed.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_is_kept_to_its_overlays_its_nodes_and_unbound_pods() {
    let bed = cluster("charts-restraint").await;
    let as_operator = async |args: &[&str], input: &Value| kubectl(&bed, &[&[OPERATOR], args].concat(), input).await;
    let refused = |output: Output, sentence: &str| assert!(!output.success() && output.stderr.contains(sentence), "{output:?}");
    as_operator(&["apply", "--server-side", "--filename=-"], &overlay()).await.ok().unwrap();
    let mut foreign = overlay();
    foreign["metadata"]["labels"] = json!({});
    foreign["metadata"]["name"] = json!("foreign");
    refused(as_operator(&["apply", "--server-side", "--filename=-"], &foreign).await, "writes no PodTemplates but its overlays");
    apply(&bed, &foreign).await;
    refused(
        as_operator(&["delete", "podtemplate/foreign", "--namespace=shop"], &json!(null)).await,
        "writes no PodTemplates but its overlays",
    );
    let cordon = ["patch", "node/near", "--type=merge", r#"--patch={"spec":{"unschedulable":true}}"#];
    refused(as_operator(&cordon, &json!(null)).await, "changes no nodes but those of its pools");
    let repair = ["patch", "node/near", "--type=merge", r#"--patch={"metadata":{"labels":{"onsale.dev/pool":"near"}}}"#];
    as_operator(&repair, &json!(null)).await.ok().unwrap();
    as_operator(&cordon, &json!(null)).await.ok().unwrap();
    cost(&bed, "web-abc-bound", "far", json!({})).await;
    refused(as_operator(&["delete", "pod/web-abc-bound", "--namespace=shop", "--wait=false"], &json!(null)).await, "it evicts them");
    bed.kubectl(&["delete", "pod/web-abc-bound", "--namespace=shop", "--wait=false"]).await.unwrap().ok().unwrap();
    bed.down().await.unwrap();
}
