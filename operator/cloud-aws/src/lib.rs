//! EC2 behind the cloud seam: the only crate that imports the AWS SDK.
//!
//! - [`Ec2Cloud`]: the five verbs of [`Cloud`], one SDK client per region
//! - `client`: configuration, timeouts, and what the SDK may retry by itself
//! - `launch`, `describe`, `terminate`: the three calls, `RunInstances`, `DescribeInstances`, `TerminateInstances`
//! - `facts`, `quotas`: free addresses, quotas, and what others use of them: `DescribeSubnets`, `GetServiceQuota`, `DescribeInstances`
//! - `errors`: every error code of EC2 and its class, as a table
//!
//! A launch is one `RunInstances` per subnet and type with the ledger entry's token, not a `CreateFleet`: a fleet spills over many types and
//! subnets in one call, so one token would stand for many outcomes, and what a replay answers after a partial result is nowhere documented.
//! One type in one subnet has one outcome, and the planner, not EC2, chooses what comes next.
//!
//! Needs `ec2:RunInstances`, `ec2:CreateTags` (with `ec2:CreateAction` = `RunInstances`), `ec2:DescribeInstances`, `ec2:TerminateInstances` (on
//! instances with the cluster's tag) and `iam:PassRole` for the role of the launch template's instance profile; to know beforehand what is left also
//! `ec2:DescribeSubnets` and `servicequotas:GetServiceQuota`.

mod client;
mod describe;
mod errors;
mod facts;
mod launch;
mod quotas;
mod terminate;

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_ec2::Client;
use onsale_cloud::{
    Cloud, CloudError, Instance, LaunchOrder, Launched, Owner,
    facts::{Facts, Question},
};

/// EC2 on behalf of one cluster.
#[derive(Debug)]
pub struct Ec2Cloud {
    /// Value of the cluster's tag.
    cluster: String,
    /// What the clients of all regions share: credentials and their cache, endpoint, HTTP connections.
    shared: SdkConfig,
    /// One client per region, made at its first call.
    clients: Mutex<BTreeMap<String, Client>>,
}

#[async_trait]
impl Cloud for Ec2Cloud {
    /// One `RunInstances`. EC2 takes at most 1000 instances in a call and asks for batches of about 100: an order beyond 1000 is refused here,
    /// one beyond 100 is the caller's own risk.
    async fn launch(&self, order: &LaunchOrder) -> Result<Launched, CloudError> {
        launch::launch(&self.client(&order.owner.region), &self.cluster, order).await
    }

    async fn list(&self, owner: &Owner) -> Result<Vec<Instance>, CloudError> {
        describe::list(&self.client(&owner.region), &self.cluster, &owner.pool_uid).await
    }

    /// An ID that EC2 does not know may be too young to be seen, or gone for an hour: the rest is terminated, then `Unavailable` names it.
    /// The caller asks again as long as `list` or its ledger shows the instance, and stops when both are silent.
    async fn terminate(&self, region: &str, instances: &[String]) -> Result<(), CloudError> {
        terminate::terminate(&self.client(region), instances).await
    }

    /// An instance that carries the cluster's tag but no pool's is left out, with a warning: every launch writes both in one call, so it is not ours.
    async fn list_cluster(&self, region: &str) -> Result<Vec<(String, Instance)>, CloudError> {
        describe::list_cluster(&self.client(region), &self.cluster).await
    }

    /// Reads every running instance of the region, a page at a time, to know what others use of a quota.
    async fn facts(&self, question: &Question) -> Facts {
        facts::facts(&self.client(&question.region), &self.shared, &self.cluster, question).await
    }
}
