//! What a server makes of what it is given: defaults, bounds, rules.

use anyhow::{Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler};
use onsale_api::{CapacityPool, OnSale};
use serde_json::json;

use super::{
    Case, case,
    ground::{Ground, as_manager, causes, create, equal, json_patch, manager, merge, object, refused},
};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case!(defaults_are_filled_in),
        case!(what_breaks_the_structure_is_refused),
        case!(what_breaks_a_rule_is_refused_with_its_sentence),
        case!(a_rule_on_changes_holds_for_changes),
        case!(a_refused_value_is_told_from_a_failed_test),
    ]
}

async fn defaults_are_filled_in(ground: Ground) -> Result<()> {
    let made = create(&ground.api::<OnSale>(), &ground.sale()?).await?;
    let (spec, ready_before) = (&made.spec, made.spec.ready_before.to_string());
    equal("duration", spec.duration.to_string().as_str(), "1h")?;
    equal("readyBefore", ready_before.as_str(), "10m")?;
    ensure!(!spec.suspend && serde_json::to_value(&made)?["spec"]["mode"] == "Live", "{spec:?}");
    let again = merge(&ground.api::<OnSale>(), &ground.name, json!({"spec": {"duration": null}})).await?;
    equal("a default that was removed", again.spec.duration.to_string().as_str(), "1h")
}

async fn what_breaks_the_structure_is_refused(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    create(&api, &ground.sale()?).await?;
    for spec in [json!({"workloads": []}), json!({"opensAt": null}), json!({"mode": "Dry"}), json!({"workloads": "many"})] {
        let status = refused(merge(&api, &ground.name, json!({"spec": spec})).await, 422, "Invalid")?;
        ensure!(!causes(&status).is_empty(), "{status:?}");
    }
    Ok(())
}

async fn what_breaks_a_rule_is_refused_with_its_sentence(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    create(&api, &ground.sale()?).await?;
    for (spec, says) in [
        (json!({"duration": "0s"}), "duration must be from 1s to 168h"),
        (json!({"timeZone": "America/Phoenix"}), "opensAt carries an offset: remove timeZone"),
        (json!({"opensAt": "2036-12-05T10:00:00"}), "opensAt is a local time: add timeZone"),
    ] {
        let status = refused(merge(&api, &ground.name, json!({"spec": spec})).await, 422, "Invalid")?;
        ensure!(status.message.contains(says) && !causes(&status).is_empty(), "{status:?}");
    }
    let pools = ground.all::<CapacityPool>();
    let mut pool = serde_json::to_value(ground.pool()?)?;
    pool["spec"]["nodes"] = json!({});
    let status = refused(pools.create(&as_manager(), &object(pool)?).await, 422, "Invalid")?;
    ensure!(status.message.contains("nodes must have exactly one of existing and ec2"), "{status:?}");
    Ok(())
}

async fn a_rule_on_changes_holds_for_changes(ground: Ground) -> Result<()> {
    let api = ground.api::<OnSale>();
    create(&api, &ground.sale()?).await?;
    let other = json!({"spec": {"opensAt": "2036-12-06T12:00:00Z"}});
    merge(&api, &ground.name, other).await?;
    let live = kube::api::Patch::Merge(json!({"status": {"phase": "Live"}}));
    api.patch_status(&ground.name, &manager("operator"), &live).await?;
    let status = refused(merge(&api, &ground.name, json!({"spec": {"opensAt": "2036-12-07T12:00:00Z"}})).await, 422, "Invalid")?;
    ensure!(status.message.contains("opensAt"), "{status:?}");
    merge(&api, &ground.name, json!({"spec": {"duration": "2h"}})).await?;
    Ok(())
}

async fn a_refused_value_is_told_from_a_failed_test(ground: Ground) -> Result<()> {
    let deployments = ground.api::<Deployment>();
    create(&deployments, &ground.deployment(2)?).await?;
    let negative = json_patch(json!([{"op": "replace", "path": "/spec/replicas", "value": -1}]))?;
    let status = refused(deployments.patch_scale(&ground.name, &manager("m"), &negative).await, 422, "Invalid")?;
    ensure!(!causes(&status).is_empty(), "a scale below 0: {status:?}");
    let scalers = ground.api::<HorizontalPodAutoscaler>();
    let scaler = json!({"metadata": {"name": ground.name}, "spec": {"minReplicas": 2, "maxReplicas": 5,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": ground.name},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}]}});
    create(&scalers, &object(scaler)?).await?;
    let raise = |from: i32, to: i32| {
        json_patch(
            json!([{"op": "test", "path": "/spec/minReplicas", "value": from}, {"op": "replace", "path": "/spec/minReplicas", "value": to}]),
        )
    };
    let raised = scalers.patch(&ground.name, &manager("m"), &raise(2, 5)?).await?;
    equal("minReplicas", raised.spec.min_replicas, Some(5))?;
    let status = refused(scalers.patch(&ground.name, &manager("m"), &raise(5, 6)?).await, 422, "Invalid")?;
    ensure!(!causes(&status).is_empty(), "a floor above maxReplicas: {status:?}");
    let status = refused(scalers.patch(&ground.name, &manager("m"), &raise(2, 3)?).await, 422, "Invalid")?;
    ensure!(causes(&status).is_empty(), "a failed test: {status:?}");
    Ok(())
}
