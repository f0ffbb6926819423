//! What pools share: free addresses of subnets, and the account's vCPU quotas. The cloud's word counts for an hour; what it did not say bounds nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use onsale_api::{
    Reason,
    pool::{InstanceType, QuotaFacts},
    quota,
};
use onsale_planner::{Chain, Step, snapshot::Pool, steps::ChainKey};

use crate::{
    Rule, Violation,
    pools::stock,
    view::{View, declared, existing, underway},
};

/// Seconds for which the cloud's word counts.
const COUNTS_SECONDS: i64 = 3_600;
/// Of up to so many pools that share subnets every set is looked at, which makes 256 of them.
const MOST_POOLS: usize = 8;

/// Nodes by pool and instance type.
type Nodes<'a> = BTreeMap<&'a str, BTreeMap<&'a str, i64>>;

/// What the cloud said, read once.
struct Facts<'a> {
    /// Pools whose subnets are all known, and the addresses of each that are its instances' of before.
    pools: Vec<(&'a Pool, i64)>,
    /// Free addresses by subnet.
    free: BTreeMap<&'a str, i64>,
    /// Sets of these pools, by index, in which each shares a subnet with another, and the subnets of all of them.
    sets: Vec<(Vec<usize>, BTreeSet<&'a str>)>,
    /// Quotas that are known, by region and code.
    quotas: Vec<(&'a str, &'a QuotaFacts)>,
    there: Nodes<'a>,
}

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    let facts = Facts::of(view);
    let mut nodes = facts.there.clone();
    for (pool, plan) in view.pools() {
        for (kind, n) in &plan.wanted {
            let all = nodes.entry(&pool.name).or_default().entry(kind).or_default();
            *all = (*all).max(i64::from(*n));
        }
    }
    facts.judge(view, &nodes, "the plan", found);
    for forecast in &view.plan.forecasts {
        let kinds =
            forecast.nodes.iter().map(|(pool, kinds)| (pool.as_str(), kinds.iter().map(|(kind, n)| (kind.as_str(), i64::from(*n)))));
        let nodes: Nodes<'_> = kinds.map(|(pool, kinds)| (pool, kinds.collect())).collect();
        facts.judge(view, &nodes, &format!("the forecast of {}", forecast.sale), found);
    }
}

/// The launches that are due, on top of everything that is there.
pub fn launches(view: &View<'_>, chains: &[Chain], found: &mut Vec<Violation>) {
    let facts = Facts::of(view);
    let mut nodes = facts.there.clone();
    for chain in chains {
        let ChainKey::Pool(name) = &chain.key else { continue };
        for step in &chain.steps {
            if let Step::Launch { instance_type, count, .. } = step {
                *nodes.entry(name).or_default().entry(instance_type).or_default() += i64::from(*count);
            }
        }
    }
    facts.judge(view, &nodes, "what is launched now", found);
}

/// Instances that there are or may be.
fn there<'a>(view: &View<'a>) -> Nodes<'a> {
    let mut nodes: Nodes<'a> = BTreeMap::new();
    for (pool, _) in view.pools() {
        for (kind, n) in existing(pool).into_iter().chain(underway(pool)) {
            *nodes.entry(&pool.name).or_default().entry(kind).or_default() += i64::from(n);
        }
    }
    nodes
}

impl<'a> Facts<'a> {
    fn of(view: &View<'a>) -> Self {
        let bounded = view.pools().map(|(pool, _)| pool).filter_map(|pool| Some((pool, said(view, pool)?)));
        let before = |(pool, at): (&'a Pool, Timestamp)| {
            let then = pool.instances.iter().flatten().filter(move |i| !i.leaving && i.launched_at < at);
            (pool, then.map(|i| addresses(pool, &i.instance_type)).sum())
        };
        let pools: Vec<(&Pool, i64)> = bounded.map(before).collect();
        let ids = pools.iter().flat_map(|(pool, _)| subnets(pool));
        let free = ids.filter_map(|id| Some((id, free(view, id)?))).collect();
        let known = quotas(view).into_iter().filter_map(|(region, code)| Some((region, quota(view, region, code)?)));
        Self { sets: sets(&pools), pools, free, quotas: known.collect(), there: there(view) }
    }

    fn judge(&self, view: &View<'_>, nodes: &Nodes<'_>, what: &str, found: &mut Vec<Violation>) {
        let grows = |pool: &Pool, kind: &InstanceType| of(nodes, pool, kind) > of(&self.there, pool, kind);
        let any_grows = |pool: &Pool| declared(pool).iter().any(|kind| grows(pool, kind));
        let beyond = |(pool, before): &(&Pool, i64)| -> i64 {
            let all: i64 = nodes.get(pool.name.as_str()).into_iter().flatten().map(|(kind, n)| n * addresses(pool, kind)).sum();
            (all - before).max(0)
        };
        for (set, subnets) in &self.sets {
            let wanted: i64 = set.iter().map(|i| beyond(&self.pools[*i])).sum();
            let free: i64 = subnets.iter().filter_map(|id| self.free.get(id)).sum();
            if wanted > free && set.iter().any(|i| any_grows(self.pools[*i].0)) {
                let names: Vec<&str> = set.iter().map(|i| self.pools[*i].0.name.as_str()).collect();
                let message = format!("{what} takes {wanted} addresses of {subnets:?}, {free} are free");
                found.push(Violation::new(Rule::Addresses, names.join(", "), message));
            }
        }
        for (region, fact) in &self.quotas {
            let counted = view.pools().flat_map(|(pool, _)| declared(pool).iter().map(move |kind| (pool, kind)));
            let all: Vec<_> = counted.filter(|(pool, kind)| is_of(pool, kind, region, &fact.code)).collect();
            let wanted: i64 = all.iter().map(|(pool, kind)| of(nodes, pool, kind) * vcpus(kind)).sum();
            let left = i64::from(fact.limit) - i64::from(fact.used_by_others);
            if wanted > left && all.iter().any(|(pool, kind)| grows(pool, kind)) {
                let message =
                    format!("{what} has {wanted} vCPUs in {region}, {} less {} of others are allowed", fact.limit, fact.used_by_others);
                found.push(Violation::new(Rule::Quota, &fact.code, message));
            }
        }
    }
}

fn of(nodes: &Nodes<'_>, pool: &Pool, kind: &InstanceType) -> i64 {
    nodes.get(pool.name.as_str()).and_then(|kinds| kinds.get(kind.name.as_str())).copied().unwrap_or_default()
}

/// Every set of pools in which each shares a subnet with another, so that all are one: what others want of theirs is their own affair. Of many that hang
/// together only each one and all of them.
fn sets<'a>(pools: &[(&'a Pool, i64)]) -> Vec<(Vec<usize>, BTreeSet<&'a str>)> {
    let of_pool = |i: usize| subnets(pools[i].0).collect::<BTreeSet<&str>>();
    let mut rest: Vec<usize> = (0..pools.len()).collect();
    let mut sets: Vec<Vec<usize>> = Vec::new();
    while let Some(first) = rest.pop() {
        let (mut together, mut reached) = (vec![first], of_pool(first));
        while let Some(at) = rest.iter().position(|i| !reached.is_disjoint(&of_pool(*i))) {
            let next = rest.remove(at);
            reached.extend(of_pool(next));
            together.push(next);
        }
        if together.len() > MOST_POOLS {
            sets.extend(together.iter().map(|i| vec![*i]));
            sets.push(together);
        } else {
            let chosen = |bits: usize| together.iter().enumerate().filter(move |(n, _)| bits & (1 << n) != 0).map(|(_, i)| *i).collect();
            sets.extend((1..1_usize << together.len()).map(chosen));
        }
    }
    let subnets = |set: Vec<usize>| {
        let all = set.iter().flat_map(|i| of_pool(*i)).collect();
        (set, all)
    };
    sets.into_iter().filter(|set| hang_together(pools, set)).map(subnets).collect()
}

fn hang_together(pools: &[(&Pool, i64)], set: &[usize]) -> bool {
    let mut reached: BTreeSet<&str> = set.first().into_iter().flat_map(|i| subnets(pools[*i].0)).collect();
    for _ in set {
        let touched = set.iter().map(|i| pools[*i].0).filter(|p| subnets(p).any(|id| reached.contains(id)));
        let more: Vec<&str> = touched.flat_map(subnets).collect();
        reached.extend(more);
    }
    set.iter().all(|i| subnets(pools[*i].0).any(|id| reached.contains(id)))
}

fn subnets(pool: &Pool) -> impl Iterator<Item = &str> {
    pool.spec.nodes.ec2.iter().flat_map(|ec2| &ec2.subnets).map(String::as_str)
}

fn counts(view: &View<'_>, at: Timestamp) -> bool {
    view.now.duration_since(at).as_secs() <= COUNTS_SECONDS
}

/// Free addresses of a subnet by whoever asked last.
fn free(view: &View<'_>, id: &str) -> Option<i64> {
    let facts = view.pools().flat_map(|(pool, _)| &pool.status.subnets).filter(|f| f.id == id && counts(view, f.at.0));
    facts.max_by_key(|f| f.at.0).map(|f| i64::from(f.free_addresses))
}

/// When the cloud was asked about the pool's subnets, the first of them; only where all are known.
fn said(view: &View<'_>, pool: &Pool) -> Option<Timestamp> {
    let at = |id: &str| {
        let facts = view.pools().flat_map(|(pool, _)| &pool.status.subnets).filter(|f| f.id == id && counts(view, f.at.0));
        facts.map(|f| f.at.0).max()
    };
    subnets(pool).map(at).collect::<Option<Vec<_>>>()?.into_iter().min()
}

fn addresses(pool: &Pool, kind: &str) -> i64 {
    declared(pool).iter().find(|t| t.name == kind).map_or(1, |t| i64::from(t.addresses_per_node))
}

fn vcpus(kind: &InstanceType) -> i64 {
    let cpu = kind.allocatable.get("cpu").map_or(1_000, |cpu| cpu.milli());
    kind.vcpus.map_or_else(|| cpu.div_euclid(1_000) + i64::from(cpu % 1_000 != 0), i64::from)
}

fn region(pool: &Pool) -> &str {
    pool.spec.nodes.ec2.as_ref().map_or("", |ec2| &ec2.region)
}

fn is_of(pool: &Pool, kind: &InstanceType, of: &str, code: &str) -> bool {
    region(pool) == of && quota::of_type(&kind.name).is_some_and(|q| q.code == code)
}

/// Regions and codes of the quotas that pools count against.
fn quotas<'a>(view: &View<'a>) -> BTreeSet<(&'a str, &'static str)> {
    let of = |pool: &'a Pool| declared(pool).iter().filter_map(move |kind| Some((region(pool), quota::of_type(&kind.name)?.code)));
    view.pools().flat_map(|(pool, _)| of(pool)).collect()
}

/// A quota by whoever of the region's pools asked last.
fn quota<'a>(view: &View<'a>, of: &str, code: &str) -> Option<&'a QuotaFacts> {
    let pools = view.pools().filter(|(pool, _)| region(pool) == of && declared(pool).iter().any(|kind| is_of(pool, kind, of, code)));
    pools.flat_map(|(pool, _)| &pool.status.quotas).filter(|f| f.code == code && counts(view, f.at.0)).max_by_key(|f| f.at.0)
}

/// One more node of the type is had for certain: even if everything that the pools have or shall have were launched anew, and all in the worst place.
pub fn certain(view: &View<'_>, pool: &Pool, kind: &InstanceType) -> bool {
    let refused = |other: &Pool| {
        let by_quota = other.status.shortfalls.iter().filter(|s| s.reason == Reason::QuotaExhausted);
        let code = quota::of_type(&kind.name).map(|q| q.code);
        region(other) == region(pool) && by_quota.into_iter().any(|s| quota::of_type(&s.instance_type).map(|q| q.code) == code)
    };
    if view.pools().any(|(other, _)| refused(other)) {
        return false;
    }
    let most = |pool: &Pool, plan: &onsale_planner::plan::PoolPlan| i64::from(stock(pool) + plan.planned.max(plan.wanted.values().sum()));
    let largest = |pool: &Pool, of: &dyn Fn(&InstanceType) -> i64| declared(pool).iter().map(of).max().unwrap_or(1);
    let by_address: i64 = view.pools().map(|(p, plan)| (most(p, plan) + 1) * largest(p, &|t| i64::from(t.addresses_per_node))).sum();
    let rooms = view.pools().filter(|(p, _)| said(view, p).is_some()).map(|(p, _)| subnets(p).filter_map(|id| free(view, id)).sum::<i64>());
    let addresses = said(view, pool).is_none() || rooms.min().is_none_or(|room| by_address <= room);
    let by_vcpu: i64 = view.pools().map(|(p, plan)| (most(p, plan) + 1) * largest(p, &vcpus)).sum();
    let bound = quota::of_type(&kind.name).and_then(|q| quota(view, region(pool), q.code));
    addresses && bound.is_none_or(|fact| by_vcpu <= i64::from(fact.limit) - i64::from(fact.used_by_others))
}

#[cfg(test)]
mod tests {
    use onsale_api::pool::SubnetFacts;
    use onsale_planner::{Step, snapshot::Pool};
    use serde_json::{from_value, json};

    use crate::{
        Rule,
        testing::{Night, night},
    };

    fn facts(pool: &mut Pool, at: &str, free: i32) {
        let fact = |id: &String| from_value::<SubnetFacts>(json!({"id": id, "zone": "z", "freeAddresses": free, "at": at})).unwrap();
        pool.status.subnets = pool.spec.nodes.ec2.as_ref().unwrap().subnets.iter().map(fact).collect();
    }

    fn free(at: &'static str, free: i32) -> Night {
        night().seen(move |s| facts(&mut s.pools[1], at, free))
    }

    fn quota(at: &str, limit: i32, others: i32) -> Night {
        let fact = json!([{"code": "L-1216C47A", "name": "Standard", "limit": limit, "usedByOthers": others, "at": at}]);
        night().seen(|s| s.pools[1].status.quotas = from_value(fact).unwrap())
    }

    const JUST_NOW: &str = "2026-12-05T17:29:00Z";

    #[test]
    fn new_nodes_find_addresses_in_their_subnets() {
        free(JUST_NOW, 2).passes();
        free(JUST_NOW, 1).breaks(Rule::Addresses);
        free("2026-12-05T16:29:59Z", 1).passes();
        let wide = |n| free(JUST_NOW, n).seen(|s| s.pools[1].spec.nodes.ec2.as_mut().unwrap().instance_types[0].addresses_per_node = 16);
        wide(32).passes();
        wide(31).breaks(Rule::Addresses);
        // One of the two nodes ran when the cloud was asked, or was launched since.
        free(JUST_NOW, 1).instances(1).passes();
        free("2026-12-05T16:30:00Z", 1).instances(1).breaks(Rule::Addresses);
    }

    #[test]
    fn pools_that_share_a_subnet_take_its_addresses_once() {
        let with_another = |n: i32| {
            free(JUST_NOW, n).seen(|s| {
                let mut other = Pool { name: "other".into(), uid: "uid-other".into(), ..s.pools[1].clone() };
                other.spec.zone = "zone-other".into();
                other.instances = Some(Vec::new());
                s.pools.push(other);
            })
        };
        let plans = |night: Night| {
            night.plan(|p| {
                let mut other = p.pools[1].clone();
                (other.name, other.fills) = ("other".into(), Vec::new());
                p.pools.push(other);
            })
        };
        plans(with_another(3)).breaks(Rule::Addresses);
    }

    #[test]
    fn all_nodes_of_a_family_in_a_region_keep_its_quota() {
        quota(JUST_NOW, 40, 8).passes();
        quota(JUST_NOW, 40, 9).breaks(Rule::Quota);
        quota("2026-12-05T16:29:59Z", 40, 9).passes();
        // What runs beyond it already is no fault of the plan.
        quota(JUST_NOW, 8, 8).instances(2).passes();
        let larger =
            |n| quota(JUST_NOW, 64, 0).seen(move |s| s.pools[1].spec.nodes.ec2.as_mut().unwrap().instance_types[0].vcpus = Some(n));
        larger(32).passes();
        larger(33).breaks(Rule::Quota);
    }

    #[test]
    fn launches_keep_them_too() {
        let launch = |count| vec![Step::Launch { instance_type: "c6i.4xlarge".into(), subnet: "subnet-0abc12".into(), count }];
        free(JUST_NOW, 2).pool_steps(launch(2)).passes();
        quota(JUST_NOW, 32, 0).pool_steps(launch(2)).passes();
        free(JUST_NOW, 2).pool_steps(launch(3)).breaks(Rule::Addresses);
        quota(JUST_NOW, 32, 0).pool_steps(launch(3)).breaks(Rule::Quota);
    }

    #[test]
    fn a_place_is_only_missed_where_addresses_and_quota_are_certain() {
        let early = |night: Night| night.unplaced(1).preparing().at("2026-12-05T16:00:00Z");
        early(night()).breaks(Rule::FreePlace);
        early(free("2026-12-05T15:59:00Z", 1)).passes();
        early(quota("2026-12-05T15:59:00Z", 16, 0)).passes();
    }
}
