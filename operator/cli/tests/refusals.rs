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

#[test]
fn an_object_without_a_namespace_gets_the_one_that_is_given() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {selector: {}, template: {}}\n";
    let objects = read(&[Input { name: "a.yaml".into(), text: text.into() }], "shop");
    let onsale_cli::read::Object::Deployment(found) = &objects.found[0] else { panic!("{objects:?}") };
    assert_eq!(found.metadata.namespace.as_deref(), Some("shop"));
}
