//! Steps of a sale: its finalizer.

use onsale_api::Phase;

use super::Step;
use crate::{plan::SalePlan, snapshot::Sale};

pub(super) fn of(plan: &SalePlan, sale: &Sale) -> Vec<Step> {
    match plan.phase {
        Phase::Preparing | Phase::Ready | Phase::Live if !sale.protected && !sale.deleting => vec![Step::ProtectSale],
        // The status says that it is over before the object may go.
        Phase::Completed | Phase::Cancelled | Phase::Missed | Phase::Invalid | Phase::Scheduled
            if sale.protected && !recorded_active(sale) =>
        {
            vec![Step::ReleaseSale]
        }
        _ => Vec::new(),
    }
}

fn recorded_active(sale: &Sale) -> bool {
    sale.status.phase.is_some_and(Phase::is_active)
}
