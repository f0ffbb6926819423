//! What sales that wait for their start would get, and when each has to start.
//!
//! Sales are put onto the fleet one after the other, in the order of their openings, each beside those whose time it shares and on what those leave; those that
//! are prepared at the same time are packed as one. Two that would fit alone and not together are thus told so days ahead. A sale that shares no time with one
//! that is active is forecast on the fleet as it is while no sale is on.

mod opened;
mod tenants;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use onsale_api::{Money, onsale::Mode};

use crate::{
    demand::{self, Demand},
    floors,
    index::Indexed,
    lifecycle::{self, Draft},
    packing::{Bin, Keep, Packed, Packer, Packing, Rooms, Taken, Work},
    plan::WorkloadPlan,
    sales::{self, Opening},
    spending,
};

use opened::Opened;
use tenants::Tenant;

/// What one sale would get.
#[derive(Debug)]
pub struct Expected {
    /// The workloads that it names, as they would be planned; none of a sale that starts now, for they are planned in earnest.
    pub workloads: Vec<WorkloadPlan>,
    /// Rented nodes at its charge, by pool and instance type.
    pub nodes: BTreeMap<String, BTreeMap<String, i32>>,
    /// Their price per hour.
    pub hourly: Money,
    /// From the first call until all is Ready.
    pub lead: SignedDuration,
    /// The same if none of its nodes were there yet.
    pub lead_anew: SignedDuration,
}

/// What all of them would get.
#[derive(Debug, Default)]
pub struct Outlook {
    /// By the sale's index.
    pub sales: BTreeMap<usize, Expected>,
    /// Rented nodes by pool, at the time when there are most.
    pub nodes: BTreeMap<String, i32>,
}

/// Sales whose ready-by lie closer together are prepared together, and packed as one; otherwise the earlier one keeps what it has.
const TOGETHER: SignedDuration = SignedDuration::from_mins(10);

/// How often a sale is packed anew because its nodes take longer than was thought, and cost more.
const MOST_ROUNDS: usize = 4;

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

/// The outlook for every sale that waits. `packing` holds what every active sale wants.
#[must_use]
pub fn outlook<'a>(seen: &'a Indexed<'a>, drafts: &'a [Draft], packing: &'a Packing<'a>) -> Outlook {
    let mut outlook = Outlook::default();
    let rooms = &Rooms::of(seen, packing);
    let waiting: Vec<usize> = sales::in_order(seen, drafts).into_iter().filter(|i| near(seen, &drafts[*i])).collect();
    let groups = groups(drafts, &waiting);
    let active = (0..drafts.len()).filter(|i| drafts[*i].phase.is_active()).filter_map(|i| gone_by(seen, drafts, i)).max();
    // Those that are prepared together are so in one world: that of the first.
    let beside = |group: &Vec<usize>| active.is_some_and(|until| shares_time(&drafts[group[0]], until));
    if groups.is_empty() {
        return outlook;
    }
    if active.is_none() || groups.iter().any(beside) {
        Sweep::new(seen, drafts, true, packing.packer.clone(), rooms).run(&groups, |group| active.is_none() || beside(group), &mut outlook);
    }
    if active.is_some() && !groups.iter().all(beside) {
        Sweep::new(seen, drafts, false, at_rest(seen, drafts), rooms).run(&groups, |group| !beside(group), &mut outlook);
    }
    outlook
}

/// It waits for its start, and not for longer than anybody looks ahead.
fn near(seen: &Indexed<'_>, draft: &Draft) -> bool {
    draft.waits() && draft.looked_at_from(&seen.settings, seen.now).is_none()
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

/// Sales that are prepared together.
fn groups(drafts: &[Draft], waiting: &[usize]) -> Vec<Vec<usize>> {
    let ready_by = |sale: usize| drafts[sale].times.map(|t| t.ready_by);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for sale in waiting {
        let first = groups.last().and_then(|group| ready_by(group[0]));
        let close = first.zip(ready_by(*sale)).is_some_and(|(first, this)| this.duration_since(first).abs() <= TOGETHER);
        match groups.last_mut() {
            Some(group) if close => group.push(*sale),
            _ => groups.push(vec![*sale]),
        }
    }
    groups
}

impl<'a> Sweep<'a> {
    fn new(seen: &'a Indexed<'a>, drafts: &'a [Draft], active: bool, mut packer: Packer<'a>, rooms: &'a Rooms<'a>) -> Self {
        packer.taken.clear();
        let mut in_use = BTreeMap::new();
        for bin in packer.bins.all.iter().filter(|b| b.instance_type.is_some() && b.used()) {
            *in_use.entry(seen.snapshot().pools[bin.place].name.as_str()).or_default() += 1;
        }
        Self { seen, drafts, active, packer, rooms, tenants: Vec::new(), in_use }
    }

    /// Puts the sales on the fleet, one group after the other; what those that `tell` picks get is noted. Those under mode Plan see the others, and nobody sees them.
    fn run(mut self, groups: &[Vec<usize>], tell: impl Fn(&Vec<usize>) -> bool, outlook: &mut Outlook) {
        for group in groups {
            let (live, plan): (Vec<usize>, Vec<usize>) = group.iter().partition(|i| self.seen.sales[**i].spec.mode == Mode::Live);
            let rounds = (!live.is_empty()).then_some(live).into_iter().chain(plan.into_iter().map(|sale| vec![sale]));
            for round in rounds {
                self.leave(round[0]);
                let entered = self.enter(&round);
                if tell(group) {
                    outlook.sales.extend(round.iter().copied().zip(entered));
                    self.note(outlook);
                }
                if self.seen.sales[round[0]].spec.mode != Mode::Live {
                    self.withdraw(&round);
                }
            }
        }
    }

    fn note(&self, outlook: &mut Outlook) {
        for (pool, n) in &self.in_use {
            match outlook.nodes.get_mut(*pool) {
                Some(most) => *most = (*most).max(*n),
                None => drop(outlook.nodes.insert((*pool).to_owned(), *n)),
            }
        }
    }

    fn pool_of(&self, bin: &Bin) -> &'a str {
        self.seen.snapshot().pools[bin.place].name.as_str()
    }

    /// Puts these on the fleet, packed as one; what each gets, in their order.
    fn enter(&mut self, sales: &[usize]) -> Vec<Expected> {
        let wanted = self.wanted(sales);
        let work = |(index, (users, demand)): (&usize, &(Vec<usize>, Demand))| {
            let mut work = unhindered(demand::work(self.seen, *index, demand)?);
            // What is new is for those to pay that come.
            work.payers.retain(|payer| users.contains(&payer.sale));
            Some(work)
        };
        let mut works: Vec<Work> = wanted.iter().filter_map(work).collect();
        let (packed, mut opened, all) = self.place(&mut works, &wanted);
        let mut taken: BTreeMap<usize, Vec<Taken>> = BTreeMap::new();
        for one in std::mem::take(&mut self.packer.taken) {
            taken.entry(one.work).or_default().push(one);
        }
        for (pool, n) in &all.used {
            *self.in_use.entry(*pool).or_default() += n;
        }
        let round = Round { wanted, packed, all };
        let expected = sales.iter().map(|sale| self.expected(*sale, &round, opened.remove(sale).unwrap_or_default())).collect();
        for (work, (sales, _)) in round.wanted {
            let until = sales.iter().filter_map(|sale| gone_by(self.seen, self.drafts, *sale)).max();
            // Also one that took nothing holds what others have taken for it.
            if let Some(until) = until {
                self.tenants.push(Tenant { work, sales, until, taken: taken.remove(&work).unwrap_or_default() });
            }
        }
        expected
    }

    /// What is wanted of each workload that these name, beside everybody whose time they share, and which of these name it.
    fn wanted(&self, sales: &[usize]) -> Wanted {
        let mut users: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for sale in sales {
            self.seen.named(*sale).iter().flatten().for_each(|work| users.entry(*work).or_default().push(*sale));
        }
        let mut there: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for tenant in self.tenants.iter().filter(|tenant| users.contains_key(&tenant.work)) {
            there.entry(tenant.work).or_default().extend(&tenant.sales);
        }
        let none = BTreeSet::new();
        let of = |(work, users): (usize, Vec<usize>)| {
            let also: Vec<usize> = there.get(&work).into_iter().flatten().chain(&users).copied().collect();
            let scope = demand::Scope { seen: self.seen, drafts: self.drafts, active: self.active, also: &also, frozen: &none };
            (work, (users, demand::demand(&scope, work)))
        };
        users.into_iter().map(of).collect()
    }

    /// Packs these, each within what its sale may spend; what each sale is the first to use, and what all of them are. How long that is held depends on the lead
    /// time, and so on how many nodes come: first it is taken to be held from ready-by on, and where that was too little it is packed again, as if it took as long
    /// as it then did.
    fn place(&mut self, works: &mut [Work], wanted: &Wanted) -> (BTreeMap<usize, Packed>, BTreeMap<usize, Opened<'a>>, Opened<'a>) {
        let (seen, drafts, begun) = (self.seen, self.drafts, self.packer.mark());
        let mut leads: BTreeMap<usize, SignedDuration> = BTreeMap::new();
        let left = if self.active { spending::left(seen, drafts) } else { BTreeMap::new() };
        let mut round = 1;
        loop {
            let lead = |sale: usize| leads.get(&sale).copied().unwrap_or_default();
            let most = |sale: usize| match left.get(&sale) {
                Some(most) => Some(*most),
                None => spending::most_hourly(seen, sale, &drafts[sale], lead(sale)),
            };
            works.iter_mut().flat_map(|w| &mut w.payers).for_each(|payer| payer.most_hourly = most(payer.sale));
            let packed = self.packer.place(works);
            let (opened, all) = self.opened(wanted);
            let longer = |(sale, opened): (&usize, &Opened<'_>)| {
                let lead = self.lead(*sale, &opened.launched, &all.launched, opened.fresh);
                let too_dear = spending::most_hourly(seen, *sale, &drafts[*sale], lead).is_some_and(|most| opened.hourly > most);
                (too_dear && leads.get(sale).is_none_or(|before| lead > *before)).then_some((*sale, lead))
            };
            let bounded = opened.iter().filter(|(sale, _)| spending::is_bounded(&seen.sales[**sale]));
            let longer: Vec<(usize, SignedDuration)> = bounded.filter_map(longer).collect();
            if longer.is_empty() || round == MOST_ROUNDS {
                return (packed, opened, all);
            }
            leads.extend(longer);
            self.packer.go_back(begun);
            round += 1;
        }
    }

    /// How long the sale takes that has to launch these nodes, together with all that are launched for others at the same time.
    fn lead(&self, sale: usize, nodes: &BTreeMap<&str, i32>, all: &BTreeMap<&str, i32>, fresh: bool) -> SignedDuration {
        let (ours, by_region) = (&self.by_region(nodes), &self.by_region(all));
        sales::lead_time(self.seen, &self.drafts[sale], &Opening { nodes, ours, by_region, fresh }, sales::scaled_by_hpa(self.seen, sale))
    }

    fn expected(&self, sale: usize, round: &Round<'_>, opened: Opened<'_>) -> Expected {
        let Round { wanted, packed, all } = round;
        let plan = |index: &usize| {
            let (_, demand) = wanted.get(index)?;
            Some(floors::plan(&floors::Case { seen: self.seen, index: *index, demand, packed: packed.get(index), rooms: self.rooms }))
        };
        let fresh = opened.fresh;
        let in_time = self.lead(sale, &opened.launched, &all.launched, fresh);
        let starts = lifecycle::starts_now(&self.seen.sales[sale], &self.drafts[sale], in_time, self.seen.now);
        let ours = self.seen.named(sale).iter().flatten().filter(|_| !starts);
        let all_anew = opened.used == opened.launched && all.used == all.launched;
        Expected {
            workloads: ours.filter_map(plan).collect(),
            lead: in_time,
            lead_anew: if all_anew { in_time } else { self.lead(sale, &opened.used, &all.used, fresh) },
            nodes: opened.nodes.into_iter().map(|(pool, types)| (pool.to_owned(), types)).collect(),
            hourly: opened.hourly,
        }
    }
}

/// What is wanted of workloads, by their index, and which sales name them, those that pay first.
type Wanted = BTreeMap<usize, (Vec<usize>, Demand)>;

/// Sales that are prepared together: what is wanted, and by whom, where it is placed, and what all of them are the first to use.
struct Round<'a> {
    wanted: Wanted,
    packed: BTreeMap<usize, Packed>,
    all: Opened<'a>,
}

#[cfg(test)]
mod tests {
    use crate::{
        plan::plan,
        snapshot::Snapshot,
        testing::{at, node, pool, sale, snapshot, wish, workload},
    };

    /// Two sales that are prepared together, for a workload each, or both for one.
    fn pair(second: &str) -> Snapshot {
        let wishes = |name: &str| vec![wish(name, 60).calls("phx", 3).build()];
        let (tour, mut extra) = (sale("tour", wishes("checkout")), sale("extra", wishes(second)));
        // It opens later, and has to be ready before.
        extra.spec.opens_at = "2026-12-05T17:02:00Z".into();
        extra.spec.ready_before = "15m".parse().unwrap();
        let pools = vec![
            pool("dc").rtt("phx", "200us").build(),
            pool("or-a").rtt("phx", "30ms").rented("m6i.4xlarge", "0.76", 8).build(),
            pool("or-b").rtt("phx", "30ms").rented("m6i.4xlarge", "0.76", 8).build(),
        ];
        let works = ["checkout", "seat-map"].map(|name| workload(name, 8, &["dc-1"]));
        snapshot(vec![extra, tour], pools, vec![node("dc-1", "dc")], works.into())
    }

    fn leads(seen: &Snapshot) -> Vec<i64> {
        let plan = plan(seen, at("2026-12-05T12:00:00Z"));
        plan.sales.iter().filter_map(|s| s.times).map(|t| t.ready_by.duration_since(t.starts_at).as_secs()).collect()
    }

    #[test]
    fn who_shares_a_workload_with_an_earlier_opening_has_the_same_way_to_go() {
        let apart = leads(&pair("seat-map"));
        let shared = leads(&pair("checkout"));
        assert!(shared[0] == shared[1] && shared[0] >= apart[0], "{shared:?} {apart:?}");
    }

    #[test]
    fn sales_that_are_prepared_together_share_what_the_api_hands_out() {
        let mut seen = pair("seat-map");
        let alone = leads(&seen);
        (seen.settings.launch_burst, seen.settings.launch_rate) = (4, 1);
        let slow = leads(&seen);
        // Eight nodes for both, and one for an overdue one, of which four are there at once: five seconds, and a fourth on top.
        assert_eq!(slow, alone.iter().map(|alone| alone + 7).collect::<Vec<_>>());
    }
    #[test]
    fn who_launches_nothing_does_not_wait_for_what_others_launch() {
        let mut seen = pair("seat-map");
        (seen.settings.launch_burst, seen.settings.launch_rate) = (1, 1);
        // All that it wants runs already.
        seen.sales[0].spec.workloads[0].peak_replicas = 8;
        let leads = leads(&seen);
        assert!(leads[0] == 0 && leads[1] > 0, "{leads:?}");
    }
}
