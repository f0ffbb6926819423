//! Objects that nothing has happened to yet, for whoever makes a world up, or part of one. The UID is the name.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use onsale_api::{CapacityPoolSpec, OnSaleSpec, placement::FloorField};

use super::{Node, Pod, Pool, Sale, SaleId, TargetState};
use crate::resources::Resources;

impl Sale {
    /// A sale that nobody has looked at yet.
    #[must_use]
    pub fn new(id: SaleId, spec: OnSaleSpec, created_at: Timestamp) -> Self {
        Self {
            uid: id.to_string(),
            id,
            generation: 1,
            created_at,
            spec: spec.into(),
            status: Default::default(),
            deleting: false,
            protected: false,
            return_now: false,
        }
    }
}

impl Pool {
    /// A pool without labels, in which nothing was ever rented.
    #[must_use]
    pub fn new(name: &str, spec: CapacityPoolSpec) -> Self {
        Self {
            name: name.to_owned(),
            uid: name.to_owned(),
            labels: BTreeMap::new(),
            spec,
            status: Default::default(),
            deleting: false,
            protected: false,
            instances: Some(Vec::new()),
        }
    }
}

impl Node {
    /// A Ready node of the pool with the pool's label and taint, on which nothing runs; what it offers is to be said.
    #[must_use]
    pub fn new(name: &str, pool: &str) -> Self {
        Self {
            name: name.to_owned(),
            uid: name.to_owned(),
            pool: pool.to_owned(),
            instance: None,
            labels: BTreeMap::new(),
            ready: true,
            ready_since: None,
            cordoned: false,
            draining: false,
            labelled: true,
            tainted: true,
            taints: Vec::new(),
            allocatable: Resources::default(),
            others: Resources::default(),
            evictable: Vec::new(),
        }
    }
}

impl Pod {
    /// A pod without a stamp: Ready, if it is on a node.
    #[must_use]
    pub fn new(name: &str, node: Option<&str>, created_at: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            uid: name.to_owned(),
            node: node.map(str::to_owned),
            ready: node.is_some(),
            revision: None,
            created_at,
            terminating: false,
        }
    }
}

impl TargetState {
    /// An object of `value` replicas, with no scaler's bound, whose pods may be on any node without taints of others.
    #[must_use]
    pub fn new(field: FloorField, value: i32, requests: Resources) -> Self {
        Self {
            requests,
            requests_missing: false,
            replicas: value,
            field,
            value,
            manager: None,
            max: None,
            grace: SignedDuration::from_secs(30),
            zone_skew: None,
            node_terms: Vec::new(),
            tolerations: Vec::new(),
            own_deletion_cost: false,
        }
    }
}
