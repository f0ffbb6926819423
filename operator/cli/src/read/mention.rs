//! Objects that are meant to be workloads, read or not: a sale that finds its workload nowhere may mean one that is only written otherwise.

use super::yaml::Node;

/// What a document says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// File and line.
    pub place: String,
    /// As written.
    pub api_version: String,
    /// As written.
    pub kind: String,
    /// That of objects which name none, where it names none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Mention {
    /// Of an object whose kind is, give or take its spelling, one that can be scaled.
    #[must_use]
    pub fn of(file: &str, root: &Node, namespace: &str) -> Option<Self> {
        let (api_version, kind) = (root.text("apiVersion")?, root.text("kind")?);
        kind_meant(kind)?;
        let metadata = root.get("metadata")?;
        let namespace = metadata.text("namespace").unwrap_or(namespace);
        let place = format!("{file}:{}", root.line);
        let name = metadata.text("name")?.to_owned();
        Some(Self { place, api_version: api_version.to_owned(), kind: kind.to_owned(), namespace: namespace.to_owned(), name })
    }

    /// What would have to be written otherwise in it to be the workload that is looked for; `None` where it has another name.
    #[must_use]
    pub fn differs(&self, kind: &str, namespace: &str, name: &str) -> Option<String> {
        if self.name != name {
            return None;
        }
        let mut changes = Vec::new();
        if self.kind != kind {
            let same = kind_meant(&self.kind) == Some(kind);
            changes.push(if same { format!("write kind: {kind}") } else { format!("it is a {}, name that in spec.workloads", self.kind) });
        }
        if self.api_version != "apps/v1" {
            changes.push(format!("write apiVersion: apps/v1 instead of {}", self.api_version));
        }
        if self.namespace != namespace {
            changes.push(format!("it is in namespace {}, the sale in {namespace}", self.namespace));
        }
        (!changes.is_empty()).then(|| format!("{} is like it: {}", self.place, changes.join(", and ")))
    }
}

/// The kind that somebody means who writes it in small letters or in the plural.
fn kind_meant(kind: &str) -> Option<&'static str> {
    let kind = kind.to_lowercase();
    ["Deployment", "StatefulSet"].into_iter().find(|k| k.to_lowercase() == kind.trim_end_matches('s'))
}
