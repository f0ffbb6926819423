//! What pools share, and a new node takes part of: free addresses of subnets, and the account's vCPU quotas.

use onsale_api::{Reason, pool::InstanceType};

use super::bins::Bins;
use crate::{addresses, index::Indexed, plan::Waiting, quotas, snapshot::Pool};

/// Instance types of the nodes that the pool has and is to have, those included that are given up and not gone yet.
fn nodes<'a>(seen: &'a Indexed<'_>, place: usize, bins: &'a Bins) -> impl Iterator<Item = &'a str> {
    let kept = bins.of_pool(place).filter(|bin| bin.counts()).filter_map(|bin| bin.instance_type.as_deref());
    let have = &seen.have[place];
    let given_up = have.never_joined.iter().chain(&have.overdue);
    kept.chain(given_up.map(|i| i.instance_type.as_str()))
}

/// Addresses that they take.
fn addresses_of(seen: &Indexed<'_>, place: usize, bins: &Bins) -> i64 {
    nodes(seen, place, bins).map(|kind| addresses::per_node(&seen.pools[place], kind)).sum()
}

/// vCPUs that the nodes of all pools have that count against a quota.
fn vcpus_of(seen: &Indexed<'_>, bound: &quotas::Bound<'_>, bins: &Bins) -> i64 {
    let of_pool = |place: &usize| -> i64 {
        let covered = nodes(seen, *place, bins).filter(|kind| bound.covers(kind));
        covered.map(|kind| quotas::vcpus(&seen.pools[*place], kind)).sum()
    };
    bound.pools.iter().map(of_pool).sum()
}

/// Whether one more node of the type finds its addresses in the pool's subnets and its vCPUs in its quota.
pub(super) fn suffice(seen: &Indexed<'_>, pool: &Pool, instance_type: &str, bins: &Bins) -> Result<(), Waiting> {
    let no = |reason, message| Err(Waiting { reason, message, until: None });
    let more = addresses::per_node(pool, instance_type);
    let demand = |i: usize| addresses_of(seen, i, bins);
    if seen.index_of(&pool.name).is_some_and(|index| !seen.addresses.suffice(index, more, demand)) {
        let message = format!(
            "the subnets of pool {} have no free addresses left for another {instance_type}: add a subnet, or free some",
            pool.name
        );
        return no(Reason::AddressesExhausted, message);
    }
    let Some(bound) = seen.quotas.bound(pool, instance_type).filter(|bound| bound.said.is_some()) else { return Ok(()) };
    match bound.left(vcpus_of(seen, bound, bins)) {
        Some(left) if left < quotas::vcpus(pool, instance_type) => no(Reason::QuotaExhausted, bound.sentence()),
        _ => Ok(()),
    }
}

/// Most new nodes of these types that fit into what is left, were the pool alone.
pub(super) fn most(seen: &Indexed<'_>, pool: &Pool, types: &[&InstanceType], bins: &Bins) -> i64 {
    let least = |of: &dyn Fn(&InstanceType) -> i32| types.iter().map(|t| i64::from(of(t).max(1))).min().unwrap_or(1);
    let said = seen.index_of(&pool.name).filter(|index| seen.addresses.said(*index).is_some());
    let addresses = said.and_then(|index| seen.addresses.left_alone(index, addresses_of(seen, index, bins)));
    let by_addresses = addresses.map_or(i64::MAX, |left| left / least(&|t| t.addresses_per_node));
    let mut by_quotas = 0_i64;
    let mut codes: Vec<&str> = Vec::new();
    for kind in types {
        let bound = seen.quotas.bound(pool, &kind.name).filter(|bound| bound.said.is_some());
        let Some(bound) = bound else { return by_addresses };
        if !codes.contains(&bound.quota.code) {
            codes.push(bound.quota.code);
            let smallest = types.iter().filter(|t| bound.covers(&t.name)).map(|t| i64::from(t.vcpus().max(1))).min().unwrap_or(1);
            by_quotas = by_quotas.saturating_add(bound.left(vcpus_of(seen, bound, bins)).unwrap_or(i64::MAX) / smallest);
        }
    }
    by_addresses.min(by_quotas)
}
