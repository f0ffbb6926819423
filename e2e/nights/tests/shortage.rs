//! Places that give less than was asked of them, beyond what `e2e/scenarios` show.

use onsale_cloud::CloudError;
use onsale_nights::{
    api::kinds,
    night::{
        Stage,
        build::{Start, tour},
        play,
    },
    sim::Inner,
};

fn whole(start: Start, script: impl AsyncFnOnce(&mut Stage)) -> Inner {
    play(start.build(), async |stage| {
        stage.start();
        script(stage).await;
        stage.run_until("2026-12-05T17:45:00Z").await;
        stage.state()
    })
}

#[test]
fn a_zone_without_any_capacity_or_quota_is_left_out() {
    for error in [
        CloudError::InsufficientCapacity { instance_type: "c6i.4xlarge".into(), place: "lz".into() },
        CloudError::QuotaExhausted { instance_type: "c6i.4xlarge".into(), message: "20 vCPU".into() },
        CloudError::AddressesExhausted { subnet: "subnet-0".into() },
        CloudError::Invalid { message: "no such template".into() },
    ] {
        let reason = error.reason();
        let start = tour(2).with(|inner| inner.cloud.refusals = vec![error.clone()]);
        let state = whole(start, async |stage| {
            stage.run_until("2026-12-05T16:50:00Z").await;
            assert_eq!(stage.state().ready("seat-map"), 70, "{reason}\n{}", stage.text());
        });
        state.assert_on_time();
        state.assert_clean(&[]);
    }
}

#[test]
fn nodes_that_register_without_label_and_taint_are_repaired() {
    let start = tour(4).with(|inner| inner.world.unmarked = 2);
    let state = whole(start, async |stage| {
        stage.run_until("2026-12-05T16:50:00Z").await;
        let nodes = stage.state();
        let bare = nodes
            .store
            .list(&kinds::NODES)
            .filter(|n| n["spec"]["providerID"].is_string() && n["spec"]["taints"].as_array().is_none_or(Vec::is_empty));
        assert_eq!(bare.count(), 0, "{}", stage.text());
    });
    state.assert_on_time();
    state.assert_clean(&[]);
}
