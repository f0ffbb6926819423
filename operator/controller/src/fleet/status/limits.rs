//! What the cloud said of a pool's subnets and quotas, as its status records it. Numbers that are as they were are not written again for a while.

use jiff::SignedDuration;
use onsale_api::{
    Reason,
    conditions::{Verdict, types},
    pool::{QuotaFacts, SubnetFacts},
};
use onsale_planner::snapshot::Pool;

use super::cut;
use crate::fleet::observe::facts::{Known, codes};

/// The same numbers are written again after this time: well before the planner takes them for too old.
const AGAIN: SignedDuration = SignedDuration::from_mins(15);

/// The newest word about each of the pool's subnets.
pub fn subnets(pool: &Pool, known: &Known) -> Vec<SubnetFacts> {
    let ids = pool.spec.nodes.ec2.iter().flat_map(|ec2| &ec2.subnets);
    let of = |id: &String| {
        let old = pool.status.subnets.iter().find(|s| s.id == *id);
        let new = known.subnets.iter().find(|s| s.id == *id);
        let same =
            |old: &&SubnetFacts, new: &SubnetFacts| SubnetFacts { at: new.at.clone(), ..(*old).clone() } == *new && young(&old.at, &new.at);
        new.filter(|new| !old.is_some_and(|old| same(&old, new))).or(old).cloned()
    };
    ids.filter_map(of).collect()
}

/// The newest word about each of the quotas that the pool's types count against.
pub fn quotas(pool: &Pool, known: &Known) -> Vec<QuotaFacts> {
    let of = |code: &&str| {
        let old = pool.status.quotas.iter().find(|q| q.code == *code);
        let new = known.quotas.iter().find(|q| q.code == *code);
        let same =
            |old: &&QuotaFacts, new: &QuotaFacts| QuotaFacts { at: new.at.clone(), ..(*old).clone() } == *new && young(&old.at, &new.at);
        new.filter(|new| !old.is_some_and(|old| same(&old, new))).or(old).cloned()
    };
    codes(pool).iter().filter_map(of).collect()
}

fn young(old: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time, new: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time) -> bool {
    new.0.duration_since(old.0) < AGAIN
}

/// Whether the cloud said what is left; what is unknown bounds nothing, so this informs and hinders nothing.
pub fn verdict(pool: &Pool, known: &Known) -> Verdict {
    let verdict = |status, reason, message: &str| Verdict { type_: types::LIMITS_KNOWN, status, reason, message: cut(message) };
    if !known.wanted {
        return verdict(
            Some(true),
            Reason::Idle,
            "no sale that may use the pool is active or nearer than the horizon: the cloud is not asked",
        );
    }
    if let Some(error) = known.errors.first() {
        let message = format!(
            "free addresses or quotas are unknown and bound nothing: {error}; the operator needs ec2:DescribeSubnets, ec2:DescribeInstances and servicequotas:GetServiceQuota"
        );
        return verdict(Some(false), error.reason(), &message);
    }
    if !known.answered {
        return verdict(None, Reason::Unknown, "the cloud has not answered yet");
    }
    let ids = || pool.spec.nodes.ec2.iter().flat_map(|ec2| &ec2.subnets);
    let zone = &pool.spec.zone;
    if let Some(subnet) = known.subnets.iter().find(|s| s.zone != *zone) {
        let message = format!("subnet {} is in zone {}, the pool in {zone}: name subnets of its own zone", subnet.id, subnet.zone);
        return verdict(Some(false), Reason::InvalidConfiguration, &message);
    }
    let unknown: Vec<&str> = ids().map(String::as_str).filter(|id| known.subnets.iter().all(|s| s.id != *id)).collect();
    let unsaid: Vec<&str> = codes(pool).into_iter().filter(|code| known.quotas.iter().all(|q| q.code != *code)).collect();
    match [unknown, unsaid].concat()[..] {
        [] => verdict(Some(true), Reason::AllReady, "the cloud said how many addresses and vCPUs are left"),
        ref missing => {
            verdict(Some(false), Reason::Unknown, &format!("the cloud knows nothing of {}: that bounds nothing", missing.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use onsale_cloud::CloudError;
    use serde_json::json;

    use super::*;

    fn pool(free: i32, at: &str) -> Pool {
        let ec2 = json!({"region": "us-west-2", "launchTemplate": {"name": "burst", "version": "3"}, "subnets": ["subnet-0a1b2c"],
            "instanceTypes": [{"name": "c6i.large", "hourlyCost": "1", "allocatable": {"cpu": "2", "memory": "4Gi"}}]});
        let spec = json!({"tier": "Region", "zone": "z", "latency": [{"site": "dc", "rtt": "1ms"}], "nodes": {"ec2": ec2}, "limits": {"maxNodes": 9}});
        let status = json!({"subnets": [{"id": "subnet-0a1b2c", "zone": "z", "freeAddresses": free, "at": at}]});
        Pool { status: serde_json::from_value(status).unwrap(), ..Pool::new("phx", serde_json::from_value(spec).unwrap()) }
    }

    fn known(free: i32, at: &str) -> Known {
        let quota = json!([{"code": "L-1216C47A", "name": "Standard", "limit": 64, "usedByOthers": 8, "at": at}]);
        let quotas = serde_json::from_value(quota).unwrap();
        Known { wanted: true, answered: true, subnets: pool(free, at).status.subnets, quotas, errors: Vec::new() }
    }

    #[test]
    fn the_same_numbers_are_not_written_again_for_a_while() {
        let (early, soon, late) = ("2026-12-05T10:00:00Z", "2026-12-05T10:05:00Z", "2026-12-05T10:15:00Z");
        let recorded = |free, at: &str| subnets(&pool(7, early), &known(free, at))[0].at.0.to_string();
        assert_eq!([recorded(7, soon), recorded(6, soon), recorded(7, late)], [early, soon, late]);
        let silent = Known { subnets: Vec::new(), ..known(7, soon) };
        assert_eq!(subnets(&pool(7, early), &silent).len(), 1, "what was said last stays until something newer is");
    }

    #[test]
    fn says_what_is_unknown_and_what_to_do() {
        let at = "2026-12-05T10:00:00Z";
        let says = |known: &Known| {
            let verdict = verdict(&pool(7, at), known);
            (verdict.status, verdict.reason)
        };
        assert_eq!(says(&known(7, at)), (Some(true), Reason::AllReady));
        assert_eq!(says(&Known { quotas: Vec::new(), ..known(7, at) }), (Some(false), Reason::Unknown));
        let refused = CloudError::Unauthorized { message: "no".into() };
        assert_eq!(says(&Known { errors: vec![refused], ..known(7, at) }), (Some(false), Reason::Unauthorized));
        assert_eq!(says(&Known::default()), (Some(true), Reason::Idle));
        assert_eq!(says(&Known { wanted: true, ..Known::default() }), (None, Reason::Unknown));
        let mut elsewhere = known(7, at);
        elsewhere.subnets[0].zone = "y".into();
        assert_eq!(says(&elsewhere), (Some(false), Reason::InvalidConfiguration));
    }
}
