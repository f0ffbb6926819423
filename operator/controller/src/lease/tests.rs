//! The election against an API server in memory, in virtual time.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Ended, LeaseConfig, Loss, Standing, lead};
use crate::clock::Clock;

const SECOND: Duration = Duration::from_secs(1);

/// Wall clock and monotonic clock of the test; the wall clock may be wrong by hours.
struct TestClock {
    start: Instant,
    epoch: Timestamp,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.epoch + self.monotonic()
    }
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

fn clock(epoch: &str) -> Arc<dyn Clock> {
    Arc::new(TestClock { start: Instant::now(), epoch: epoch.parse().unwrap() })
}

/// An API server that knows one Lease.
#[derive(Default)]
struct Server {
    lease: Mutex<Option<Value>>,
    version: AtomicUsize,
    requests: AtomicUsize,
    /// Requests are carried out, answers never arrive.
    mute: AtomicBool,
    /// Requests are refused with 500.
    broken: AtomicBool,
}

impl Server {
    /// A client with a connection of its own; `cut` makes that connection dead.
    fn client(self: &Arc<Self>, cut: &Arc<AtomicBool>) -> Client {
        let (server, cut) = (self.clone(), cut.clone());
        let leases = "/apis/coordination.k8s.io/v1/namespaces/onsale-system/leases";
        let router = Router::new()
            .route(leases, post(create))
            .route(&format!("{leases}/onsale-operator"), get(read).put(replace))
            .layer(axum::middleware::from_fn(move |request, next: axum::middleware::Next| {
                let (server, cut) = (server.clone(), cut.clone());
                async move {
                    server.requests.fetch_add(1, SeqCst);
                    if cut.load(SeqCst) {
                        pending::<()>().await;
                    }
                    if server.broken.load(SeqCst) {
                        return status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
                    }
                    let answer = next.run(request).await;
                    if server.mute.load(SeqCst) {
                        pending::<()>().await;
                    }
                    answer
                }
            }))
            .with_state(self.clone());
        Client::new(router, "default")
    }

    fn store(&self, slot: &mut Option<Value>, mut lease: Value) -> Response {
        lease["metadata"]["resourceVersion"] = json!((self.version.fetch_add(1, SeqCst) + 1).to_string());
        *slot = Some(lease.clone());
        Json(lease).into_response()
    }

    fn holder(&self) -> Option<String> {
        self.lease.lock().unwrap().as_ref()?["spec"]["holderIdentity"].as_str().map(Into::into)
    }

    fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut slot = self.lease.lock().unwrap();
        let mut lease = slot.clone().unwrap();
        edit(&mut lease);
        drop(self.store(&mut slot, lease));
    }
}

fn status(code: StatusCode, reason: &str) -> Response {
    let body =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(), "reason": reason, "message": reason});
    (code, Json(body)).into_response()
}

async fn read(State(server): State<Arc<Server>>) -> Response {
    let lease = server.lease.lock().unwrap().clone();
    lease.map_or_else(|| status(StatusCode::NOT_FOUND, "NotFound"), |l| Json(l).into_response())
}

async fn create(State(server): State<Arc<Server>>, Json(lease): Json<Value>) -> Response {
    let mut slot = server.lease.lock().unwrap();
    if slot.is_some() {
        return status(StatusCode::CONFLICT, "AlreadyExists");
    }
    server.store(&mut slot, lease)
}

async fn replace(State(server): State<Arc<Server>>, Json(lease): Json<Value>) -> Response {
    let mut slot = server.lease.lock().unwrap();
    match slot.as_ref().map(|l| l["metadata"]["resourceVersion"].clone()) {
        None => status(StatusCode::NOT_FOUND, "NotFound"),
        Some(version) if version != lease["metadata"]["resourceVersion"] => status(StatusCode::CONFLICT, "Conflict"),
        Some(_) => server.store(&mut slot, lease),
    }
}

fn config(identity: &str) -> LeaseConfig {
    LeaseConfig::new("onsale-system", "onsale-operator", identity)
}

fn connected() -> Arc<AtomicBool> {
    Arc::default()
}

async fn after(wait: Duration) {
    sleep_until(Instant::now() + wait).await;
}

/// Leads for ever in a task of its own and counts itself in `leaders` while it works.
fn candidate(
    server: &Arc<Server>,
    identity: &'static str,
    cut: &Arc<AtomicBool>,
    leaders: &Arc<Leaders>,
) -> tokio::task::JoinHandle<Ended<()>> {
    let (client, leaders) = (server.client(cut), leaders.clone());
    tokio::spawn(async move {
        let work = || async move {
            let _term = leaders.enter(identity);
            pending::<()>().await;
        };
        lead(client, &config(identity), clock("2026-12-05T17:00:00Z"), pending(), work).await
    })
}

/// Who works now, and what happened.
#[derive(Default)]
struct Leaders(Mutex<Vec<&'static str>>, AtomicUsize);

struct Term<'a>(&'a Leaders, &'static str);

impl Leaders {
    fn enter(&self, who: &'static str) -> Term<'_> {
        let mut now = self.0.lock().unwrap();
        now.push(who);
        self.1.fetch_max(now.len(), SeqCst);
        Term(self, who)
    }
    fn now(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
    fn most_at_once(&self) -> usize {
        self.1.load(SeqCst)
    }
}

impl Drop for Term<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().retain(|w| *w != self.1);
    }
}

#[tokio::test(start_paused = true)]
async fn leads_at_once_returns_what_the_work_returns_and_releases() {
    let server = Arc::<Server>::default();
    let work = || async {
        assert_eq!(server.holder().as_deref(), Some("pod-a"));
        after(3600 * SECOND).await;
        42
    };
    let ended = lead(server.client(&connected()), &config("pod-a"), clock("2026-12-05T17:00:00Z"), pending(), work).await;
    assert_eq!(ended, Ended::Done(42));
    assert_eq!(server.holder(), None);
    let requests = server.requests.load(SeqCst);
    assert!((1800..1810).contains(&requests), "an hour of leading is a write every 2 s, it was {requests} requests");
    let lease = server.lease.lock().unwrap().clone().unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 0);
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 15);
    assert_eq!(lease["spec"]["renewTime"], "2026-12-05T18:00:00.000000Z");
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_over_at_once_after_a_release_and_after_a_duration_without_one() {
    let (server, leaders) = (Arc::<Server>::default(), Arc::<Leaders>::default());
    let first = candidate(&server, "pod-a", &connected(), &leaders);
    after(SECOND).await;
    let second = candidate(&server, "pod-b", &connected(), &leaders);
    after(60 * SECOND).await;
    assert_eq!(leaders.now(), ["pod-a"]);
    first.abort(); // a crash: nothing is released
    after(12 * SECOND).await;
    assert_eq!(leaders.now(), [""; 0]);
    after(5 * SECOND).await;
    assert_eq!(leaders.now(), ["pod-b"]);
    assert_eq!(server.lease.lock().unwrap().as_ref().unwrap()["spec"]["leaseTransitions"], 1);
    second.abort();
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_wrong_by_hours_changes_nothing() {
    let (server, leaders) = (Arc::<Server>::default(), Arc::<Leaders>::default());
    let first = candidate(&server, "pod-a", &connected(), &leaders);
    after(SECOND).await;
    let wrong = clock("2031-01-01T00:00:00Z");
    let stop = after(300 * SECOND);
    let ended = lead(server.client(&connected()), &config("pod-b"), wrong, stop, pending::<()>).await;
    assert_eq!(ended, Ended::Stopped);
    assert_eq!((leaders.now(), server.holder().as_deref()), (vec!["pod-a"], Some("pod-a")));
    first.abort();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_has_stopped_before_the_next_one_starts() {
    let (server, leaders, cut) = (Arc::<Server>::default(), Arc::<Leaders>::default(), connected());
    let first = candidate(&server, "pod-a", &cut, &leaders);
    after(SECOND).await;
    let second = candidate(&server, "pod-b", &connected(), &leaders);
    after(30 * SECOND).await;
    cut.store(true, SeqCst);
    assert_eq!(timeout(11 * SECOND, first).await.unwrap().unwrap(), Ended::Lost(Loss::NotRenewed));
    assert_eq!(leaders.now(), [""; 0]);
    after(8 * SECOND).await;
    assert_eq!((leaders.now(), leaders.most_at_once()), (vec!["pod-b"], 1));
    second.abort();
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_fails_for_less_than_the_deadline_costs_nothing() {
    let (server, leaders) = (Arc::<Server>::default(), Arc::<Leaders>::default());
    let first = candidate(&server, "pod-a", &connected(), &leaders);
    after(SECOND).await;
    // Refusals come at once; of requests that hang, two fit into 6 s.
    for (fault, lasts) in [(&server.broken, 7), (&server.mute, 6)] {
        fault.store(true, SeqCst);
        after(SECOND * lasts).await;
        fault.store(false, SeqCst);
        after(20 * SECOND).await;
        assert_eq!(leaders.now(), ["pod-a"]);
    }
    server.broken.store(true, SeqCst);
    assert_eq!(timeout(11 * SECOND, first).await.unwrap().unwrap(), Ended::Lost(Loss::NotRenewed));
}

#[tokio::test(start_paused = true)]
async fn foreign_edits_and_a_deleted_lease_are_survived_and_another_holder_is_not() {
    let (server, leaders) = (Arc::<Server>::default(), Arc::<Leaders>::default());
    let first = candidate(&server, "pod-a", &connected(), &leaders);
    after(SECOND).await;
    server.edit(|lease| lease["metadata"]["annotations"] = json!({"note": "mine"}));
    after(20 * SECOND).await;
    assert_eq!(server.lease.lock().unwrap().as_ref().unwrap()["metadata"]["annotations"]["note"], "mine");
    *server.lease.lock().unwrap() = None;
    after(20 * SECOND).await;
    assert_eq!((leaders.now(), server.holder().as_deref()), (vec!["pod-a"], Some("pod-a")));
    server.edit(|lease| lease["spec"]["holderIdentity"] = json!("pod-b"));
    let ended = timeout(3 * SECOND, first).await.unwrap().unwrap();
    assert_eq!(ended, Ended::Lost(Loss::Taken { holder: "pod-b".into() }));
    assert_eq!((leaders.now(), server.holder().as_deref()), (vec![], Some("pod-b")));
}

#[tokio::test(start_paused = true)]
async fn a_stop_drops_the_work_and_releases_and_says_how_it_stood() {
    let (server, leaders) = (Arc::<Server>::default(), Arc::<Leaders>::default());
    let config = config("pod-a");
    let standing = config.standing.subscribe();
    let first = candidate(&server, "pod-b", &connected(), &leaders);
    after(SECOND).await;
    let election = async {
        let work = || async {
            let _term = leaders.enter("pod-a");
            pending::<()>().await;
        };
        lead(server.client(&connected()), &config, clock("2026-12-05T17:00:00Z"), after(60 * SECOND), work).await
    };
    let watcher = async {
        after(10 * SECOND).await;
        assert_eq!(*standing.borrow(), Standing::Waiting);
        server.broken.store(true, SeqCst);
        after(3 * SECOND).await;
        assert_eq!(*standing.borrow(), Standing::Unknown);
        server.broken.store(false, SeqCst);
        first.abort();
        after(20 * SECOND).await;
        assert_eq!((*standing.borrow(), leaders.now()), (Standing::Leading, vec!["pod-a"]));
    };
    let (ended, ()) = tokio::join!(election, watcher);
    assert_eq!((ended, leaders.now(), server.holder()), (Ended::Stopped, vec![], None));
}

#[tokio::test(start_paused = true)]
async fn of_many_candidates_one_leads_at_any_time_through_crashes() {
    let (server, leaders) = (Arc::<Server>::default(), Arc::<Leaders>::default());
    let names = ["pod-a", "pod-b", "pod-c", "pod-d", "pod-e"];
    let mut tasks: Vec<_> = names.iter().map(|n| (*n, candidate(&server, n, &connected(), &leaders))).collect();
    while !tasks.is_empty() {
        after(40 * SECOND).await;
        let [leader] = leaders.now()[..] else { unreachable!("leaders: {:?}", leaders.now()) };
        let index = tasks.iter().position(|(n, _)| *n == leader).unwrap();
        tasks.remove(index).1.abort();
    }
    assert_eq!(leaders.most_at_once(), 1);
}

#[test]
fn settings_that_allow_two_leaders_are_refused_in_a_sentence() {
    assert_eq!(config("pod-a").check(), Ok(()));
    let with = |edit: fn(&mut LeaseConfig)| {
        let mut config = config("pod-a");
        edit(&mut config);
        config.check().unwrap_err()
    };
    assert_eq!(with(|c| c.duration = 10 * SECOND), "the lease duration (10s) must be longer than the renew deadline (10s)");
    assert_eq!(with(|c| c.retry = 6 * SECOND), "the lease renew deadline (10s) must be at least twice the retry period (6s)");
    assert_eq!(with(|c| c.retry = Duration::ZERO), "the lease retry period must be longer than 0");
    assert_eq!(with(|c| c.duration += SECOND / 2), "the lease duration (15.5s) must be whole seconds");
}

#[tokio::test(start_paused = true)]
async fn after_the_machine_slept_the_work_is_not_polled_again() {
    let (server, progress) = (Arc::<Server>::default(), Mutex::new(Vec::new()));
    let begun = Instant::now();
    let work = || async {
        loop {
            after(SECOND).await;
            progress.lock().unwrap().push(begun.elapsed().as_secs());
        }
    };
    let config = config("pod-a");
    let election = lead::<_, std::pin::Pin<Box<dyn Future<Output = ()>>>>(
        server.client(&connected()),
        &config,
        clock("2026-12-05T17:00:00Z"),
        pending(),
        || Box::pin(work()),
    );
    let sleep = async {
        sleep_until(begun + SECOND * 7 / 2).await;
        tokio::time::advance(60 * SECOND).await;
    };
    let (ended, ()) = tokio::join!(election, sleep);
    assert_eq!((ended, progress.lock().unwrap().clone()), (Ended::Lost(Loss::NotRenewed), vec![1, 2, 3]));
}
