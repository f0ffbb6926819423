//! Merge patches (RFC 7386) and JSON patches (RFC 6902: test, add, replace, remove).

use serde_json::{Map, Value};

use super::failure::Failure;

/// Merges `patch` into `target`: null removes, objects merge, all else replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
    }
}

/// Applies the operations in order.
///
/// # Errors
/// 422 when one cannot be applied, a `test` that fails among them; 400 for what this API does not know.
pub fn json(target: &mut Value, operations: &Value) -> Result<(), Failure> {
    for operation in operations.as_array().into_iter().flatten() {
        let path = operation["path"].as_str().unwrap_or_default();
        let value = &operation["value"];
        match operation["op"].as_str() {
            Some("test") if target.pointer(path) == Some(value) => {}
            Some("test") => return Err(Failure::unprocessable(&format!("testing path {path} failed"))),
            Some("add") => add(target, path, value.clone())?,
            Some("replace") => *target.pointer_mut(path).ok_or_else(|| missing(path))? = value.clone(),
            Some("remove") => remove(target, path)?,
            other => return Err(Failure::bad_request(format!("this API does not know the operation {other:?}"))),
        }
    }
    Ok(())
}

fn missing(path: &str) -> Failure {
    Failure::unprocessable(&format!("path {path} does not exist"))
}

fn parent<'a>(target: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), Failure> {
    let (parent, last) = path.rsplit_once('/').ok_or_else(|| missing(path))?;
    let last = last.replace("~1", "/").replace("~0", "~");
    Ok((target.pointer_mut(parent).ok_or_else(|| missing(path))?, last))
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), Failure> {
    match parent(target, path)? {
        (Value::Object(map), key) => drop(map.insert(key, value)),
        (Value::Array(list), key) if key == "-" => list.push(value),
        (Value::Array(list), key) => match key.parse::<usize>().ok().filter(|i| *i <= list.len()) {
            Some(index) => list.insert(index, value),
            None => return Err(missing(path)),
        },
        _ => return Err(missing(path)),
    }
    Ok(())
}

fn remove(target: &mut Value, path: &str) -> Result<(), Failure> {
    let removed = match parent(target, path)? {
        (Value::Object(map), key) => map.remove(&key),
        (Value::Array(list), key) => key.parse::<usize>().ok().filter(|i| *i < list.len()).map(|i| list.remove(i)),
        _ => None,
    };
    removed.map(drop).ok_or_else(|| missing(path))
}
