//! How everything was before the sale, and what differs afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::story::Story;
use crate::{Bed, wait_until};

/// Deleting what is empty takes a second or two.
const SOON: Duration = Duration::from_secs(30);

/// How everything was.
#[derive(Debug, Clone)]
pub struct Before {
    objects: Objects,
    /// What a second `kubectl apply` of the same files says: `unchanged`, but of a PodDisruptionBudget, whose selector kubectl always writes anew.
    said: Vec<String>,
}

impl Before {
    /// Remembers.
    pub async fn remember(bed: &Bed, story: &Story) -> Result<Self> {
        let said = apply_again(bed, story).await?;
        Ok(Self { said, objects: Objects::now(bed, story).await? })
    }
}

async fn apply_again(bed: &Bed, story: &Story) -> Result<Vec<String>> {
    let mut said = Vec::new();
    for file in &story.shop {
        said.extend(bed.apply_file(file).await?.lines().map(str::to_owned));
    }
    Ok(said)
}

/// Objects of the user, as the user wrote them: no status, no versions.
#[derive(Debug, Clone, PartialEq)]
struct Objects(BTreeMap<String, Value>);

impl Objects {
    async fn now(bed: &Bed, story: &Story) -> Result<Self> {
        let mut objects = BTreeMap::new();
        let shop = ["deployments,poddisruptionbudgets,horizontalpodautoscalers", "-n", story.namespace()];
        for what in [&shop[..], &["nodes"][..], &["namespaces", story.namespace()][..]] {
            let args = ["get"].iter().chain(what).chain(&["-o", "json"]);
            let all: Value = serde_json::from_str(&bed.commands().kubectl(args).await?.ok()?).context("kubectl answered no JSON")?;
            let items = all.get("items").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![all]);
            objects.extend(items.iter().map(|item| (name(item), essence(item))));
        }
        Ok(Self(objects))
    }

    /// What differs now, a line each.
    fn differences(&self, now: &Self) -> Vec<String> {
        let gone = self.0.keys().filter(|name| !now.0.contains_key(*name)).map(|name| format!("{name} is gone"));
        let new = now.0.keys().filter(|name| !self.0.contains_key(*name)).map(|name| format!("{name} was not there before"));
        let other = self
            .0
            .iter()
            .filter_map(|(name, was)| now.0.get(name).filter(|is| *is != was).map(|is| format!("{name} was {was} and is {is}")));
        gone.chain(new).chain(other).collect()
    }
}

fn name(object: &Value) -> String {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_lowercase();
    format!("{}/{}", text("/kind"), text("/metadata/name"))
}

fn essence(object: &Value) -> Value {
    let at = |path: &str| object.pointer(path).cloned().unwrap_or_default();
    json!({
        "labels": at("/metadata/labels"), "annotations": at("/metadata/annotations"), "finalizers": at("/metadata/finalizers"),
        "spec": at("/spec"),
    })
}

/// What is not as it was: nothing, if all went well. Waits a while for the last object to go.
pub async fn left_behind(bed: &Bed, story: &Story, before: &Before) -> Result<Vec<String>> {
    let mut left = Vec::new();
    let settled = wait_until("everything is as it was", SOON, async || {
        left = look(bed, story, before).await?;
        if left.is_empty() { Ok(true) } else { bail!("{} things differ", left.len()) }
    });
    if settled.await.is_err() && left.is_empty() {
        left.push("it could not be looked at".into());
    }
    if left.is_empty() {
        let said = apply_again(bed, story).await?;
        left.extend(said.iter().filter(|line| !before.said.contains(line)).map(|line| format!("the next kubectl apply says {line:?}")));
    }
    Ok(left)
}

async fn look(bed: &Bed, story: &Story, before: &Before) -> Result<Vec<String>> {
    let mut left = before.objects.differences(&Objects::now(bed, story).await?);
    for instance in bed.ec2()?.instances().await?.iter().filter(|instance| instance.state != "terminated") {
        left.push(format!("instance {} in {} is {}", instance.id, instance.zone, instance.state));
    }
    let ours = ["get", "workloadplacements,podtemplates", "-n", story.namespace(), "-o", "name"];
    left.extend(bed.kubectl(&ours).await?.ok()?.lines().map(|name| format!("{name} is left")));
    let finalizers = r#"jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.finalizers}{"\n"}{end}"#;
    let held = bed.kubectl(&["get", "onsales,capacitypools", "-A", "-o", finalizers]).await?.ok()?;
    left.extend(held.lines().filter(|line| line.contains('[')).map(|line| format!("a finalizer is left: {line}")));
    Ok(left)
}
