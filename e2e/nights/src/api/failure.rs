//! What the API says when it says no: `Status` objects as the real one sends them.

use serde_json::{Value, json};

use super::kinds::Kind;

/// Reason of what is answered with bare text.
const BARE: &str = "";

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason.
    pub reason: &'static str,
    /// Sentence.
    pub message: String,
    /// What it is about: group, kind, name, causes.
    pub details: Value,
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    fn about(mut self, kind: Kind, name: &str) -> Self {
        self.details = json!({"group": kind.group, "kind": kind.plural, "name": name});
        self
    }

    /// 404: the object.
    #[must_use]
    pub fn not_found(kind: Kind, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {name:?} not found", qualified(kind))).about(kind, name)
    }

    /// 404: the place itself. Not even a `Status`: a real API server answers with bare text.
    #[must_use]
    pub fn no_such_resource() -> Self {
        Self::new(404, BARE, "404 page not found")
    }

    /// 409: created twice.
    #[must_use]
    pub fn already_exists(kind: Kind, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {name:?} already exists", qualified(kind))).about(kind, name)
    }

    /// 409: somebody was faster, or a precondition does not hold.
    #[must_use]
    pub fn conflict(kind: Kind, name: &str, why: &str) -> Self {
        Self::new(409, "Conflict", format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(kind))).about(kind, name)
    }

    /// 422: validation; the cause names the field.
    #[must_use]
    pub fn invalid(kind: Kind, name: &str, field: &str, why: &str) -> Self {
        let mut failure = Self::new(422, "Invalid", format!("{}.{} {name:?} is invalid: {field}: {why}", kind.kind, kind.group));
        let cause = json!({"reason": "FieldValueInvalid", "message": why, "field": field});
        failure.details = json!({"group": kind.group, "kind": kind.kind, "name": name, "causes": [cause]});
        failure
    }

    /// 422: a JSON Patch that cannot be applied, a failed `test` among them; names no field.
    #[must_use]
    pub fn unprocessable(why: &str) -> Self {
        Self::new(422, "Invalid", format!("the server rejected our request due to an error in our request ({why})"))
    }

    /// 400.
    #[must_use]
    pub fn bad_request(why: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", why)
    }

    /// 403: no rule of RBAC allows it.
    #[must_use]
    pub fn forbidden(kind: Kind, verb: &str) -> Self {
        Self::new(403, "Forbidden", format!("{} is forbidden: cannot {verb} resource {:?}", qualified(kind), kind.plural)).about(kind, "")
    }

    /// 410: the history that a watch asks for is gone.
    #[must_use]
    pub fn expired() -> Self {
        Self::new(410, "Expired", "too old resource version")
    }

    /// 500.
    #[must_use]
    pub fn internal(why: &str) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {why}"))
    }

    /// 429: a PodDisruptionBudget refuses an eviction.
    #[must_use]
    pub fn disruption_budget(budget: &str, needs: i64, has: i64) -> Self {
        let mut failure = Self::new(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.");
        let message = format!("The disruption budget {budget} needs {needs} healthy pods and has {has} currently");
        failure.details = json!({"causes": [{"reason": "DisruptionBudget", "message": message}]});
        failure
    }

    /// 409: server-side apply meets what another manager owns.
    #[must_use]
    pub fn apply_conflict(manager: &str, field: &str) -> Self {
        let about = format!("conflict with {manager:?}");
        let mut failure = Self::new(409, "Conflict", format!("Apply failed with 1 conflict: {about}: {field}"));
        failure.details = json!({"causes": [{"reason": "FieldManagerConflict", "message": about, "field": field}]});
        failure
    }

    /// As sent.
    #[must_use]
    pub fn body(&self) -> String {
        if self.reason == BARE { self.message.clone() } else { self.status().to_string() }
    }

    /// As an object.
    #[must_use]
    pub fn status(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "details": self.details, "code": self.code,
        })
    }
}

fn qualified(kind: Kind) -> String {
    if kind.group.is_empty() { kind.plural.to_owned() } else { format!("{}.{}", kind.plural, kind.group) }
}
