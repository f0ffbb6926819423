//! `GetServiceQuota` of Service Quotas: one call of the AWS JSON protocol, signed and sent by the SDK's own parts.
//!
//! Not by `aws-sdk-servicequotas`: its newest release (1.104) still needs the generation of the SDK's runtime before ours, a second set of crates and `http`
//! 0.2, for one call whose answer is one number.

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_ec2::error::ErrorMetadata;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_http_client::{
    Connector,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::HttpConnector,
    orchestrator::{HttpRequest, HttpResponse},
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use onsale_cloud::CloudError;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::errors::Failure;

/// A cluster without a way to Service Quotas, as private ones often are, must not wait for it: less than the rest of the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
const SERVICE: &str = "servicequotas";
const TARGET: &str = "ServiceQuotasV20190624.GetServiceQuota";
/// What the answer says when the account has no value of its own for a quota, or the service is an emulator's.
const UNKNOWN: &str = "NoSuchResourceException";

/// vCPUs of the quota in the region; `None` where Service Quotas does not know it.
pub(crate) async fn limit(shared: &SdkConfig, region: &str, code: &str) -> Result<Option<i32>, CloudError> {
    let answer = timeout(PATIENCE, call(shared, region, json!({"ServiceCode": "ec2", "QuotaCode": code}).to_string())).await;
    let (status, body) = answer.unwrap_or_else(|_| Err(unavailable("no answer of Service Quotas in time")))?;
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status == 200 {
        let limit = answer.pointer("/Quota/Value").and_then(Value::as_f64).filter(|n| (0.0..=f64::from(i32::MAX)).contains(n));
        #[expect(clippy::cast_possible_truncation, reason = "it is within bounds")]
        return limit.map(|n| Some(n as i32)).ok_or_else(|| unavailable("Service Quotas answers without a value"));
    }
    // `Type` or `namespace#Type`, in the body or by some proxies only in the header.
    let text = |key: &str| answer.get(key).and_then(Value::as_str).map(str::to_owned);
    let kind = text("__type").map(|kind| kind.rsplit('#').next().unwrap_or_default().to_owned());
    if kind.as_deref() == Some(UNKNOWN) {
        return Ok(None);
    }
    let mut said = ErrorMetadata::builder().message(text("message").or_else(|| text("Message")).unwrap_or_default());
    said = if let Some(kind) = kind { said.code(kind) } else { said };
    Err(Failure::answered(&said.build(), status).into())
}

async fn call(shared: &SdkConfig, region: &str, body: String) -> Result<(u16, Vec<u8>), CloudError> {
    let request = signed(shared, region, body).await?;
    // One connection a call: it is made every few minutes.
    let endpoint = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring)).build();
    let mut answer: HttpResponse = endpoint.call(request).await.map_err(|e| unavailable(&e.to_string()))?;
    let status = answer.status().as_u16();
    let body = ByteStream::new(answer.take_body()).collect().await.map_err(|e| unavailable(&e.to_string()))?;
    Ok((status, body.into_bytes().to_vec()))
}

async fn signed(shared: &SdkConfig, region: &str, body: String) -> Result<HttpRequest, CloudError> {
    let odd = |what: String| CloudError::Invalid { message: format!("GetServiceQuota cannot be signed: {what}") };
    let provider = shared.credentials_provider().ok_or_else(|| CloudError::Unauthorized { message: "no credentials".to_owned() })?;
    let identity = provider.provide_credentials().await.map_err(|e| CloudError::from(Failure::dispatch(&e)))?.into();
    #[expect(clippy::disallowed_methods, reason = "a signature is of the wall clock's time")]
    let now = SystemTime::now();
    let params = v4::SigningParams::builder().identity(&identity).region(region).name(SERVICE).time(now);
    let params = params.settings(SigningSettings::default()).build().map_err(|e| odd(e.to_string()))?.into();
    let url = url(shared, region);
    let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", TARGET)];
    let signable = SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::Bytes(body.as_bytes()));
    let signed = sign(signable.map_err(|e| odd(e.to_string()))?, &params).map_err(|e| odd(e.to_string()))?;
    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_method("POST").map_err(|e| odd(e.to_string()))?;
    request.set_uri(url.as_str()).map_err(|e| odd(e.to_string()))?;
    for (name, value) in headers {
        request.headers_mut().insert(name, value);
    }
    for header in signed.into_parts().0.into_parts().0 {
        request.headers_mut().insert(header.name(), header.value().to_owned());
    }
    Ok(request)
}

/// The endpoint that is configured for every service, an emulator's, or the region's own.
fn url(shared: &SdkConfig, region: &str) -> String {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let own = || format!("https://{SERVICE}.{region}.{suffix}");
    let base = shared.endpoint_url().map_or_else(own, str::to_owned);
    format!("{}/", base.trim_end_matches('/'))
}

fn unavailable(text: &str) -> CloudError {
    CloudError::Unavailable { message: format!("Service Quotas: {text}") }
}
