//! The adapter against EC2's wire protocol: what is sent, what is retried, what every answer means.

#[path = "ec2/credentials.rs"]
mod credentials;
#[path = "ec2/facts.rs"]
mod facts;
mod wire;

use std::{collections::BTreeMap, time::Duration};

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use onsale_api::{names, pool::LaunchTemplate};
use onsale_cloud::{Cloud, CloudError, InstanceState, LaunchOrder, Owner};
use onsale_cloud_aws::Ec2Cloud;
use wire::{Answer, Call, Ec2, error, instance, launched, page, terminated};

const UID: &str = "0b8d4c1e-6a0f-4c53-9f7e-2f1f0c9d7a11";
const A: &str = "i-0aaaaaaaaaaaaaaaa";
const B: &str = "i-0bbbbbbbbbbbbbbbb";
const C: &str = "i-0cccccccccccccccc";
/// Tags of an instance that launch 7 made.
const OURS: [(&str, &str); 3] = [(names::TAG_CLUSTER, "tix"), (names::TAG_POOL, UID), (names::TAG_LAUNCH, "7")];

fn owner() -> Owner {
    Owner { pool_uid: UID.into(), pool_name: "phx-local".into(), region: "us-west-2".into() }
}

fn order(count: i32) -> LaunchOrder {
    LaunchOrder {
        owner: owner(),
        sequence: 7,
        token: "onsale-7-token".into(),
        instance_type: "c6i.4xlarge".into(),
        subnet: "subnet-0a1b2c3d".into(),
        launch_template: LaunchTemplate { name: Some("ticketing-burst".into()), id: None, version: "7".into() },
        count,
    }
}

/// As it ships, retries and timeouts included.
fn cloud(ec2: &Ec2) -> Ec2Cloud {
    Ec2Cloud::with_endpoint("tix".into(), &ec2.url, "AKIDEXAMPLE", "do-not-show")
}

/// The same with pauses that a test can wait for.
fn hasty(url: &str) -> Ec2Cloud {
    patient_for(Duration::from_secs(10), url)
}

/// Gives each attempt this long.
fn patient_for(attempt: Duration, url: &str) -> Ec2Cloud {
    let retry = RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)).with_max_backoff(Duration::from_millis(5));
    let keys = Credentials::new("AKIDEXAMPLE", "do-not-show", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url)
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .retry_config(retry)
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(attempt).build())
        .build();
    Ec2Cloud::new("tix".into(), config)
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|&id| id.to_owned()).collect()
}

#[tokio::test]
async fn a_launch_says_everything_in_one_call() {
    let ec2 = Ec2::start(|_, _| launched(&[B, A])).await;
    let made = cloud(&ec2).launch(&order(40)).await.unwrap();
    assert_eq!(made.instances, [A, B]);
    let calls = ec2.calls();
    let call = &calls[0];
    let sent = |field| call.get(field);
    assert_eq!((ec2.actions().len(), sent("Action"), sent("ClientToken")), (1, "RunInstances", "onsale-7-token"));
    assert_eq!((sent("MinCount"), sent("MaxCount"), sent("InstanceType"), sent("SubnetId")), ("1", "40", "c6i.4xlarge", "subnet-0a1b2c3d"));
    assert_eq!((sent("LaunchTemplate.LaunchTemplateName"), sent("LaunchTemplate.Version")), ("ticketing-burst", "7"));
    for (n, kind) in [(1, "instance"), (2, "volume"), (3, "network-interface")] {
        assert_eq!(call.get(&format!("TagSpecification.{n}.ResourceType")), kind);
        let tag = |m, part| call.get(&format!("TagSpecification.{n}.Tag.{m}.{part}"));
        let tags: BTreeMap<_, _> = (1..=6).map(|m| (tag(m, "Key"), tag(m, "Value"))).collect();
        let expected = [
            ("onsale.dev/cluster", "tix"),
            ("onsale.dev/pool-uid", UID),
            ("onsale.dev/pool", "phx-local"),
            ("onsale.dev/launch", "7"),
            ("Name", "onsale-phx-local"),
            ("kubernetes.io/cluster/tix", "owned"),
        ];
        assert_eq!(tags, BTreeMap::from(expected));
    }
}

#[tokio::test]
async fn an_order_beyond_the_bucket_is_refused_without_a_call() {
    let ec2 = Ec2::start(|_, _| launched(&[A])).await;
    for count in [0, 1001] {
        assert!(matches!(cloud(&ec2).launch(&order(count)).await, Err(CloudError::Invalid { .. })));
    }
    assert!(ec2.calls().is_empty());
}

/// Code, HTTP status, and the class that a launch answers with.
const CLASSES: &[(&str, u16, &str)] = &[
    ("InsufficientInstanceCapacity", 500, "InsufficientCapacity"),
    ("InsufficientCapacity", 500, "InsufficientCapacity"),
    ("InsufficientAddressCapacity", 500, "InsufficientCapacity"),
    ("UnfulfillableCapacity", 400, "InsufficientCapacity"),
    ("MaxSpotInstanceCountExceeded", 400, "InsufficientCapacity"),
    ("MaxFleetCountExceeded", 400, "InsufficientCapacity"),
    ("ReservationCapacityExceeded", 400, "InsufficientCapacity"),
    ("VcpuLimitExceeded", 400, "QuotaExhausted"),
    ("InstanceLimitExceeded", 400, "QuotaExhausted"),
    ("InsufficientFreeAddressesInSubnet", 400, "AddressesExhausted"),
    ("Unsupported", 400, "Unsupported"),
    ("RequestLimitExceeded", 503, "Throttled"),
    ("EC2ThrottledException", 400, "Throttled"),
    ("IdempotentParameterMismatch", 400, "Invalid"),
    ("InvalidCapacityReservationId.NotFound", 400, "Invalid"),
    ("InvalidInstanceID.NotFound", 400, "Unavailable"),
    ("UnauthorizedOperation", 403, "Unauthorized"),
    ("AuthFailure", 401, "Unauthorized"),
    ("PendingVerification", 400, "Unauthorized"),
    ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", 403, "Unauthorized"),
    ("InternalError", 500, "Unavailable"),
    ("InternalFailure", 500, "Unavailable"),
    ("ServiceUnavailable", 503, "Unavailable"),
    ("Unavailable", 503, "Unavailable"),
    // Not in the table: the status decides.
    ("InvalidSubnetID.NotFound", 400, "Invalid"),
    ("InvalidLaunchTemplateName.NotFoundException", 400, "Invalid"),
    ("NeverHeardOf", 403, "Unauthorized"),
    ("NeverHeardOf", 429, "Throttled"),
    ("NeverHeardOf", 500, "Unavailable"),
];

#[tokio::test]
async fn every_code_has_its_class() {
    for &(code, status, class) in CLASSES {
        let ec2 = Ec2::start(move |_, _| error(status, code, "as EC2 words it")).await;
        let failed = hasty(&ec2.url).launch(&order(3)).await.unwrap_err();
        let found = format!("{failed:?}");
        assert!(found.starts_with(class), "{code} with {status} is {found}, not {class}");
        let retried = status >= 500 && class != "InsufficientCapacity" || class == "Throttled" && status != 429;
        assert_eq!(ec2.calls().len(), if retried { 3 } else { 1 }, "attempts for {code} with {status}");
    }
}

#[tokio::test]
async fn an_empty_pool_is_asked_exactly_once() {
    let ec2 = Ec2::start(|_, _| error(500, "InsufficientInstanceCapacity", "We currently do not have sufficient capacity.")).await;
    let failed = cloud(&ec2).launch(&order(3)).await.unwrap_err();
    assert_eq!(failed, CloudError::InsufficientCapacity { instance_type: "c6i.4xlarge".into(), place: "subnet-0a1b2c3d".into() });
    assert_eq!(ec2.calls().len(), 1);
}

#[tokio::test]
async fn a_throttled_launch_is_tried_again_with_the_same_token() {
    let ec2 = Ec2::start(|_, before| if before < 2 { error(503, "RequestLimitExceeded", "Rate exceeded") } else { launched(&[A]) }).await;
    assert_eq!(hasty(&ec2.url).launch(&order(1)).await.unwrap().instances, [A]);
    let tokens: Vec<_> = ec2.calls().iter().map(|c| c.get("ClientToken").to_owned()).collect();
    assert_eq!(tokens, ["onsale-7-token"; 3]);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_token() {
    let ec2 = Ec2::start(|_, before| if before == 0 { Answer::Lost } else { launched(&[A]) }).await;
    assert_eq!(hasty(&ec2.url).launch(&order(1)).await.unwrap().instances, [A]);
    let tokens: Vec<_> = ec2.calls().iter().map(|c| c.get("ClientToken").to_owned()).collect();
    assert_eq!(tokens, ["onsale-7-token"; 2]);
}

#[tokio::test]
async fn what_never_answers_is_unavailable_and_the_order_stays_open() {
    let answers: [fn() -> Answer; 4] = [
        || Answer::Lost,
        || Answer::Silence,
        || Answer::Body(502, "<html>bad gateway</html>".to_owned()),
        || Answer::Body(200, "<RunInstancesResponse><instancesSet/></RunInstancesResponse>".to_owned()),
    ];
    for answer in answers {
        let ec2 = Ec2::start(move |_, _| answer()).await;
        let failed = patient_for(Duration::from_millis(200), &ec2.url).launch(&order(1)).await.unwrap_err();
        assert!(matches!(failed, CloudError::Unavailable { .. }) && !failed.is_final(), "{failed:?}");
    }
    assert!(matches!(hasty("http://127.0.0.1:1").list(&owner()).await, Err(CloudError::Unavailable { .. })));
}

#[tokio::test]
async fn a_token_whose_instances_are_terminated_still_names_them() {
    let known = Ec2::start(|call, _| match call.get("Action") {
        "RunInstances" => error(400, "IdempotentInstanceTerminated", "The instance is terminated"),
        _ => page(&[instance(A, "terminated", &OURS), instance(B, "terminated", &[])], ""),
    })
    .await;
    assert_eq!(cloud(&known).launch(&order(2)).await.unwrap().instances, [A]);
    let calls = known.calls();
    assert_eq!(calls[1].filters().get("tag:onsale.dev/launch"), Some(&vec!["7"]));
    let forgotten = Ec2::start(|call, _| match call.get("Action") {
        "RunInstances" => error(400, "IdempotentInstanceTerminated", "The instance is terminated"),
        _ => page(&[], ""),
    })
    .await;
    assert!(cloud(&forgotten).launch(&order(2)).await.unwrap_err().is_final());
}

#[tokio::test]
async fn messages_are_bounded_and_keep_secrets() {
    let long = format!("You are not authorized. Encoded authorization failure message: {}", "x".repeat(4000));
    let signature = "It does not match.\nThe Canonical String was\nx-amz-security-token:do-not-show";
    for (code, message) in [("UnauthorizedOperation", long.as_str()), ("SignatureDoesNotMatch", signature), ("Odd", &"y".repeat(9000))] {
        let body = message.to_owned();
        let ec2 = Ec2::start(move |_, _| error(403, code, &body)).await;
        let text = cloud(&ec2).launch(&order(1)).await.unwrap_err().to_string();
        assert!(text.len() < 400 && text.contains(code) && !text.contains("do-not-show") && !text.contains("xxx"), "{text}");
    }
}

#[tokio::test]
async fn a_list_walks_all_pages_and_maps_states() {
    let ec2 = Ec2::start(|call, _| match call.get("NextToken") {
        "" => page(&[instance(A, "pending", &OURS), instance(B, "running", &OURS)], "two"),
        "two" => page(&[], "three"),
        _ => page(&[instance(C, "stopped", &OURS[..2]), instance("i-0ddd", "terminated", &OURS)], ""),
    })
    .await;
    let listed = cloud(&ec2).list(&owner()).await.unwrap();
    let brief: Vec<_> = listed.iter().map(|i| (i.id.as_str(), i.state, i.sequence)).collect();
    let states = [
        (A, InstanceState::Pending, 7),
        (B, InstanceState::Running, 7),
        (C, InstanceState::Stopped, 0),
        ("i-0ddd", InstanceState::Gone, 7),
    ];
    assert_eq!(brief, states);
    assert_eq!((listed[0].zone.as_str(), listed[0].instance_type.as_str()), ("us-west-2-phx-2a", "c6i.4xlarge"));
    assert_eq!(listed[0].launched_at.to_string(), "2026-12-05T16:20:00Z");
    let calls = ec2.calls();
    assert_eq!((calls.len(), calls[0].get("MaxResults")), (3, "500"));
    let filters = calls[2].filters();
    assert_eq!(filters["tag:onsale.dev/cluster"], ["tix"]);
    assert_eq!(filters["tag:onsale.dev/pool-uid"], [UID]);
    assert!(!filters.contains_key("instance-state-name"), "terminated instances are told from those that are too young to be shown");
}

#[tokio::test]
async fn half_a_list_is_an_error() {
    let breaks = Ec2::start(|call, _| match call.get("NextToken") {
        "" => page(&[instance(A, "running", &OURS)], "two"),
        _ => error(403, "UnauthorizedOperation", "no"),
    })
    .await;
    assert!(matches!(cloud(&breaks).list(&owner()).await, Err(CloudError::Unauthorized { .. })));
    let circles = Ec2::start(|_, _| page(&[instance(A, "running", &OURS)], "again")).await;
    assert!(matches!(cloud(&circles).list(&owner()).await, Err(CloudError::Unavailable { .. })));
}

#[tokio::test]
async fn foreign_instances_are_not_listed_whatever_the_filter_lets_through() {
    let other = [(names::TAG_CLUSTER, "tix-2"), (names::TAG_POOL, UID)];
    let answer = [instance(A, "running", &OURS), instance(B, "running", &other), instance(C, "running", &OURS[..1])];
    let ec2 = Ec2::start(move |_, _| page(&answer, "")).await;
    let cloud = cloud(&ec2);
    assert_eq!(cloud.list(&owner()).await.unwrap().len(), 1);
    let swept = cloud.list_cluster("us-west-2").await.unwrap();
    assert_eq!(swept.iter().map(|(uid, i)| (uid.as_str(), i.id.as_str())).collect::<Vec<_>>(), [(UID, A)]);
    assert_eq!(ec2.calls()[1].filters().keys().copied().collect::<Vec<_>>(), ["instance-state-name", "tag:onsale.dev/cluster"]);
}

#[tokio::test]
async fn terminates_in_batches_and_each_instance_once() {
    let ec2 = Ec2::start(|_, _| terminated()).await;
    let many: Vec<String> = (0..250).map(|n| format!("i-{n:017x}")).collect();
    let twice = [many.clone(), many].concat();
    cloud(&ec2).terminate("us-west-2", &twice).await.unwrap();
    assert_eq!(ec2.calls().iter().map(|c| c.numbered("InstanceId").len()).collect::<Vec<_>>(), [100, 100, 50]);
    cloud(&ec2).terminate("us-west-2", &[]).await.unwrap();
    assert_eq!(ec2.calls().len(), 3);
}

/// Refuses a call that names an instance of `bad`, and shows what is in `shown`.
fn spoiled(call: &Call, code: &str, bad: &str, shown: &[String]) -> Answer {
    match call.get("Action") {
        "DescribeInstances" => page(shown, ""),
        _ if call.numbered("InstanceId").contains(&bad) => error(400, code, "about one of them"),
        _ => terminated(),
    }
}

#[tokio::test]
async fn one_unknown_instance_does_not_keep_the_others_alive() {
    let shown = [instance(A, "running", &OURS), instance(C, "terminated", &OURS)];
    let ec2 = Ec2::start(move |call, _| spoiled(call, "InvalidInstanceID.NotFound", B, &shown)).await;
    let failed = cloud(&ec2).terminate("us-west-2", &ids(&[A, B, C])).await.unwrap_err();
    assert!(matches!(&failed, CloudError::Unavailable { message } if message.contains(B) && !message.contains(A)), "{failed:?}");
    assert_eq!(ec2.actions(), ["TerminateInstances", "DescribeInstances", "TerminateInstances"]);
    let calls = ec2.calls();
    assert_eq!(calls[1].filters()["instance-id"], [A, B, C]);
    assert_eq!(calls[2].numbered("InstanceId"), [A]);
}

#[tokio::test]
async fn terminated_and_senseless_ids_are_no_error() {
    let gone = [instance(B, "terminated", &OURS)];
    let ec2 = Ec2::start(move |call, _| spoiled(call, "InvalidInstanceID.NotFound", B, &gone)).await;
    cloud(&ec2).terminate("us-west-2", &ids(&[B])).await.unwrap();
    let shown = [instance(A, "running", &OURS)];
    let ec2 = Ec2::start(move |call, _| spoiled(call, "InvalidInstanceID.Malformed", "phx-7", &shown)).await;
    cloud(&ec2).terminate("us-west-2", &ids(&[A, "phx-7"])).await.unwrap();
    assert_eq!(ec2.calls()[2].numbered("InstanceId"), [A]);
}

#[tokio::test]
async fn a_protected_instance_stays_and_the_others_go() {
    let many: Vec<String> = (0..100).map(|n| format!("i-{n:017x}")).collect();
    let shown: Vec<String> = many.iter().map(|id| instance(id, "running", &OURS)).collect();
    let bad = many[41].clone();
    let protected = bad.clone();
    let ec2 = Ec2::start(move |call, _| spoiled(call, "OperationNotPermitted", &protected, &shown)).await;
    let failed = cloud(&ec2).terminate("us-west-2", &many).await.unwrap_err();
    assert!(matches!(&failed, CloudError::Invalid { message } if message.starts_with("OperationNotPermitted")), "{failed:?}");
    let calls = ec2.calls();
    let gone = calls.iter().filter(|c| c.get("Action") == "TerminateInstances").map(|c| c.numbered("InstanceId"));
    let gone: usize = gone.filter(|i| !i.contains(&bad.as_str())).map(|i| i.len()).sum();
    assert!(gone == 99 && calls.len() <= 18, "{gone} gone with {} calls", calls.len());
}

#[tokio::test]
async fn each_region_has_its_own_signature() {
    let ec2 = Ec2::start(|_, _| page(&[], "")).await;
    let cloud = cloud(&ec2);
    for region in ["us-west-2", "us-east-1"] {
        assert!(cloud.list_cluster(region).await.unwrap().is_empty());
    }
    assert_eq!(ec2.calls().iter().map(|c| c.region().to_owned()).collect::<Vec<_>>(), ["us-west-2", "us-east-1"]);
}
