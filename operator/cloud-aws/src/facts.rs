//! What bounds launches besides capacity: `DescribeSubnets`, `GetServiceQuota`, and what others run by `DescribeInstances`.
//!
//! Usage is counted from the instances themselves, those of this cluster's pools left out, and not taken from CloudWatch's `AWS/Usage`: that lags by five
//! minutes and more, and does not tell whose instances they are, so that our own would have to be guessed away again.

use std::collections::{BTreeMap, BTreeSet};

use aws_config::SdkConfig;
use aws_sdk_ec2::{
    Client,
    types::{Filter, Instance, InstanceLifecycleType, Tenancy},
};
use onsale_api::quota;
use onsale_cloud::{
    CloudError,
    facts::{Facts, Question, Quota, Subnet},
};

use crate::{describe, errors::Failure, quotas};

/// Everything that was asked; one half may fail and the other not.
pub(crate) async fn facts(client: &Client, shared: &SdkConfig, cluster: &str, question: &Question) -> Facts {
    Facts { subnets: subnets(client, &question.subnets).await, quotas: all_quotas(client, shared, cluster, question).await }
}

/// By filter: asked for by ID, one that does not exist would fail the call.
async fn subnets(client: &Client, ids: &BTreeSet<String>) -> Result<Vec<Subnet>, CloudError> {
    /// Values that EC2 takes for one filter.
    const MOST: usize = 200;
    let ids: Vec<String> = ids.iter().cloned().collect();
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(MOST) {
        let filter = Filter::builder().name("subnet-id").set_values(Some(ids.to_vec())).build();
        let mut token: Option<String> = None;
        loop {
            let page =
                client.describe_subnets().filters(filter.clone()).set_next_token(token.clone()).send().await.map_err(Failure::from)?;
            for subnet in page.subnets.unwrap_or_default() {
                let (Some(id), Some(zone), Some(free_addresses)) =
                    (subnet.subnet_id, subnet.availability_zone, subnet.available_ip_address_count)
                else {
                    return Err(CloudError::Unavailable {
                        message: "DescribeSubnets shows a subnet without ID, zone or free addresses".to_owned(),
                    });
                };
                found.push(Subnet { id, zone, free_addresses });
            }
            match page.next_token.filter(|t| !t.is_empty()) {
                None => break,
                next if next == token => return Err(CloudError::Unavailable { message: "DescribeSubnets repeats a page".to_owned() }),
                next => token = next,
            }
        }
    }
    Ok(found)
}

/// The quotas of the types, as far as Service Quotas knows them, and what others use of them.
async fn all_quotas(client: &Client, shared: &SdkConfig, cluster: &str, question: &Question) -> Result<Vec<Quota>, CloudError> {
    let wanted: BTreeMap<&str, &quota::Quota> =
        question.instance_types.iter().filter_map(|kind| quota::of_type(kind)).map(|quota| (quota.code, quota)).collect();
    let mut limits = Vec::new();
    for (code, quota) in wanted {
        limits.extend(quotas::limit(shared, &question.region, code).await?.map(|limit| (quota, limit)));
    }
    if limits.is_empty() {
        return Ok(Vec::new());
    }
    let mut used: BTreeMap<&str, i32> = BTreeMap::new();
    describe::running(client, |instance| {
        if let Some(quota) = counted(instance).filter(|_| !describe::is_of_a_pool(instance, cluster)) {
            let used = used.entry(quota.code).or_default();
            *used = used.saturating_add(vcpus(instance));
        }
    })
    .await?;
    let of = |(quota, limit): (&quota::Quota, i32)| Quota {
        code: quota.code.to_owned(),
        name: quota.name.to_owned(),
        limit,
        used_by_others: used.get(quota.code).copied().unwrap_or_default(),
    };
    Ok(limits.into_iter().map(of).collect())
}

/// The On-Demand quota that an instance counts against: Spot has its own, and what runs on dedicated hosts or in capacity blocks counts elsewhere.
fn counted(instance: &Instance) -> Option<&'static quota::Quota> {
    let on_demand =
        instance.instance_lifecycle().is_none_or(|l| !matches!(l, InstanceLifecycleType::Spot | InstanceLifecycleType::CapacityBlock));
    let on_host = instance.placement().and_then(|p| p.tenancy()) == Some(&Tenancy::Host);
    quota::of_type(instance.instance_type()?.as_str()).filter(|_| on_demand && !on_host)
}

/// Cores times threads; the quota counts them all, also those that somebody has switched off, so no fewer than the size in the type's name says.
fn vcpus(instance: &Instance) -> i32 {
    let of = |n: Option<i32>| n.unwrap_or(1).max(1);
    let switched_on = instance.cpu_options().map_or(1, |cpu| of(cpu.core_count()).saturating_mul(of(cpu.threads_per_core())));
    switched_on.max(instance.instance_type().map_or(1, |kind| by_size(kind.as_str())))
}

/// `xlarge` has 4 vCPUs and `16xlarge` 64, in every family but those for HPC, which come without threads; other sizes tell nothing.
fn by_size(instance_type: &str) -> i32 {
    let (family, size) = instance_type.split_once('.').unwrap_or_default();
    match size.strip_suffix("xlarge") {
        Some(times) if !family.starts_with("hpc") => {
            if times.is_empty() { Ok(1) } else { times.parse() }.map_or(1, |n: i32| n.saturating_mul(4))
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_in_a_name_says_how_many_vcpus_there_are_at_least() {
        for (kind, vcpus) in [("c6i.xlarge", 4), ("m5.24xlarge", 96), ("t3.medium", 1), ("hpc6a.48xlarge", 1), ("m5.metal", 1), ("odd", 1)]
        {
            assert_eq!(by_size(kind), vcpus, "{kind}");
        }
    }
}
