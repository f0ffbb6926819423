//! Deployments, StatefulSets and DaemonSets, as the planner reads them.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
pub use onsale_planner::objects::target::Target;
use onsale_planner::snapshot;

use super::store::Record;
use crate::metrics::Kind;

/// A Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentRecord(pub Target);

/// A StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatefulSetRecord(pub Target);

/// A DaemonSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSetRecord(pub snapshot::DaemonSet);

impl Record for DeploymentRecord {
    type Object = Deployment;
    const KIND: Kind = Kind::Deployment;
    fn fold(_: Option<&Self>, object: Deployment) -> Self {
        Self(object.into())
    }
    fn matters(&self, previous: &Self) -> bool {
        self != previous
    }
}

impl Record for StatefulSetRecord {
    type Object = StatefulSet;
    const KIND: Kind = Kind::StatefulSet;
    fn fold(_: Option<&Self>, object: StatefulSet) -> Self {
        Self(object.into())
    }
    fn matters(&self, previous: &Self) -> bool {
        self != previous
    }
}

impl Record for DaemonSetRecord {
    type Object = DaemonSet;
    const KIND: Kind = Kind::DaemonSet;
    fn fold(_: Option<&Self>, object: DaemonSet) -> Self {
        Self(object.into())
    }
    fn matters(&self, previous: &Self) -> bool {
        self != previous
    }
}
