//! The controller: one fleet loop, the only writer of anything but leases. No AWS here.
//!
//! - [`run`]: observe -> plan -> due -> act -> status, until it is dropped; call it in the leader only
//! - [`fleet`]: the loop; [`context`]: what everything in it may use; [`config`], [`clock`], [`executor`]: what is injected
//! - [`events`], [`metrics`], [`telemetry`]: what is told to people, to Prometheus and to probes
//! - [`lease`]: who may run; [`http`]: what the process listens for

pub mod clock;
pub mod config;
pub mod context;
pub mod events;
pub mod executor;
pub mod fleet;
pub mod http;
pub mod lease;
pub mod metrics;
pub mod telemetry;

use std::sync::Arc;

use onsale_cloud::Cloud;

pub use clock::{Clock, SystemClock};
pub use config::Config;
pub use executor::Executor;
pub use telemetry::{Health, Telemetry};

/// Why the fleet loop ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A watch's task ended, which it never does by itself: without it the loop would be blind.
    #[error("the watch of {kind} ended ({message}): restart the operator")]
    WatchEnded {
        /// What was watched.
        kind: &'static str,
        /// What is known about it.
        message: String,
    },
}

/// Runs the fleet loop until the future is dropped: cancel-safe at every point, because each step is replayed from what is stored.
///
/// Build `client` with `default_retry = false`: the default policy repeats a refused eviction for minutes and a lost POST blindly, while
/// the loop decides anew with each pass. Only the holder of the lease may run it.
///
/// # Errors
/// [`Error`], when the loop cannot go on; start the process again.
pub async fn run(client: kube::Client, cloud: Arc<dyn Cloud>, clock: Arc<dyn Clock>, config: Config) -> Result<(), Error> {
    let context = context::Context::new(client, cloud, clock, config);
    fleet::run(context).await
}
