//! What service accounts asked of the API server, from its own audit log: the one place that counts every call, whoever made it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

/// Every call of a service account, but those of the controllers of Kubernetes: who, what, when, how it ended. No bodies.
pub(crate) const POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
  "rules": [
    {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
    {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
    {"level": "None"}
  ]
}"#;

pub(crate) fn log(folder: &Path) -> PathBuf {
    folder.join("audit.log")
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// When it arrived.
    pub at: Timestamp,
    /// `get`, `list`, `watch`, `create`, `patch`, …
    pub verb: String,
    /// `deployments`, `pods/eviction`, …; a path where it is no resource.
    pub resource: String,
    /// The HTTP status.
    pub code: u16,
}

/// The calls of one user, such as `system:serviceaccount:onsale-system:onsale-operator`, in the order of their ends.
pub fn requests(folder: &Path, user: &str) -> Result<Vec<Request>> {
    let path = log(folder);
    let text = std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    // The last line may be half written.
    let events = text.lines().filter_map(|line| serde_json::from_str::<Event>(line).ok());
    let mut seen = std::collections::BTreeSet::new();
    // A watch is told when it starts and when it ends: it is one call.
    let ours = events.filter(|event| event.user.username == user).filter(|event| seen.insert(event.audit_id.clone()));
    Ok(ours.map(Event::request).collect())
}

/// How many calls there were by verb and resource, as in `patch deployments/scale`.
pub fn count<'a>(requests: impl IntoIterator<Item = &'a Request>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in requests {
        *counts.entry(format!("{} {}", request.verb, request.resource)).or_default() += 1;
    }
    counts
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    request_received_timestamp: Timestamp,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Debug, Deserialize)]
struct ObjectRef {
    resource: Option<String>,
    subresource: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

impl Event {
    fn request(self) -> Request {
        let path = self.request_uri.split('?').next().unwrap_or_default().to_owned();
        let resource = match self.object_ref {
            Some(ObjectRef { resource: Some(resource), subresource: Some(sub) }) => format!("{resource}/{sub}"),
            Some(ObjectRef { resource: Some(resource), subresource: None }) => resource,
            _ => path,
        };
        let code = self.response_status.map_or(0, |status| status.code);
        Request { at: self.request_received_timestamp, verb: self.verb, resource, code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kind":"Event","auditID":"1","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/shop/deployments/map/scale?fieldManager=x",
        "verb":"patch","user":{"username":"operator"},"objectRef":{"resource":"deployments","subresource":"scale","name":"map"},
        "responseStatus":{"code":200},"requestReceivedTimestamp":"2026-12-05T17:00:00.123456Z"}"#;

    #[test]
    fn counts_each_call_of_one_user_once_by_verb_and_resource() {
        let folder = std::env::temp_dir().join(format!("onsale-audit-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let line = LINE.replace('\n', " ");
        let other = line.replace("operator", "somebody").replace("\"1\"", "\"2\"");
        let again =
            line.replace("\"1\"", "\"3\"").replace("deployments/map/scale?fieldManager=x", "pods").replace(r#""subresource":"scale","#, "");
        std::fs::write(log(&folder), format!("{line}\n{line}\n{other}\n{again}\n{{\"half")).unwrap();
        let found = requests(&folder, "operator").unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(count(&found), [("patch deployments".to_owned(), 1), ("patch deployments/scale".to_owned(), 1)].into());
        assert_eq!((found[0].code, found[0].at.to_string().as_str()), (200, "2026-12-05T17:00:00.123456Z"));
    }
}
