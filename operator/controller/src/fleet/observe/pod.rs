//! Pods, as the planner reads them.

use k8s_openapi::api::core::v1::Pod;
pub use onsale_planner::objects::pod::{Common, PodRecord};

use super::store::Record;
use crate::metrics::Kind;

impl Record for PodRecord {
    type Object = Pod;
    const KIND: Kind = Kind::Pod;
    fn fold(_: Option<&Self>, object: Pod) -> Self {
        object.into()
    }
    fn share(&mut self, common: &mut Common) {
        Self::share(self, common);
    }
    fn matters(&self, previous: &Self) -> bool {
        self != previous
    }
}
