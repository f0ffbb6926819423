//! helm, and what it renders.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use onsale_bed::{progress::Progress, tools};
use serde_json::Value;

/// Rendered manifests, as text and as data.
pub struct Render {
    text: String,
    objects: Vec<Value>,
}

fn helm(args: &[&str]) -> Output {
    // Looking is quick; building, the very first time, is not, and must not happen in every test.
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    let helm = HELM.get_or_init(|| tools::ensure(Progress::stderr()).unwrap().helm);
    Command::new(helm).args(args).env("HOME", std::env::temp_dir()).env("KUBECONFIG", "/dev/null").output().unwrap()
}

fn charts() -> PathBuf {
    tools::checkout().join("charts")
}

fn template(args: &[&str]) -> Output {
    let chart = charts().join("onsale-operator");
    helm(&[&["template", "onsale-operator", chart.to_str().unwrap(), "--namespace=onsale-system"], args].concat())
}

/// Renders the operator's chart.
pub fn render(args: &[&str]) -> Render {
    let output = template(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let objects = text.split("\n---\n").map(yaml).filter(|o| !o.is_null()).collect();
    Render { text, objects }
}

/// What helm complains about.
pub fn refused(args: &[&str]) -> String {
    let output = template(args);
    assert!(!output.status.success(), "not refused: {args:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The chart of the CRDs, as text.
pub fn crds() -> String {
    let output = helm(&["template", "crds", charts().join("onsale-operator-crds").to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The generated CRDs by file name.
pub fn crd_files() -> Vec<(String, String)> {
    let files = fs::read_dir(charts().join("onsale-operator-crds/templates")).unwrap().map(|f| f.unwrap());
    files.map(|f| (f.file_name().into_string().unwrap(), fs::read_to_string(f.path()).unwrap())).collect()
}

/// A file of the operator's chart.
pub fn file(name: &str) -> String {
    fs::read_to_string(charts().join("onsale-operator").join(name)).unwrap()
}

pub fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

/// Dotted paths of all values; an empty map is a value, a filled one is not.
pub fn paths(prefix: &str, value: &Value, into: &mut Vec<String>) {
    match value.as_object().filter(|o| !o.is_empty() && !prefix.starts_with("resources.")) {
        Some(object) => object.iter().for_each(|(k, v)| paths(&join(prefix, k), v, into)),
        None => into.push(prefix.to_owned()),
    }
}

/// The same of a schema.
pub fn schema_paths(prefix: &str, schema: &Value, into: &mut Vec<String>) {
    match schema["properties"].as_object().filter(|_| schema["additionalProperties"] == false) {
        Some(object) => object.iter().for_each(|(k, v)| schema_paths(&join(prefix, k), v, into)),
        None => into.push(prefix.to_owned()),
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

fn words(value: &Value) -> String {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|w| if w.is_empty() { "core" } else { w })
        .collect::<Vec<_>>()
        .join(" ")
}

impl Render {
    /// A line for each object.
    pub fn objects(&self) -> String {
        let mut lines: Vec<_> = self.objects.iter().map(|o| format!("{} {}\n", text(&o["kind"]), text(&o["metadata"]["name"]))).collect();
        lines.sort();
        lines.concat()
    }

    /// A line for each rule: where, what, which verbs.
    pub fn rights(&self) -> String {
        let mut lines = String::new();
        for object in &self.objects {
            for rule in object["rules"].as_array().into_iter().flatten() {
                let names = rule.get("resourceNames").map(|n| format!(" named {}", words(n))).unwrap_or_default();
                let (groups, kinds, verbs) = (words(&rule["apiGroups"]), words(&rule["resources"]), words(&rule["verbs"]));
                writeln!(lines, "{}: {groups}: {kinds}{names}: {verbs}", text(&object["kind"])).unwrap();
            }
        }
        lines
    }

    /// The Deployment's pod.
    pub fn pod(&self) -> Value {
        self.objects.iter().find(|o| o["kind"] == "Deployment").unwrap()["spec"]["template"]["spec"].clone()
    }

    /// Arguments and environment of the operator.
    pub fn flags(&self) -> String {
        let container = &self.pod()["containers"][0];
        let args = container["args"].as_array().unwrap().iter().map(|a| format!("{}\n", text(a)));
        let env = container["env"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| format!("{} {}\n", text(&e["name"]), e.get("valueFrom").unwrap_or(&e["value"])));
        args.chain(env).collect()
    }

    /// Each line that starts with `start`, and the line above it.
    pub fn lines_before(&self, start: &str) -> Vec<(&str, &str)> {
        let lines: Vec<_> = self.text.lines().collect();
        let pairs: Vec<_> = lines.windows(2).filter(|w| w[1].starts_with(start)).map(|w| (w[1], w[0])).collect();
        assert!(!pairs.is_empty(), "no line starts with {start:?}");
        pairs
    }

    /// What is only in the other (`-`) or only here (`+`): whole objects by name, of the rest each leaf.
    pub fn difference(&self, other: &Self) -> String {
        let only = |sign: char, a: &Self, b: &Self| {
            let mut rest = b.lines(a);
            let mut lines = Vec::new();
            for line in a.lines(b) {
                match rest.iter().position(|r| *r == line) {
                    Some(at) => drop(rest.remove(at)),
                    None => lines.push(format!("{sign} {line}\n")),
                }
            }
            lines.concat()
        };
        only('-', other, self) + &only('+', self, other)
    }

    /// The name of each object that `other` lacks, and every leaf of those that it has.
    fn lines(&self, other: &Self) -> Vec<String> {
        let id = |o: &Value| format!("{} {}", text(&o["kind"]), text(&o["metadata"]["name"]));
        let mut lines = Vec::new();
        for object in &self.objects {
            if other.objects.iter().any(|o| id(o) == id(object)) {
                leaves(&text(&object["kind"]), object, &mut lines);
            } else {
                lines.push(id(object));
            }
        }
        lines
    }
}

fn leaves(path: &str, value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => map.iter().for_each(|(k, v)| leaves(&format!("{path} {k}"), v, into)),
        Value::Array(list) if list.iter().any(Value::is_object) => list.iter().for_each(|v| leaves(&format!("{path} -"), v, into)),
        Value::Array(list) => list.iter().for_each(|v| into.push(format!("{path}: {v}"))),
        _ => into.push(format!("{path}: {value}")),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), Into::into)
}

/// Compares with `snapshots/<name>.txt`, or writes it when `ONSALE_ACCEPT` is set.
pub fn snapshot(name: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/charts/snapshots").join(format!("{name}.txt"));
    if std::env::var_os("ONSALE_ACCEPT").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, now).unwrap();
    }
    let before = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        before == now,
        "{} no longer holds; it is now:\n{now}\nif that is meant: ONSALE_ACCEPT=1 cargo test -p onsale-bed --test charts",
        path.display()
    );
}
