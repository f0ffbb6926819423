//! Where endpoint, keys and roles come from.

use onsale_api::Reason;
use onsale_cloud::{Cloud, CloudError};
use onsale_cloud_aws::Ec2Cloud;

use crate::{
    A, OURS, order, owner,
    wire::{self, Answer, Ec2, instance, launched, page},
};

/// Runs one test of this binary in a process of its own: the environment is the process's, and tests share it.
async fn in_own_process(test: &str, environment: &[(&str, &str)]) {
    let mut command = tokio::process::Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", test]).env_clear().env(OWN_PROCESS, "1").env("HOME", "/nonexistent").envs(environment.iter().copied());
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_REGION", "us-west-2").kill_on_drop(true);
    let output = command.output().await.expect("a process");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

const OWN_PROCESS: &str = "ONSALE_OWN_PROCESS";

fn is_own_process() -> bool {
    std::env::var_os(OWN_PROCESS).is_some()
}

#[tokio::test]
async fn the_environment_gives_endpoint_and_keys() {
    if is_own_process() {
        let cloud = Ec2Cloud::from_env("tix".into()).await;
        assert_eq!(cloud.list(&owner()).await.unwrap().len(), 1);
        return;
    }
    let ec2 = Ec2::start(|_, _| page(&[instance(A, "running", &OURS)], "")).await;
    let environment =
        [("AWS_ENDPOINT_URL", ec2.url.as_str()), ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "do-not-show")];
    in_own_process("credentials::the_environment_gives_endpoint_and_keys", &environment).await;
    assert_eq!(ec2.actions(), ["DescribeInstances"]);
}

#[tokio::test]
async fn without_credentials_the_answer_says_what_to_do() {
    if is_own_process() {
        let failed = Ec2Cloud::from_env("tix".into()).await.launch(&order(1)).await.unwrap_err();
        assert!(matches!(&failed, CloudError::Unauthorized { message } if message.contains("ServiceAccount")), "{failed:?}");
        assert_eq!(failed.reason(), Reason::Unauthorized);
        return;
    }
    let ec2 = Ec2::start(|_, _| launched(&[A])).await;
    in_own_process("credentials::without_credentials_the_answer_says_what_to_do", &[("AWS_ENDPOINT_URL", ec2.url.as_str())]).await;
    assert!(ec2.calls().is_empty());
}

/// What STS answers, how the list's result begins, and how many calls EC2 sees.
type RoleCase = (fn() -> Answer, &'static str, usize);

#[tokio::test]
async fn a_role_for_the_service_account_is_assumed() {
    if is_own_process() {
        let found = Ec2Cloud::from_env("tix".into()).await.list(&owner()).await;
        let expected = std::env::var("EXPECTED").unwrap();
        assert!(format!("{found:?}").starts_with(&expected), "{found:?}, not {expected}");
        return;
    }
    let token = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("service-account-token");
    std::fs::write(&token, "eyJ.do.not-show").unwrap();
    let answers: [RoleCase; 4] = [
        (wire::role, "Ok([])", 1),
        (|| wire::refused_role(403, "AccessDenied"), "Err(Unauthorized", 0),
        (|| wire::refused_role(503, "ServiceUnavailable"), "Err(Unavailable", 0),
        (|| Answer::Lost, "Err(Unavailable", 0),
    ];
    for (answer, expected, calls) in answers {
        let ec2 = Ec2::start(move |call, _| if call.get("Action") == "DescribeInstances" { page(&[], "") } else { answer() }).await;
        let environment = [
            ("AWS_ENDPOINT_URL", ec2.url.as_str()),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/onsale"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
            ("EXPECTED", expected),
        ];
        in_own_process("credentials::a_role_for_the_service_account_is_assumed", &environment).await;
        let actions = ec2.actions();
        assert_eq!(
            (actions[0].as_str(), actions.iter().filter(|a| *a == "DescribeInstances").count()),
            ("AssumeRoleWithWebIdentity", calls)
        );
    }
}
