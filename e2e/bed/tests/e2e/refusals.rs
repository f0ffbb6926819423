//! Bad manifests are refused by the real API server, each with a sentence that says what to do; good ones are accepted as they are.

use anyhow::{Context, Result, ensure};
use onsale_bed::operator::install_crds;
use onsale_bed::{Bed, tools};
use serde_json::{Value, json};

use crate::harness::{Case, Ground, alone};

pub fn cases() -> Vec<Case> {
    vec![alone!(bad_manifests_are_refused_with_a_sentence), alone!(examples_and_the_shortest_sale_are_accepted)]
}

fn read(path: &str) -> Result<Value> {
    let path = tools::checkout().join(path);
    let text = std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    serde_yaml::from_str(&text).with_context(|| format!("{} is no YAML", path.display()))
}

/// RFC 7386.
fn merge(onto: &mut Value, patch: &Value) {
    let (Value::Object(target), Value::Object(changes)) = (&mut *onto, patch) else {
        *onto = patch.clone();
        return;
    };
    for (key, change) in changes {
        if change.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(json!({})), change);
        }
    }
}

/// The kind that a case is about, its change and the sentence.
fn wish(case: &Value) -> Result<(&str, &Value, &str)> {
    let kind = ["onsale", "pool"].into_iter().find(|k| case.get(k).is_some()).context("a case names onsale or pool")?;
    Ok((kind, &case[kind], case["says"].as_str().context("a case says what the user has to see")?))
}

async fn refused(bed: &Bed, object: &Value, says: &str, failures: &mut Vec<String>) -> Result<()> {
    let answer = bed.commands().kubectl_with(["apply", "--dry-run=server", "-f", "-"], &object.to_string()).await?;
    if answer.success() || !answer.stderr.contains(says) {
        failures.push(format!("expected {says:?}, got {:?}\n  for {object}", answer.stderr.trim()));
    }
    Ok(())
}

async fn bad_manifests_are_refused_with_a_sentence(bed: &Ground<'_>) -> Result<()> {
    install_crds(bed).await?;
    let all = read("e2e/scenarios/bad-manifests.yaml")?;
    let mut failures = Vec::new();
    for kind in ["onsale", "pool"] {
        let object = all["valid"][kind].to_string();
        bed.commands().kubectl_with(["apply", "--dry-run=server", "-f", "-"], &object).await?.ok().context("the valid one is refused")?;
    }
    let cases = all["refused"].as_array().context("no cases")?;
    ensure!(cases.len() >= 25, "only {} bad manifests", cases.len());
    for case in cases {
        let (kind, change, says) = wish(case)?;
        let mut object = all["valid"][kind].clone();
        merge(&mut object, change);
        refused(bed, &object, says, &mut failures).await?;
    }
    for case in all["refused-changes"].as_array().context("no changes")? {
        let (kind, change, says) = wish(case)?;
        let mut object = all["valid"][kind].clone();
        bed.apply(&object.to_string()).await?;
        merge(&mut object, change);
        refused(bed, &object, says, &mut failures).await?;
        bed.commands().kubectl_with(["delete", "-f", "-"], &all["valid"][kind].to_string()).await?.ok()?;
    }
    ensure!(failures.is_empty(), "{} of {} are not refused as they should be:\n{}", failures.len(), cases.len(), failures.join("\n"));
    Ok(())
}

async fn examples_and_the_shortest_sale_are_accepted(bed: &Ground<'_>) -> Result<()> {
    install_crds(bed).await?;
    bed.kubectl(&["create", "namespace", "ticketing"]).await?;
    for file in ["pools.yaml", "shop.yaml", "stadium-tour.yaml", "minimal.yaml", "seat-map-hpa.yaml"] {
        let path = tools::checkout().join("examples").join(file).display().to_string();
        bed.kubectl(&["apply", "--dry-run=server", "-f", &path]).await?.ok().with_context(|| format!("examples/{file}"))?;
    }
    bed.kubectl(&["delete", "namespace", "ticketing", "--wait=false"]).await?.ok()?;
    Ok(())
}
