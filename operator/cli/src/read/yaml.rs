//! YAML as Kubernetes reads it (YAML 1.1's words for true and false, keys as text, merge keys), with the line of every value.

use std::{collections::HashMap, fmt};

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Deeper than any manifest; what is deeper is refused, so that nothing here can run out of stack.
const DEEPEST: usize = 64;
/// Nodes that aliases may add to one file: a few lines of them can stand for more than any memory holds.
const MOST_ALIASED: usize = 100_000;

/// A value and the line that it starts on, counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Line.
    pub line: usize,
    /// Value.
    pub content: Content,
    /// The text of a number that is no whole one, or is too large for one: it says more than the value.
    pub written: Option<Box<str>>,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Null, a truth value, a number or text.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in order; the line is that of the key.
    Map(Vec<(String, usize, Node)>),
}

/// Something that is wrong with the YAML itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// One document of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Position in the file, counted from 1; empty documents count.
    pub number: usize,
    /// Its root; `None` where it is empty or broken.
    pub root: Option<Node>,
    /// What is wrong with it.
    pub flaws: Vec<Flaw>,
}

impl Node {
    /// Without the lines.
    #[must_use]
    pub fn json(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Self::json).collect()),
            Content::Map(fields) => Value::Object(fields.iter().map(|(k, _, v)| (k.clone(), v.json())).collect::<Map<_, _>>()),
        }
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Content::Map(fields) = &self.content else { return None };
        fields.iter().find(|(k, ..)| k == key).map(|(.., v)| v)
    }

    /// Text of a field.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        let Content::Scalar(Value::String(text)) = &self.get(key)?.content else { return None };
        Some(text)
    }

    /// The line of a field such as `spec.workloads[0].target`; of the nearest parent that there is, where the field is missing.
    #[must_use]
    pub fn line_of(&self, path: &str) -> usize {
        self.find(path).0
    }

    /// A field as it was written, where that says more than its value.
    #[must_use]
    pub fn written(&self, path: &str) -> Option<&str> {
        self.find(path).1?.written.as_deref()
    }

    fn find(&self, path: &str) -> (usize, Option<&Self>) {
        let (mut node, mut line, mut rest) = (self, self.line, path);
        while !rest.is_empty() {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let step = match &node.content {
                Content::List(items) => index(rest).and_then(|(n, tail)| items.get(n).map(|item| (item, item.line, tail))),
                Content::Map(fields) => fields.iter().find_map(|(key, line, value)| {
                    let tail = rest.strip_prefix(key.as_str())?;
                    (tail.is_empty() || tail.starts_with(['.', '['])).then_some((value, if *line == 0 { value.line } else { *line }, tail))
                }),
                Content::Scalar(_) => None,
            };
            let Some((next, at, tail)) = step else { return (line, None) };
            (node, line, rest) = (next, at, tail);
        }
        (line, Some(node))
    }

    fn size(&self) -> usize {
        match &self.content {
            Content::Scalar(_) => 1,
            Content::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Content::Map(fields) => 1 + fields.iter().map(|(.., v)| v.size()).sum::<usize>(),
        }
    }
}

fn index(path: &str) -> Option<(usize, &str)> {
    let (number, tail) = path.strip_prefix('[')?.split_once(']')?;
    number.parse().ok().map(|n| (n, tail))
}

/// Every document of a file. A syntax error ends the file: what follows it cannot be told from what belongs to it.
#[must_use]
pub fn documents(text: &str) -> Vec<Document> {
    let mut builder = Builder::default();
    for next in Parser::new_from_str(text.trim_start_matches('\u{feff}')) {
        match next {
            Ok((event, span)) => builder.take(event, span.start.line()),
            Err(error) => {
                let more = error.info().contains("<document start>");
                let hint = if more { "; a line with --- has to be between two documents, also of JSON" } else { "" };
                builder.flaw(error.marker().line(), format!("this is no YAML: {}{hint}", error.info()));
                builder.end();
                break;
            }
        }
        if builder.given_up {
            builder.end();
            break;
        }
    }
    builder.done
}

/// A list or mapping that is being read.
struct Open {
    line: usize,
    anchor: usize,
    content: Content,
    key: Option<(String, usize)>,
}

#[derive(Default)]
struct Builder {
    done: Vec<Document>,
    flaws: Vec<Flaw>,
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
    given_up: bool,
    in_document: bool,
}

impl Builder {
    fn flaw(&mut self, line: usize, message: impl fmt::Display) {
        self.in_document = true;
        self.flaws.push(Flaw { line, message: message.to_string() });
    }

    /// Ends the document, if one is open.
    fn end(&mut self) {
        if !std::mem::take(&mut self.in_document) {
            return;
        }
        self.open.clear();
        self.anchors.clear();
        let root = self.root.take().filter(|root| root.content != Content::Scalar(Value::Null));
        self.done.push(Document { number: self.done.len() + 1, root, flaws: std::mem::take(&mut self.flaws) });
    }

    fn take(&mut self, event: Event<'_>, line: usize) {
        match event {
            Event::DocumentStart(..) => self.in_document = true,
            Event::DocumentEnd => self.end(),
            Event::Scalar(text, style, anchor, tag) => {
                let literal = style != ScalarStyle::Plain || tag.is_some_and(|t| t.is_yaml_core_schema_tag("str"));
                let value = if literal { Value::String(text.to_string()) } else { resolve(&text) };
                let written = value.as_number().filter(|number| number.to_string() != *text).map(|_| Box::from(&*text));
                self.put(Node { line, content: Content::Scalar(value), written }, anchor);
            }
            Event::SequenceStart(_, anchor, _) => self.start(line, anchor, Content::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.start(line, anchor, Content::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { line, anchor, content, .. }) = self.open.pop() {
                    self.put(Node { line, content, written: None }, anchor);
                }
            }
            Event::Alias(anchor) => self.alias(line, anchor),
            _ => {}
        }
    }

    fn start(&mut self, line: usize, anchor: usize, content: Content) {
        if self.open.len() >= DEEPEST {
            self.flaw(line, format!("nested deeper than {DEEPEST} levels: no manifest is"));
            self.given_up = true;
            return;
        }
        self.open.push(Open { line, anchor, content, key: None });
    }

    fn alias(&mut self, line: usize, anchor: usize) {
        let Some(node) = self.anchors.get(&anchor) else {
            self.flaw(line, "an alias of something that is not complete yet: write the value out");
            self.put(Node { line, content: Content::Scalar(Value::Null), written: None }, 0);
            return;
        };
        self.aliased += node.size();
        let node = Node { line, ..node.clone() };
        if self.aliased > MOST_ALIASED {
            self.flaw(line, "aliases stand for too much here: write the values out");
            self.given_up = true;
            return;
        }
        self.put(node, 0);
    }

    fn put(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match (&mut parent.content, parent.key.take()) {
            (Content::List(items), _) => items.push(node),
            (Content::Map(_), None) => match key(&node) {
                Some(key) => parent.key = Some((key, node.line)),
                None => {
                    parent.key = Some((String::new(), node.line));
                    self.flaw(node.line, "a key must be text");
                }
            },
            (Content::Map(fields), Some((key, line))) if key == "<<" => merge(fields, line, &node),
            (Content::Map(fields), Some((key, line))) => match fields.iter().position(|(k, ..)| *k == key) {
                Some(first) if fields[first].1 > 0 => {
                    let message = format!("{key} is there twice, first on line {}: remove one of them", fields[first].1);
                    self.flaw(line, message);
                }
                Some(merged) => fields[merged] = (key, line, node),
                None => fields.push((key, line, node)),
            },
            (Content::Scalar(_), _) => {}
        }
    }
}

/// What a merge key brings stands behind what the mapping says itself: it is entered with line 0, which gives way.
fn merge(fields: &mut Vec<(String, usize, Node)>, line: usize, from: &Node) {
    let sources: Vec<&Node> = if let Content::List(items) = &from.content { items.iter().collect() } else { vec![from] };
    for source in sources {
        let Content::Map(more) = &source.content else { continue };
        for (key, _, value) in more {
            if !fields.iter().any(|(k, ..)| k == key) {
                fields.push((key.clone(), 0, Node { line, ..value.clone() }));
            }
        }
    }
}

fn key(node: &Node) -> Option<String> {
    match &node.content {
        Content::Scalar(Value::String(text)) => Some(text.clone()),
        Content::Scalar(Value::Null) | Content::List(_) | Content::Map(_) => None,
        Content::Scalar(other) => Some(other.to_string()),
    }
}

/// A plain scalar, as the YAML library of Kubernetes resolves it.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let plain = text.replace('_', "");
    let (sign, digits) = plain.strip_prefix('-').map_or((1, plain.strip_prefix('+').unwrap_or(&plain)), |rest| (-1, rest));
    let radix = [("0x", 16), ("0b", 2), ("0o", 8)].into_iter().find_map(|(p, radix)| digits.strip_prefix(p).map(|rest| (rest, radix)));
    if let Some((digits, radix)) = radix {
        return i64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with(['+', '-'])).map(|n| Number::from(sign * n));
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || digits.chars().any(|c| !matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'))
    {
        return None;
    }
    if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        return i64::from_str_radix(digits, 8).ok().map(|n| Number::from(sign * n));
    }
    plain.parse::<i64>().ok().map(Number::from).or_else(|| plain.parse().ok().and_then(whole_or_not))
}

/// A whole number is one however it is written: `1e2` and `100.0` become `100` on their way to the API server.
fn whole_or_not(number: f64) -> Option<Number> {
    /// Up to here every whole number has a floating-point one of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = number.fract() == 0.0 && number.abs() <= EXACT;
    if whole { format!("{number:.0}").parse::<i64>().ok().map(Number::from) } else { Number::from_f64(number) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Document {
        let mut all = documents(text);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn value(text: &str) -> Value {
        one(text).root.unwrap().json()
    }

    #[test]
    fn reads_scalars_as_kubernetes_does() {
        let text =
            "{a: 010, b: 1_000, c: on, d: 1.6, e: '7', f: 1.6ms, g: 2026-12-05T10:00:00, h: 0x10, i: ~, j: -5m, k: 1e3, 7: x, l: -3}";
        let expected = json!({"a": 8, "b": 1000, "c": true, "d": 1.6, "e": "7", "f": "1.6ms", "g": "2026-12-05T10:00:00", "h": 16, "i": null,
            "j": "-5m", "k": 1000, "7": "x", "l": -3});
        assert_eq!(value(text), expected);
    }

    #[test]
    fn knows_the_line_of_every_field_and_of_the_parent_of_a_missing_one() {
        let root = one("# comment\nspec:\n  workloads:\n  - target:\n      name: a\n    labels: {x.y/z: 1}\n").root.unwrap();
        let lines = ["spec", "spec.workloads[0]", "spec.workloads[0].target.name", "spec.workloads[0].labels.x.y/z", "spec.budget"];
        assert_eq!(lines.map(|path| root.line_of(path)), [2, 4, 5, 6, 2]);
    }

    #[test]
    fn documents_are_counted_and_empty_ones_are_no_mistake() {
        let all = documents("---\n---\na: 1\n---\n# nothing\n---\nb: 2\n");
        let brief: Vec<_> = all.iter().map(|d| (d.number, d.root.is_some(), d.flaws.len())).collect();
        assert_eq!(brief, [(1, false, 0), (2, true, 0), (3, false, 0), (4, true, 0)]);
    }

    #[test]
    fn aliases_and_merge_keys_stand_for_what_they_name() {
        assert_eq!(value("a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, q: 3}\n")["c"], json!({"p": 1, "q": 3}));
        assert_eq!(value("a: &x {p: 1}\nc: {p: 3, <<: *x}\n")["c"], json!({"p": 3}));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let twice = one("a: 1\nb: 2\na: 3\n");
        assert_eq!(twice.flaws, [Flaw { line: 3, message: "a is there twice, first on line 1: remove one of them".into() }]);
        let broken = documents("a: 1\n---\nb: [1\nc: 2\n");
        assert!(broken[1].root.is_none() && broken[1].flaws[0].message.starts_with("this is no YAML"), "{broken:?}");
    }

    #[test]
    fn bombs_and_wells_are_refused() {
        let bomb: String = (1..12).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(","))).collect();
        let flaws = one(&format!("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n{bomb}")).flaws;
        assert!(flaws[0].message.contains("too much"), "{flaws:?}");
        let deep = one(&format!("{}{}", "[".repeat(200), "]".repeat(200))).flaws;
        assert_eq!(deep.len(), 1, "{deep:?}");
    }
}
