//! What a launch template's user data tells the kubelet: labels and taints from registration on.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Taint;
use serde_json::json;

/// What the kubelet of an instance registers with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Registration {
    /// `--node-labels`.
    pub labels: BTreeMap<String, String>,
    /// `--register-with-taints`.
    pub taints: Vec<Taint>,
}

/// Reads user data, plain or in base64. `None`: it starts no kubelet, so the instance never joins.
pub fn read(user_data: &str) -> Option<Registration> {
    let text = decoded(user_data).unwrap_or_else(|| user_data.to_owned());
    let starts_kubelet = ["NodeConfig", "bootstrap.sh", "kubelet", "--node-labels", "--register-with-taints"];
    if !starts_kubelet.iter().any(|word| text.contains(word)) {
        return None;
    }
    let labels = values(&text, "--node-labels").filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.into(), value.into()));
    let taints = values(&text, "--register-with-taints").filter_map(taint);
    Some(Registration { labels: labels.collect(), taints: taints.collect() })
}

/// The comma-separated values of every occurrence of a flag, wherever in the text and however quoted.
fn values<'a>(text: &'a str, flag: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(flag).skip(1).flat_map(|rest| {
        let rest = rest.trim_start_matches(['=', ' ', '"', '\'']);
        let end = rest.find(|c: char| c.is_whitespace() || "\"'\\]".contains(c)).unwrap_or(rest.len());
        rest[..end].split(',').filter(|value| !value.is_empty())
    })
}

fn taint(text: &str) -> Option<Taint> {
    let (rest, effect) = text.rsplit_once(':')?;
    let (key, value) = rest.split_once('=').map_or((rest, None), |(key, value)| (key, Some(value.to_owned())));
    Some(Taint { key: key.into(), value: value.filter(|value| !value.is_empty()), effect: effect.into(), time_added: None })
}

fn decoded(text: &str) -> Option<String> {
    let compact: String = text.split_whitespace().collect();
    // A secret's bytes are base64 in JSON, so its reader is a base64 reader.
    let ByteString(bytes) = serde_json::from_value(json!(compact)).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODEADM: &str = r#"
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  kubelet:
    flags:
    - --node-labels=onsale.dev/pool=phx-lz,team=ticketing
    - "--register-with-taints=onsale.dev/pool=phx-lz:NoSchedule,quiet:NoExecute"
"#;

    #[test]
    fn reads_labels_and_taints_of_a_node_config() {
        let found = read(NODEADM).unwrap();
        assert_eq!(found.labels["onsale.dev/pool"], "phx-lz");
        assert_eq!(found.labels["team"], "ticketing");
        assert_eq!(found.taints.len(), 2);
        assert_eq!(
            (found.taints[0].key.as_str(), found.taints[0].value.as_deref(), found.taints[0].effect.as_str()),
            ("onsale.dev/pool", Some("phx-lz"), "NoSchedule")
        );
        assert_eq!(
            (found.taints[1].key.as_str(), found.taints[1].value.as_deref(), found.taints[1].effect.as_str()),
            ("quiet", None, "NoExecute")
        );
    }

    #[test]
    fn reads_base64_and_a_bootstrap_script() {
        let text = "IyEvYmluL3NoCi9ldGMvZWtzL2Jvb3RzdHJhcC5zaCBjIC0ta3ViZWxldC1leHRyYS1hcmdzICctLW5vZGUtbGFiZWxzPWE9YiAtLXJlZ2lzdGVyLXdpdGgtdGFpbnRzPWs9djpOb1NjaGVkdWxlJwo=";
        let found = read(text).unwrap();
        assert_eq!(found.labels["a"], "b");
        assert_eq!(found.taints[0].key, "k");
    }

    #[test]
    fn an_instance_without_a_kubelet_never_joins() {
        assert_eq!(read("#!/bin/sh\necho hello\n"), None);
        assert_eq!(read(""), None);
    }
}
