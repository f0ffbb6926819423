//! What the binary is made of: the AWS SDK, which takes minutes to compile and tens of MiB, is no part of it.

#![expect(clippy::unwrap_used, reason = "clippy sees tests only in functions with #[test], and all of this file is one")]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// Names of everything that a package of the workspace is linked from or built with, itself included.
fn made_of(metadata: &Value, package: &str) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeMap<&str, &str> = packages.iter().map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap())).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let nodes: BTreeMap<&str, &Value> = nodes.iter().map(|n| (n["id"].as_str().unwrap(), n)).collect();
    let not_for_tests = |dep: &&Value| dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev");
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = names.iter().filter(|(_, name)| **name == package).map(|(id, _)| *id).collect();
    while let Some(id) = next.pop() {
        if found.insert(id) {
            next.extend(nodes[id]["deps"].as_array().unwrap().iter().filter(not_for_tests).map(|dep| dep["pkg"].as_str().unwrap()));
        }
    }
    found.into_iter().map(|id| names[id].to_owned()).collect()
}

#[test]
fn the_aws_sdk_is_no_part_of_it() {
    let cargo = std::env::var_os("CARGO").unwrap();
    let mut command = Command::new(cargo);
    command.args([
        "metadata",
        "--format-version=1",
        "--offline",
        "--locked",
        "--manifest-path",
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    ]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let aws = |package: &str| made_of(&metadata, package).into_iter().filter(|name| name.starts_with("aws-")).collect::<Vec<_>>();
    assert_eq!(aws("onsale-cli"), Vec::<String>::new());
    // Or the walk would find it nowhere.
    assert!(aws("onsale-operator").contains(&"aws-sdk-ec2".to_owned()) && made_of(&metadata, "onsale-cli").contains("kube"));
}
