//! Leases: what leader election stands on.

use anyhow::{Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use serde_json::json;

use super::{
    Case, case,
    ground::{Ground, create, equal, object, refused, version},
};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case!(of_two_who_take_a_lease_one_gets_it),
        case!(a_lease_is_renewed_under_its_version_alone),
        case!(a_lease_that_is_gone_is_not_renewed),
    ]
}

fn lease(ground: &Ground, holder: &str) -> Result<Lease> {
    object(json!({"metadata": {"name": ground.name},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-12-05T10:00:00.123456Z"}}))
}

async fn of_two_who_take_a_lease_one_gets_it(ground: Ground) -> Result<()> {
    let api = ground.api::<Lease>();
    create(&api, &lease(&ground, "a")?).await?;
    refused(api.create(&PostParams::default(), &lease(&ground, "b")?).await, 409, "AlreadyExists")?;
    let read = api.get(&ground.name).await?;
    let (mut b, mut c) = (read.clone(), read);
    b.spec.get_or_insert_default().holder_identity = Some("b".to_owned());
    c.spec.get_or_insert_default().holder_identity = Some("c".to_owned());
    api.replace(&ground.name, &PostParams::default(), &b).await?;
    refused(api.replace(&ground.name, &PostParams::default(), &c).await, 409, "Conflict")?;
    equal("holder", api.get(&ground.name).await?.spec.and_then(|s| s.holder_identity), Some("b".to_owned()))
}

async fn a_lease_is_renewed_under_its_version_alone(ground: Ground) -> Result<()> {
    let api = ground.api::<Lease>();
    let made = create(&api, &lease(&ground, "a")?).await?;
    refused(api.replace(&ground.name, &PostParams::default(), &lease(&ground, "b")?).await, 422, "Invalid")?;
    let mut renewed = made.clone();
    renewed.spec.get_or_insert_default().renew_time = Some(serde_json::from_value(json!("2026-12-05T10:00:02.654321Z"))?);
    let after = api.replace(&ground.name, &PostParams::default(), &renewed).await?;
    ensure!(version(&after)? > version(&made)?, "versions do not grow");
    equal("renewTime to the microsecond", after.spec.and_then(|s| s.renew_time), renewed.spec.and_then(|s| s.renew_time))
}

async fn a_lease_that_is_gone_is_not_renewed(ground: Ground) -> Result<()> {
    let api = ground.api::<Lease>();
    let made = create(&api, &lease(&ground, "a")?).await?;
    api.delete(&ground.name, &Default::default()).await?;
    // A conflict, and not 404: its UID is compared with that of nothing first.
    refused(api.replace(&ground.name, &PostParams::default(), &made).await, 409, "Conflict")?;
    create(&api, &lease(&ground, "b")?).await?;
    refused(api.replace(&ground.name, &PostParams::default(), &made).await, 409, "Conflict").map(drop)
}
