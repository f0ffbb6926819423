//! Pods, as the planner reads them.

use k8s_openapi::api::core::v1::Pod;
pub use onsale_planner::objects::pod::PodRecord;

use super::store::Record;
use crate::metrics::Kind;

impl Record for PodRecord {
    type Object = Pod;
    const KIND: Kind = Kind::Pod;
    fn fold(_: Option<&Self>, object: Pod) -> Self {
        object.into()
    }
    fn matters(&self, previous: &Self) -> bool {
        self != previous
    }
}
