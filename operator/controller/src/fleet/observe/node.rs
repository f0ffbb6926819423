//! Nodes, as the planner reads them.

use k8s_openapi::api::core::v1::Node;
pub use onsale_planner::objects::node::{Membership, NodeRecord, Tenants};

use super::{slim::Slim, store::Record};
use crate::metrics::Kind;

impl Record for NodeRecord {
    type Object = Slim<Self, Node>;
    const KIND: Kind = Kind::Node;
    fn fold(_: Option<&Self>, object: Self::Object) -> Self {
        object.record
    }
    fn matters(&self, previous: &Self) -> bool {
        self != previous
    }
}
