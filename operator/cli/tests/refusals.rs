//! Every manifest that the API server refuses is refused here too, with the same sentence; `e2e/bed/tests/e2e/refusals.rs` asks the API server.

#![expect(clippy::unwrap_used, reason = "clippy sees tests only in functions with #[test], and all of this file is one")]

use std::{fs, path::Path};

use onsale_cli::read::{Input, read};
use serde_json::{Value, json};

fn bad_manifests() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/scenarios/bad-manifests.yaml");
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// RFC 7386.
fn merge(onto: &mut Value, patch: &Value) {
    let (Value::Object(target), Value::Object(changes)) = (&mut *onto, patch) else {
        *onto = patch.clone();
        return;
    };
    for (key, change) in changes {
        if change.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(json!({})), change);
        }
    }
}

fn said(object: &Value) -> Vec<String> {
    let input = Input { name: "bad.yaml".into(), text: serde_yaml::to_string(object).unwrap() };
    read(&[input], "default").mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn every_manifest_that_the_api_server_refuses_is_refused_with_its_sentence() {
    let all = bad_manifests();
    for kind in ["onsale", "pool"] {
        assert_eq!(said(&all["valid"][kind]), Vec::<String>::new());
    }
    let mut failures = Vec::new();
    for case in all["refused"].as_array().unwrap() {
        let kind = if case.get("pool").is_some() { "pool" } else { "onsale" };
        let mut object = all["valid"][kind].clone();
        merge(&mut object, &case[kind]);
        let (said, wanted) = (said(&object), case["says"].as_str().unwrap());
        if said.len() != 1 || !said[0].contains(wanted) {
            failures.push(format!("wanted {wanted:?}, got {said:#?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A Deployment, with a pointer's value replaced, or removed and put elsewhere.
fn deployment(change: &Value) -> Vec<String> {
    let container =
        json!({"name": "web", "image": "web", "resources": {"requests": {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": 1}}});
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": {},
        "template": {"spec": {"containers": [container]}}}});
    for (pointer, value) in change.as_object().unwrap() {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    said(&object)
}

#[test]
fn quantities_that_kubernetes_does_not_read_are_refused() {
    assert_eq!(deployment(&json!({})), Vec::<String>::new());
    let requests = "/spec/template/spec/containers/0/resources/requests";
    for (name, value, wanted) in [
        ("cpu", json!("abc"), "Invalid value: \"abc\": is no quantity; write one such as 500m, 28Gi or 4"),
        ("cpu", json!("1O0m"), "Invalid value: \"1O0m\": is no quantity"),
        ("cpu", json!("-1"), "Invalid value: \"-1\": must be greater than or equal to 0"),
        ("cpu", json!(-1), "Invalid value: \"-1\": must be greater than or equal to 0"),
        ("memory", json!([1]), "Invalid value: [1]: write a quantity"),
        ("memry", json!("1Gi"), "Invalid value: \"memry\": there is no such resource; did you mean memory?"),
        ("gpu", json!(1), "extended ones have a domain, such as nvidia.com/gpu"),
    ] {
        let said = deployment(&json!({format!("{requests}/{name}"): value}));
        let field = format!("Deployment default/web (document 1): spec.template.spec.containers[0].resources.requests.{name}: ");
        assert!(said.len() == 1 && said[0].contains(&field) && said[0].contains(wanted), "{wanted}: {said:?}");
    }
    for good in [json!(2), json!("2"), json!(0.5), json!("1e3"), json!("+1.5")] {
        assert_eq!(deployment(&json!({format!("{requests}/cpu"): good})), Vec::<String>::new());
    }
}

#[test]
fn unknown_fields_of_kubernetes_kinds_are_refused_unless_an_api_server_gave_them() {
    let said = deployment(&json!({"/sepc": {}, "/spec/template/spec/nodeSelektor": {"a": "b"}, "/status": {"younger": 1}}));
    assert!(
        said[0].starts_with("bad.yaml:")
            && said[0].ends_with("Deployment default/web (document 1): sepc: unknown field; did you mean spec?"),
        "{said:?}"
    );
    assert!(said[1].ends_with("spec.template.spec.nodeSelektor: unknown field; did you mean nodeSelector?"), "{said:?}");
    assert_eq!(said.len(), 2);
    assert_eq!(deployment(&json!({"/spec/younger": 1, "/metadata/resourceVersion": "7"})), Vec::<String>::new());
    let said = deployment(&json!({"/spec/replicas": "5"}));
    assert!(
        said[0].contains("spec.replicas: Invalid value: \"5\": write a whole number from 0 to 10000; write 5 without quotes"),
        "{said:?}"
    );
    let said = deployment(&json!({"/spec/paused": "true"}));
    assert!(said[0].contains("spec.paused: ") && said[0].ends_with("; write true without quotes"), "{said:?}");
    let said = deployment(&json!({"/apiVersion": "apps/v1beta1"}));
    assert!(said[0].ends_with("apiVersion: Unsupported value: \"apps/v1beta1\": write apps/v1"), "{said:?}");
}

#[test]
fn scalers_that_the_api_server_or_keda_would_not_take_are_refused() {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let hpa = |version: &str, spec: &Value| {
        let mut object = json!({"apiVersion": version, "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
            "spec": {"scaleTargetRef": target, "minReplicas": 5, "maxReplicas": 300}});
        merge(&mut object["spec"], spec);
        said(&object).join("\n")
    };
    assert_eq!(hpa("autoscaling/v2", &json!({})), "");
    assert_eq!(hpa("autoscaling/v1", &json!({"targetCPUUtilizationPercentage": 60})), "");
    for (spec, wanted) in [
        (json!({"minReplica": 5}), "spec.minReplica: unknown field; did you mean minReplicas?"),
        (json!({"maxReplicas": null, "maxReplica": 300}), "spec.maxReplicas: Required value"),
        (json!({"maxReplicas": 3}), "spec.maxReplicas: Invalid value: 3: must be greater than or equal to minReplicas, which is 5"),
        (
            json!({"minReplicas": "5"}),
            "spec.minReplicas: Invalid value: \"5\": write a whole number from 0 to 10000; write 5 without quotes",
        ),
        (json!({"minReplicas": -5}), "spec.minReplicas: Invalid value: -5"),
        (json!({"scaleTargetRef": {"name": null}}), "spec.scaleTargetRef.name: Required value"),
    ] {
        assert!(hpa("autoscaling/v2", &spec).contains(wanted), "{wanted}: {}", hpa("autoscaling/v2", &spec));
    }
    assert!(hpa("autoscaling/v2beta2", &json!({})).contains("write autoscaling/v2"));
    let scaled = |spec: &Value| {
        let mut object = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "web"},
            "spec": {"scaleTargetRef": {"name": "web"}, "minReplicaCount": 5, "triggers": [{"type": "cron"}]}});
        merge(&mut object["spec"], spec);
        said(&object).join("\n")
    };
    assert_eq!(scaled(&json!({})), "");
    for (spec, wanted) in [
        (
            json!({"minReplicaCount": "5"}),
            "spec.minReplicaCount: Invalid value: \"5\": write a whole number from 0 to 10000; write 5 without quotes",
        ),
        (json!({"maxReplicaCount": 1.5}), "spec.maxReplicaCount: Invalid value: 1.5: write a whole number"),
        (json!({"minReplicaCout": 5}), "spec.minReplicaCout: unknown field; did you mean minReplicaCount?"),
    ] {
        assert!(scaled(&spec).contains(wanted), "{wanted}: {}", scaled(&spec));
    }
}

#[test]
fn all_mistakes_of_all_files_are_said_at_once_with_file_line_document_and_field() {
    let sale = "apiVersion: onsale.dev/v1alpha1\nkind: OnSale\nmetadata: {name: Tour}\nspec:\n  opensAt: tomorrow\n  timeZone: America/Phonix\n  workloads:\n  - target: {kind: Deployment, name: a}\n    peekReplicas: 3\n";
    let pool = "a: 1\n---\napiVersion: onsale.dev/v1\nkind: CapacityPool\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n}\nstatus: {allocatable: [1]}\n";
    let inputs = [
        ("sale.yaml", sale),
        ("pool.yaml", pool),
        ("again.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"),
    ];
    let inputs = inputs.map(|(name, text)| Input { name: name.into(), text: text.into() });
    let said: Vec<String> = read(&inputs, "shop").mistakes.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(said.join("\n"));
}

fn told(text: &str) -> Vec<String> {
    read(&[Input { name: "a.yaml".into(), text: text.into() }], "default").mistakes.iter().map(ToString::to_string).collect()
}

/// A sale with this peak.
fn peak(written: &str) -> String {
    format!(
        "apiVersion: onsale.dev/v1alpha1\nkind: OnSale\nmetadata: {{name: a}}\nspec:\n  opensAt: \"2026-12-05T10:00:00Z\"\n  workloads:\n  \
         - {{target: {{kind: Deployment, name: a}}, peakReplicas: {written}}}\n"
    )
}

#[test]
fn a_number_that_is_no_whole_one_is_shown_as_it_was_written() {
    for written in ["1.50", "15e-1", "99999999999999999999"] {
        let said = told(&peak(written));
        let wanted = format!(
            "Invalid value: {written}: spec.workloads[0].peakReplicas in body must be of type integer; write a whole number from 1 to 10000"
        );
        assert!(said.len() == 1 && said[0].ends_with(&wanted), "{said:?}");
    }
    let hpa = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nspec: {scaleTargetRef: {kind: Deployment, name: a}, maxReplicas: 1.5e0}\n";
    assert!(told(hpa)[0].contains("spec.maxReplicas: Invalid value: 1.5e0: write a whole number from 1 to "), "{:?}", told(hpa));
}

/// As `kubectl apply` sends them.
#[test]
fn a_whole_number_may_be_written_as_a_float() {
    for written in ["1e2", "100.0"] {
        assert_eq!(told(&peak(written)), Vec::<String>::new());
    }
    let said = told(&peak("2e4"));
    assert!(
        said.len() == 1
            && said[0].contains("Invalid value: 2e4: spec.workloads[0].peakReplicas in body should be less than or equal to 10000"),
        "{said:?}"
    );
}

#[test]
fn lists_that_cannot_be_read_are_told_item_by_item() {
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: a}}";
    let said = told(&format!("{{apiVersion: v1, kind: List, items: [7, {namespace}, 8, {{apiVersion: v1, kind: List, items: []}}]}}\n"));
    assert_eq!(
        said,
        [
            "a.yaml:1: document 1: items[0]: this is no object: it needs apiVersion, kind and metadata",
            "a.yaml:1: document 1: items[2]: this is no object: it needs apiVersion, kind and metadata",
            "a.yaml:1: document 1: items[3].items: a List in a List is not read: put its items into the outer one",
        ]
    );
    let said = told(&format!("apiVersion: v1\nkind: List\nitems: {namespace}\n"));
    assert_eq!(said, ["a.yaml:3: document 1: items: Invalid value: must be a list: begin each item with '- '"]);
    assert_eq!(told("apiVersion: v1\nkind: List\nitems: []\n"), Vec::<String>::new());
    let json = r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}"#;
    let said = told(&format!("{json}\n{json}\n"));
    assert!(
        said.iter().any(|s| s.starts_with("a.yaml:2: ") && s.ends_with("a line with --- has to be between two documents, also of JSON")),
        "{said:?}"
    );
}

#[test]
fn our_kinds_under_another_group_are_told_the_right_one() {
    for api_version in ["onsale/v1alpha1", "onsale.io/v1", "v1"] {
        let said = told(&format!("apiVersion: {api_version}\nkind: OnSale\nmetadata: {{name: a}}\n"));
        assert!(said[0].ends_with(&format!("apiVersion: Unsupported value: {api_version:?}: write onsale.dev/v1alpha1")), "{said:?}");
    }
    assert_eq!(told("apiVersion: netapp.azure.com/v1\nkind: CapacityPool\nmetadata: {name: a}\n"), Vec::<String>::new());
}

#[test]
fn a_leap_second_is_refused() {
    let said = told(
        "apiVersion: onsale.dev/v1alpha1\nkind: OnSale\nmetadata: {name: a}\nspec:\n  opensAt: \"2026-12-05T23:59:60\"\n  timeZone: Europe/Berlin\n  \
         workloads: [{target: {kind: Deployment, name: a}, peakReplicas: 9}]\n",
    );
    assert!(
        said.len() == 1 && said[0].contains("spec.opensAt: Invalid value: \"2026-12-05T23:59:60\": no clock shows second 60"),
        "{said:?}"
    );
}

#[test]
fn an_object_without_a_namespace_gets_the_one_that_is_given() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {selector: {}, template: {}}\n";
    let objects = read(&[Input { name: "a.yaml".into(), text: text.into() }], "shop");
    let onsale_cli::read::Object::Deployment(found) = &objects.found[0] else { panic!("{objects:?}") };
    assert_eq!(found.metadata.namespace.as_deref(), Some("shop"));
}
