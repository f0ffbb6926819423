//! Is this plan allowed, and is it good? Written from the design page, not from the planner: it shares its data types only.
//!
//! - [`violation`]: every rule there is, and what a broken one says
//! - `view`: facts of a snapshot and a plan that several rules need; `access`: own arithmetic of what a sale may use; `lead`: of lead times and of what the cloud's API hands out
//! - what is allowed: `pools`, `distances`, `places`, `share`, `room`, `spread`, `budget`, `spending`, `shared`, `claims`, `floors`, `headroom`, `overlay`, `reasons`, `phases`, `start`, `pace`, `surplus`, `drain`
//! - what is good: `moves`, no single feasible and timely move of a replica lowers the cost
//! - `steps`: whether the steps that are due may be done

use jiff::Timestamp;
use onsale_planner::{Chain, Plan, Snapshot};

mod access;
mod budget;
mod claims;
mod distances;
mod drain;
mod floors;
mod headroom;
mod lead;
mod moves;
mod overlay;
mod pace;
mod phases;
mod places;
mod pools;
mod reasons;
mod room;
mod share;
mod shared;
mod spending;
mod spread;
mod start;
mod steps;
mod surplus;
#[cfg(test)]
mod testing;
mod view;
pub mod violation;

pub use violation::{Rule, Violation};

use view::View;

/// Every rule that the plan breaks; nothing for a plan that is allowed and good.
#[must_use]
pub fn check(seen: &Snapshot, plan: &Plan, now: Timestamp) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Err(mismatch) = view::mirrors(seen, plan) {
        return vec![mismatch];
    }
    let view = View::new(seen, plan, now);
    let rules = [
        pools::check,
        distances::check,
        places::check,
        share::check,
        room::check,
        spread::check,
        budget::check,
        spending::check,
        shared::check,
        claims::check,
        floors::check,
        headroom::check,
        overlay::check,
        reasons::check,
        phases::check,
        start::check,
        pace::check,
        surplus::check,
        drain::check,
        moves::check,
    ];
    for rule in rules {
        rule(&view, &mut found);
    }
    found
}

/// Every rule that the steps break: what may not be done, or not in this order.
#[must_use]
pub fn check_steps(seen: &Snapshot, plan: &Plan, now: Timestamp, chains: &[Chain]) -> Vec<Violation> {
    match view::mirrors(seen, plan) {
        Ok(()) => steps::check(&View::new(seen, plan, now), chains),
        Err(mismatch) => vec![mismatch],
    }
}
