//! Namespaces, by their labels, and overlay PodTemplates, by the revision of their stamp.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, PodTemplate};
use onsale_api::names;
use onsale_planner::objects::pod::revision;

use super::store::Record;
use crate::metrics::Kind;

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceRecord {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Record for NamespaceRecord {
    type Object = Namespace;
    const KIND: Kind = Kind::Namespace;
    fn fold(_: Option<&Self>, object: Namespace) -> Self {
        Self { labels: object.metadata.labels.unwrap_or_default() }
    }
    fn matters(&self, previous: &Self) -> bool {
        self != previous
    }
}

/// An overlay PodTemplate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayRecord {
    /// Revision in its stamp; `None` when it carries none that can be read.
    pub revision: Option<i64>,
}

impl Record for OverlayRecord {
    type Object = PodTemplate;
    const KIND: Kind = Kind::PodTemplate;
    fn fold(_: Option<&Self>, object: PodTemplate) -> Self {
        let labels = object.template.and_then(|t| t.metadata).and_then(|m| m.labels);
        Self { revision: labels.as_ref().and_then(|l| l.get(names::PLACEMENT)).and_then(|stamp| revision(stamp)) }
    }
    fn matters(&self, previous: &Self) -> bool {
        self != previous
    }
}
