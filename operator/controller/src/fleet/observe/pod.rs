//! Pods, as the planner reads them.

use k8s_openapi::api::core::v1::Pod;
pub use onsale_planner::objects::pod::{Common, PodRecord};

use super::{slim::Slim, store::Record};
use crate::metrics::Kind;

impl Record for PodRecord {
    type Object = Slim<Self, Pod>;
    const KIND: Kind = Kind::Pod;
    fn fold(_: Option<&Self>, object: Self::Object) -> Self {
        object.record
    }
    fn share(&mut self, common: &mut Common) {
        Self::share(self, common);
    }
    fn matters(&self, previous: &Self) -> bool {
        self != previous
    }
}
