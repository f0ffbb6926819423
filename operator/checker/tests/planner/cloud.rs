//! What the cloud says of subnets and quotas, as pools record it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use onsale_api::pool::{QuotaFacts, SubnetFacts};
use onsale_planner::snapshot::Pool;

use crate::{
    seeds::{PoolSeed, World},
    world::at,
};

/// The `n`th subnet.
pub fn subnet(n: usize) -> String {
    format!("subnet-0abc1{n}")
}

/// A pool with what the cloud said of its subnets and its quota.
pub fn told(world: &World, mut pool: Pool, seed: &PoolSeed) -> Pool {
    for (n, (ago, free)) in world.subnets.iter().enumerate().filter_map(|(n, said)| Some((n, (*said)?))) {
        tell_subnet(&mut pool, n, free, at(-ago));
    }
    if let Some((ago, left)) = world.quotas[seed.region] {
        tell_quota(&mut pool, left, at(-ago));
    }
    pool
}

/// The cloud says how many addresses of the `n`th subnet are free, if it is the pool's.
pub fn tell_subnet(pool: &mut Pool, n: usize, free_addresses: i32, at: Timestamp) {
    let id = subnet(n);
    pool.status.subnets.retain(|s| s.id != id);
    if pool.spec.nodes.ec2.as_ref().is_some_and(|ec2| ec2.subnets.contains(&id)) {
        pool.status.subnets.push(SubnetFacts { id, zone: pool.spec.zone.clone(), free_addresses, at: Time(at) });
    }
}

/// The cloud says how many vCPUs of the Standard quota others leave.
pub fn tell_quota(pool: &mut Pool, left: i32, at: Timestamp) {
    if pool.spec.nodes.ec2.is_some() {
        let fact = QuotaFacts { code: "L-1216C47A".into(), name: "Standard".into(), limit: left + 10, used_by_others: 10, at: Time(at) };
        pool.status.quotas = vec![fact];
    }
}
