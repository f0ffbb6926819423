//! What the process listens for, and all of it: `/healthz`, `/readyz`, `/metrics`.

use std::{io, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use tokio::{net::TcpListener, sync::watch};

use crate::{clock::Clock, lease::Standing, telemetry::Telemetry};

/// What the three answers are made of.
#[derive(Clone)]
pub struct Probes {
    /// Metrics and the loop's own health.
    pub telemetry: Telemetry,
    /// How the election stands; `Leading` for good where there is none.
    pub standing: watch::Receiver<Standing>,
    /// For the age of the last pass.
    pub clock: Arc<dyn Clock>,
    /// A leader whose loop was silent for longer is stuck; must exceed the resync.
    pub silence: Duration,
}

impl Probes {
    /// Whether restarting this process would help nobody; an error says why it would.
    fn alive(&self) -> Result<&'static str, &'static str> {
        let alive = self.telemetry.health.alive(self.clock.monotonic(), self.silence);
        if alive { Ok("alive") } else { Err("the fleet loop has not finished a pass for too long") }
    }

    /// Whether this process does its part: it leads and sees, or it waits and could take over.
    fn ready(&self) -> Result<&'static str, &'static str> {
        match *self.standing.borrow() {
            Standing::Unknown => Err("the lease could not be read yet"),
            Standing::Waiting => Ok("waiting for the lease"),
            Standing::Leading if self.telemetry.health.synced() => Ok("leading"),
            Standing::Leading => Err("leading, but not every watch has listed yet"),
        }
    }
}

/// Serves until dropped.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, probes: Probes) -> io::Result<()> {
    axum::serve(listener, router(probes)).await
}

fn router(probes: Probes) -> Router {
    Router::new()
        .route("/healthz", get(async |State(p): State<Probes>| answer(p.alive())))
        .route("/readyz", get(async |State(p): State<Probes>| answer(p.ready())))
        .route("/metrics", get(metrics))
        .with_state(probes)
}

fn answer(verdict: Result<&'static str, &'static str>) -> (StatusCode, String) {
    match verdict {
        Ok(text) => (StatusCode::OK, format!("{text}\n")),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n")),
    }
}

async fn metrics(State(probes): State<Probes>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], probes.telemetry.metrics.text())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use jiff::Timestamp;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Hand(Mutex<Duration>);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    async fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn answers_say_what_the_process_does_and_what_it_lacks() {
        let (clock, standing) = (Arc::new(Hand(Mutex::default())), watch::Sender::<Standing>::default());
        let telemetry = Telemetry::default();
        let probes = Probes {
            telemetry: telemetry.clone(),
            standing: standing.subscribe(),
            clock: clock.clone(),
            silence: Duration::from_secs(600),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, probes));
        let check = async |path: &str, code: &str, text: &str| {
            let answer = ask(address, path).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {code}")) && answer.contains(text), "{path}: {answer}");
        };
        check("/readyz", "503", "the lease could not be read yet").await;
        check("/healthz", "200", "alive").await;
        standing.send_replace(Standing::Waiting);
        check("/readyz", "200", "waiting for the lease").await;
        standing.send_replace(Standing::Leading);
        check("/readyz", "503", "not every watch has listed").await;
        telemetry.health.set_synced(true);
        telemetry.health.beat(Duration::ZERO);
        check("/readyz", "200", "leading").await;
        *clock.0.lock().unwrap() = Duration::from_secs(601);
        check("/healthz", "503", "has not finished a pass").await;
        check("/metrics", "200", "application/openmetrics-text").await;
        check("/metrics", "200", "# EOF").await;
        check("/", "404", "").await;
        server.abort();
    }
}
