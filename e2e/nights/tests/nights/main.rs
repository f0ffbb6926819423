//! Whole nights in virtual time, and the in-process API that they stand on. One program for all of them: two threads share whatever is left to play.

mod api;
mod changes;
mod cloud;
mod conformance;
mod control;
mod every_write;
mod faults;
mod ordinary;
mod shortage;

use onsale_nights::{
    night::{Stage, build::Start, play},
    sim::Inner,
};

/// What is after a night that goes as the script has it; the operator runs from its beginning.
fn after(start: Start, script: impl AsyncFnOnce(&mut Stage)) -> Inner {
    play(start.build(), async |stage| {
        stage.start();
        script(stage).await;
        stage.state()
    })
}

/// The same, when all sales are long over.
fn whole(start: Start, script: impl AsyncFnOnce(&mut Stage)) -> Inner {
    after(start, async |stage| {
        script(stage).await;
        stage.run_until("2026-12-05T17:45:00Z").await;
    })
}
