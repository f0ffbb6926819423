//! Free addresses of subnets: whether what pools have and are to have still finds one, pools that share subnets counted together.
//!
//! The cloud's word is old by minutes. What was launched since takes its addresses on top; what ran then and goes gives them back to its pool. What the cloud
//! did not say, or said too long ago, bounds nothing: the cloud refuses then, and the pool is short.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use onsale_api::pool::{InstanceType, SubnetFacts};

use crate::snapshot::{Pool, Snapshot};

/// What was said longer ago counts as unknown: others have launched and terminated since.
pub const KEPT: SignedDuration = SignedDuration::from_hours(1);

/// Addresses that an instance of the type takes; one of a type that the pool does not declare takes its primary one.
#[must_use]
pub fn per_node(pool: &Pool, instance_type: &str) -> i64 {
    let declared = pool.spec.nodes.ec2.iter().flat_map(|e| &e.instance_types).find(|t| t.name == instance_type);
    declared.map_or(1, |t| i64::from(t.addresses_per_node))
}

/// Whether the cloud's word still counts.
#[must_use]
pub fn counts(said: Timestamp, now: Timestamp) -> bool {
    now.duration_since(said) <= KEPT
}

/// What one pool has.
#[derive(Clone, Debug)]
struct Share {
    /// Indices of its subnets.
    subnets: Vec<usize>,
    /// Addresses of its instances that ran when the cloud was asked: not free, and the pool's own.
    own: i64,
    /// When the cloud was asked, about the subnet that it was asked about first.
    said: Timestamp,
    /// Indices of the pools that share subnets with it, directly or by others, itself included.
    group: Vec<usize>,
}

/// Free addresses, by subnet and pool.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// Addresses that whole instances can take, by subnet.
    free: Vec<i64>,
    /// By the pool's index; pools with a subnet that is unknown are not bounded and left out.
    pools: BTreeMap<usize, Share>,
}

impl Addresses {
    /// What is known of a snapshot's pools.
    #[must_use]
    pub fn of(seen: &Snapshot, now: Timestamp) -> Self {
        let known = newest(seen, now);
        let index: BTreeMap<&str, usize> = known.keys().enumerate().map(|(i, id)| (*id, i)).collect();
        let share = |pool: &Pool| {
            let ids = &pool.spec.nodes.ec2.as_ref()?.subnets;
            let said = ids.iter().map(|id| known.get(id.as_str()).map(|fact| fact.at.0)).collect::<Option<Vec<_>>>()?.into_iter().min()?;
            let there = pool.instances.iter().flatten().filter(|i| !i.leaving && i.launched_at < said);
            let own = there.map(|i| per_node(pool, &i.instance_type)).sum();
            Some(Share { subnets: ids.iter().map(|id| index[id.as_str()]).collect(), own, said, group: Vec::new() })
        };
        let mut pools: BTreeMap<usize, Share> = seen.pools.iter().enumerate().filter_map(|(i, pool)| Some((i, share(pool)?))).collect();
        for (i, group) in pools.keys().map(|i| (*i, group(&pools, *i))).collect::<Vec<_>>() {
            pools.entry(i).and_modify(|share| share.group = group);
        }
        let mut free: Vec<i64> = known.values().map(|fact| i64::from(fact.free_addresses)).collect();
        for (subnet, free) in free.iter_mut().enumerate() {
            let users = pools.iter().filter(|(_, share)| share.subnets.contains(&subnet)).map(|(i, _)| &seen.pools[*i]);
            *free = whole(*free, users.flat_map(|p| &p.spec.nodes.ec2).flat_map(|e| &e.instance_types));
        }
        Self { free, pools }
    }

    /// When the cloud was asked about the pool's subnets; `None` where nothing bounds it.
    #[must_use]
    pub fn said(&self, pool: usize) -> Option<Timestamp> {
        self.pools.get(&pool).map(|share| share.said)
    }

    /// Addresses that the pool may still take, were it alone, beyond the `demand` of what it has and is to have.
    #[must_use]
    pub fn left_alone(&self, pool: usize, demand: i64) -> Option<i64> {
        let share = self.pools.get(&pool)?;
        let free: i64 = share.subnets.iter().map(|s| self.free[*s]).sum();
        Some((share.own + free - demand).max(0))
    }

    /// Whether the pool and those that share subnets with it, directly or by others, find addresses for all that they have and are to have: `demand`, by the
    /// pool's index, and `more` for this one.
    #[must_use]
    pub fn suffice(&self, pool: usize, more: i64, demand: impl Fn(usize) -> i64) -> bool {
        let Some(share) = self.pools.get(&pool) else { return true };
        let mut routes = Routes { spare: self.free.clone(), all: Vec::new() };
        share.group.iter().all(|i| {
            let share = &self.pools[i];
            let wanted = demand(*i) + if *i == pool { more } else { 0 } - share.own;
            routes.enter(&share.subnets, wanted.max(0))
        })
    }
}

/// The pools that share subnets with this one, directly or by others, itself included.
fn group(pools: &BTreeMap<usize, Share>, pool: usize) -> Vec<usize> {
    let mut group = vec![pool];
    let mut at = 0;
    while let Some(i) = group.get(at).copied() {
        let touches = |share: &Share| share.subnets.iter().any(|s| pools[&i].subnets.contains(s));
        let more: Vec<usize> = pools.iter().filter(|(j, share)| !group.contains(j) && touches(share)).map(|(j, _)| *j).collect();
        group.extend(more);
        at += 1;
    }
    group
}

/// Free addresses of these subnets of the pool, less what the ledger has launched there since; none where one of them is unknown.
#[must_use]
pub fn by_subnet<'a>(pool: &Pool, subnets: &[&'a str], now: Timestamp) -> BTreeMap<&'a str, i64> {
    let of = |subnet: &&'a str| {
        let fact = pool.status.subnets.iter().find(|fact| fact.id == *subnet && counts(fact.at.0, now))?;
        let since = pool.status.launches.iter().filter(|l| l.subnet == *subnet && l.at.0 >= fact.at.0);
        let taken: i64 = since.map(|l| i64::from(l.count) * per_node(pool, &l.instance_type)).sum();
        Some((*subnet, i64::from(fact.free_addresses) - taken))
    };
    subnets.iter().map(of).collect::<Option<_>>().unwrap_or_default()
}

/// The newest word about each subnet that still counts.
fn newest(seen: &Snapshot, now: Timestamp) -> BTreeMap<&str, &SubnetFacts> {
    let mut known: BTreeMap<&str, &SubnetFacts> = BTreeMap::new();
    for fact in seen.pools.iter().flat_map(|p| &p.status.subnets).filter(|fact| counts(fact.at.0, now)) {
        let newest = known.entry(&fact.id).or_insert(fact);
        if fact.at.0 > newest.at.0 {
            *newest = fact;
        }
    }
    known
}

/// Of so many free addresses those that whole instances can take: all of an instance's are in one subnet. Exact where all types take as many.
fn whole<'t>(free: i64, types: impl Iterator<Item = &'t InstanceType>) -> i64 {
    let sizes: Vec<i64> = types.map(|t| i64::from(t.addresses_per_node.max(1))).collect();
    let (least, most) = (sizes.iter().min().copied().unwrap_or(1), sizes.iter().max().copied().unwrap_or(1));
    if least == most { free - free % most } else { (free - (most - 1)).max(0) }
}

/// Which pool takes how many addresses of which subnet.
struct Routes {
    spare: Vec<i64>,
    all: Vec<BTreeMap<usize, i64>>,
}

impl Routes {
    /// One more pool that wants so many addresses of these subnets; whether all find them, others moving over where they can.
    fn enter(&mut self, subnets: &[usize], mut wanted: i64) -> bool {
        let me = self.all.len();
        self.all.push(subnets.iter().map(|s| (*s, 0)).collect());
        while wanted > 0 {
            let Some(path) = self.path(me) else { return false };
            // From the last subnet, which has some to spare, back to this pool: everybody on the way moves over by one subnet.
            let last = path.last().map_or(0, |(_, subnet)| self.spare[*subnet]);
            let held = |pair: &[(usize, usize)]| self.all[pair[1].0].get(&pair[0].1).copied().unwrap_or_default();
            let n = path.windows(2).map(held).fold(wanted.min(last), i64::min);
            for (i, (pool, subnet)) in path.iter().enumerate() {
                *self.all[*pool].entry(*subnet).or_default() += n;
                if i > 0 {
                    *self.all[*pool].entry(path[i - 1].1).or_default() -= n;
                }
            }
            if let Some((_, subnet)) = path.last() {
                self.spare[*subnet] -= n;
            }
            wanted -= n;
        }
        true
    }

    /// The shortest chain from this pool to a subnet with something to spare: each pool takes of its subnet what the next one then takes elsewhere.
    fn path(&self, me: usize) -> Option<Vec<(usize, usize)>> {
        let mut chains: Vec<Vec<(usize, usize)>> = self.all[me].keys().map(|s| vec![(me, *s)]).collect();
        let mut met: Vec<usize> = self.all[me].keys().copied().collect();
        let mut at = 0;
        while let Some(chain) = chains.get(at).cloned() {
            at += 1;
            let (_, subnet) = *chain.last()?;
            if self.spare[subnet] > 0 {
                return Some(chain);
            }
            for (pool, held) in self.all.iter().enumerate().filter(|(_, held)| held.get(&subnet).is_some_and(|n| *n > 0)) {
                for next in held.keys().filter(|s| !met.contains(*s)).copied().collect::<Vec<_>>() {
                    met.push(next);
                    chains.push([chain.as_slice(), &[(pool, next)]].concat());
                }
            }
        }
        None
    }
}
