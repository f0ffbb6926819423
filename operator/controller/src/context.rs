//! What everything in the loop may use: clients, clock, configuration, and the one way to call the Kubernetes API.

use std::{future::Future, sync::Arc};

use onsale_cloud::{Cloud, CloudError};

use crate::{
    clock::Clock,
    config::Config,
    events::{Events, Note},
    metrics::Metrics,
};

/// Everything that is injected.
pub struct Context {
    /// Client, built with `default_retry = false`.
    pub client: kube::Client,
    /// The cloud.
    pub cloud: Arc<dyn Cloud>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Configuration.
    pub config: Config,
    /// Events for people.
    pub events: Events,
}

/// A call to the Kubernetes API that did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server said no, or could not be reached.
    #[error("{what}: {}", brief(source))]
    Api {
        /// What was tried.
        what: String,
        /// The answer.
        source: kube::Error,
    },
    /// No answer in time; whether it was done is unknown.
    #[error("{what}: no answer from the API server in time")]
    Timeout {
        /// What was tried.
        what: String,
    },
}

/// What the API server said, without the rest of its answer: it is shown to people.
fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

impl CallError {
    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api { source: kube::Error::Api(status), .. } => Some(status),
            _ => None,
        }
    }
    /// The object is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        // A kind that is not served at all is 404 without a `Status`, which kube does not take for one.
        self.status().is_some_and(|s| s.is_not_found() || s.code == 404)
    }
    /// Somebody was faster, or the UID or resourceVersion given is not that of the object. A patch with another UID is no conflict for the API
    /// server but an invalid value: of `metadata.uid`, which cannot change.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        let another = |s: &kube::core::Status| s.details.iter().flat_map(|d| &d.causes).any(|c| c.field == "metadata.uid");
        self.status().is_some_and(|s| s.is_conflict() || s.is_already_exists() || (s.is_invalid() && another(s)))
    }
    /// A `test` of a JSON Patch failed: 422 as well, but unlike failed validation and a policy's refusal it comes without causes.
    #[must_use]
    pub fn is_failed_test(&self) -> bool {
        let has_causes = |s: &kube::core::Status| s.details.as_ref().is_some_and(|d| !d.causes.is_empty());
        self.status().is_some_and(|s| s.is_invalid() && !has_causes(s))
    }
    /// A PodDisruptionBudget refuses an eviction: 429 with its cause, or 500 where two budgets select one pod. The sentence says which.
    #[must_use]
    pub fn disruption_budget(&self) -> Option<String> {
        let status = self.status()?;
        let cause = status.details.iter().flat_map(|d| &d.causes).find(|c| c.reason == "DisruptionBudget");
        match cause {
            Some(cause) => Some(cause.message.clone()),
            None if status.code == 500 && status.message.contains("PodDisruptionBudget") => Some(status.message.clone()),
            None => None,
        }
    }
}

impl Context {
    /// Puts it together.
    #[must_use]
    pub fn new(client: kube::Client, cloud: Arc<dyn Cloud>, clock: Arc<dyn Clock>, config: Config) -> Self {
        Self { client, cloud, clock, config, events: Events::default() }
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.config.telemetry.metrics
    }

    /// Says something to people; what finds no room in the queue is counted.
    pub fn say(&self, note: Note) {
        if !self.events.say(note) {
            self.metrics().event_dropped();
        }
    }

    /// One call to the Kubernetes API, with a time limit.
    ///
    /// # Errors
    /// [`CallError`], naming `what` was tried.
    pub async fn call<T>(&self, what: impl Into<String>, call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
        match tokio::time::timeout(self.config.call_timeout, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(CallError::Api { what: what.into(), source }),
            Err(_) => Err(CallError::Timeout { what: what.into() }),
        }
    }

    /// One call to the cloud, with a time limit.
    ///
    /// # Errors
    /// [`CloudError`]; `Unavailable` when the limit passes.
    pub async fn cloud_call<T>(&self, verb: &str, call: impl Future<Output = Result<T, CloudError>>) -> Result<T, CloudError> {
        let answer = match tokio::time::timeout(self.config.cloud_timeout, call).await {
            Ok(answer) => answer,
            Err(_) => Err(CloudError::Unavailable { message: format!("no answer to {verb} within {:?}", self.config.cloud_timeout) }),
        };
        if let Err(error) = &answer {
            self.metrics().cloud_error(error.reason());
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_of_a_namesake_is_a_conflict_and_no_failed_test() {
        let error =
            unprocessable(&json!({"causes": [{"field": "metadata.uid", "reason": "FieldValueInvalid", "message": "field is immutable"}]}));
        assert!(error.is_conflict() && !error.is_failed_test());
        assert!(!unprocessable(&json!({"causes": [{"field": "spec.replicas", "reason": "FieldValueInvalid"}]})).is_conflict());
    }

    #[test]
    fn a_kind_that_is_not_served_is_gone() {
        let status = kube::core::Status::failure("404 page not found", "Failed to parse error data").with_code(404);
        assert!(CallError::Api { what: "read".to_owned(), source: kube::Error::Api(Box::new(status)) }.is_gone());
    }

    fn unprocessable(details: &serde_json::Value) -> CallError {
        let status = json!({"status": "Failure", "reason": "Invalid", "code": 422, "message": "", "details": details});
        CallError::Api { what: "write".to_owned(), source: kube::Error::Api(serde_json::from_value(status).unwrap()) }
    }

    #[test]
    fn a_failed_test_is_told_from_failed_validation_and_from_a_policy_that_refuses() {
        assert!(unprocessable(&json!({})).is_failed_test());
        assert!(!unprocessable(&json!({"causes": [{"field": "spec.replicas", "reason": "FieldValueInvalid"}]})).is_failed_test());
        assert!(
            !unprocessable(&json!({"causes": [{"message": "ValidatingAdmissionPolicy 'quiet-hours' denied request"}]})).is_failed_test()
        );
    }
}
