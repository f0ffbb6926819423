//! managedFields, as far as anybody here reads them: which manager owns which field of `spec`, `status`, labels and annotations. Lists count as one
//! field. A write that changes a value takes the field from all others; writing the same value leaves no trace, as on a real API server.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::failure::Failure;

type Paths = BTreeSet<Vec<String>>;

/// Who writes, and how.
#[derive(Clone, Debug)]
pub struct Writer<'a> {
    /// Field manager.
    pub manager: &'a str,
    /// Subresource that is written through.
    pub sub: Option<&'a str>,
    /// RFC 3339.
    pub now: String,
}

struct Entry {
    manager: String,
    operation: String,
    sub: Option<String>,
    time: Option<String>,
    paths: Paths,
}

/// Paths of the fields that a write through `sub` may change. Of a status, the parts as a whole: nobody reads more, and statuses are what is
/// written most.
fn tracked(object: &Value, sub: Option<&str>) -> Paths {
    let mut paths = Paths::new();
    if sub == Some("status") {
        let parts = object["status"].as_object().into_iter().flat_map(Map::keys);
        return parts.map(|part| vec!["status".to_owned(), part.clone()]).collect();
    }
    for root in ["spec", "template"] {
        if let Some(value) = object.get(root) {
            leaves(value, &mut vec![root.to_owned()], &mut paths);
        }
    }
    for part in ["labels", "annotations"] {
        if let Some(value) = object.pointer(&format!("/metadata/{part}")) {
            leaves(value, &mut vec!["metadata".to_owned(), part.to_owned()], &mut paths);
        }
    }
    paths
}

fn leaves(value: &Value, path: &mut Vec<String>, paths: &mut Paths) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(key.clone());
                leaves(value, path, paths);
                path.pop();
            }
        }
        _ => drop(paths.insert(path.clone())),
    }
}

fn get<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, part| value.get(part))
}

fn parse(object: &Value) -> Vec<Entry> {
    let text = |entry: &Value, field: &str| entry[field].as_str().map(str::to_owned);
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    entries
        .map(|entry| {
            let mut paths = Paths::new();
            unrender(&entry["fieldsV1"], &mut Vec::new(), &mut paths);
            Entry {
                manager: text(entry, "manager").unwrap_or_default(),
                operation: text(entry, "operation").unwrap_or_default(),
                sub: text(entry, "subresource"),
                time: text(entry, "time"),
                paths,
            }
        })
        .collect()
}

fn unrender(fields: &Value, path: &mut Vec<String>, paths: &mut Paths) {
    for (key, value) in fields.as_object().into_iter().flatten() {
        path.push(key.trim_start_matches("f:").to_owned());
        if value.as_object().is_some_and(Map::is_empty) {
            paths.insert(path.clone());
        } else {
            unrender(value, path, paths);
        }
        path.pop();
    }
}

fn render(entries: &[Entry], api_version: &Value) -> Value {
    let all = entries.iter().filter(|e| !e.paths.is_empty()).map(|entry| {
        let mut fields = json!({});
        for path in &entry.paths {
            let mut at = &mut fields;
            for part in path {
                at = &mut at[format!("f:{part}")];
            }
            *at = json!({});
        }
        let mut out = json!({"manager": entry.manager, "operation": entry.operation, "apiVersion": api_version, "fieldsType": "FieldsV1", "fieldsV1": fields});
        if let Some(sub) = &entry.sub {
            out["subresource"] = json!(sub);
        }
        if let Some(time) = &entry.time {
            out["time"] = json!(time);
        }
        out
    });
    all.collect()
}

fn own<'a>(entries: &'a mut Vec<Entry>, writer: &Writer<'_>, operation: &str) -> &'a mut Entry {
    let is_own = |e: &Entry| e.manager == writer.manager && e.operation == operation && e.sub.as_deref() == writer.sub;
    let index = entries.iter().position(is_own).unwrap_or_else(|| {
        let (manager, sub) = (writer.manager.to_owned(), writer.sub.map(str::to_owned));
        entries.push(Entry { manager, operation: operation.to_owned(), sub, time: None, paths: Paths::new() });
        entries.len() - 1
    });
    let entry = &mut entries[index];
    // What comes through /scale carries no time on a real API server either.
    entry.time = (writer.sub != Some("scale")).then(|| writer.now.clone());
    entry
}

/// Managers that own the field at `path`, sorted.
#[must_use]
pub fn owners(object: &Value, path: &[&str]) -> Vec<String> {
    let owns = |e: &Entry| e.paths.iter().any(|p| p.iter().eq(path.iter()));
    let mut all: Vec<String> = parse(object).into_iter().filter(owns).map(|e| e.manager).collect();
    all.sort();
    all
}

/// Notes an update: what changed is the writer's now.
pub fn updated(old: Option<&Value>, new: &mut Value, writer: &Writer<'_>) {
    let after = tracked(new, writer.sub);
    let before = old.map(|o| tracked(o, writer.sub)).unwrap_or_default();
    let changed: Paths = before.union(&after).filter(|path| old.and_then(|o| get(o, path)) != get(new, path)).cloned().collect();
    if changed.is_empty() {
        return;
    }
    let mut entries = parse(new);
    for entry in &mut entries {
        entry.paths.retain(|path| !changed.contains(path));
    }
    let written: Paths = changed.into_iter().filter(|path| after.contains(path)).collect();
    // Who only takes something away owns nothing more by it.
    if !written.is_empty() {
        own(&mut entries, writer, "Update").paths.extend(written);
    }
    new["metadata"]["managedFields"] = render(&entries, &new["apiVersion"]);
}

/// Server-side apply: `applied` is merged into `object`, what the manager applied before and does not any more goes, unless somebody else owns it too.
///
/// # Errors
/// The paths and managers in conflict, unless forced.
pub fn applied(object: &mut Value, applied: &Value, writer: &Writer<'_>, force: bool) -> Result<(), Failure> {
    let wanted = tracked(applied, None);
    let mut entries = parse(object);
    let differs = |path: &Vec<String>, object: &Value| get(object, path).is_some_and(|v| Some(v) != get(applied, path));
    let foreign = |e: &&Entry| !(e.manager == writer.manager && e.operation == "Apply");
    let contested =
        entries.iter().filter(foreign).find_map(|e| Some((e, e.paths.iter().find(|p| wanted.contains(*p) && differs(p, object))?)));
    if let Some((entry, path)) = contested.filter(|_| !force) {
        return Err(Failure::apply_conflict(&entry.manager, &format!(".{}", path.join("."))));
    }
    let taken: Paths = wanted.iter().filter(|p| differs(p, object)).cloned().collect();
    for entry in entries.iter_mut().filter(|e| !(e.manager == writer.manager && e.operation == "Apply")) {
        entry.paths.retain(|path| !taken.contains(path));
    }
    let mine = own(&mut entries, writer, "Apply");
    let dropped: Vec<Vec<String>> = mine.paths.difference(&wanted).cloned().collect();
    mine.paths = wanted;
    for path in dropped {
        if !entries.iter().any(|e| e.paths.contains(&path)) {
            remove(object, &path);
        }
    }
    super::patch::merge(object, applied);
    object["metadata"]["managedFields"] = render(&entries, &object["apiVersion"]);
    Ok(())
}

fn remove(object: &mut Value, path: &[String]) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().try_fold(object, |value, part| value.get_mut(part));
    if let Some(map) = parent.and_then(Value::as_object_mut) {
        map.remove(last);
    }
}
