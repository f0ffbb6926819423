//! What would have to change. Nothing is said that was not planned with: each proposal is the least value with which the sale is a go.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use onsale_api::{GoDuration, Money, Percent, Reason, onsale::SaleWorkload, pool::QuotaFacts};
use onsale_planner::{
    Plan, Snapshot,
    addresses::Addresses,
    distance, plan,
    plan::SalePlan,
    quotas::Quotas,
    snapshot::{Pool, SaleId},
};

use super::{Missing, placement};

/// The most that the schema allows a pool or a budget.
const MOST_NODES: i64 = 5_000;
/// The most that the schema allows `maxLatency`, an hour, in microseconds.
const MOST_LATENCY: i64 = 3_600_000_000;
/// More vCPUs than any account has in a region.
const MOST_VCPUS: i64 = 10_000_000;
/// Addresses of the largest network that a VPC may have.
const MOST_ADDRESSES: i64 = 65_536;
/// A whole unit of money, in millionths.
const UNIT: i64 = 1_000_000;
/// The most replicas that the schema allows a workload.
const MOST_REPLICAS: i64 = 10_000;

/// A number that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Bound {
    PoolNodes(usize),
    PoolNodesEach(usize),
    BudgetNodes,
    /// In whole units of money.
    BudgetCost,
    /// In whole units of money.
    BudgetTotal,
    ScalerMax(usize),
    /// vCPUs of the quota with this index in [`Attempt::quotas`].
    Quota(usize),
    /// Free addresses in the subnets of the pool with this index.
    Addresses(usize),
    /// Of the sale's workload with this index, in microseconds.
    MaxLatency(usize),
    /// Of the sale's workload with this index, in percent.
    MaxShare(usize),
}

/// What would make the sale a go: single changes, any of which is enough; or, where none is, all of them together.
#[must_use]
pub fn changes(seen: &Snapshot, now: Timestamp, sale: usize, missing: &[Missing]) -> Vec<String> {
    let attempt = Attempt { seen, now, sale };
    // A plan for each bound takes its time: these are tried only where they are said to stand in the way.
    let stands = |reason: Reason| missing.iter().any(|m| m.reason == reason);
    let mut bounds = attempt.bounds();
    bounds.retain(|bound| !matches!(bound, Bound::MaxShare(_)) || stands(Reason::ShareReached));
    let mut single: Vec<String> =
        bounds.iter().filter_map(|bound| attempt.least(bound)).map(|(bound, value)| attempt.say(&bound, value)).collect();
    if stands(Reason::OutsidePlacement) {
        single.extend(placement::widened(&attempt));
    }
    if !single.is_empty() || bounds.len() < 2 {
        return single;
    }
    attempt.together(&bounds).map(|all| vec![format!("together: {}", all.join("; "))]).unwrap_or_default()
}

/// A `readyBefore` with which a sale that is too late would be in time.
#[must_use]
pub fn in_time(seen: &Snapshot, now: Timestamp, sale: usize, told: &SalePlan) -> Option<String> {
    let (times, ready) = (told.times?, told.predicted_ready_at?);
    let left = SignedDuration::from_secs(times.opens_at.duration_since(ready).as_secs());
    let mut seen = seen.clone();
    let before = seen.sales.get(sale)?.spec.ready_before;
    if left.is_negative() || left >= before.get() {
        return None;
    }
    seen.sales[sale].spec.ready_before = left.into();
    let again = plan(&seen, now);
    let plan = again.sales.get(sale)?;
    let good = plan.unplaced == 0 && plan.times.zip(plan.predicted_ready_at).is_some_and(|(times, at)| at <= times.ready_by);
    good.then(|| format!("readyBefore of the sale: {before} -> {}; or open later", GoDuration::from(left)))
}

/// What is tried: one sale in its snapshot, at an instant.
pub(super) struct Attempt<'a> {
    pub(super) seen: &'a Snapshot,
    pub(super) now: Timestamp,
    pub(super) sale: usize,
}

impl Attempt<'_> {
    pub(super) fn id(&self) -> &SaleId {
        &self.seen.sales[self.sale].id
    }

    /// Every bound that the sale's plan could meet.
    fn bounds(&self) -> Vec<Bound> {
        let sale = &self.seen.sales[self.sale];
        let mut all = Vec::new();
        for (n, pool) in self.seen.pools.iter().enumerate().filter(|(_, p)| p.spec.nodes.ec2.is_some()) {
            all.push(Bound::PoolNodes(n));
            if pool.spec.allowed_namespaces.as_ref().is_some_and(|a| a.max_nodes_each.is_some()) {
                all.push(Bound::PoolNodesEach(n));
            }
        }
        all.extend((0..self.quotas().len()).map(Bound::Quota));
        let addresses = Addresses::of(self.seen, self.now);
        all.extend((0..self.seen.pools.len()).filter(|n| addresses.said(*n).is_some()).map(Bound::Addresses));
        let budget = sale.spec.budget.clone().unwrap_or_default();
        all.extend(budget.max_nodes.map(|_| Bound::BudgetNodes));
        all.extend(budget.max_hourly_cost.map(|_| Bound::BudgetCost));
        all.extend(budget.max_total_cost.map(|_| Bound::BudgetTotal));
        for id in sale.workload_ids() {
            let scaled = |w: &onsale_planner::snapshot::Workload| w.id == id && w.target.as_ref().is_some_and(|t| t.max.is_some());
            all.extend(self.seen.workloads.iter().position(scaled).map(Bound::ScalerMax));
        }
        let bounded = sale.spec.workloads.iter().enumerate().filter(|(_, w)| w.max_latency.is_some());
        all.extend(bounded.map(|(n, _)| Bound::MaxLatency(n)));
        let shared = sale.spec.workloads.iter().enumerate().filter(|(_, w)| w.max_share_per_pool.is_some());
        all.extend(shared.map(|(n, _)| Bound::MaxShare(n)));
        all
    }

    /// Region and code of every quota that bounds something.
    fn quotas(&self) -> Vec<(String, String)> {
        let quotas = Quotas::of(self.seen, self.now);
        let known = quotas.all().iter().filter(|bound| bound.said.is_some());
        known.map(|bound| (bound.region.to_owned(), bound.quota.code.to_owned())).collect()
    }

    /// What is recorded of a quota, in every pool of its region.
    fn recorded<'s>(seen: &'s mut Snapshot, region: &str, code: &str) -> impl Iterator<Item = &'s mut QuotaFacts> {
        let there = move |pool: &&mut Pool| pool.spec.nodes.ec2.as_ref().is_some_and(|ec2| ec2.region == region);
        seen.pools.iter_mut().filter(there).flat_map(|pool| &mut pool.status.quotas).filter(move |fact| fact.code == code)
    }

    fn free_addresses(&self, pool: usize) -> i64 {
        self.seen.pools[pool].status.subnets.iter().map(|s| i64::from(s.free_addresses)).sum()
    }

    fn value(&self, bound: &Bound) -> i64 {
        let sale = &self.seen.sales[self.sale];
        let budget = || sale.spec.budget.clone().unwrap_or_default();
        match bound {
            Bound::PoolNodes(n) => self.seen.pools[*n].spec.limits.as_ref().and_then(|l| l.max_nodes).unwrap_or_default().into(),
            Bound::PoolNodesEach(n) => {
                self.seen.pools[*n].spec.allowed_namespaces.as_ref().and_then(|a| a.max_nodes_each).unwrap_or_default().into()
            }
            Bound::Quota(n) => {
                let (region, code) = &self.quotas()[*n];
                Self::recorded(&mut self.seen.clone(), region, code).map(|fact| i64::from(fact.limit)).max().unwrap_or_default()
            }
            Bound::Addresses(n) => self.free_addresses(*n),
            Bound::BudgetNodes => budget().max_nodes.unwrap_or_default().into(),
            Bound::BudgetCost => budget().max_hourly_cost.unwrap_or_default().micros() / UNIT,
            Bound::BudgetTotal => budget().max_total_cost.unwrap_or_default().micros() / UNIT,
            Bound::ScalerMax(n) => self.seen.workloads[*n].target.as_ref().and_then(|t| t.max).unwrap_or_default().into(),
            Bound::MaxLatency(n) => sale.spec.workloads[*n].max_latency.unwrap_or_default().micros(),
            Bound::MaxShare(n) => sale.spec.workloads[*n].max_share_per_pool.map_or(0, |share| share.floor_of(100)).into(),
        }
    }

    const fn most(bound: &Bound) -> i64 {
        match bound {
            Bound::PoolNodes(_) | Bound::PoolNodesEach(_) | Bound::BudgetNodes => MOST_NODES,
            Bound::Quota(_) => MOST_VCPUS,
            Bound::Addresses(_) => MOST_ADDRESSES,
            Bound::BudgetCost | Bound::BudgetTotal => 999_999_999,
            Bound::ScalerMax(_) => MOST_REPLICAS,
            Bound::MaxLatency(_) => MOST_LATENCY,
            Bound::MaxShare(_) => 100,
        }
    }

    fn set(&self, seen: &mut Snapshot, bound: &Bound, value: i64) {
        let number = i32::try_from(value).unwrap_or(i32::MAX);
        match bound {
            Bound::PoolNodes(n) => seen.pools[*n].spec.limits.get_or_insert_default().max_nodes = Some(number),
            Bound::PoolNodesEach(n) => {
                if let Some(allowed) = seen.pools[*n].spec.allowed_namespaces.as_mut() {
                    allowed.max_nodes_each = Some(number);
                }
            }
            Bound::Quota(n) => {
                let (region, code) = &self.quotas()[*n];
                Self::recorded(seen, region, code).for_each(|fact| fact.limit = number);
            }
            Bound::Addresses(n) => {
                let more = i32::try_from(value - self.free_addresses(*n)).unwrap_or(i32::MAX);
                let Some(subnet) = seen.pools[*n].status.subnets.first().map(|s| s.id.clone()) else { return };
                let same = seen.pools.iter_mut().flat_map(|pool| &mut pool.status.subnets).filter(|s| s.id == subnet);
                same.for_each(|s| s.free_addresses = s.free_addresses.saturating_add(more));
            }
            Bound::BudgetNodes => seen.sales[self.sale].spec.budget.get_or_insert_default().max_nodes = Some(number),
            Bound::BudgetCost => {
                seen.sales[self.sale].spec.budget.get_or_insert_default().max_hourly_cost = Some(Money::from_micros(UNIT).times(value));
            }
            Bound::BudgetTotal => {
                seen.sales[self.sale].spec.budget.get_or_insert_default().max_total_cost = Some(Money::from_micros(UNIT).times(value));
            }
            Bound::ScalerMax(n) => {
                if let Some(target) = seen.workloads[*n].target.as_mut() {
                    target.max = Some(number);
                }
            }
            Bound::MaxLatency(n) => seen.sales[self.sale].spec.workloads[*n].max_latency = Some(GoDuration::from_micros(value)),
            Bound::MaxShare(n) => {
                let share = Percent::new(u16::try_from(value).unwrap_or(100));
                seen.sales[self.sale].spec.workloads[*n].max_share_per_pool = Some(share);
            }
        }
    }

    fn with(&self, values: &[(&Bound, i64)]) -> Plan {
        let mut seen = self.seen.clone();
        for (bound, value) in values {
            self.set(&mut seen, bound, *value);
        }
        plan(&seen, self.now)
    }

    fn enough(&self, values: &[(&Bound, i64)]) -> bool {
        self.is_go(&self.with(values))
    }

    /// Nothing is missing.
    pub(super) fn is_go(&self, plan: &Plan) -> bool {
        plan.sales.iter().any(|s| s.id == *self.id() && s.unplaced == 0 && s.waiting_for.iter().all(super::missing::remarks))
    }

    /// The least value of one bound with which the sale is a go, if there is one.
    fn least(&self, bound: &Bound) -> Option<(Bound, i64)> {
        self.narrow(bound, &[]).map(|value| (bound.clone(), value))
    }

    /// The only values between which anything changes, where they are few: a bound on latency lets pools in, each at its own distance.
    fn steps(&self, bound: &Bound) -> Vec<i64> {
        let Bound::MaxLatency(n) = bound else { return Vec::new() };
        let unbounded = SaleWorkload { max_latency: None, ..self.seen.sales[self.sale].spec.workloads[*n].clone() };
        let pools: Vec<&Pool> = self.seen.pools.iter().collect();
        let found = distance::distances(&unbounded, &pools, &pools);
        let steps: BTreeSet<i64> =
            found.near_to_far.iter().map(|d| d.latency.micros()).filter(|micros| *micros > self.value(bound)).collect();
        steps.into_iter().collect()
    }

    /// Between the value now and the most there may be, by halves; the others stay as given.
    fn narrow(&self, bound: &Bound, others: &[(&Bound, i64)]) -> Option<i64> {
        let enough = |value: i64| self.enough(&[others, &[(bound, value)]].concat());
        let (start, most) = (self.value(bound), Self::most(bound));
        if start >= most {
            return None;
        }
        let steps = self.steps(bound);
        if steps.last().is_some_and(|last| enough(*last)) {
            return steps.get(steps[..steps.len() - 1].partition_point(|value| !enough(*value))).copied();
        }
        if !enough(most) {
            return None;
        }
        // In doubling steps first: what is missing is usually little, and large values cost long plans.
        let (mut low, mut step) = (start, 1);
        let mut high = loop {
            let next = (start + step).min(most);
            if next == most || enough(next) {
                break next;
            }
            (low, step) = (next, step * 2);
        };
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if enough(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }

    /// All bounds freed, then each brought down to the least with the others as they have become.
    fn together(&self, bounds: &[Bound]) -> Option<Vec<String>> {
        let mut values: Vec<(&Bound, i64)> = bounds.iter().map(|b| (b, Self::most(b))).collect();
        if !self.enough(&values) {
            return None;
        }
        for n in 0..values.len() {
            let (bound, now) = (values[n].0, self.value(values[n].0));
            let others: Vec<(&Bound, i64)> = values.iter().filter(|(b, _)| *b != bound).copied().collect();
            values[n].1 = if self.enough(&[&others[..], &[(bound, now)]].concat()) { now } else { self.narrow(bound, &others)? };
        }
        let changed = values.iter().filter(|(bound, value)| *value != self.value(bound));
        Some(changed.map(|(bound, value)| self.say(bound, *value)).collect())
    }

    fn say(&self, bound: &Bound, value: i64) -> String {
        let now = self.value(bound);
        match bound {
            Bound::PoolNodes(n) => format!("limits.maxNodes of pool {}: {now} -> {value}", self.seen.pools[*n].name),
            Bound::PoolNodesEach(n) => format!("allowedNamespaces.maxNodesEach of pool {}: {now} -> {value}", self.seen.pools[*n].name),
            Bound::Quota(n) => {
                let (region, code) = &self.quotas()[*n];
                format!("quota {code} of {region}: {now} -> {value} vCPUs; ask AWS for it now, it may take days")
            }
            Bound::Addresses(n) => {
                format!("free addresses in the subnets of pool {}: {now} -> {value}; add a subnet, or free some", self.seen.pools[*n].name)
            }
            Bound::BudgetNodes => format!("budget.maxNodes of the sale: {now} -> {value}"),
            Bound::BudgetCost => {
                let now = self.seen.sales[self.sale].spec.budget.clone().unwrap_or_default().max_hourly_cost.unwrap_or_default();
                format!("budget.maxHourlyCost of the sale: \"{now}\" -> \"{value}\"")
            }
            Bound::BudgetTotal => {
                let now = self.seen.sales[self.sale].spec.budget.clone().unwrap_or_default().max_total_cost.unwrap_or_default();
                format!("budget.maxTotalCost of the sale: \"{now}\" -> \"{value}\"")
            }
            Bound::ScalerMax(n) => {
                let work = &self.seen.workloads[*n];
                let field = work.target.as_ref().map(|t| t.field.clone());
                let name = field.as_ref().map_or(work.id.name.as_str(), |f| f.name.as_str());
                format!("maxReplicas of {name}: {now} -> {value}")
            }
            Bound::MaxLatency(n) => {
                let name = &self.seen.sales[self.sale].spec.workloads[*n].target.name;
                format!("maxLatency of {name}: {} -> {}", GoDuration::from_micros(now), GoDuration::from_micros(value))
            }
            Bound::MaxShare(n) => {
                let name = &self.seen.sales[self.sale].spec.workloads[*n].target.name;
                format!("maxSharePerPool of {name}: {now}% -> {value}%")
            }
        }
    }
}
