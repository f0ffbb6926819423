//! Waiting for something to become true, with a deadline and a description for the day it does not.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often the bed looks: quick enough that a wait costs nothing, slow enough that looking costs nothing.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Polls until `look` says yes. `look` answers `Ok(None)` for "not yet", `Ok(Some(value))` when done, and an error for
/// "not yet, and this is why": the last one is part of the failure.
pub async fn wait_for<T>(what: impl Display, deadline: Duration, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let why = match tokio::time::timeout(deadline.saturating_sub(start.elapsed()).max(LOOK_AGAIN), look()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => String::new(),
            Ok(Err(error)) => format!("; last seen: {error:#}"),
            Err(_) => "; the last look did not end".into(),
        };
        if start.elapsed() >= deadline {
            bail!("not true after {deadline:?}: {what}{why}");
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Polls until `look` says true; an error counts as "not yet" and is told if the deadline passes. An error such as
/// `bail!("{ready} of 300 pods are Ready")` makes the best description.
pub async fn wait_until(what: impl Display, deadline: Duration, mut look: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, deadline, async || Ok(look().await?.then_some(()))).await
}
