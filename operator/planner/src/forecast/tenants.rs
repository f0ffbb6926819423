//! Who leaves the fleet when, and who goes on with what was theirs.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Sweep, shares_time};
use crate::{demand, packing::Taken};

/// What some sales hold for one workload.
pub(super) struct Tenant {
    pub work: usize,
    pub sales: Vec<usize>,
    pub until: Timestamp,
    pub taken: Vec<Taken>,
}

impl Sweep<'_> {
    /// Those leave whose time this sale does not share, the first to leave first; what others go on with is theirs from then on.
    pub(super) fn leave(&mut self, sale: usize) {
        let draft = &self.drafts[sale];
        let (stay, mut leave): (Vec<Tenant>, Vec<Tenant>) =
            std::mem::take(&mut self.tenants).into_iter().partition(|t| shares_time(draft, t.until));
        self.tenants = stay;
        leave.sort_by_key(|tenant| tenant.until);
        for tenant in leave {
            let taken = self.hand_over(tenant);
            self.give_back(&taken);
        }
    }

    /// Replicas that are still wanted when a tenant leaves are those of the next to leave: as many as its own are too few, the nearest. What nobody wants any more.
    fn hand_over(&mut self, tenant: Tenant) -> Vec<Taken> {
        let work = tenant.work;
        let also: Vec<usize> = self.tenants.iter().filter(|t| t.work == work).flat_map(|t| &t.sales).copied().collect();
        let Some(heir) = (0..self.tenants.len()).filter(|i| self.tenants[*i].work == work).min_by_key(|i| self.tenants[*i].until) else {
            return tenant.taken;
        };
        let none = BTreeSet::new();
        let demand =
            demand::demand(&demand::Scope { seen: self.seen, drafts: self.drafts, active: self.active, also: &also, frozen: &none }, work);
        let mut taken = tenant.taken;
        let rest = self.packer.bins.placed(work) - i32::try_from(taken.iter().filter(|one| one.replica).count()).unwrap_or(i32::MAX);
        let kept = usize::try_from(demand.target - rest).unwrap_or_default().min(taken.len());
        let bins = &self.packer.bins.all;
        let rank = |one: &Taken| demand.distances.iter().find(|d| d.pool == bins[one.bin].pool).map_or(i32::MAX, |d| d.rank);
        taken.sort_by_cached_key(|one| (!one.replica, rank(one)));
        let gone = taken.split_off(kept);
        let next = self.tenants[heir].sales[0];
        for one in &taken {
            self.packer.bins.hand_over(one.bin, &tenant.sales, next);
        }
        self.tenants[heir].taken.extend(taken);
        gone
    }

    /// What only these hold is given back.
    pub(super) fn withdraw(&mut self, sales: &[usize]) {
        let (stay, leave): (Vec<Tenant>, Vec<Tenant>) =
            std::mem::take(&mut self.tenants).into_iter().partition(|tenant| tenant.sales != sales);
        self.tenants = stay;
        leave.into_iter().for_each(|tenant| self.give_back(&tenant.taken));
    }

    fn give_back(&mut self, taken: &[Taken]) {
        for at in self.packer.give_back(taken) {
            let bin = &self.packer.bins.all[at];
            if bin.instance_type.is_some() {
                self.in_use.entry(self.pool_of(bin)).and_modify(|n| *n -= 1);
            }
        }
    }
}
