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
/// Sets of pools are looked at one by one up to so many pools, which makes 4,096 of them.
const MOST_POOLS: usize = 12;

/// Nodes by pool and instance type.
type Nodes<'a> = BTreeMap<&'a str, BTreeMap<&'a str, i64>>;

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    let mut nodes = there(view);
    for (pool, plan) in view.pools() {
        for (kind, n) in &plan.wanted {
            let all = nodes.entry(&pool.name).or_default().entry(kind).or_default();
            *all = (*all).max(i64::from(*n));
        }
    }
    judge(view, &nodes, "the plan", found);
    for forecast in &view.plan.forecasts {
        let kinds =
            forecast.nodes.iter().map(|(pool, kinds)| (pool.as_str(), kinds.iter().map(|(kind, n)| (kind.as_str(), i64::from(*n)))));
        let nodes: Nodes<'_> = kinds.map(|(pool, kinds)| (pool, kinds.collect())).collect();
        judge(view, &nodes, &format!("the forecast of {}", forecast.sale), found);
    }
}

/// The launches that are due, on top of everything that is there.
pub fn launches(view: &View<'_>, chains: &[Chain], found: &mut Vec<Violation>) {
    let mut nodes = there(view);
    for chain in chains {
        let ChainKey::Pool(name) = &chain.key else { continue };
        for step in &chain.steps {
            if let Step::Launch { instance_type, count, .. } = step {
                *nodes.entry(name).or_default().entry(instance_type).or_default() += i64::from(*count);
            }
        }
    }
    judge(view, &nodes, "what is launched now", found);
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

fn judge(view: &View<'_>, nodes: &Nodes<'_>, what: &str, found: &mut Vec<Violation>) {
    let now = there(view);
    let of = |nodes: &Nodes<'_>, pool: &Pool, kind: &InstanceType| -> i64 {
        nodes.get(pool.name.as_str()).and_then(|kinds| kinds.get(kind.name.as_str())).copied().unwrap_or_default()
    };
    let grows = |pool: &Pool, kind: &InstanceType| of(nodes, pool, kind) > of(&now, pool, kind);
    let bounded: Vec<&Pool> = view.pools().map(|(pool, _)| pool).filter(|pool| said(view, pool).is_some()).collect();
    for set in sets(bounded.len()) {
        let pools: Vec<&Pool> = set.iter().map(|i| bounded[*i]).collect();
        if !hang_together(&pools) {
            continue;
        }
        let subnets: BTreeSet<&str> = pools.iter().flat_map(|p| subnets(p)).collect();
        let free: i64 = subnets.iter().filter_map(|id| free(view, id)).sum();
        let wanted: i64 = pools.iter().map(|p| beyond(view, p, nodes).max(0)).sum();
        if wanted > free && pools.iter().any(|pool| declared(pool).iter().any(|kind| grows(pool, kind))) {
            let names: Vec<&str> = pools.iter().map(|p| p.name.as_str()).collect();
            let message = format!("{what} takes {wanted} addresses of {subnets:?}, {free} are free");
            found.push(Violation::new(Rule::Addresses, names.join(", "), message));
        }
    }
    for (region, code) in quotas(view) {
        let Some(fact) = quota(view, region, code) else { continue };
        let counted = |pool: &'_ Pool| -> Vec<(i64, i64, bool)> {
            let of_quota = declared(pool).iter().filter(|kind| is_of(pool, kind, region, code));
            of_quota.map(|kind| (of(nodes, pool, kind), vcpus(kind), grows(pool, kind))).collect()
        };
        let all: Vec<(i64, i64, bool)> = view.pools().flat_map(|(pool, _)| counted(pool)).collect();
        let wanted: i64 = all.iter().map(|(n, each, _)| n * each).sum();
        let left = i64::from(fact.limit) - i64::from(fact.used_by_others);
        if wanted > left && all.iter().any(|(_, _, grows)| *grows) {
            let message =
                format!("{what} has {wanted} vCPUs in {region}, {} less {} of others are allowed", fact.limit, fact.used_by_others);
            found.push(Violation::new(Rule::Quota, code, message));
        }
    }
}

/// Every set of so many pools but the empty one.
fn sets(n: usize) -> Vec<Vec<usize>> {
    if n > MOST_POOLS {
        return (0..n).map(|i| vec![i]).chain([(0..n).collect()]).collect();
    }
    (1..1_usize << n).map(|bits| (0..n).filter(|i| bits & (1 << i) != 0).collect()).collect()
}

/// Each shares a subnet with another, so that all are one: what others want of theirs is their own affair.
fn hang_together(pools: &[&Pool]) -> bool {
    let Some(first) = pools.first() else { return false };
    let mut reached: BTreeSet<&str> = subnets(first).collect();
    for _ in pools {
        let touched = pools.iter().filter(|p| subnets(p).any(|id| reached.contains(id)));
        let more: Vec<&str> = touched.flat_map(|p| subnets(p)).collect();
        reached.extend(more);
    }
    pools.iter().all(|p| subnets(p).any(|id| reached.contains(id)))
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

/// Addresses that these nodes take of what is free: all, less those of the pool's instances that ran when the cloud was asked.
fn beyond(view: &View<'_>, pool: &Pool, nodes: &Nodes<'_>) -> i64 {
    let all: i64 = nodes.get(pool.name.as_str()).into_iter().flatten().map(|(kind, n)| n * addresses(pool, kind)).sum();
    let before = |at: Timestamp| pool.instances.iter().flatten().filter(move |i| !i.leaving && i.launched_at < at);
    all - said(view, pool).map_or(0, |at| before(at).map(|i| addresses(pool, &i.instance_type)).sum())
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
