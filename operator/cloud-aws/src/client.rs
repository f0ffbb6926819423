//! How the SDK is set up: configuration, timeouts, and what it may retry by itself.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::{
    Client, Config,
    config::{AppName, Credentials, SharedCredentialsProvider, SharedHttpClient},
    error::ProvideErrorMetadata,
    operation::run_instances::RunInstancesError,
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    interceptors::context::InterceptorContext,
    retries::classifiers::{ClassifyRetry, RetryAction, RetryClassifierPriority},
};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};

use crate::{Ec2Cloud, errors};

/// An endpoint that does not even accept a connection in 3 s is not there.
const CONNECT: Duration = Duration::from_secs(3);
/// The longest answers, 100 instances launched or 500 described, take a few seconds.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Two full attempts, so that a lost answer is asked for once more; after that the fleet loop decides, whose pass waits for us.
const OPERATION: Duration = Duration::from_secs(20);
/// The bucket of `RunInstances` refills by two a second: three attempts, 1 s and 2 s apart at most, pass a short burst.
const ATTEMPTS: u32 = 3;

impl Ec2Cloud {
    /// EC2 by the SDK's standard chain: `AWS_ENDPOINT_URL`, `AWS_REGION`, keys, profiles, web identity, container and instance roles.
    /// Not built in: SSO and credential processes. Timeouts and retries are ours, whatever the environment says.
    pub async fn from_env(cluster_name: String) -> Self {
        let shared = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client())
            .retry_config(retries())
            .timeout_config(timeouts())
            .load()
            .await;
        Self::new(cluster_name, shared)
    }

    /// EC2 at an endpoint with fixed keys: an emulator.
    #[must_use]
    pub fn with_endpoint(cluster_name: String, url: &str, access_key: &str, secret_key: &str) -> Self {
        let keys = Credentials::new(access_key, secret_key, None, None, "fixed keys");
        let shared = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(url)
            .credentials_provider(SharedCredentialsProvider::new(keys))
            .build();
        Self::new(cluster_name, shared)
    }

    /// EC2 as configured. What `shared` leaves open of HTTP client, retries and timeouts is filled in; its region is not used for EC2.
    #[must_use]
    pub fn new(cluster_name: String, shared: SdkConfig) -> Self {
        let (http, retry, timeout) = (shared.http_client(), shared.retry_config().cloned(), shared.timeout_config().cloned());
        let shared = shared
            .to_builder()
            .http_client(http.unwrap_or_else(http_client))
            .retry_config(retry.unwrap_or_else(retries))
            .timeout_config(timeout.unwrap_or_else(timeouts))
            .build();
        Self { cluster: cluster_name, shared, clients: Mutex::new(BTreeMap::new()) }
    }

    /// The region's client.
    pub(crate) fn client(&self, region: &str) -> Client {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.entry(region.to_owned()).or_insert_with(|| Client::from_conf(self.config(region))).clone()
    }

    fn config(&self, region: &str) -> Config {
        let mut config =
            aws_sdk_ec2::config::Builder::from(&self.shared).region(Region::new(region.to_owned())).retry_classifier(NoRetryOfRefusals);
        config.set_app_name(AppName::new("onsale-operator").ok());
        config.build()
    }
}

/// rustls with ring and the system's roots: the same TLS as the Kubernetes client, so that the process has one provider.
fn http_client() -> SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS)
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).operation_timeout(OPERATION).build()
}

/// EC2 says "no capacity" with HTTP 500, which the SDK takes for its own trouble and asks thrice: 1.6 s and two calls of a bucket of five lost for
/// every empty pool. Whatever the table knows as a refusal is not asked again. Runs after the classifiers that go by status.
#[derive(Debug)]
struct NoRetryOfRefusals;

impl ClassifyRetry for NoRetryOfRefusals {
    fn classify_retry(&self, ctx: &InterceptorContext) -> RetryAction {
        let error = ctx.output_or_error().and_then(Result::err).and_then(|e| e.as_operation_error());
        let code = error.and_then(|e| e.downcast_ref::<RunInstancesError>()).and_then(ProvideErrorMetadata::code);
        match code {
            Some(code) if errors::is_refusal(code) => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "no retry of refusals"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}
