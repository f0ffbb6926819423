//! Free addresses and quotas against the wire protocols of EC2 and Service Quotas: what is asked, what is counted, what every answer means.

use onsale_api::Reason;
use onsale_cloud::{
    Cloud,
    facts::{Question, Quota, Subnet},
};

use crate::{
    cloud, hasty,
    wire::{Call, Ec2, error, json_error, other, page, quota, subnets},
};

fn question(subnets: &[&str], types: &[&str]) -> Question {
    let set = |all: &[&str]| all.iter().map(|&s| s.to_owned()).collect();
    Question { region: "us-west-2".into(), subnets: set(subnets), instance_types: set(types) }
}

#[tokio::test]
async fn free_addresses_are_read_by_filter_and_page_and_a_subnet_that_does_not_exist_is_missing() {
    let ec2 =
        Ec2::start(
            |call, _| {
                if call.get("NextToken").is_empty() { subnets(&[("subnet-0a", 7)], "more") } else { subnets(&[("subnet-0b", 0)], "") }
            },
        )
        .await;
    let told = cloud(&ec2).facts(&question(&["subnet-0a", "subnet-0b", "subnet-0c"], &[])).await;
    let subnet = |id: &str, free_addresses| Subnet { id: id.into(), zone: "us-west-2-phx-2a".into(), free_addresses };
    assert_eq!(told.subnets, Ok(vec![subnet("subnet-0a", 7), subnet("subnet-0b", 0)]));
    assert_eq!(told.quotas, Ok(Vec::new()), "no type, no quota, no call");
    assert_eq!(ec2.actions(), ["DescribeSubnets", "DescribeSubnets"]);
    assert_eq!(ec2.calls()[0].filters()["subnet-id"], ["subnet-0a", "subnet-0b", "subnet-0c"]);
}

#[tokio::test]
async fn a_quota_is_asked_for_once_for_its_families_and_only_on_demand_instances_of_others_use_it() {
    let ec2 = Ec2::start(|call, _| match call.get("Action") {
        "DescribeSubnets" => subnets(&[], ""),
        "GetServiceQuota" => quota(640.0),
        _ if call.get("NextToken").is_empty() => {
            let ours = "<tagSet><item><key>onsale.dev/cluster</key><value>tix</value></item><item><key>onsale.dev/pool-uid</key><value>u</value></item></tagSet>";
            let spot = "<instanceLifecycle>spot</instanceLifecycle>";
            let all = [other("i-0a", "c6i.4xlarge", 8, ours), other("i-0b", "m6i.2xlarge", 2, ""), other("i-0c", "c6i.large", 1, spot), other("i-0d", "g5.xlarge", 2, "")];
            page(&all, "more")
        }
        // A page may repeat what another showed; half of the cores of the second are switched off, and count all the same.
        _ => page(&[other("i-0b", "m6i.2xlarge", 2, ""), other("i-0e", "t3.medium", 1, "<placement><tenancy>host</tenancy></placement>"), other("i-0f", "r6i.large", 1, "")], ""),
    })
    .await;
    let told = cloud(&ec2).facts(&question(&[], &["c6i.4xlarge", "m6i.4xlarge", "mac2.metal"])).await;
    let wanted = Quota {
        code: "L-1216C47A".into(),
        name: "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances".into(),
        limit: 640,
        used_by_others: 10,
    };
    assert_eq!(told.quotas, Ok(vec![wanted]));
    let calls = ec2.calls();
    let asked: Vec<&Call> = calls.iter().filter(|c| c.get("Action") == "GetServiceQuota").collect();
    assert_eq!((asked.len(), asked[0].get("json")), (1, r#"{"QuotaCode":"L-1216C47A","ServiceCode":"ec2"}"#));
    assert!(asked[0].get("authorization").contains("/us-west-2/servicequotas/aws4_request"), "{}", asked[0].get("authorization"));
    let listed = calls.iter().find(|c| c.get("Action") == "DescribeInstances").unwrap();
    assert_eq!(listed.filters()["instance-state-name"], ["pending", "running"]);
}

#[tokio::test]
async fn what_may_not_be_read_is_unknown_by_halves_and_what_does_not_exist_is_missing() {
    let asks = |refused: &'static str, code: &'static str| async move {
        let ec2 = Ec2::start(move |call, _| match call.get("Action") {
            action if action == refused && action == "GetServiceQuota" => json_error(code),
            action if action == refused => error(403, code, "no"),
            "DescribeSubnets" => subnets(&[("subnet-0a", 7)], ""),
            "GetServiceQuota" => quota(32.0),
            _ => page(&[], ""),
        })
        .await;
        let told = hasty(&ec2.url).facts(&question(&["subnet-0a"], &["c6i.large"])).await;
        (told.subnets.map(|all| all.len()).map_err(|e| e.reason()), told.quotas.map(|all| all.len()).map_err(|e| e.reason()))
    };
    assert_eq!(asks("DescribeSubnets", "UnauthorizedOperation").await, (Err(Reason::Unauthorized), Ok(1)));
    assert_eq!(asks("DescribeInstances", "UnauthorizedOperation").await, (Ok(1), Err(Reason::Unauthorized)));
    assert_eq!(asks("GetServiceQuota", "AccessDeniedException").await, (Ok(1), Err(Reason::Unauthorized)));
    assert_eq!(asks("GetServiceQuota", "TooManyRequestsException").await, (Ok(1), Err(Reason::Throttled)));
    assert_eq!(asks("GetServiceQuota", "NoSuchResourceException").await, (Ok(1), Ok(0)));
}
