//! vCPU quotas: each is one bound for all pools of a region whose instance types are of its families.
//!
//! What others run is the cloud's word; what this cluster runs is counted, so nothing counts twice, however old that word is. A quota that the cloud did not
//! say, or said too long ago, bounds nothing. A launch that is refused for a quota pauses its families in the whole region.

use jiff::Timestamp;
use onsale_api::{
    Reason,
    pool::{InstanceType, QuotaFacts, Shortfall},
    quota::{self, Quota},
};

use crate::{
    addresses::counts,
    snapshot::{Pool, Snapshot},
};

/// One quota in one region.
#[derive(Clone, Debug)]
pub struct Bound<'a> {
    /// Which.
    pub quota: &'static Quota,
    /// Region.
    pub region: &'a str,
    /// What the cloud said; `None`: unknown.
    pub said: Option<&'a QuotaFacts>,
    /// Indices of the pools with types that count against it.
    pub pools: Vec<usize>,
    /// A pool's launch was refused for it.
    pub refused: Option<&'a Shortfall>,
}

/// The quotas that a snapshot's pools count against.
#[derive(Clone, Debug, Default)]
pub struct Quotas<'a>(Vec<Bound<'a>>);

/// vCPUs of an instance of the type; one of a type that the pool does not declare any more counts for none: the cloud then says when it is too many.
#[must_use]
pub fn vcpus(pool: &Pool, instance_type: &str) -> i64 {
    declared(pool).iter().find(|t| t.name == instance_type).map_or(0, |t| i64::from(t.vcpus()))
}

fn declared(pool: &Pool) -> &[InstanceType] {
    pool.spec.nodes.ec2.as_ref().map_or(&[], |ec2| &ec2.instance_types)
}

impl<'a> Quotas<'a> {
    /// What is known of a snapshot's pools.
    #[must_use]
    pub fn of(seen: &'a Snapshot, now: Timestamp) -> Self {
        let mut all = Self::default();
        for (index, pool) in seen.pools.iter().enumerate() {
            let Some(ec2) = &pool.spec.nodes.ec2 else { continue };
            for quota in ec2.instance_types.iter().filter_map(|t| quota::of_type(&t.name)) {
                let known = all.0.iter().position(|bound| bound.is(&ec2.region, quota));
                let at = known.unwrap_or_else(|| {
                    all.0.push(Bound { quota, region: &ec2.region, said: None, pools: Vec::new(), refused: None });
                    all.0.len() - 1
                });
                let bound = &mut all.0[at];
                if bound.pools.last() != Some(&index) {
                    bound.pools.push(index);
                    bound.learn(pool, now);
                }
            }
        }
        all
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Bound<'a>] {
        &self.0
    }

    /// The quota that instances of the type count against in the pool's region.
    #[must_use]
    pub fn bound(&self, pool: &Pool, instance_type: &str) -> Option<&Bound<'a>> {
        let (ec2, quota) = (pool.spec.nodes.ec2.as_ref()?, quota::of_type(instance_type)?);
        self.0.iter().find(|bound| bound.is(&ec2.region, quota))
    }

    /// Why a type cannot be had in the pool, although the pool itself was not refused: another pool was, of the same families in the same region.
    #[must_use]
    pub fn refused(&self, pool: &Pool, instance_type: &str) -> Option<&'a Shortfall> {
        self.bound(pool, instance_type)?.refused
    }
}

impl<'a> Bound<'a> {
    fn is(&self, region: &str, quota: &Quota) -> bool {
        self.region == region && self.quota.code == quota.code
    }

    fn learn(&mut self, pool: &'a Pool, now: Timestamp) {
        let of_this = |fact: &&QuotaFacts| fact.code == self.quota.code && counts(fact.at.0, now);
        if let Some(fact) = pool.status.quotas.iter().find(of_this)
            && self.said.is_none_or(|said| fact.at.0 > said.at.0)
        {
            self.said = Some(fact);
        }
        let by_quota = |s: &&Shortfall| s.reason == Reason::QuotaExhausted && self.covers(&s.instance_type);
        let refused = pool.status.shortfalls.iter().filter(by_quota);
        self.refused = refused.chain(self.refused).max_by_key(|s| s.retry_at.0);
    }

    /// Whether instances of the type count against it.
    #[must_use]
    pub fn covers(&self, instance_type: &str) -> bool {
        quota::of_type(instance_type).is_some_and(|quota| quota.code == self.quota.code)
    }

    /// vCPUs that are left beyond those that this cluster has and is to have; `None` where nothing bounds it.
    #[must_use]
    pub fn left(&self, used: i64) -> Option<i64> {
        let said = self.said?;
        Some((i64::from(said.limit) - i64::from(said.used_by_others) - used).max(0))
    }

    /// What to do about it.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { quota, region, .. } = self;
        let (limit, others) = self.said.map_or((0, 0), |said| (said.limit, said.used_by_others));
        format!(
            "quota {} ({}) of {region} is {limit} vCPUs, of which others use {others}, and the rest is planned: ask AWS for more, days ahead",
            quota.code, quota.name
        )
    }
}
