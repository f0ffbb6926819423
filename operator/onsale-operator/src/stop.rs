//! The signals that ask us to stop, and the word passed on.

use std::{future::pending, io};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Installs handlers at once, so that no signal is missed; the future completes with the first signal that arrives.
///
/// # Errors
/// When the system refuses the handlers.
pub fn on_signal() -> io::Result<impl Future<Output = &'static str> + Send + 'static> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Completes once `stopped` says so.
pub async fn wait(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it whoever could stop us.
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        pending::<()>().await;
    }
}
