//! What sales that wait for their start would get, and when each has to start.
//!
//! Sales are put onto the fleet one after the other, in the order of their openings, each beside those whose time it shares and on what those leave: two that
//! would fit alone and not together are told so days ahead. Within a sale replicas are packed as they will be. A sale that shares no time with one that is
//! active is forecast on the fleet as it is while no sale is on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use onsale_api::{Money, onsale::Mode};

use crate::{
    demand::{self, Demand},
    floors,
    index::Indexed,
    lifecycle::Draft,
    packing::{BinState, Keep, Packed, Packer, Rooms, Taken, Work},
    plan::WorkloadPlan,
    sales,
};

/// What one sale would get.
#[derive(Debug)]
pub struct Expected {
    /// The workloads that it names, as they would be planned.
    pub workloads: Vec<WorkloadPlan>,
    /// Rented nodes at its charge, by pool and instance type.
    pub nodes: BTreeMap<String, BTreeMap<String, i32>>,
    /// Their price per hour.
    pub hourly: Money,
    /// From the first call until all is Ready.
    pub lead: SignedDuration,
}

/// What all of them would get.
#[derive(Debug, Default)]
pub struct Outlook {
    /// By the sale's index.
    pub sales: BTreeMap<usize, Expected>,
    /// Rented nodes by pool, at the time when there are most.
    pub nodes: BTreeMap<String, i32>,
}

/// A sale that is on the fleet.
struct Tenant {
    sale: usize,
    until: Timestamp,
    taken: Vec<Taken>,
}

/// The fleet as it fills and empties.
struct Sweep<'a> {
    seen: &'a Indexed<'a>,
    drafts: &'a [Draft],
    /// Sales that are active are on it, too.
    active: bool,
    packer: Packer<'a>,
    rooms: &'a Rooms<'a>,
    tenants: Vec<Tenant>,
    /// Rented nodes that are used, by pool.
    in_use: BTreeMap<&'a str, i32>,
}

/// The outlook for every sale that waits. `packer` holds what every active sale wants.
#[must_use]
pub fn outlook<'a>(seen: &'a Indexed<'a>, drafts: &'a [Draft], packer: Packer<'a>, rooms: &'a Rooms<'a>) -> Outlook {
    let mut outlook = Outlook::default();
    let waiting: Vec<usize> = sales::in_order(seen, drafts).into_iter().filter(|i| drafts[*i].waits()).collect();
    let active = (0..drafts.len()).filter(|i| drafts[*i].phase.is_active()).filter_map(|i| gone_by(seen, drafts, i)).max();
    let beside = |sale: &usize| active.is_some_and(|until| shares_time(&drafts[*sale], until));
    if active.is_none() || waiting.iter().any(beside) {
        Sweep::new(seen, drafts, true, packer, rooms).run(&waiting, |sale| active.is_none() || beside(sale), &mut outlook);
    }
    if active.is_some() && !waiting.iter().all(beside) {
        Sweep::new(seen, drafts, false, at_rest(seen, drafts), rooms).run(&waiting, |sale| !beside(sale), &mut outlook);
    }
    outlook
}

/// When the last of a sale has gone: its end, and the way back.
fn gone_by(seen: &Indexed<'_>, drafts: &[Draft], sale: usize) -> Option<Timestamp> {
    drafts[sale].times.map(|times| times.ends_at + seen.sales[sale].spec.return_over.get())
}

/// Whether a sale has to be ready while another is still there.
fn shares_time(draft: &Draft, until: Timestamp) -> bool {
    draft.times.is_some_and(|times| times.ready_by < until)
}

/// The fleet while no sale is on: every workload at its baseline, on the nodes that exist.
fn at_rest<'a>(seen: &'a Indexed<'a>, drafts: &[Draft]) -> Packer<'a> {
    let none = BTreeSet::new();
    let scope = demand::Scope { seen, drafts, active: false, also: &[], frozen: &none };
    let demands = (0..seen.workloads.len()).map(|i| (i, demand::demand(&scope, i)));
    let works: Vec<Work> = demands.filter_map(|(i, demand)| demand::work(seen, i, &demand)).map(unhindered).collect();
    let mut packer = Packer::new(seen, &works, Keep::Home, false);
    packer.place(&works);
    packer
}

/// What holds a workload up in this moment is over when the sale comes.
fn unhindered(work: Work) -> Work {
    Work { closed: 0, stuck: BTreeSet::new(), ..work }
}

impl<'a> Sweep<'a> {
    fn new(seen: &'a Indexed<'a>, drafts: &'a [Draft], active: bool, mut packer: Packer<'a>, rooms: &'a Rooms<'a>) -> Self {
        packer.taken.clear();
        let mut in_use = BTreeMap::new();
        for bin in packer.bins.all.iter().filter(|b| b.instance_type.is_some() && b.used()) {
            if let Some(pool) = seen.pool(&bin.pool) {
                *in_use.entry(pool.name.as_str()).or_default() += 1;
            }
        }
        Self { seen, drafts, active, packer, rooms, tenants: Vec::new(), in_use }
    }

    /// Puts each sale on the fleet in turn; what those that `tell` picks get is noted.
    fn run(mut self, waiting: &[usize], tell: impl Fn(&usize) -> bool, outlook: &mut Outlook) {
        for sale in waiting {
            self.leave(*sale);
            let (expected, taken) = self.enter(*sale);
            if tell(sale) {
                outlook.sales.insert(*sale, expected);
                for (pool, n) in &self.in_use {
                    match outlook.nodes.get_mut(*pool) {
                        Some(most) => *most = (*most).max(*n),
                        None => drop(outlook.nodes.insert((*pool).to_owned(), *n)),
                    }
                }
            }
            match gone_by(self.seen, self.drafts, *sale) {
                // Under mode Plan nothing will be there.
                Some(until) if self.seen.sales[*sale].spec.mode == Mode::Live => self.tenants.push(Tenant { sale: *sale, until, taken }),
                _ => self.give_back(&taken),
            }
        }
    }

    /// Those leave whose time this sale does not share.
    fn leave(&mut self, sale: usize) {
        let draft = &self.drafts[sale];
        let (stay, leave): (Vec<Tenant>, Vec<Tenant>) =
            std::mem::take(&mut self.tenants).into_iter().partition(|tenant| shares_time(draft, tenant.until));
        self.tenants = stay;
        leave.iter().for_each(|tenant| self.give_back(&tenant.taken));
    }

    fn give_back(&mut self, taken: &[Taken]) {
        for one in taken {
            self.packer.give_back(*one);
            let bin = &self.packer.bins.all[one.bin];
            if bin.instance_type.is_some() && !bin.used() {
                self.in_use.entry(self.pool_of(one)).and_modify(|n| *n -= 1);
            }
        }
    }

    fn pool_of(&self, taken: &Taken) -> &'a str {
        self.seen.pool(&self.packer.bins.all[taken.bin].pool).map_or("", |pool| pool.name.as_str())
    }

    fn enter(&mut self, sale: usize) -> (Expected, Vec<Taken>) {
        let demands = self.demands(sale);
        let works: Vec<Work> =
            demands.iter().filter_map(|(i, demand)| demand::work(self.seen, *i, demand)).map(|w| unhindered(Work { sale, ..w })).collect();
        let packed = self.packer.place(&works);
        let taken = std::mem::take(&mut self.packer.taken);
        let fresh = packed.values().any(|packed| !packed.fresh.is_empty());
        let mut opened: BTreeMap<&str, i32> = BTreeMap::new();
        let mut expected = Expected {
            workloads: self.plans(&demands, &packed),
            nodes: BTreeMap::new(),
            hourly: Money::default(),
            lead: SignedDuration::ZERO,
        };
        for one in taken.iter().filter(|one| one.first) {
            let bin = &self.packer.bins.all[one.bin];
            let Some(instance_type) = bin.instance_type.clone() else { continue };
            let pool = self.pool_of(one);
            *self.in_use.entry(pool).or_default() += 1;
            if bin.state >= BinState::Launching {
                *opened.entry(pool).or_default() += 1;
            }
            *expected.nodes.entry(pool.to_owned()).or_default().entry(instance_type).or_default() += 1;
            expected.hourly = expected.hourly + bin.hourly;
        }
        let by_hpa = sales::scaled_by_hpa(self.seen, sale);
        expected.lead = sales::lead_time(self.seen, &self.drafts[sale], &opened, fresh, by_hpa);
        (expected, taken)
    }

    /// What the sale wants of its workloads, beside everybody whose time it shares.
    fn demands(&self, sale: usize) -> Vec<(usize, Demand)> {
        let none = BTreeSet::new();
        let of = |workload: usize| {
            let names = |tenant: &&Tenant| self.seen.wishes(workload).iter().any(|(other, _)| *other == tenant.sale);
            let also: Vec<usize> = self.tenants.iter().filter(names).map(|tenant| tenant.sale).chain([sale]).collect();
            let scope = demand::Scope { seen: self.seen, drafts: self.drafts, active: self.active, also: &also, frozen: &none };
            (workload, demand::demand(&scope, workload))
        };
        self.seen.named(sale).iter().flatten().copied().map(of).collect()
    }

    fn plans(&self, demands: &[(usize, Demand)], packed: &BTreeMap<usize, Packed>) -> Vec<WorkloadPlan> {
        let plan = |(index, demand): &(usize, Demand)| {
            floors::plan(&floors::Case { seen: self.seen, index: *index, demand, packed: packed.get(index), rooms: self.rooms })
        };
        demands.iter().map(plan).collect()
    }
}
