//! Every sequence of bytes gives a plan or a clear error: any bytes, any text, and manifests that were edited, those of `examples/` among them.
//! `ONSALE_CASES=20000 ONSALE_SEED=7 cargo test -p onsale-cli --test fuzz` looks longer, and at other input.

#![expect(clippy::unwrap_used, reason = "clippy sees tests only in functions with #[test], and all of this file is one")]

mod shared;

use std::{fs, path::Path};

use onsale_cli::run::Outcome;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, subsequence},
    test_runner::{Config, RngSeed, TestCaseError},
};
use serde_json::{Value, json};

/// Small, so that a thousand cases take seconds: what is read and how is the same as for a large one.
const FLEET: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: shop}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web, resources: {requests: {cpu: 500m, memory: 1Gi}}}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: shop}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 2, maxReplicas: 9}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {site: dc}}
status: {allocatable: {cpu: "2", memory: 4Gi, pods: "20"}, conditions: [{type: Ready, status: "True", lastHeartbeatTime: null, reason: ok, message: ok}]}
---
apiVersion: onsale.dev/v1alpha1
kind: CapacityPool
metadata: {name: dc}
spec:
  tier: OnPrem
  zone: dc
  latency: [{site: dc, rtt: 200us}]
  nodes: {existing: {selector: {matchLabels: {site: dc}}}}
  allowedNamespaces: {from: All}
---
apiVersion: onsale.dev/v1alpha1
kind: CapacityPool
metadata: {name: cloud}
spec:
  tier: Region
  zone: us-west-2a
  latency: [{site: dc, rtt: 30ms}]
  leadTime: {p50: 1m, p95: 2m}
  nodes:
    ec2:
      region: us-west-2
      launchTemplate: {name: web, version: "1"}
      subnets: [subnet-0abc1234]
      instanceTypes: [{name: c6i.large, hourlyCost: "0.1", allocatable: {cpu: 1900m, memory: 3Gi}}]
  limits: {maxNodes: 4}
  allowedNamespaces: {from: Selector, selector: {matchLabels: {team: shop}}}
---
apiVersion: onsale.dev/v1alpha1
kind: OnSale
metadata: {name: tour, namespace: shop}
spec:
  opensAt: "2026-12-05T10:00:00"
  timeZone: America/Phoenix
  duration: 10m
  workloads:
  - {target: {kind: Deployment, name: web}, peakReplicas: 7, dependencies: [{site: dc, serialCalls: 3}], maxLatency: 1s, sessionLength: 10s}
  budget: {maxNodes: 3, maxHourlyCost: "5", maxTotalCost: "9.50"}
"#;

/// So many cases as take about a second, or as many as the environment asks for; always the same ones, unless it asks for others.
fn cases(cases: u32) -> Config {
    let asked = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let cases = asked("ONSALE_CASES").map_or(cases, |n: u64| u32::try_from(n).unwrap_or(u32::MAX));
    let rng_seed = RngSeed::Fixed(asked("ONSALE_SEED").unwrap_or(1));
    Config { cases, rng_seed, failure_persistence: None, max_shrink_iters: 500, ..Config::default() }
}

fn plan(bytes: &[u8], output: &str) -> Outcome {
    shared::plan(bytes, output, "2026-12-01T00:00:00Z")
}

/// A plan, or an error that says where and what.
fn answered(bytes: &[u8], output: &str) -> Result<Outcome, TestCaseError> {
    let outcome = plan(bytes, output);
    match outcome.code {
        0 | 2 => prop_assert!(!outcome.out.is_empty() && outcome.err.is_empty()),
        1 => {
            prop_assert!(outcome.out.is_empty());
            let mistakes: Vec<&str> = outcome.err.lines().filter(|l| l.starts_with("-:")).collect();
            prop_assert!(!mistakes.is_empty() && mistakes.iter().all(|m| m.len() > 12), "{}", outcome.err);
        }
        code => prop_assert!(false, "exit code {code}"),
    }
    Ok(outcome)
}

/// A change of the text at a place.
#[derive(Clone, Debug)]
enum Edit {
    Cut(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    let token = prop_oneof![
        vec(any::<u8>(), 1..4),
        prop::sample::select(vec![
            ": ", "- ", "\n", "  ", "{", "}", "[", "]", "\"", "'", "&a ", "*a", "<<: ", "---\n", "!!str ", "|", "\t", "#", "%", "0x", "-1",
            "1e999", "\u{feff}"
        ])
        .prop_map(|s| s.as_bytes().to_vec()),
    ];
    prop_oneof![
        (at(), 1_usize..40).prop_map(|(at, n)| Edit::Cut(at, n)),
        (at(), token).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at(), 1_usize..200).prop_map(|(at, n)| Edit::Repeat(at, n)),
    ]
}

fn edited(text: &str, edits: &[Edit]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for edit in edits {
        let (Edit::Cut(at, _) | Edit::Insert(at, _) | Edit::Repeat(at, _)) = edit;
        let len = bytes.len();
        let at = at.index(len + 1);
        let end = |n: usize| (at + n).min(len);
        match edit {
            Edit::Cut(_, n) => drop(bytes.drain(at..end(*n))),
            Edit::Insert(_, more) => drop(bytes.splice(at..at, more.clone())),
            Edit::Repeat(_, n) => {
                let (part, end) = (bytes[at..end(*n)].to_vec(), end(*n));
                bytes.splice(end..end, part);
            }
        }
    }
    bytes
}

/// The documents of `examples/`, with a twentieth of their replicas: those that still make sense are planned in no time.
fn examples() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let files = ["pools.yaml", "shop.yaml", "stadium-tour.yaml", "minimal.yaml", "seat-map-hpa.yaml"];
    let less = |line: &str| match line.split_once("eplicas: ") {
        Some((before, n)) if n.parse::<i32>().is_ok() => format!("{before}eplicas: {}", n.parse::<i32>().unwrap().div_euclid(20).max(1)),
        _ => line.to_owned(),
    };
    let read = |file| fs::read_to_string(folder.join(file)).unwrap();
    let documents = files.into_iter().flat_map(|file| read(file).split("\n---\n").map(str::to_owned).collect::<Vec<_>>());
    documents.map(|text| text.lines().map(less).collect::<Vec<_>>().join("\n") + "\n").collect()
}

/// Texts that somebody might write, and nobody should.
const TEXTS: &[&str] = &[
    "",
    "0",
    "0s",
    "1us",
    "168h",
    "999999999h",
    "1ns",
    "-1",
    "10%",
    "0%",
    "1000%",
    "9E",
    "9223372036854775807",
    "1m",
    "0.000001",
    "999999999",
    "2026-12-05T10:00:00Z",
    "2026-03-08T02:30:00",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z",
    "Europe/Berlin",
    "UTC",
    "dc",
    "cloud",
    "web",
    "shop",
    "All",
    "Selector",
    "Max",
    "Hold",
    "Plan",
    "NotIn",
    "StatefulSet",
    "a.b.c",
    "x\u{0}y",
    "\u{1f3ab}",
];

/// Values that somebody might write, and nobody should.
fn strange() -> impl Strategy<Value = Value> {
    let numbers = [0_i64, 1, -1, 3, 7, 110, 10_001, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN];
    prop_oneof![
        prop::sample::select(TEXTS.to_vec()).prop_map(Value::from),
        prop::sample::select(numbers.to_vec()).prop_map(Value::from),
        prop::sample::select(vec![
            json!(null),
            json!(true),
            json!(1.5),
            json!(1e300),
            json!([]),
            json!({}),
            json!([[]]),
            json!({"a": "b"})
        ]),
        "[a-z0-9:%. -]{0,12}".prop_map(Value::from),
    ]
}

fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(k, v)| pointers(v, &format!("{at}/{}", k.replace('~', "~0").replace('/', "~1")), all))
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(n, v)| pointers(v, &format!("{at}/{n}"), all)),
        _ => {}
    }
}

fn values<'a>(documents: impl Iterator<Item = &'a str>) -> Vec<Value> {
    documents.map(|text| serde_yaml::from_str(text).unwrap()).collect()
}

/// Some value of a document is another one.
type Strange = (Index, Index, Value);

fn with_strange_values(mut all: Vec<Value>, changes: &[Strange]) -> String {
    for (document, place, value) in changes {
        let n = document.index(all.len());
        let mut places = Vec::new();
        pointers(&all[n], "", &mut places);
        let place: &String = place.get(&places);
        *all[n].pointer_mut(place).unwrap() = value.clone();
    }
    all.iter().map(|d| format!("---\n{}", serde_yaml::to_string(d).unwrap())).collect()
}

#[test]
fn the_fleet_itself_is_a_go() {
    let outcome = plan(FLEET.as_bytes(), "text");
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn all_examples_together_are_planned() {
    let outcome = plan(examples().join("---\n").as_bytes(), "text");
    assert!(outcome.code == 0 || outcome.code == 2, "{outcome:?}");
}

/// In every form that there is.
fn answered_in_all_forms(text: &str) -> Result<(), TestCaseError> {
    if answered(text.as_bytes(), "svg")?.code != 1 {
        answered(text.as_bytes(), "text")?;
        answered(text.as_bytes(), "json")?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn any_bytes_give_an_answer(bytes in vec(any::<u8>(), 0..400)) {
        answered(&bytes, "text")?;
    }

    #[test]
    fn any_text_gives_an_answer(text in "[ -~\n\t{}\\[\\]:,&*#?|>'\"%@`-]{0,400}") {
        answered(text.as_bytes(), "text")?;
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn edited_manifests_give_an_answer(edits in vec(edit(), 1..6)) {
        answered(&edited(FLEET, &edits), "json")?;
    }

    #[test]
    fn edited_examples_give_an_answer(some in subsequence(examples(), 1..=examples().len()), edits in vec(edit(), 1..4)) {
        answered(&edited(&some.join("---\n"), &edits), "json")?;
    }

    #[test]
    fn strange_values_give_an_answer(changes in vec((any::<Index>(), any::<Index>(), strange()), 1..4)) {
        answered_in_all_forms(&with_strange_values(values(FLEET.split("---\n")), &changes))?;
    }

    #[test]
    fn strange_values_in_examples_give_an_answer(
        some in subsequence(examples(), 1..=examples().len()),
        changes in vec((any::<Index>(), any::<Index>(), strange()), 1..3),
    ) {
        answered_in_all_forms(&with_strange_values(values(some.iter().map(String::as_str)), &changes))?;
    }
}
