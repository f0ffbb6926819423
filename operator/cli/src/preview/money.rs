//! What a sale costs: as planned for it as it starts, or as rehearsed where other sales leave nodes to it.

use onsale_api::{Money, Reason};

use super::{
    CostPreview, Missing, PoolPreview,
    build::{View, is_over},
    verdict::names,
};
use crate::rehearsal::Spending;

/// A hundredth of a unit of money, in millionths: no estimate has more digits.
const CENT: i64 = 10_000;
/// A unit of money, in millionths.
const UNIT: i64 = 1_000_000;

impl View<'_> {
    pub(super) fn cost(&self, pools: &[PoolPreview]) -> CostPreview {
        let budget = self.sale.spec.budget.clone().unwrap_or_default();
        let (told, beyond) = (&self.told.cost, self.beyond());
        let rehearsed = self.beside_others().unwrap_or_default();
        let (hourly, window) = match is_over(self.told.phase) {
            true => (Money::default(), Money::default()),
            false => (told.hourly.max(rehearsed.hourly), beyond.unwrap_or(told.window)),
        };
        CostPreview {
            hourly,
            window,
            beside: if beyond.is_some() { self.related().map(|other| other.id.to_string()).collect() } else { Vec::new() },
            max_hourly: budget.max_hourly_cost,
            max_total: budget.max_total_cost,
            nodes: pools.iter().flat_map(|p| &p.rented).map(|r| r.count).sum(),
            max_nodes: budget.max_nodes,
        }
    }

    /// What it pays in the rehearsal, where other sales share workloads or pools with it: a plan for it as it starts does not know what they leave to it.
    fn beside_others(&self) -> Option<Spending> {
        self.related().next()?;
        self.night.spent.get(&self.told.id).copied()
    }

    /// The same for its whole window, in whole cents, where that is more than was planned.
    fn beyond(&self) -> Option<Money> {
        let rehearsed = Money::from_micros((self.beside_others()?.amount.micros() + CENT - 1) / CENT * CENT);
        (rehearsed > self.told.cost.window && !is_over(self.told.phase)).then_some(rehearsed)
    }

    /// More than `budget.maxTotalCost`, where all has its place: nobody gives back nodes that run because of money, so that the bound would not hold.
    pub(super) fn too_dear(&self) -> Option<Missing> {
        let max = self.sale.spec.budget.as_ref()?.max_total_cost?;
        let all = self.beyond().filter(|all| *all > max)?;
        if self.told.unplaced > 0 || self.night.unplaced.contains_key(&self.told.id) {
            return None;
        }
        let (others, enough) = (names(self.related().map(|other| &other.id)), (all.micros() + UNIT - 1) / UNIT);
        let message = format!(
            "it would cost {all} in all beside {others}, and budget.maxTotalCost is {max}: nodes that other sales leave, or share with it, are charged to it, too; raise \
             it to {enough}, or shorten duration"
        );
        Some(Missing { workload: None, replicas: None, reason: Reason::BudgetReached, message, until: None })
    }

    /// More per hour than `budget.maxHourlyCost`, which only keeps new nodes from being launched.
    pub(super) fn dearer_per_hour(&self) -> Option<String> {
        let max = self.sale.spec.budget.as_ref()?.max_hourly_cost?;
        let hourly = self.beside_others()?.hourly;
        let others = names(self.related().map(|other| &other.id));
        let said = || {
            format!(
                "beside {others} it pays up to {hourly} an hour, beyond budget.maxHourlyCost ({max}): nodes that other sales leave, or share with it, are charged to it, too"
            )
        };
        (hourly > max && !is_over(self.told.phase)).then(said)
    }
}
