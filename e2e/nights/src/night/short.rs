//! Two nights of a few minutes, to be played again and again with a fault at each of their writes.

use jiff::Timestamp;
use serde_json::json;

use super::{
    at,
    build::{self, scale, subnet},
    check::Changed,
};
use crate::{api::kinds, rules::is_protected, sim::Inner};

/// A night and what is expected of it.
pub struct Short {
    /// What it is called.
    pub name: &'static str,
    /// How it begins.
    pub start: Inner,
    /// It has failed when it is not over then.
    pub last: Timestamp,
    /// Ten replicas of the seat map are Ready then.
    pub ready_by: Timestamp,
    /// Instances that it needs at once, and that it takes in all.
    pub most: usize,
    /// Fields that end otherwise than they began, because somebody changes them.
    pub changed: &'static [Changed<'static>],
    /// When they do.
    pub changed_at: Timestamp,
}

/// Replicas of the seat map at the peak, in both nights.
pub const PEAK: usize = 10;

/// One workload, one Local Zone, two instances; open for a minute.
#[must_use]
pub fn plain() -> Short {
    let start = build::night("2026-12-05T16:57:00Z", 3)
        .nodes("dc", 1)
        .existing("dc", "200us")
        .rented("lz", "1.6ms", "c6i.4xlarge", 3)
        .deployment("seat-map", 2, "4")
        .sale("tour", "2026-12-05T17:00:00Z", &[("seat-map", 10, 3)], &json!({"readyBefore": "30s", "duration": "1m", "returnOver": "6s"}))
        .build();
    Short {
        name: "plain",
        start,
        last: at("2026-12-05T17:10:00Z"),
        ready_by: at("2026-12-05T16:59:30Z"),
        most: 2,
        changed: &[],
        changed_at: Timestamp::MAX,
    }
}

/// A Local Zone that gives one instance of two, a node that registers without its marks, an instance that never joins, an HPA, and a person who scales a
/// workload down while the sale is Live. What is found out on the way costs the time until ready-by: it is on time when it is Ready as the doors open.
#[must_use]
pub fn rough() -> Short {
    const CHANGED_AT: &str = "2026-12-05T17:00:20Z";
    const CHANGED: &[Changed<'static>] = &[(&kinds::DEPLOYMENTS, "checkout", 1)];
    fn meddle(inner: &mut Inner) {
        scale(inner, "checkout", 1, "kubectl-scale");
    }
    let spec = json!({"readyBefore": "30s", "duration": "1m", "returnOver": "10s"});
    let start = build::night("2026-12-05T16:55:00Z", 4)
        .nodes("dc", 1)
        .existing("dc", "200us")
        .rented("lz", "1.6ms", "c6i.4xlarge", 3)
        .rented("or", "30ms", "m6i.4xlarge", 3)
        .deployment("checkout", 2, "1")
        .deployment("seat-map", 2, "4")
        .hpa("seat-map", 2, 20)
        .sale("tour", "2026-12-05T17:00:00Z", &[("checkout", 4, 12), ("seat-map", 10, 3)], &spec)
        .with(|inner| {
            inner.cloud.capacity.insert(("c6i.4xlarge".into(), subnet("lz")), 1);
            (inner.world.unmarked, inner.world.never_join) = (1, 1);
        })
        .at(CHANGED_AT, meddle)
        .build();
    Short {
        name: "rough",
        start,
        last: at("2026-12-05T17:15:00Z"),
        ready_by: at("2026-12-05T17:00:00Z"),
        most: 4,
        changed: CHANGED,
        changed_at: at(CHANGED_AT),
    }
}

/// The sale is over, and no pool is held any more.
#[must_use]
pub fn over(state: &Inner) -> bool {
    state.phase("tour") == "Completed" && !state.store.list(&kinds::POOLS).any(|p| is_protected(p))
}

/// When all replicas were first Ready.
#[must_use]
pub fn reached(state: &Inner) -> Option<Timestamp> {
    state.reached("seat-map", PEAK)
}
