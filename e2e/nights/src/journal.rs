//! What the controller did, one readable line per decision.

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    api::{kinds::Kind, request::Ask},
    decisions::{Decision, Made},
    sim::What,
};

/// One write of a controller or call to the cloud.
#[derive(Clone, Debug)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub caller: String,
    /// What was asked.
    pub what: What,
    /// What it came to.
    pub told: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} {} {} {}", self.at, self.caller, self.what, self.told)
    }
}

/// All of it, in order.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// The lines.
    pub lines: Vec<Line>,
    /// What was decided by them, and what others did meanwhile.
    pub decisions: Vec<Made>,
}

impl Journal {
    /// Adds a line.
    pub fn add(&mut self, at: Timestamp, caller: &str, what: &What, told: &str) {
        self.lines.push(Line { at, caller: caller.to_owned(), what: what.clone(), told: told.to_owned() });
    }

    /// Adds what was decided.
    pub fn decided(&mut self, at: Timestamp, by: &str, decisions: impl IntoIterator<Item = Decision>) {
        self.decisions.extend(decisions.into_iter().map(|decision| Made { at, by: by.to_owned(), decision }));
    }

    /// Lines whose text contains `part`.
    pub fn count(&self, part: &str) -> usize {
        self.lines.iter().filter(|l| l.to_string().contains(part)).count()
    }

    /// As one text; status writes that tell nothing new are left out.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.iter().filter(|l| l.told != SILENT).map(Line::to_string).collect::<Vec<_>>().join("\n")
    }
}

/// What a status write comes to that changes neither phase nor condition.
const SILENT: &str = "(numbers)";

/// Kind, name and subresource.
#[must_use]
pub fn place(ask: &Ask) -> String {
    let name = if ask.name.is_empty() { ask.body["metadata"]["name"].as_str().unwrap_or_default() } else { &ask.name };
    let sub = ask.sub.as_ref().map(|s| format!(" {s}")).unwrap_or_default();
    let space = if ask.namespace.is_empty() { String::new() } else { format!("{}/", ask.namespace) };
    format!("{} {space}{name}{sub}", ask.kind.kind)
}

/// The difference that matters to a reader.
#[must_use]
pub fn change(ask: &Ask, before: Option<&Value>, after: Option<&Value>) -> String {
    if ask.sub.as_deref() == Some("status") {
        return status(ask.kind, &before.map(|o| o["status"].clone()).unwrap_or_default(), after.map_or(&Value::Null, |o| &o["status"]));
    }
    let mut parts = Vec::new();
    for path in [
        "/spec/replicas",
        "/spec/minReplicas",
        "/spec/minReplicaCount",
        "/spec/baseline",
        "/spec/before",
        "/spec/intended",
        "/spec/revision",
        "/spec/released",
    ] {
        let value = |o: Option<&Value>| o.and_then(|o| o.pointer(path)).cloned();
        let (old, new) = (value(before), value(after));
        if old != new {
            let show = |v: Option<Value>| v.map_or("-".to_owned(), |v| v.to_string());
            parts.push(format!("{} {}->{}", path.rsplit('/').next().unwrap_or_default(), show(old), show(new)));
        }
    }
    for path in ["/metadata/finalizers", "/spec/unschedulable", "/template/metadata/labels/onsale.dev~1placement"] {
        let value = |o: Option<&Value>| o.and_then(|o| o.pointer(path)).map(Value::to_string);
        let new = value(after);
        if after.is_some() && value(before) != new {
            parts.push(format!("{} {}", path.rsplit('/').next().unwrap_or_default(), new.as_deref().unwrap_or("none")));
        }
    }
    if ask.sub.as_deref() == Some("scale") {
        parts.push(format!("as {}", ask.manager()));
    }
    parts.join(" ")
}

fn status(kind: Kind, before: &Value, after: &Value) -> String {
    let mut parts = Vec::new();
    if before["phase"] != after["phase"] {
        parts.push(format!("phase {} -> {}", before["phase"].as_str().unwrap_or("-"), after["phase"].as_str().unwrap_or("-")));
    }
    for new in after["conditions"].as_array().into_iter().flatten() {
        let old = before["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == new["type"]);
        if old.is_none_or(|o| o["status"] != new["status"] || o["reason"] != new["reason"]) {
            let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            parts.push(format!("{}={}({})", text(&new["type"]), text(&new["status"]), text(&new["reason"])));
        }
    }
    if kind.plural == "capacitypools" && before["launches"] != after["launches"] {
        let entries = after["launches"].as_array().map_or(0, Vec::len);
        let open = after["launches"].as_array().into_iter().flatten().filter(|l| l["resolved"] != true).count();
        parts.push(format!("ledger {entries}, open {open}"));
    }
    if parts.is_empty() { SILENT.to_owned() } else { parts.join(" ") }
}
