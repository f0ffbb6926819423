//! A wall in the API server: writes that are refused until it is taken down again, so that a process can be killed while a write is due and has not happened.

use anyhow::{Result, bail};
use onsale_bed::{Bed, wait_until};
use serde_json::json;

use crate::shop::{SOON, Shop};

/// Refuses updates and creations of a resource in a shop's namespace, whoever asks.
pub struct Wall<'a> {
    bed: &'a Bed,
    name: String,
}

impl<'a> Wall<'a> {
    /// Builds it, and waits until `probe`, such a write as a dry run of kubectl, is refused: policies take a moment.
    pub async fn build(shop: &Shop<'a>, group: &str, resource: &str, probe: &[&str]) -> Result<Self> {
        let name = format!("wall-{}-{}", shop.name, resource.replace('/', "-"));
        let rule = json!({"apiGroups": [group], "apiVersions": ["*"], "resources": [resource], "operations": ["CREATE", "UPDATE"]});
        let here = json!({"matchLabels": {"kubernetes.io/metadata.name": shop.name}});
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {"matchConstraints": {"resourceRules": [rule], "namespaceSelector": here}, "validations": [{"expression": "false", "message": "a wall"}]},
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        });
        shop.bed.apply(&format!("{policy}\n---\n{binding}")).await?;
        wait_until(format!("{name} stands"), SOON, async || {
            let probed = shop.bed.kubectl(probe).await?;
            if probed.stderr.contains("a wall") { Ok(true) } else { bail!("{probed:?}") }
        })
        .await?;
        Ok(Self { bed: shop.bed, name })
    }

    /// Takes it down.
    pub async fn down(self) -> Result<()> {
        for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
            self.bed.kubectl(&["delete", kind, &self.name]).await?.ok()?;
        }
        Ok(())
    }
}
