//! From a request's method, path and query to what is asked.

use std::collections::BTreeMap;

use hyper::Method;
use serde_json::Value;

use super::{
    failure::Failure,
    kinds::{self, Kind},
};

/// What is asked of the API.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What is to be done.
    pub verb: Verb,
    /// With which kind.
    pub kind: Kind,
    /// Namespace; empty: all, or none for cluster-scoped kinds.
    pub namespace: String,
    /// Name; empty: the collection.
    pub name: String,
    /// `status`, `scale` or `eviction`.
    pub sub: Option<String>,
    /// Query parameters.
    pub query: BTreeMap<String, String>,
    /// Body.
    pub body: Value,
}

/// Verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// Many objects.
    List,
    /// What happens to many objects.
    Watch,
    /// A new object, or an eviction.
    Create,
    /// The whole object.
    Replace,
    /// Parts of it, by the patch's kind.
    Patch(PatchKind),
    /// Away with it.
    Delete,
}

/// Kinds of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
    /// Server-side apply.
    Apply,
}

impl Verb {
    /// It changes something.
    #[must_use]
    pub const fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }

    /// As a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Patch(PatchKind::Apply) => "apply",
            Self::Patch(_) => "patch",
            Self::Delete => "delete",
        }
    }
}

/// Where in the API a path points: kind, namespace, name, subresource.
fn place(path: &str) -> Option<(Kind, String, String, Option<String>)> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, plural, ..] if *plural != "status" => (*namespace, &rest[2..]),
        _ => ("", rest),
    };
    let (plural, name, sub) = match rest {
        [plural] => (*plural, "", None),
        [plural, name] => (*plural, *name, None),
        [plural, name, sub] => (*plural, *name, Some((*sub).to_owned())),
        _ => return None,
    };
    Some((kinds::at(group, version, plural)?, namespace.to_owned(), name.to_owned(), sub))
}

fn verb(method: &Method, collection: bool, watch: bool, content: &str) -> Result<Verb, Failure> {
    Ok(match (method.as_str(), collection) {
        ("GET", true) if watch => Verb::Watch,
        ("GET", true) => Verb::List,
        ("GET", false) => Verb::Get,
        ("POST", _) => Verb::Create,
        ("PUT", false) => Verb::Replace,
        ("DELETE", false) => Verb::Delete,
        ("PATCH", false) => match content {
            "application/merge-patch+json" => Verb::Patch(PatchKind::Merge),
            "application/json-patch+json" => Verb::Patch(PatchKind::Json),
            "application/apply-patch+yaml" => Verb::Patch(PatchKind::Apply),
            other => return Err(Failure::bad_request(format!("this API does not know patches of type {other:?}"))),
        },
        (method, _) => return Err(Failure::bad_request(format!("this API does not know {method} here"))),
    })
}

/// What is asked.
///
/// # Errors
/// 404 for places that this API does not have, 400 for what it does not understand.
pub fn parse(method: &Method, uri: &hyper::Uri, content: &str, body: &[u8]) -> Result<Ask, Failure> {
    let (kind, namespace, name, sub) = place(uri.path()).ok_or_else(Failure::no_such_resource)?;
    let query: BTreeMap<String, String> = uri.query().unwrap_or_default().split('&').filter_map(pair).collect();
    let watch = query.get("watch").is_some_and(|w| w == "true" || w == "1");
    let verb = verb(method, name.is_empty(), watch, content)?;
    let body = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(body) };
    let body = body.map_err(|e| Failure::bad_request(format!("the body is no JSON: {e}")))?;
    Ok(Ask { verb, kind, namespace, name, sub, query, body })
}

fn pair(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=').or((!text.is_empty()).then_some((text, "")))?;
    Some((decode(key), decode(value)))
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Ask {
    /// A query parameter.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }
    /// Who writes, as `managedFields` will say.
    #[must_use]
    pub fn manager(&self) -> &str {
        self.param("fieldManager").unwrap_or("unknown")
    }
}
