//! From documents to objects: which kinds are read, how, and what is wrong with them.

use std::{cell::RefCell, collections::HashMap};

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        autoscaling::{v1, v2::HorizontalPodAutoscaler},
        core::v1::{Namespace, Node as ClusterNode, Pod},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use onsale_api::{CapacityPool, GROUP, OnSale, VERSION, WorkloadPlacement};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Input, Mention, Mistake, kubernetes,
    rules::{self, AllRules, Rules},
    schema::Fault,
    strict::Strict,
    yaml::{self, Content, Node},
};

/// An object that a plan can use.
#[derive(Clone, Debug)]
pub enum Object {
    /// A sale.
    Sale(Box<OnSale>),
    /// A pool.
    Pool(Box<CapacityPool>),
    /// What the operator does to a workload.
    Placement(Box<WorkloadPlacement>),
    /// A Deployment.
    Deployment(Box<Deployment>),
    /// A StatefulSet.
    StatefulSet(Box<StatefulSet>),
    /// A DaemonSet.
    DaemonSet(Box<DaemonSet>),
    /// An HPA.
    Scaler(Box<HorizontalPodAutoscaler>),
    /// A KEDA ScaledObject: its metadata and the whole of it.
    ScaledObject(Box<(ObjectMeta, Value)>),
    /// A node.
    Node(Box<ClusterNode>),
    /// A pod.
    Pod(Box<Pod>),
    /// A namespace.
    Namespace(Box<Namespace>),
}

/// Everything that was read.
#[derive(Debug, Default)]
pub struct Objects {
    /// What a plan can use.
    pub found: Vec<Object>,
    /// Everything that is meant to be a workload, also what is not read as one.
    pub mentions: Vec<Mention>,
    /// Everything that is wrong.
    pub mistakes: Vec<Mistake>,
}

/// Reads all documents of all files. Objects without a namespace get `namespace`, as kubectl does.
#[must_use]
pub fn read(inputs: &[Input], namespace: &str) -> Objects {
    let mut reader = Reader { rules: AllRules::default(), namespace, objects: Objects::default(), first: HashMap::new() };
    for input in inputs {
        for document in yaml::documents(&input.text) {
            let place = Place { file: &input.name, document: document.number, root: None, object: None, prefix: String::new() };
            for flaw in &document.flaws {
                reader.mistake(&Place { root: document.root.as_ref(), ..place.clone() }, Some(flaw.line), None, flaw.message.clone());
            }
            if let (Some(root), true) = (&document.root, document.flaws.is_empty()) {
                reader.object(&Place { root: Some(root), ..place }, root, 0);
            }
        }
    }
    reader.objects.mistakes.sort();
    reader.objects.mistakes.dedup();
    reader.objects
}

/// Where we are.
#[derive(Clone)]
struct Place<'a> {
    file: &'a str,
    document: usize,
    root: Option<&'a Node>,
    object: Option<String>,
    /// Path of the object in its document: `items[3].` in a List.
    prefix: String,
}

struct Reader<'a> {
    rules: AllRules,
    namespace: &'a str,
    objects: Objects,
    /// Where each object was met first.
    first: HashMap<(String, String, String), String>,
}

impl Reader<'_> {
    fn mistake(&mut self, place: &Place<'_>, line: Option<usize>, field: Option<&str>, message: String) {
        let line = line.or_else(|| Some(place.root?.line_of(field.unwrap_or_default())));
        self.objects.mistakes.push(Mistake {
            file: place.file.to_owned(),
            line,
            document: Some(place.document),
            object: place.object.clone(),
            field: field.map(|field| format!("{}{field}", place.prefix)),
            message,
        });
    }

    fn faults(&mut self, place: &Place<'_>, faults: Vec<Fault>) -> bool {
        let none = faults.is_empty();
        for Fault { field, message } in faults {
            let message = as_written(place, &field, message);
            self.mistake(place, None, Some(&field), message);
        }
        none
    }

    fn object(&mut self, place: &Place<'_>, root: &Node, depth: usize) {
        let Content::Map(_) = root.content else {
            let (whole, item) = (Place { prefix: String::new(), ..place.clone() }, place.prefix.trim_end_matches('.'));
            return self.mistake(
                &whole,
                Some(root.line),
                Some(item),
                "this is no object: it needs apiVersion, kind and metadata".to_owned(),
            );
        };
        let (Some(api_version), Some(kind)) = (root.text("apiVersion"), root.text("kind")) else {
            let missing = if root.text("apiVersion").is_none() { "apiVersion" } else { "kind" };
            let message = "Required value: this is no Kubernetes object without it".to_owned();
            return self.mistake(place, None, Some(missing), message);
        };
        if is_list(kind, root) {
            return self.list(place, root, depth);
        }
        self.objects.mentions.extend(Mention::of(place.file, root, self.namespace));
        let mut value = root.json();
        let place = &Place { object: Some(label(kind, &value["metadata"], self.namespace)), ..place.clone() };
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut).filter(|_| is_namespaced(kind)) {
            metadata.entry("namespace").or_insert_with(|| Value::String(self.namespace.to_owned()));
        }
        self.kind(place, api_version, kind, value);
    }

    fn list(&mut self, place: &Place<'_>, root: &Node, depth: usize) {
        if depth > 0 {
            return self.mistake(place, None, Some("items"), "a List in a List is not read: put its items into the outer one".to_owned());
        }
        match root.get("items").map(|items| &items.content) {
            Some(Content::List(items)) => {
                for (n, item) in items.iter().enumerate() {
                    let place = Place { root: Some(item), prefix: format!("items[{n}]."), ..place.clone() };
                    self.object(&place, item, depth + 1);
                }
            }
            None | Some(Content::Scalar(Value::Null)) => {}
            Some(_) => self.mistake(place, None, Some("items"), "Invalid value: must be a list: begin each item with '- '".to_owned()),
        }
    }

    fn kind(&mut self, place: &Place<'_>, api_version: &str, kind: &str, value: Value) {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        if kubernetes::is_read(group, kind) || (group, kind) == (GROUP, "WorkloadPlacement") {
            let faults = [rules::names(&value["metadata"], is_namespaced(kind)), kubernetes::check(group, version, kind, &value)].concat();
            if !self.faults(place, faults) {
                return;
            }
        }
        let object = match (group, kind) {
            (GROUP, _) if version != VERSION => {
                let message = format!("Unsupported value: {api_version:?}: write {GROUP}/{VERSION}");
                return self.mistake(place, None, Some("apiVersion"), message);
            }
            (GROUP, "OnSale") => self.sale(place, &value),
            (GROUP, "CapacityPool") => self.pool(place, &value),
            (GROUP, "WorkloadPlacement") => self.typed(place, &value).map(|o| Object::Placement(Box::new(o))),
            (GROUP, _) => {
                let message = format!("Unsupported value: {kind:?}: supported values: \"CapacityPool\", \"OnSale\"");
                return self.mistake(place, None, Some("kind"), message);
            }
            ("apps", "Deployment") => self.strict(place, &value).map(|o| Object::Deployment(Box::new(o))),
            ("apps", "StatefulSet") => self.strict(place, &value).map(|o| Object::StatefulSet(Box::new(o))),
            ("apps", "DaemonSet") => self.strict(place, &value).map(|o| Object::DaemonSet(Box::new(o))),
            ("autoscaling", "HorizontalPodAutoscaler") => self.scaler(place, version, &value),
            ("keda.sh", "ScaledObject") => {
                let meta = serde_json::from_value(value["metadata"].clone()).unwrap_or_default();
                Some(Object::ScaledObject(Box::new((meta, value.clone()))))
            }
            ("", "Node") => self.strict(place, &value).map(|o| Object::Node(Box::new(o))),
            ("", "Pod") => self.strict(place, &value).map(|o| Object::Pod(Box::new(o))),
            ("", "Namespace") => self.strict(place, &value).map(|o| Object::Namespace(Box::new(o))),
            (other, "OnSale" | "CapacityPool" | "WorkloadPlacement") if kind == "OnSale" || other.starts_with("onsale") => {
                let message = format!("Unsupported value: {api_version:?}: write {GROUP}/{VERSION}");
                return self.mistake(place, None, Some("apiVersion"), message);
            }
            // Other kinds are no matter of a plan.
            _ => None,
        };
        if let Some(object) = object.filter(|_| self.once(place, kind, &value["metadata"])) {
            self.objects.found.push(object);
        }
    }

    fn sale(&mut self, place: &Place<'_>, value: &Value) -> Option<Object> {
        if !self.obeys(place, value, AllRules::sale) {
            return None;
        }
        let sale: OnSale = self.typed(place, value)?;
        self.faults(place, rules::instant(&sale).into_iter().collect()).then(|| Object::Sale(Box::new(sale)))
    }

    fn pool(&mut self, place: &Place<'_>, value: &Value) -> Option<Object> {
        if !self.obeys(place, value, AllRules::pool) {
            return None;
        }
        self.typed(place, value).map(|pool| Object::Pool(Box::new(pool)))
    }

    fn obeys(&mut self, place: &Place<'_>, value: &Value, pick: fn(&AllRules) -> Option<&Rules>) -> bool {
        let mut faults = pick(&self.rules).map(|r| r.check(value)).unwrap_or_default();
        // A zone that is unknown is said beside everything else that is wrong.
        if let Some(zone) = value["spec"]["timeZone"].as_str().filter(|_| !faults.iter().any(|f| f.field == "spec.timeZone"))
            && !faults.is_empty()
            && jiff::tz::TimeZone::get(zone).is_err()
        {
            let message = format!("unknown time zone: {zone:?} is not in the IANA database; write a name such as America/Phoenix");
            faults.push(Fault { field: "spec.timeZone".to_owned(), message });
        }
        self.faults(place, faults)
    }

    /// The first version of an HPA has what a plan needs under the same names, and fields of its own besides.
    fn scaler(&mut self, place: &Place<'_>, version: &str, value: &Value) -> Option<Object> {
        if version == "v1" {
            self.strict::<v1::HorizontalPodAutoscaler>(place, value)?;
            let mut newer = value.clone();
            newer["apiVersion"] = "autoscaling/v2".into();
            return self.typed(place, &newer).map(|hpa| Object::Scaler(Box::new(hpa)));
        }
        self.strict(place, value).map(|hpa| Object::Scaler(Box::new(hpa)))
    }

    /// As the type that Kubernetes has for it, and without fields that it does not know.
    fn strict<T: DeserializeOwned>(&mut self, place: &Place<'_>, value: &Value) -> Option<T> {
        let unknown = RefCell::default();
        let object = self.told(place, value, serde_path_to_error::deserialize(Strict::new(value, &unknown)));
        // What an API server gave holds no slips of the pen, only fields that are younger than this program.
        let given = value["metadata"]["resourceVersion"].is_string();
        let unknown = unknown.take().into_iter().filter(|fault| !given && !fault.field.starts_with("status"));
        object.filter(|_| self.faults(place, unknown.collect()))
    }

    fn typed<T: DeserializeOwned>(&mut self, place: &Place<'_>, value: &Value) -> Option<T> {
        self.told(place, value, serde_path_to_error::deserialize(value))
    }

    fn told<T>(&mut self, place: &Place<'_>, value: &Value, result: Result<T, serde_path_to_error::Error<serde_json::Error>>) -> Option<T> {
        let error = match result {
            Ok(object) => return Some(object),
            Err(error) => error,
        };
        let (field, message) = (error.path().to_string(), error.inner().to_string());
        let field = if field == "." { "" } else { &field };
        self.mistake(place, None, Some(field), format!("Invalid value: {message}{}", quotes(&message, value, field)));
        None
    }

    /// An object may be written only once: which of two would count, nobody knows.
    fn once(&mut self, place: &Place<'_>, kind: &str, metadata: &Value) -> bool {
        let text = |key: &str| metadata[key].as_str().unwrap_or_default().to_owned();
        let here = format!("{}:{}", place.file, place.root.map_or(0, |r| r.line));
        match self.first.insert((kind.to_owned(), text("namespace"), text("name")), here) {
            None => true,
            Some(first) => {
                self.mistake(
                    place,
                    None,
                    Some("metadata.name"),
                    format!("Duplicate value: the same object is at {first}: remove one of them"),
                );
                false
            }
        }
    }
}

/// A `List`, or the list of one kind; other kinds may be called so, too.
fn is_list(kind: &str, root: &Node) -> bool {
    kind == "List" || kind.ends_with("List") && root.get("items").is_some_and(|items| matches!(items.content, Content::List(_)))
}

/// With a number as it stands in the file.
fn as_written(place: &Place<'_>, field: &str, message: String) -> String {
    let Some(root) = place.root else { return message };
    let value = root.written(field).and_then(|written| Some((written, message.strip_prefix("Invalid value: ")?.split_once(": ")?.1)));
    value.map_or_else(|| message.clone(), |(written, rest)| format!("Invalid value: {written}: {rest}"))
}

/// A number or a truth value in quotes, or text without them, is the commonest of all slips.
fn quotes(message: &str, value: &Value, field: &str) -> String {
    let steps = field.split(['.', '[']).map(|step| step.trim_end_matches(']'));
    let expected = |what: &[&str]| what.iter().any(|what| message.ends_with(&format!("expected {what}")));
    match value.pointer(&steps.fold(String::new(), |path, step| format!("{path}/{step}"))) {
        Some(Value::String(text))
            if expected(&["i32", "i64", "a boolean"]) && (text.parse::<i64>().is_ok() || text.parse::<bool>().is_ok()) =>
        {
            format!("; write {text} without quotes")
        }
        Some(plain @ (Value::Number(_) | Value::Bool(_))) if expected(&["a string"]) => format!("; put it in quotes: \"{plain}\""),
        _ => String::new(),
    }
}

fn is_namespaced(kind: &str) -> bool {
    !matches!(kind, "CapacityPool" | "Node" | "Namespace")
}

fn label(kind: &str, metadata: &Value, namespace: &str) -> String {
    let name = metadata["name"].as_str().unwrap_or("without a name");
    if is_namespaced(kind) {
        format!("{kind} {}/{name}", metadata["namespace"].as_str().unwrap_or(namespace))
    } else {
        format!("{kind} {name}")
    }
}
