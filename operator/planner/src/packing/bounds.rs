//! What forbids a replica a pool, or a pool a new node.

use std::collections::BTreeMap;

use onsale_api::{
    Money, Reason,
    onsale::OnShortfall,
    pool::{InstanceType, Shortfall},
};

use super::{
    Payer, Work,
    bins::{Bin, BinState, Bins},
    budget,
    nodes::{declared, may_be_on_new, new_bin, shape},
    shared,
};
use crate::{fleet::labels_of_new, index::Indexed, plan::Waiting, pools, resources::Resources, snapshot::Pool};

/// Replicas of a workload by zone.
pub(super) type Zones<'a> = BTreeMap<&'a str, i32>;

/// The rules, over one snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<'a> {
    pub seen: &'a Indexed<'a>,
    /// Pools that were short may try again once their pause is over.
    pub retry: bool,
    /// The largest nodes are opened, whatever they cost.
    pub roomy: bool,
}

/// Why a pool takes no more. What is said most often is put into words only where somebody is to read it.
pub(super) enum Refusal {
    /// Its nodes are full, and it has no others.
    Full,
    /// Anything else.
    Said(Waiting),
}

impl From<Waiting> for Refusal {
    fn from(said: Waiting) -> Self {
        Self::Said(said)
    }
}

impl Refusal {
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Full => Reason::LimitReached,
            Self::Said(waiting) => waiting.reason,
        }
    }

    /// In words, of this pool.
    pub fn say(self, pool: &str) -> Waiting {
        match self {
            Self::Full => Waiting { reason: Reason::LimitReached, message: format!("the nodes of pool {pool} are full"), until: None },
            Self::Said(waiting) => waiting,
        }
    }
}

fn no<T>(reason: Reason, message: String) -> Result<T, Waiting> {
    Err(Waiting { reason, message, until: None })
}

fn idle<T>(work: &Work) -> Result<T, Waiting> {
    no(Reason::Idle, format!("no sale raises {}: nothing is rented for it", work.id.name))
}

/// The first that can, or why the first cannot; none where nobody is asked.
fn first_that_can<T, E>(answers: impl Iterator<Item = Result<T, E>>) -> Option<Result<T, E>> {
    let mut refusal = None;
    for answer in answers {
        match answer {
            Ok(can) => return Some(Ok(can)),
            Err(said) => refusal = refusal.or(Some(said)),
        }
    }
    refusal.map(Err)
}

impl<'a> Bounds<'a> {
    /// The pool's index.
    pub fn place(&self, pool: &str) -> Result<usize, Waiting> {
        self.seen.index_of(pool).map_or_else(|| no(Reason::NoPool, format!("pool {pool} does not exist")), Ok)
    }

    /// Whether replicas that do not run yet may be in the pool of this index at all.
    pub fn may_be_in(&self, work: &Work, place: usize) -> Result<(), Waiting> {
        let pool = &self.seen.pools[place];
        if work.stuck.contains(&pool.name) {
            return no(
                Reason::Unschedulable,
                format!("pods of {} stay unbound in pool {} although it should have room", work.id.name, pool.name),
            );
        }
        let met = |labels: &BTreeMap<String, String>| work.node_terms.iter().any(|term| term.iter().all(|r| r.holds(labels)));
        if !work.node_terms.is_empty() && !self.labels(pool).iter().any(met) {
            return no(
                Reason::OwnConstraints,
                format!("nodes of pool {} do not carry the labels that pods of {} require", pool.name, work.id.name),
            );
        }
        Ok(())
    }

    /// Whether the pool, which holds `count` of its replicas, may hold one more: `maxSharePerPool`, and the pods' own hard spread over zones.
    pub fn may_hold_more(&self, work: &Work, pool: &str, count: i32, zones: Option<&(i32, Zones<'_>)>) -> Result<(), Waiting> {
        if work.max_per_pool.is_some_and(|most| count >= most) {
            return no(Reason::ShareReached, format!("maxSharePerPool of {} is reached in pool {pool}", work.id.name));
        }
        let Some(((skew, zones), pool)) = zones.and_then(|zones| Some((zones, self.seen.pool(pool)?))) else { return Ok(()) };
        let here = zones.get(pool.spec.zone.as_str()).copied().unwrap_or_default();
        if here + 1 - zones.values().min().copied().unwrap_or_default() > *skew {
            let message = format!(
                "pods of {} may not be more uneven over zones than {skew}: zone {} has to wait for the others",
                work.id.name, pool.spec.zone
            );
            return no(Reason::OwnConstraints, message);
        }
        Ok(())
    }

    /// Counts by pool as counts by zone.
    pub fn by_zone<'p>(&self, pools: impl Iterator<Item = (&'p str, i32)>) -> Zones<'a> {
        let mut zones = Zones::new();
        for (pool, count) in pools {
            if let Some(pool) = self.seen.pool(pool) {
                *zones.entry(pool.spec.zone.as_str()).or_default() += count;
            }
        }
        zones
    }

    /// Labels of the pool's nodes: of those that exist, or of what is to be launched.
    fn labels(&self, pool: &Pool) -> Vec<BTreeMap<String, String>> {
        let Some(ec2) = &pool.spec.nodes.ec2 else {
            return self.seen.known_nodes().filter(|n| n.pool == pool.name).map(|n| n.labels.clone()).collect();
        };
        ec2.instance_types.iter().filter_map(|t| labels_of_new(pool, &t.name)).collect()
    }

    /// A new node for the workload, `share` of whose replicas still look for a place here: the type that holds them at the lowest price, or
    /// the largest one.
    pub fn new_node(&self, work: &Work, place: usize, bins: &Bins, share: i32) -> Result<Bin, Refusal> {
        let pool = &self.seen.pools[place];
        if pool.spec.nodes.ec2.is_none() {
            return Err(Refusal::Full);
        }
        if !work.opens {
            idle(work)?;
        }
        self.all_known(work)?;
        self.within_limits(work, place, bins)?;
        let payers = work.new_paid_by(bins.placed(work.index)).into_iter();
        let bin = |payer: &Payer| Ok(Bin { payer: Some(payer.sale), ..self.paid_by(work, payer, place, bins, share)? });
        first_that_can(payers.map(bin)).unwrap_or(Err(Refusal::Full))
    }

    /// The same at the charge of one sale.
    fn paid_by(&self, work: &Work, payer: &Payer, place: usize, bins: &Bins, share: i32) -> Result<Bin, Refusal> {
        let pool = &self.seen.pools[place];
        let too_large = || Waiting {
            reason: Reason::PodTooLarge,
            message: format!("a pod of {} fits on no instance type of pool {}: add a larger one", work.id.name, pool.name),
            until: None,
        };
        let mut refusal = None;
        let mut best: Option<(i64, Money, &InstanceType)> = None;
        for instance_type in pool.spec.nodes.ec2.iter().flat_map(|ec2| &ec2.instance_types) {
            let fits = shape(pool, &instance_type.name, self.seen).count_of(&work.requests);
            if fits <= 0 || !may_be_on_new(&work.node_terms, pool, &instance_type.name) {
                continue;
            }
            if let Err(waiting) = self
                .can_be_had(payer, pool, instance_type)
                .and_then(|()| self.within_budget(work, payer, instance_type.hourly_cost, bins))
                .and_then(|()| shared::suffice(self.seen, pool, &instance_type.name, bins))
            {
                refusal = Some(waiting);
                continue;
            }
            let price = instance_type.hourly_cost.times((i64::from(share.max(1)) + fits - 1) / fits);
            let smallness = if self.roomy { -fits } else { 0 };
            if best.is_none_or(|(least, lowest, other)| (smallness, price, &instance_type.name) < (least, lowest, &other.name)) {
                best = Some((smallness, price, instance_type));
            }
        }
        best.map(|(.., t)| new_bin(place, t, self.seen, bins.in_pool(place).len())).ok_or_else(|| refusal.unwrap_or_else(too_large).into())
    }

    /// How many new nodes the pool's limit, its subnets and its quotas leave, were the pool alone, and what each type offers that can be had: an upper bound, without
    /// what namespaces and budgets allow.
    pub fn openable(&self, pool: &str, bins: &Bins) -> (i64, Vec<Resources>) {
        let Some(place) = self.seen.index_of(pool) else { return (0, Vec::new()) };
        let pool = &self.seen.pools[place];
        let Some(ec2) = &pool.spec.nodes.ec2 else { return (0, Vec::new()) };
        let most = pool.spec.limits.as_ref().and_then(|l| l.max_nodes).unwrap_or_default();
        let rented = bins.of_pool(place).filter(|b| b.counts()).count() + self.given_up(place);
        let left = i64::from(most) - i64::try_from(rented).unwrap_or(i64::MAX);
        let paused = |name: &str| self.short(pool, name).is_some_and(|short| !self.retry || self.seen.now < short.retry_at.0);
        let types: Vec<&InstanceType> = ec2.instance_types.iter().filter(|t| !paused(&t.name)).collect();
        let left = left.min(shared::most(self.seen, pool, &types, bins));
        (if pool.deleting { 0 } else { left.max(0) }, types.into_iter().map(|t| shape(pool, &t.name, self.seen)).collect())
    }

    /// Why a type cannot be had in the pool, and until when.
    fn short(&self, pool: &'a Pool, instance_type: &str) -> Option<&'a Shortfall> {
        pools::short(pool, instance_type).or_else(|| self.seen.quotas.refused(pool, instance_type))
    }

    /// Who pays for a new node that nobody uses any more when it is used again, as if it were opened now: an earlier sale, which opened it in a forecast, may have
    /// more to spend than this one. `None`: it is there, or is paid for already.
    pub fn may_reopen(&self, work: &Work, bin: &Bin, bins: &Bins) -> Result<Option<usize>, Waiting> {
        let placed = bins.placed(work.index);
        if bin.state != BinState::New || bin.used() {
            let open = bin.owner.is_none() && work.payers.len() > 1;
            return Ok(if open { self.who_keeps(work, placed, bin.hourly, bins) } else { None });
        }
        let Some(instance_type) = &bin.instance_type else { return Ok(None) };
        self.within_limits(work, bin.place, bins)?;
        let payer = self.who_pays(work, work.new_paid_by(placed), bin.hourly, bins)?;
        shared::suffice(self.seen, &self.seen.pools[bin.place], instance_type, bins)?;
        Ok(Some(payer))
    }

    /// Which sale of this workload may be charged for a node that another opened, and leaves.
    pub fn may_take_over(&self, work: &Work, bin: &Bin, bins: &Bins) -> Result<usize, Waiting> {
        if bin.owner.as_ref().is_none_or(|(namespace, _)| *namespace != work.id.namespace) {
            self.within_share(work, bin.place, bins)?;
        }
        self.who_pays(work, work.payers.iter().filter(|payer| payer.opens).collect(), bin.hourly, bins)
    }

    /// Who is charged for a node that is there and holds one more replica beside so many: as when it was opened, the first that can pay; where none can, the first.
    pub fn who_keeps(&self, work: &Work, placed: i32, hourly: Money, bins: &Bins) -> Option<usize> {
        let owned = |bin: &&Bin, payer: &Payer| bin.counts() && bin.owner.as_ref().is_some_and(|(_, sale)| *sale == payer.sale);
        let prices = |payer: &Payer| bins.all.iter().filter(|bin| owned(bin, payer)).map(|bin| bin.hourly).collect();
        let can_pay = |payer: &&Payer| self.reached(payer, hourly, || prices(payer)).is_none();
        let chosen = if work.payers.len() > 1 && hourly > Money::default() { work.payers_beside(placed).find(can_pay) } else { None };
        chosen.or_else(|| work.payers_beside(placed).next()).map(|payer| payer.sale)
    }

    /// The first of these that can pay so much more per hour, or why the first of them cannot.
    fn who_pays(&self, work: &Work, payers: Vec<&Payer>, hourly: Money, bins: &Bins) -> Result<usize, Waiting> {
        let payer = |payer: &Payer| self.within_budget(work, payer, hourly, bins).map(|()| payer.sale);
        first_that_can(payers.into_iter().map(payer)).unwrap_or_else(|| idle(work))
    }

    /// Nodes that are given up and not gone yet, and overdue ones, which may come after all.
    fn given_up(&self, place: usize) -> usize {
        let have = &self.seen.have[place];
        have.never_joined.len() + have.overdue.len()
    }

    fn holds(&self, payer: &Payer) -> bool {
        self.seen.sales.get(payer.sale).is_some_and(|s| s.spec.on_shortfall == OnShortfall::Hold)
    }

    /// While the cloud does not say what a pool has, its nodes may be there already: opening others would pay twice.
    fn all_known(&self, work: &Work) -> Result<(), Waiting> {
        let unknown = |pool: &&Pool| work.distances.iter().any(|d| d.pool == pool.name);
        match self.seen.unknown.iter().map(|i| &self.seen.pools[*i]).find(unknown) {
            Some(pool) => no(
                Reason::Unknown,
                format!("the cloud does not say which instances pool {} has: nothing is launched until it does", pool.name),
            ),
            None => Ok(()),
        }
    }

    fn within_limits(&self, work: &Work, place: usize, bins: &Bins) -> Result<(), Waiting> {
        let pool = &self.seen.pools[place];
        if pool.deleting {
            return no(Reason::LimitReached, format!("pool {} is being deleted", pool.name));
        }
        let rented = || bins.of_pool(place).filter(|b| b.counts());
        let most = pool.spec.limits.as_ref().and_then(|l| l.max_nodes).unwrap_or_default();
        // What is given up makes room once it goes, and not before: the cloud may keep it.
        if rented().count() + self.given_up(place) >= usize::try_from(most).unwrap_or_default() {
            return no(Reason::LimitReached, format!("limits.maxNodes of pool {} ({most}) is reached: raise it", pool.name));
        }
        self.within_share(work, place, bins)
    }

    /// What a namespace may have of the pool.
    fn within_share(&self, work: &Work, place: usize, bins: &Bins) -> Result<(), Waiting> {
        let pool = &self.seen.pools[place];
        let rented = || bins.of_pool(place).filter(|b| b.counts());
        let each = pool.spec.allowed_namespaces.as_ref().and_then(|a| a.max_nodes_each);
        // What nobody uses yet may be used by this namespace before the packing ends.
        let ours = || rented().filter(|b| b.owner.as_ref().is_none_or(|(namespace, _)| *namespace == work.id.namespace)).count();
        match each {
            Some(each) if ours() >= usize::try_from(each).unwrap_or_default() => no(
                Reason::LimitReached,
                format!("maxNodesEach of pool {} ({each}) is reached for namespace {}", pool.name, work.id.namespace),
            ),
            _ => Ok(()),
        }
    }

    fn within_budget(&self, work: &Work, payer: &Payer, hourly: Money, bins: &Bins) -> Result<(), Waiting> {
        // What is rented already and used by nobody yet may be used by this sale before the packing ends, if not by this workload.
        let reach = bins.reach(payer.sale);
        let reached = |bin: &Bin| reach.is_some_and(|reach| reach.contains(&bin.place));
        let charged = |b: &&Bin| b.owner.as_ref().map_or_else(|| reached(b), |(_, sale)| *sale == payer.sale);
        let ours = || bins.all.iter().filter(|b| b.counts()).filter(charged).map(|b| b.hourly);
        // Instances that are overdue are made up for, and paid for all the same.
        let overdue = || reach.into_iter().flatten().flat_map(|place| self.overdue(*place));
        let Some((what, do_also)) = self.reached(payer, hourly, || ours().chain(overdue()).collect()) else { return Ok(()) };
        // Of several that pay, people have to know which.
        let of = match self.seen.sales.get(payer.sale).filter(|_| work.payers.len() > 1) {
            Some(sale) => format!("of sale {}", sale.id.name),
            None => "of the sale".to_owned(),
        };
        no(Reason::BudgetReached, format!("budget.{what} {of} is reached: raise it{do_also} or lower peakReplicas"))
    }

    /// Which bound of its budget keeps the sale from one more node at this price, beside nodes at these; and what else would help.
    fn reached(&self, payer: &Payer, hourly: Money, prices: impl Fn() -> Vec<Money>) -> Option<(&'static str, &'static str)> {
        let budget = budget(self.seen, payer.sale);
        if budget.max_nodes.is_none() && budget.max_hourly_cost.is_none() && payer.most_hourly.is_none() {
            return None;
        }
        let prices = prices();
        let all = prices.iter().copied().sum::<Money>() + hourly;
        match () {
            () if budget.max_nodes.is_some_and(|most| prices.len() >= usize::try_from(most).unwrap_or_default()) => Some(("maxNodes", "")),
            () if budget.max_hourly_cost.is_some_and(|most| all > most) => Some(("maxHourlyCost", "")),
            () if payer.most_hourly.is_some_and(|most| all > most) => Some(("maxTotalCost", ", shorten duration")),
            () => None,
        }
    }

    /// Prices of the pool's instances that are overdue.
    fn overdue(&self, place: usize) -> impl Iterator<Item = Money> {
        let pool = &self.seen.pools[place];
        self.seen.have[place].overdue.iter().map(move |i| declared(pool, &i.instance_type).map(|t| t.hourly_cost).unwrap_or_default())
    }

    /// A type that the pool could not give is not asked for again while others have room, and after that not before its pause is over; under
    /// `onShortfall: Hold` not at all, until a person acts.
    fn can_be_had(&self, payer: &Payer, pool: &'a Pool, instance_type: &InstanceType) -> Result<(), Waiting> {
        match self.short(pool, &instance_type.name) {
            Some(short) if !self.retry || self.holds(payer) || self.seen.now < short.retry_at.0 => Err(Waiting {
                reason: short.reason,
                message: format!("pool {}: {}", pool.name, short.message),
                until: Some(short.retry_at.0),
            }),
            _ => Ok(()),
        }
    }
}
