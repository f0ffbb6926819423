//! The in-process API keeps what the operator takes for granted; a real API server is held against the same cases by the end-to-end tests.

use onsale_nights::{
    api::kinds,
    conformance,
    night::{
        build::{NAMESPACE, night},
        play,
    },
};

#[test]
fn the_in_process_api_does_what_a_real_one_does() {
    play(night("2026-12-05T10:00:00Z", 7).build(), async |stage| {
        let kept = conformance::run(&stage.client("conformance"), NAMESPACE, "").await.unwrap();
        assert!(kept.len() >= 70, "only {} cases", kept.len());
        stage.sim.with(|inner| assert!(inner.store.list(&kinds::SALES).next().is_some(), "the cases touched nothing"));
    });
}
