//! `kubectl onsale plan` as people run it: the built binary on the PATH of a real kubectl, before a real API server.

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use onsale_bed::commands::{Commands, Output};
use onsale_bed::{tools, wait_until};
use serde_json::{Value, json};

use crate::harness::{Case, Ground, beside};
use crate::shop::{SOON, Shop};

pub fn cases() -> Vec<Case> {
    vec![beside!(a_plan_through_kubectl_is_the_operators_own), beside!(who_may_only_list_may_plan)]
}

/// A sale of the shop that opens in two hours, and its change.
fn tour(shop: &Shop<'_>, opens_at: Timestamp, peak: i32, more: &Value) -> String {
    let workload = json!({"target": {"kind": "Deployment", "name": "seat-map"}, "peakReplicas": peak, "dependencies": [{"site": "phx-dc", "serialCalls": 3}]});
    let mut spec = json!({"opensAt": opens_at.to_string(), "workloads": [workload]});
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "OnSale", "metadata": {"name": "tour", "namespace": shop.name}, "spec": spec})
        .to_string()
}

async fn plan(kubectl: &Commands, sale: &str, more: &[&str]) -> Result<Output> {
    kubectl.kubectl_with(["onsale", "plan", "--cluster", "-f", "-"].iter().chain(more), sale).await
}

/// kubectl with the built plugin on its PATH. The operator was built with all binaries of the workspace.
fn kubectl(bed: &Ground<'_>) -> Result<Commands> {
    let own = std::env::current_exe().context("who am I?")?;
    let folder = own.ancestors().nth(2).filter(|folder| folder.join("kubectl-onsale").exists()).context("kubectl-onsale was not built")?;
    Ok(bed.commands().with_plugins(folder))
}

async fn a_plan_through_kubectl_is_the_operators_own(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "planned", 1).await?;
    shop.workload("seat-map", 4).await?;
    let kubectl = kubectl(bed)?;
    let opens_at = onsale_api::time::whole_seconds(Timestamp::now() + SignedDuration::from_hours(2));
    let sale = |peak: i32, more: Value| tour(&shop, opens_at, peak, &more);
    bed.apply(&sale(40, json!({}))).await?;

    let go = plan(&kubectl, &sale(40, json!({})), &[]).await?;
    ensure!(go.code == 0 && go.stdout.starts_with("GO  planned/tour") && go.stderr.is_empty(), "{go:?}");
    // The pods that run on the shop's only server, what still finds room there, and nodes for the rest.
    let flat = go.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in ["seat-map planned-dc 4 16 600us planned-lz 0 24 6ms", "planned-dc OnPrem 1 there already", "FROM THE CLUSTER Context "] {
        ensure!(flat.contains(wanted), "{wanted:?} is missing:\n{}", go.stdout);
    }

    // The operator plans the same: what it says in the sale's status.
    let json = plan(&kubectl, &sale(40, json!({})), &["-o", "json"]).await?.ok()?;
    let told: Value = serde_json::from_str(&json)?;
    let told = &told["sales"][0];
    wait_until("the operator has planned the sale", SOON, async || {
        let status = shop.get("tour").await?.and_then(|sale| sale.status).context("no status")?;
        let status = serde_json::to_value(status)?;
        let same = [("/startsAt", "/times/startsAt"), ("/cost/window", "/cost/window"), ("/cost/hourly", "/cost/hourly")];
        for (ours, theirs) in same {
            ensure!(status.pointer(ours).is_some() && status.pointer(ours) == told.pointer(theirs), "{ours}: {status}\n{told}");
        }
        Ok(true)
    })
    .await?;

    let (much, dear) = (sale(4_000, json!({})), sale(40, json!({"budget": {"maxTotalCost": "0.01"}})));
    for (sale, names) in [(much, "limits.maxNodes of pool planned-lz"), (dear, "budget.maxTotalCost of the sale: \"0.01\" -> ")] {
        let no_go = plan(&kubectl, &sale, &[]).await?;
        ensure!(no_go.code == 2 && no_go.stdout.starts_with("NO-GO  planned/tour") && no_go.stdout.contains(names), "{no_go:?}");
    }
    let bad = plan(&kubectl, &sale(40, json!({"peekReplicas": 3})), &[]).await?;
    ensure!(bad.code == 1 && bad.stdout.is_empty() && bad.stderr.contains("spec.peekReplicas: unknown field"), "{bad:?}");
    Ok(())
}

async fn who_may_only_list_may_plan(bed: &Ground<'_>) -> Result<()> {
    let shop = Shop::open(bed, "planners", 1).await?;
    shop.workload("seat-map", 4).await?;
    let kubectl = kubectl(bed)?.with_kubeconfig(&bed.user_kubeconfig("pipeline", Some("planners"))?);
    let sale = tour(&shop, Timestamp::now() + SignedDuration::from_hours(2), 40, &json!({}));

    let refused = plan(&kubectl, &sale, &[]).await?;
    ensure!(refused.code == 1 && refused.stdout.is_empty(), "{refused:?}");
    ensure!(refused.stderr.contains("you may not list ") && refused.stderr.contains("User \"pipeline\" cannot list"), "{refused:?}");

    bed.apply_file(&tools::checkout().join("examples/plan-role.yaml")).await?;
    bed.kubectl(&["create", "clusterrolebinding", "planners", "--clusterrole=onsale-plan", "--group=planners"]).await?.ok()?;
    wait_until("the role is in force", SOON, async || Ok(plan(&kubectl, &sale, &[]).await?.code == 0)).await?;
    let applied = kubectl.kubectl_with(["apply", "-f", "-"], &sale).await?;
    ensure!(applied.code != 0 && applied.stderr.contains("cannot "), "who may only list may also write: {applied:?}");
    for object in [["clusterrolebinding", "planners"], ["clusterrole", "onsale-plan"]] {
        bed.kubectl(&[&["delete"], &object[..]].concat()).await?.ok()?;
    }
    Ok(())
}
