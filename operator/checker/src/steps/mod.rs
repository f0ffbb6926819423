//! Whether the steps that are due may be done, and in this order.
//!
//! - here: one chain per key, with steps of its kind; sales
//! - `pool`: launches, nodes, drains; `rate`: what all launches take together; `workload`: record, overlay, floor, pods

use std::collections::BTreeSet;

use onsale_planner::{
    Chain,
    steps::{ChainKey, Step},
};

use crate::{Rule, Violation, shared, view::View};

mod pool;
mod rate;
mod workload;

/// Every rule that the chains break.
pub fn check(view: &View<'_>, chains: &[Chain]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut keys = BTreeSet::new();
    for chain in chains {
        if !keys.insert(&chain.key) {
            found.push(Violation::new(Rule::Chains, label(&chain.key), "a second chain"));
        }
        for step in chain.steps.iter().filter(|step| !belongs(&chain.key, step)) {
            found.push(Violation::new(Rule::Chains, label(&chain.key), format!("a step of another kind of chain: {step:?}")));
        }
        match &chain.key {
            ChainKey::Sale(id) => sale(view, id, &chain.steps, &mut found),
            ChainKey::Pool(name) => pool::check(view, name, &chain.steps, &mut found),
            ChainKey::Workload(id) => workload::check(view, id, &chain.steps, &mut found),
        }
    }
    shared::launches(view, chains, &mut found);
    rate::check(view, chains, &mut found);
    found
}

fn label(key: &ChainKey) -> String {
    match key {
        ChainKey::Sale(id) => id.to_string(),
        ChainKey::Pool(name) => name.clone(),
        ChainKey::Workload(id) => id.to_string(),
    }
}

fn belongs(key: &ChainKey, step: &Step) -> bool {
    match step {
        Step::ProtectSale | Step::ReleaseSale => matches!(key, ChainKey::Sale(_)),
        Step::ProtectPool
        | Step::ReleasePool
        | Step::Replay { .. }
        | Step::Launch { .. }
        | Step::Tidy { .. }
        | Step::RepairNode { .. }
        | Step::Cordon { .. }
        | Step::Uncordon { .. }
        | Step::Evict { .. }
        | Step::Terminate { .. } => matches!(key, ChainKey::Pool(_)),
        Step::Record { .. }
        | Step::WriteOverlay { .. }
        | Step::WriteFloor { .. }
        | Step::NoteContest { .. }
        | Step::ReplacePod { .. }
        | Step::RemoveOverlay
        | Step::RemoveRecord => matches!(key, ChainKey::Workload(_)),
    }
}

fn sale(view: &View<'_>, id: &onsale_planner::snapshot::SaleId, steps: &[Step], found: &mut Vec<Violation>) {
    let Some((sale, plan)) = view.sales().find(|(sale, _)| sale.id == *id) else {
        found.push(Violation::new(Rule::Chains, id, "steps for a sale that does not exist"));
        return;
    };
    if steps.contains(&Step::ReleaseSale) {
        let recorded = view.seen.workloads.iter().filter_map(|w| w.placement.as_ref().map(|p| (&w.id, &p.spec.claims)));
        let planned = view.plan.workloads.iter().map(|w| (&w.id, &w.claims));
        for (work, _) in recorded.chain(planned).filter(|(_, claims)| claims.iter().any(|c| c.uid == sale.uid)) {
            found.push(Violation::new(Rule::ReleaseSale, id, format!("released while {work} is claimed by it")));
        }
        if plan.phase.is_active() {
            found.push(Violation::new(Rule::ReleaseSale, id, format!("released while {:?}", plan.phase)));
        }
    }
}

#[cfg(test)]
mod tests {
    use onsale_planner::steps::{ChainKey, Step};

    use crate::{Rule, testing::night};

    #[test]
    fn chains_are_one_per_key_with_steps_of_their_kind() {
        night().sale_steps(vec![Step::ProtectSale]).passes();
        night().sale_steps(vec![Step::ProtectPool]).breaks(Rule::Chains);
        night().sale_steps(vec![Step::ProtectSale]).sale_steps(vec![Step::ProtectSale]).breaks(Rule::Chains);
        night().chain(ChainKey::Pool("nowhere".into()), vec![Step::ProtectPool]).breaks(Rule::Chains);
    }

    #[test]
    fn a_sale_is_released_when_nobody_is_claimed_by_it() {
        let cancelled = || night().called_off();
        cancelled().sale_steps(vec![Step::ReleaseSale]).passes();
        cancelled().recorded().sale_steps(vec![Step::ReleaseSale]).breaks(Rule::ReleaseSale);
        night().sale_steps(vec![Step::ReleaseSale]).breaks(Rule::ReleaseSale);
    }
}
