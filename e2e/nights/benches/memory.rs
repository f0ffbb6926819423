//! `cargo bench -p onsale-nights --bench memory`: peak memory of the controller, in a process of its own and over HTTP, with 10,000 OnSales known and 10 of
//! them active on 1,000 nodes and 20,000 pods; beside it the same with an empty cluster. A number after `--` is another number of OnSales.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on has failed, and its figures are for people")]

use std::{
    env,
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp, ToSpan};
use kube::client::Body;
use onsale_cloud::fake::FakeCloud;
use onsale_controller::{Clock, Config, SystemClock};
use onsale_nights::{
    api::{kinds, serve::Server, watch::Reply},
    night::build::{NAMESPACE, Start, night},
    sim::{Caller, Inner, Sim},
    world,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::interval};
use tower::Service;

/// Tells this program that it is the controller's process, and where the API is.
const API: &str = "ONSALE_BENCH_API";
/// As the chart sets it: see `deployment.yaml`.
const ARENAS: (&str, &str) = ("MALLOC_ARENA_MAX", "1");
type Error = Box<dyn std::error::Error + Send + Sync>;

const ACTIVE: usize = 10;
const NODES: usize = 1_000;
/// At the peak of those that are active.
const PODS: usize = 20_000;
/// Deployments that sales name which are not active.
const SHOPS: usize = 100;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Ok(api) = env::var(API) {
        return runtime.block_on(control(&api));
    }
    let sales = env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(10_000);
    println!("{:<52}{:>12}{:>12}{:>12}", "the controller's process", "peak MiB", "CPU s", "requests");
    let print = |title: &str, measured: Measured| {
        let Measured { peak, cpu, requests } = measured;
        println!("{title:<52}{peak:>12.1}{cpu:>12.1}{requests:>12}");
    };
    runtime.block_on(async {
        print("an empty cluster", Cluster::start(night(&now().to_string(), 1).build()).await.measure().await);
        let cluster = Cluster::start(fleet(sales).build()).await;
        print(&format!("{sales} OnSales, {NODES} nodes, {PODS} pods, all of them new"), cluster.measure().await);
        print("the same, started again", cluster.measure().await);
    });
}

/// The controller, as the operator runs it, but for the cloud.
async fn control(api: &str) {
    let mut config = kube::Config::new(api.parse().unwrap());
    config.default_retry = false;
    let client = kube::Client::try_from(config).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    onsale_controller::run(client, Arc::new(FakeCloud::default()), clock, Config::new("bench", "onsale-system")).await.unwrap();
}

struct Measured {
    peak: f64,
    cpu: f64,
    requests: usize,
}

/// Kills what it holds.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is seen elsewhere.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A cluster that goes on whatever becomes of the controller.
struct Cluster {
    sim: Sim,
    api: String,
    requests: Arc<AtomicUsize>,
}

impl Cluster {
    async fn start(state: Inner) -> Self {
        let sim = Sim::resume(state);
        tokio::spawn(world::drive(sim.clone()));
        tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_secs(5)).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (api, requests) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(serve(listener, sim.clone(), requests.clone()));
        Self { sim, api, requests }
    }

    /// A new process, until everything that is active is Ready, and half a minute more.
    async fn measure(&self) -> Measured {
        self.requests.store(0, Relaxed);
        let process = Process(Command::new(env::current_exe().unwrap()).env(API, &self.api).env(ARENAS.0, ARENAS.1).spawn().unwrap());
        let mut seconds = interval(Duration::from_secs(1));
        let (mut left, mut patience) = (30, 600);
        while left > 0 {
            seconds.tick().await;
            patience -= 1;
            let waiting = self.sim.with(|inner| waiting(inner));
            assert!(patience > 0, "{waiting} of {ACTIVE} sales are not Ready");
            left -= i32::from(waiting == 0);
        }
        let (peak, cpu) = read(process.0.id());
        Measured { peak, cpu, requests: self.requests.load(Relaxed) }
    }
}

fn waiting(inner: &Inner) -> usize {
    let active = inner.store.list(&kinds::SALES).filter(|s| s["metadata"]["name"].as_str().unwrap().starts_with("active"));
    active.filter(|s| !matches!(s["status"]["phase"].as_str(), Some("Ready" | "Live"))).count()
}

/// What Linux says of the process: its peak in MiB, and its CPU time in seconds.
fn read(process: u32) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).and_then(|l| l.trim().strip_suffix(" kB")).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // Behind the name in parentheses: user and system time are the 12th and 13th field, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    (peak.parse::<f64>().unwrap() / 1024.0, ticks / 100.0)
}

async fn serve(listener: TcpListener, sim: Sim, requests: Arc<AtomicUsize>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let server = Server::new(&sim, Caller { name: "bench".to_owned(), controlled: false });
        let requests = requests.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            requests.fetch_add(1, Relaxed);
            answer(server.clone(), request)
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

async fn answer(mut server: Server, request: Request<Incoming>) -> Result<Response<Reply>, Error> {
    let (head, body) = request.into_parts();
    let body = Body::from(body.collect().await?.to_bytes());
    server.call(Request::from_parts(head, body)).await
}

#[expect(clippy::disallowed_methods, reason = "the controller's process lives by the machine's clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// So many sales: ten that start at once, a tenth that open within the next month, the rest half later, half over.
fn fleet(sales: usize) -> Start {
    let each = PODS / ACTIVE;
    let mut start = night(&now().to_string(), 1).nodes("dc", NODES).existing("dc", "200us").rented("lz", "1.6ms", "c6i.4xlarge", 50);
    for n in 0..ACTIVE {
        start = start.deployment(&format!("busy-{n}"), i32::try_from(each - 100).unwrap(), "500m");
    }
    for n in 0..SHOPS {
        start = start.deployment(&format!("shop-{n}"), 1, "100m");
    }
    start.with(|inner| (0..sales).for_each(|n| add(inner, n, sales)))
}

fn add(inner: &mut Inner, n: usize, sales: usize) {
    let hours = i64::try_from(n).unwrap();
    let (name, opens_at, workloads, status) = match n {
        _ if n < ACTIVE => {
            (format!("active-{n}"), inner.now + 12.minutes(), vec![workload(&format!("busy-{n}"), PODS / ACTIVE)], json!({}))
        }
        _ if n < sales / 10 => (format!("soon-{n}"), inner.now + (24 + hours % 600).hours(), shops(n), json!({})),
        _ if n.is_multiple_of(2) => (format!("later-{n}"), inner.now + (1_000 + hours % 7_000).hours(), shops(n), json!({})),
        _ => {
            let opened = inner.now - (48 + hours % 7_000).hours();
            (format!("over-{n}"), opened, shops(n), over(opened))
        }
    };
    let opens_at = onsale_api::time::whole_seconds(opens_at).to_string();
    let metadata = json!({"name": name, "namespace": NAMESPACE, "labels": {"team": "ticketing", "app.kubernetes.io/managed-by": "argocd"}});
    let spec = json!({"opensAt": opens_at, "workloads": workloads, "readyBefore": "10m", "duration": "2h", "returnOver": "30m"});
    let object = json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "OnSale", "metadata": metadata, "spec": spec, "status": status});
    inner.store.create(&kinds::SALES, object, inner.now - SignedDuration::from_hours(100)).unwrap();
}

fn workload(name: &str, peak: usize) -> Value {
    json!({"target": {"kind": "Deployment", "name": name}, "peakReplicas": peak, "dependencies": [{"site": "dc", "serialCalls": 4}]})
}

/// Four workloads of a hundred.
fn shops(n: usize) -> Vec<Value> {
    (0..4).map(|k| workload(&format!("shop-{}", (n + k * 25) % SHOPS), 20)).collect()
}

/// The status of a sale that is over, as the operator leaves it.
fn over(opened: Timestamp) -> Value {
    let at = |minutes: i64| onsale_api::time::whole_seconds(opened + minutes.minutes()).to_string();
    let condition = |kind: &str, reason: &str| json!({"type": kind, "status": "False", "reason": reason, "message": "everything is back as it was; see the report", "lastTransitionTime": at(150), "observedGeneration": 1});
    let conditions: Vec<Value> =
        ["Ready", "Reconciling", "Stalled", "Feasible", "AtRisk", "Contested"].iter().map(|kind| condition(kind, "Completed")).collect();
    json!({
        "phase": "Completed", "observedGeneration": 1, "opensAt": at(0), "readyBy": at(-10), "startsAt": at(-20), "conditions": conditions,
        "entered": {"preparing": at(-20), "ready": at(-12), "live": at(0), "returning": at(120), "finished": at(150)},
    })
}
