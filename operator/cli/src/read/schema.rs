//! The structure that a CRD asks for: types, required and unknown fields, bounds, patterns, duplicates. Each is said in the API server's words.

use serde_json::Value;

/// A field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Path such as `spec.workloads[0].peakReplicas`.
    pub field: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// Everything in `value` that `schema` refuses.
#[must_use]
pub fn check(schema: &Value, value: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    visit(schema, value, "", &mut faults);
    faults
}

fn visit(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    if value.is_null() && schema["nullable"] == Value::Bool(true) {
        return;
    }
    if !has_type(schema, value) {
        faults.push(Fault { field: path.to_owned(), message: wrong_type(schema, value, path) });
        return;
    }
    match value {
        Value::Object(fields) => object(schema, fields, path, faults),
        Value::Array(items) => list(schema, items, path, faults),
        Value::String(text) => string(schema, text, path, faults),
        Value::Number(_) => range(schema, value, path, faults),
        Value::Null | Value::Bool(_) => {}
    }
    if let Some(allowed) = schema["enum"].as_array().filter(|allowed| !allowed.contains(value)) {
        let allowed: Vec<String> = allowed.iter().filter(|a| !a.is_null()).map(Value::to_string).collect();
        add(faults, path, format!("Unsupported value: {value}: supported values: {}", allowed.join(", ")));
    }
}

fn add(faults: &mut Vec<Fault>, path: &str, message: String) {
    faults.push(Fault { field: path.to_owned(), message });
}

fn has_type(schema: &Value, value: &Value) -> bool {
    if schema["x-kubernetes-int-or-string"] == Value::Bool(true) {
        return value.is_string() || value.is_i64() || value.is_u64();
    }
    match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => true,
    }
}

fn wrong_type(schema: &Value, value: &Value, path: &str) -> String {
    let wanted = if schema["x-kubernetes-int-or-string"] == Value::Bool(true) {
        "integer or string"
    } else {
        schema["type"].as_str().unwrap_or("something else")
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if let ("integer", Value::Number(number)) = (wanted, value) {
        return format!("Invalid value: {number}: {path} in body must be of type integer; write a whole number{}", bounds(schema));
    }
    let hint = match (wanted, value) {
        ("string", Value::Number(_) | Value::Bool(_)) => as_text(schema, value, path),
        ("integer" | "boolean", Value::String(text)) if text.parse::<i64>().is_ok() || text.parse::<bool>().is_ok() => {
            format!("; write {text} without quotes")
        }
        (_, Value::Null) => "; give it a value or remove the line".to_owned(),
        _ => String::new(),
    };
    format!("Invalid value: {found:?}: {path} in body must be of type {wanted}: {found:?}{hint}")
}

fn bounds(schema: &Value) -> String {
    match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!(" from {least} to {most}"),
        (Some(least), None) => format!(", at least {least}"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    }
}

/// How a plain number or truth value is to be written where text is wanted: in quotes, unless the field's own rules refuse that, too.
fn as_text(schema: &Value, value: &Value, path: &str) -> String {
    let rules = || schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    let asks = |what: &str| rules().any(|rule| rule["message"].as_str().is_some_and(|message| message.starts_with(what)));
    let text = value.to_string();
    let number = value.is_number() && !text.starts_with('-');
    if number && asks("must be a whole percentage") && value.is_u64() {
        return format!("; write {text}%");
    }
    if number && asks("must be a duration") {
        return format!("; write {text}{}", unit(path));
    }
    // Most rules are one pattern.
    let pattern = |rule: &Value| rule["rule"].as_str()?.strip_prefix("self.matches('")?.strip_suffix("')").map(str::to_owned);
    let refuses = |rule: &&Value| pattern(rule).and_then(|p| regex::Regex::new(&p).ok()).is_some_and(|p| !p.is_match(&text));
    match rules().find(refuses).or_else(|| rules().find(|rule| pattern(rule).is_none())).and_then(|rule| rule["message"].as_str()) {
        Some(message) => format!("; {message}"),
        None if schema["enum"].is_array() => String::new(),
        None => format!("; put it in quotes: \"{text}\""),
    }
}

/// The unit that people mean who leave it out.
fn unit(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("maxLatency" | "rtt") => "ms",
        Some("sessionLength") => "s",
        _ => "m",
    }
}

fn object(schema: &Value, fields: &serde_json::Map<String, Value>, path: &str, faults: &mut Vec<Fault>) {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if fields.get(required).is_none() {
            let about = schema["properties"][required]["description"].as_str().map(first_sentence).unwrap_or_default();
            add(faults, &join(required), format!("Required value{}{about}", if about.is_empty() { "" } else { ": " }));
        }
    }
    if let Some(most) = schema["maxProperties"].as_u64().filter(|most| fields.len() as u64 > *most) {
        add(faults, path, format!("{path} in body should have at most {most} properties"));
    }
    let known = schema["properties"].as_object();
    let more = &schema["additionalProperties"];
    for (key, value) in fields {
        match known.and_then(|k| k.get(key)) {
            Some(schema) => visit(schema, value, &join(key), faults),
            None if more.is_object() => visit(more, value, &join(key), faults),
            None if known.is_some() && schema["x-kubernetes-preserve-unknown-fields"] != Value::Bool(true) => {
                add(faults, &join(key), unknown(key, known.into_iter().flatten().map(|(k, _)| k.as_str())));
            }
            None => {}
        }
    }
}

/// Without its full stop. One within a number or a name ends nothing.
fn first_sentence(description: &str) -> &str {
    let line = description.lines().next().unwrap_or_default();
    line.split(". ").next().unwrap_or_default().trim_end_matches('.')
}

/// Strict, as `kubectl apply` is: what is misspelt would be dropped without a word.
#[must_use]
pub fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    match nearest(key, known.iter().copied()) {
        Some(nearest) => format!("unknown field; did you mean {nearest}?"),
        None => format!("unknown field; there are {}", known.join(", ")),
    }
}

/// The name that was meant, if it is but a slip of the pen away. Of two as near it is the one that begins alike: few slips are in the first letter.
#[must_use]
pub fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let begins = |name: &str| name.chars().next().map(|c| c.to_ascii_lowercase());
    let rated = known.map(|k| (distance(key, k), begins(key) != begins(k), k));
    rated.min().filter(|(d, ..)| *d <= 3 && *d < key.chars().count()).map(|(.., k)| k)
}

/// Letters to change, add or leave out between two names, case aside.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().take(64).collect(), b.to_lowercase().chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let least = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], least);
        }
    }
    row[b.len()]
}

fn list(schema: &Value, items: &[Value], path: &str, faults: &mut Vec<Fault>) {
    if let Some(least) = schema["minItems"].as_u64().filter(|least| (items.len() as u64) < *least) {
        add(faults, path, format!("Invalid value: {}: {path} in body should have at least {least} items", items.len()));
    }
    if let Some(most) = schema["maxItems"].as_u64().filter(|most| items.len() as u64 > *most) {
        add(faults, path, format!("Too many: {}: {path} in body should have at most {most} items", items.len()));
    }
    for (n, item) in items.iter().enumerate() {
        visit(&schema["items"], item, &format!("{path}[{n}]"), faults);
    }
    let keys: Option<Vec<&str>> = match schema["x-kubernetes-list-type"].as_str() {
        Some("map") => schema["x-kubernetes-list-map-keys"].as_array().map(|keys| keys.iter().filter_map(Value::as_str).collect()),
        Some("set") => Some(Vec::new()),
        _ => None,
    };
    let Some(keys) = keys else { return };
    // A key that is left out has its default, as it has when the API server compares.
    let key = |item: &Value, key: &str| item.get(key).unwrap_or(&schema["items"]["properties"][key]["default"]).clone();
    let identity = |item: &Value| -> Value {
        if keys.is_empty() { item.clone() } else { keys.iter().map(|k| ((*k).to_owned(), key(item, k))).collect() }
    };
    let mut seen = std::collections::HashSet::new();
    for (n, item) in items.iter().enumerate() {
        let identity = identity(item).to_string();
        if !seen.insert(identity.clone()) {
            add(faults, &format!("{path}[{n}]"), format!("Duplicate value: {identity}: each may be there only once"));
        }
    }
}

fn string(schema: &Value, text: &str, path: &str, faults: &mut Vec<Fault>) {
    let length = text.chars().count() as u64;
    if let Some(least) = schema["minLength"].as_u64().filter(|least| length < *least) {
        add(faults, path, format!("Invalid value: {text:?}: {path} in body should be at least {least} chars long"));
    }
    if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
        let brief: String = text.chars().take(40).collect();
        add(faults, path, format!("Too long: {brief:?}...: {path} in body should be at most {most} chars long"));
    }
    let refused = |pattern: &&str| regex::Regex::new(pattern).is_ok_and(|p| !p.is_match(text));
    if let Some(pattern) = schema["pattern"].as_str().filter(refused) {
        let quantity = schema["x-kubernetes-int-or-string"] == Value::Bool(true);
        let hint = if quantity { "; write a quantity such as 15890m or 28Gi" } else { "" };
        add(faults, path, format!("Invalid value: {text:?}: {path} in body should match '{pattern}'{hint}"));
    }
}

fn range(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    let number = value.as_f64().unwrap_or_default();
    if let Some(least) = schema["minimum"].as_f64().filter(|least| number < *least) {
        add(faults, path, format!("Invalid value: {value}: {path} in body should be greater than or equal to {least}"));
    }
    if let Some(most) = schema["maximum"].as_f64().filter(|most| number > *most) {
        add(faults, path, format!("Invalid value: {value}: {path} in body should be less than or equal to {most}"));
    }
    if schema["format"] == "int32" && value.as_i64().is_none_or(|n| i32::try_from(n).is_err()) {
        add(faults, path, format!("Invalid value: {value}: {path} in body must fit into 32 bits"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_misspelt_field_is_told_from_a_strange_one() {
        let schema = json!({"type": "object", "properties": {"peakReplicas": {"type": "integer"}, "target": {"type": "object"}}});
        let said: Vec<String> = check(&schema, &json!({"peekReplicas": 4, "colour": 1})).into_iter().map(|f| f.message).collect();
        assert_eq!(said, ["unknown field; there are peakReplicas, target", "unknown field; did you mean peakReplicas?"]);
    }

    #[test]
    fn numbers_where_text_is_wanted_are_told_to_be_quoted() {
        let fault = check(&json!({"type": "string"}), &json!(1.6)).remove(0);
        assert!(fault.message.ends_with("put it in quotes: \"1.6\""), "{}", fault.message);
        let fault = check(&json!({"type": "integer", "format": "int32"}), &json!("4")).remove(0);
        assert!(fault.message.ends_with("write 4 without quotes"), "{}", fault.message);
    }

    #[test]
    fn advice_is_good_when_it_is_followed() {
        let rule = |rule: &str, message: &str| json!({"type": "string", "x-kubernetes-validations": [{"rule": rule, "message": message}]});
        let percent = rule("self.matches('^(1000|[1-9]?[0-9]{1,2})%$')", "must be a whole percentage such as 10%, from 0% to 1000%");
        let duration = rule("self == '0' || self.matches('^([0-9]+(h|m|s|ms|us))+$')", "must be a duration such as 1h30m");
        let money = rule("self.matches('^[0-9]{1,9}([.][0-9]{1,6})?$')", "must be an amount of money in quotes, such as \"70\"");
        let schema =
            json!({"type": "object", "properties": {"headroom": percent, "maxLatency": duration, "readyBefore": duration, "cost": money}});
        let said = |field: &str, value: Value| check(&schema, &json!({field: value})).remove(0).message;
        for (field, value, advice) in [
            ("headroom", json!(10), "; write 10%"),
            ("headroom", json!(0.5), "; must be a whole percentage such as 10%, from 0% to 1000%"),
            ("maxLatency", json!(1), "; write 1ms"),
            ("readyBefore", json!(10), "; write 10m"),
            ("readyBefore", json!(true), "; must be a duration such as 1h30m"),
            ("cost", json!(0.85), "; put it in quotes: \"0.85\""),
            ("cost", json!(-1), "; must be an amount of money in quotes, such as \"70\""),
        ] {
            assert!(said(field, value.clone()).ends_with(advice), "{advice}: {}", said(field, value));
        }
    }

    #[test]
    fn what_a_required_field_is_ends_with_its_sentence() {
        let price = json!({"type": "string", "description": "Price for one hour, in quotes such as \"0.85\". Plain text."});
        let schema = json!({"type": "object", "properties": {"hourlyCost": price}, "required": ["hourlyCost"]});
        assert_eq!(check(&schema, &json!({})).remove(0).message, "Required value: Price for one hour, in quotes such as \"0.85\"");
    }

    #[test]
    fn a_key_that_is_left_out_is_its_default_when_items_are_compared() {
        let item = json!({"type": "object", "properties": {"site": {"type": "string"}, "path": {"type": "string", "default": "default"}}});
        let schema =
            json!({"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["site", "path"]});
        assert_eq!(check(&schema, &json!([{"site": "a"}, {"site": "a", "path": "default"}])).len(), 1);
        assert!(check(&schema, &json!([{"site": "a"}, {"site": "a", "path": "vpn"}])).is_empty());
    }

    #[test]
    fn numbers_beyond_their_format_are_refused() {
        let schema = json!({"type": "integer", "format": "int32"});
        assert_eq!(check(&schema, &json!(1_i64 << 40)).len(), 1);
        assert!(check(&schema, &json!(-7)).is_empty());
    }
}
