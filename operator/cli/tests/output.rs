//! What the binary says about the examples, to the letter, and its exit codes.

#![expect(clippy::unwrap_used, reason = "clippy sees tests only in functions with #[test], and all of this file is one")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const EXAMPLES: [&str; 6] = ["plan", "-f", "examples/pools.yaml", "examples/shop.yaml", "--at", "2026-11-21T08:00:00Z"];
const SERVERS: [&str; 2] = ["--nodes", "phx-dc=20,cpu=20,memory=96Gi"];
const SALE: [&str; 2] = ["-f", "examples/stadium-tour.yaml"];

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn onsale(args: &[&[&str]], stdin: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-onsale"));
    command.current_dir(checkout()).env_remove("KUBECONFIG").args(args.concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The stadium tour of the examples with something changed, and what is said about it.
fn changed(from: &str, to: &str, more: &[&str]) -> (i32, String, String) {
    let sale = fs::read_to_string(checkout().join("examples/stadium-tour.yaml")).unwrap();
    assert!(sale.contains(from), "{from}");
    onsale(&[&EXAMPLES, &SERVERS, &["-f", "-"], more], &sale.replace(from, to))
}

#[test]
fn the_demos_sale_is_a_go() {
    let (code, text, err) = onsale(&[&EXAMPLES, &SERVERS, &SALE], "");
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!(text);
}

#[test]
fn json_and_yaml_say_the_same() {
    let (_, json, _) = onsale(&[&EXAMPLES, &SERVERS, &SALE, &["-o", "json"]], "");
    let (code, yaml, _) = onsale(&[&EXAMPLES, &SERVERS, &SALE, &["-o", "yaml"]], "");
    let (json, yaml): (serde_json::Value, serde_json::Value) = (serde_json::from_str(&json).unwrap(), serde_yaml::from_str(&yaml).unwrap());
    assert_eq!((code, &json), (0, &yaml));
    insta::assert_snapshot!(
        serde_json::to_string_pretty(&json["sales"][0]["times"]).unwrap()
            + &serde_json::to_string_pretty(&json["sales"][0]["workloads"][2]).unwrap()
    );
}

#[test]
fn servers_that_nobody_told_of_are_taken_as_full() {
    let (code, text, _) = onsale(&[&EXAMPLES, &SALE], "");
    assert_eq!(code, 0);
    assert!(text.contains("unknown: taken as full") && text.contains("Say what is there with --nodes phx-dc="), "{text}");
}

#[test]
fn a_budget_that_is_too_small_is_a_no_go_that_says_what_would_do() {
    let (code, text, _) = changed("maxNodes: 90", "maxNodes: 65", &[]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(text.split("\n\nREPLICAS").next().unwrap());
    let (code, picture, _) = changed("maxNodes: 90", "maxNodes: 65", &["-o", "svg"]);
    assert_eq!((code, picture.contains(">NO-GO</text>")), (2, true), "{picture}");
    // What is proposed is true, and one less is not enough.
    assert_eq!(changed("maxNodes: 90", "maxNodes: 70", &[]).0, 0);
    assert_eq!(changed("maxNodes: 90", "maxNodes: 69", &[]).0, 2);
}

#[test]
fn a_total_that_is_too_small_is_a_no_go_and_what_the_window_costs_is_enough() {
    let total = |max: &str| changed("maxHourlyCost: \"80\"", &format!("maxHourlyCost: \"80\", maxTotalCost: \"{max}\""), &[]);
    let (code, text, _) = total("57");
    assert_eq!(code, 2);
    insta::assert_snapshot!(text.split("\n\nTIMELINE").next().unwrap());
    assert!(text.contains(" of 57.00 for the whole window"), "{text}");
    let (code, text, _) = total("58.32");
    assert_eq!((code, text.contains("\n  58.32 of 58.32 for the whole window\n")), (0, true), "{text}");
    // What is proposed is true, and one less is not enough.
    assert_eq!(total("58").0, 0);
}

#[test]
fn two_bounds_at_once_are_told_together() {
    let (code, text, _) = changed("{maxNodes: 90, maxHourlyCost: \"80\"}", "{maxNodes: 60, maxHourlyCost: \"40\"}", &[]);
    assert_eq!(code, 2);
    let line = text.lines().find(|l| l.contains("together:")).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(line.trim(), "together: budget.maxNodes of the sale: 60 -> 70; budget.maxHourlyCost of the sale: \"40.00\" -> \"59\"");
}

#[test]
fn a_bound_on_latency_that_leaves_no_room_is_told_with_the_least_that_would_do() {
    let (code, text, _) = changed("maxLatency: 300ms", "maxLatency: 20ms", &[]);
    assert_eq!(code, 2);
    assert!(text.contains("inventory would take 32ms in pool phx-local-zone, more than maxLatency"), "{text}");
    assert!(text.contains("IT WOULD BE A GO WITH\n  maxLatency of inventory: 20ms -> 32ms\n"), "{text}");
    // With 32ms the near places go to whoever cannot be elsewhere: checkout makes room in Phoenix.
    assert_eq!(changed("maxLatency: 300ms", "maxLatency: 32ms", &[]).0, 0);
    assert_eq!(changed("maxLatency: 300ms", "maxLatency: 31ms", &[]).0, 2);
}

#[test]
fn a_share_that_leaves_no_room_is_told_with_the_least_that_would_do() {
    let share = |most: i32| {
        let with = format!("maxLatency: 300ms\n    maxSharePerPool: {most}%");
        changed("maxLatency: 300ms", &with, &[])
    };
    let (code, text, _) = share(20);
    assert_eq!(code, 2);
    let advice = text.split("maxSharePerPool of inventory: 20% -> ").nth(1).unwrap_or_else(|| panic!("{text}"));
    let least: i32 = advice.split('%').next().unwrap().parse().unwrap();
    assert_eq!((share(least).0, share(least - 1).0), (0, 2), "{text}");
}

#[test]
fn a_placement_that_leaves_no_room_is_told_with_what_it_would_have_to_allow() {
    let placement = |says: &str| changed("  placement:\n", &format!("  placement:\n    {says}\n"), &[]);
    let (code, text, _) = placement("tiers: [OnPrem, LocalZone]");
    assert_eq!(code, 2);
    assert!(text.contains("  placement.tiers of the sale: add Region (pools oregon-a, oregon-b, oregon-c)\n"), "{text}");
    assert_eq!(placement("tiers: [OnPrem, LocalZone, Region]").0, 0);
    let zones = "us-west-2-phx-2a, us-west-2-lax-1a";
    let (code, text, _) = placement(&format!("zones: [phx-dc, {zones}]"));
    assert_eq!(code, 2);
    let advice = text.split("placement.zones of the sale: add ").nth(1).unwrap_or_else(|| panic!("{text}"));
    let more = advice.split(" (").next().unwrap();
    assert_eq!(placement(&format!("zones: [phx-dc, {zones}, {more}]")).0, 0, "{text}");
}

#[test]
fn too_late_is_a_no_go_and_says_what_would_be_in_time() {
    let (code, text, _) = changed("kind", "kind", &["--at", "2026-12-05T16:45:00Z"]);
    assert_eq!(code, 2);
    assert!(text.contains("too late: everything is Ready 8m11s after ready-by"), "{text}");
    assert!(text.contains("readyBefore of the sale: 10m -> 1m49s; or open later"), "{text}");
    let (code, ..) = changed("readyBefore: 10m", "readyBefore: 1m49s", &["--at", "2026-12-05T16:45:00Z"]);
    assert_eq!(code, 0);
    let (code, text, _) = changed("kind", "kind", &["--at", "2026-12-05T17:05:00Z"]);
    assert_eq!((code, text.contains("too late")), (2, true), "{text}");
}

#[test]
fn a_sale_that_is_over_is_a_no_go_and_one_that_is_suspended_is_none() {
    let (code, text, _) = changed("kind", "kind", &["--at", "2027-12-05T00:00:00Z"]);
    assert_eq!((code, text.contains("its window was over")), (2, true), "{text}");
    let (code, text, _) = changed("budget:", "suspend: true\n  budget:", &[]);
    assert_eq!((code, text.contains("it is suspended")), (0, true), "{text}");
}

#[test]
fn what_is_rehearsed_is_what_the_tables_say() {
    let (_, json, _) = onsale(&[&EXAMPLES, &SERVERS, &SALE, &["-o", "json"]], "");
    let sale = &serde_json::from_str::<serde_json::Value>(&json).unwrap()["sales"][0];
    for pool in sale["pools"].as_array().unwrap().iter().filter(|p| p["rented"][0].is_object()) {
        let launch = format!(
            "{} {} in {}",
            pool["rented"][0]["count"],
            pool["rented"][0]["instanceType"].as_str().unwrap(),
            pool["name"].as_str().unwrap()
        );
        let launched = sale["timeline"].as_array().unwrap().iter().find(|m| m["kind"] == "Launch").unwrap();
        assert!(launched["text"].as_str().unwrap().contains(&launch), "{launch} in {launched}");
    }
}

#[test]
fn workloads_that_are_in_no_file_are_asked_for() {
    let (code, text, _) = onsale(&[&["plan", "-f", "examples/minimal.yaml", "examples/pools.yaml", "--at", "2026-11-21T08:00:00Z"]], "");
    assert_eq!(code, 2);
    assert!(text.contains("Deployment seat-map is in none of the files: add its manifest, or ask the cluster with --cluster"), "{text}");
}

#[test]
fn a_workload_that_is_only_written_otherwise_is_pointed_at() {
    let files = ["plan", "-f", "examples/minimal.yaml", "examples/pools.yaml", "-", "--at", "2026-11-21T08:00:00Z"];
    let said = |manifest: &str| {
        let (code, text, err) = onsale(&[&files], &format!("{manifest}\nspec: {{selector: {{}}, template: {{}}}}\n"));
        assert_eq!(code, 2, "{err}");
        text
    };
    for (manifest, wanted) in [
        (
            "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: seat-map, namespace: ticketing}",
            "write apiVersion: apps/v1 instead of extensions/v1beta1",
        ),
        ("apiVersion: apps/v1\nkind: deployment\nmetadata: {name: seat-map, namespace: ticketing}", "write kind: Deployment"),
        (
            "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: seat-map, namespace: ticketing}",
            "it is a StatefulSet, name that in spec.workloads",
        ),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: seat-map}", "it is in namespace default, the sale in ticketing"),
    ] {
        let (text, wanted) =
            (said(manifest), format!("Deployment seat-map of namespace ticketing is in none of the files; -:1 is like it: {wanted}\n"));
        assert!(text.contains(&wanted), "{wanted} in {text}");
    }
    let other = said("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: seat, namespace: ticketing}");
    assert!(other.contains("Deployment seat-map is in none of the files: add its manifest"), "{other}");
}

#[test]
fn sales_that_share_a_workload_are_planned_together() {
    let (code, text, _) = onsale(&[&EXAMPLES, &SERVERS, &SALE, &["-f", "examples/minimal.yaml"]], "");
    assert_eq!(code, 0);
    assert!(text.contains("seat-map is also raised by ticketing/stadium-tour-phoenix: its floor reaches 740"), "{text}");
}

#[test]
fn a_folder_is_all_its_manifests_and_one_without_any_is_bad_input() {
    let (code, text, _) = onsale(&[&["plan", "-f", "examples", "--at", "2026-11-21T08:00:00Z"], &SERVERS], "");
    // With the HPA of the folder, the two sales of the same hour want more of the seat map than its maximum.
    assert_eq!(code, 2);
    assert!(text.contains("ticketing/club-night") && text.contains("ticketing/stadium-tour-phoenix"), "{text}");
    assert!(text.contains("maxReplicas of HorizontalPodAutoscaler seat-map allows at most 600 replicas, 740 are wanted"), "{text}");
    let (code, _, err) = onsale(&[&["plan", "-f", "operator/cli"]], "");
    assert_eq!((code, err.contains("no file in this folder ends in .yaml")), (1, true), "{err}");
}

#[test]
fn bad_input_is_told_all_at_once_and_is_1() {
    let (code, out, err) = onsale(&[&["plan", "-f", "-", "nowhere.yaml", "examples/pools.yaml"]], "kind: OnSale\n---\n[1, 2]\n---\na: [\n");
    assert_eq!((code, out.as_str()), (1, ""));
    insta::assert_snapshot!(err);
    assert_eq!(onsale(&[&["plan"]], "").0, 1);
    assert_eq!(onsale(&[&["plan", "-f", "examples/pools.yaml"]], "").0, 1);
    assert_eq!(onsale(&[&EXAMPLES, &SALE, &["--nodes", "lax-local-zone=3,cpu=1,memory=1Gi"]], "").0, 1);
    for at in ["yesterday", "9999-12-31T23:59:59Z"] {
        let (code, _, err) = onsale(&[&EXAMPLES, &SALE, &["--at", at]], "");
        assert_eq!((code, err.contains("write an instant in RFC 3339")), (1, true), "{err}");
    }
    assert_eq!(onsale(&[&["--help"]], "").0, 0);
}

#[test]
fn all_mistakes_in_assumed_nodes_are_told_beside_those_of_files() {
    let nodes = ["--nodes", "nope=1,cpu=1,memory=1Gi", "--nodes", "lax-local-zone=1,cpu=1,memory=1Gi"];
    let (code, _, err) = onsale(&[&EXAMPLES, &SALE, &nodes], "");
    assert_eq!(code, 1);
    assert!(err.contains("--nodes nope: there is no such CapacityPool; nodes can be assumed for phx-dc\n"), "{err}");
    assert!(err.contains("--nodes lax-local-zone: the operator rents the nodes of this pool"), "{err}");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: Shop}\n";
    let (_, _, err) = onsale(&[&EXAMPLES, &SALE, &nodes, &["-f", "-"]], namespace);
    assert!(err.contains("-:3: Namespace Shop") && err.ends_with("3 mistakes; nothing was planned\n"), "{err}");
    // Where the pool's own manifest is what is wrong, that alone is said.
    let pool = "apiVersion: onsale.dev/v1alpha1\nkind: CapacityPool\nmetadata: {name: nope}\nspec: {}\n";
    let (_, _, err) = onsale(&[&EXAMPLES, &SALE, &nodes, &["-f", "-"]], pool);
    assert!(err.contains("CapacityPool nope (document 1)") && !err.contains("--nodes nope"), "{err}");
    let (code, _, err) = onsale(&[&EXAMPLES, &SALE, &["--nodes", "phx-dc=1,cpu=1,memory=1Gi,memry=3"]], "");
    assert_eq!((code, err.contains("there is no such resource; did you mean memory?")), (1, true), "{err}");
}

#[test]
fn two_kinds_of_assumed_nodes_in_one_pool_add_up() {
    let (code, text, _) =
        onsale(&[&EXAMPLES, &SALE, &["--nodes", "phx-dc=12,cpu=20,memory=96Gi", "--nodes", "phx-dc=8,cpu=20,memory=96Gi"]], "");
    assert_eq!((code, text.contains("20 there already")), (0, true), "{text}");
}

#[test]
fn an_opening_at_the_end_of_time_is_bad_input() {
    let (code, _, err) = changed("opensAt: \"2026-12-05T10:00:00\"", "opensAt: \"9998-12-31T10:00:00\"", &[]);
    assert_eq!((code, err.contains("further away than anybody plans")), (1, true), "{err}");
}

#[test]
fn a_kubeconfig_that_has_no_such_context_is_bad_input() {
    let (code, _, err) = onsale(&[&EXAMPLES, &SALE, &["--kubeconfig", "examples/pools.yaml", "--context", "prod"]], "");
    assert_eq!(code, 1);
    assert!(err.contains("prod") || err.contains("pools.yaml"), "{err}");
}
