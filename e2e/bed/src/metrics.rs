//! `metrics.k8s.io/v1beta1` as an aggregated API of ours: tests say how loaded a workload is, and real HPAs follow.
//!
//! The API server reaches us like any aggregated API: an APIService names a Service of type ExternalName that points at
//! loopback. Pods are listed per request with the caller's own label selector from the API server's cache, so a cluster
//! of thousands of pods costs an HPA only its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::certs::Authority;
use crate::wait::wait_until;

const GROUP: &str = "/apis/metrics.k8s.io/v1beta1";
const NAME: &str = "bed-metrics";
const NAMESPACE: &str = "kube-system";
/// It takes some tenths of a second; beside a compiler, seconds.
const DEADLINE: Duration = Duration::from_secs(60);
/// In looks, of which there are ten a second.
const TOUCH_EVERY: u32 = 10;

/// How loaded pods are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Millicores of all Ready pods together: more pods, less for each, as with real traffic.
    Total(u64),
    /// Millicores of each Ready pod.
    PerPod(u64),
}

/// Whose load it is: pods of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Pods whose names begin so (`checkout-`).
    Prefix(String),
    /// Pods that carry all these labels.
    Labels(BTreeMap<String, String>),
}

impl Target {
    /// Pods that carry one label.
    pub fn label(key: &str, value: &str) -> Self {
        Self::Labels([(key.to_owned(), value.to_owned())].into())
    }

    fn matches(&self, pod: &Pod) -> bool {
        match self {
            Self::Prefix(prefix) => pod.metadata.name.as_deref().is_some_and(|name| name.starts_with(prefix)),
            Self::Labels(wanted) => {
                let labels = pod.metadata.labels.as_ref();
                wanted.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
            }
        }
    }
}

#[derive(Debug)]
struct Rule {
    namespace: String,
    target: Target,
    load: Load,
}

/// The running metrics API. Pods of which nothing was said use 1 millicore. Clones are the same API.
#[derive(Debug, Clone)]
pub struct Metrics {
    rules: Arc<Mutex<Vec<Rule>>>,
}

#[derive(Clone)]
struct Server {
    client: Client,
    rules: Arc<Mutex<Vec<Rule>>>,
}

impl Metrics {
    /// Starts it, registers it, and waits until the API server serves it.
    pub async fn start(client: Client, authority: &Authority) -> Result<(Self, JoinHandle<()>)> {
        let host = format!("{NAME}.{NAMESPACE}.svc");
        let acceptor = acceptor(authority, &[&host, "localhost"])?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port for the metrics API")?;
        let port = listener.local_addr().context("no address of the metrics API")?.port();
        let rules = Arc::<Mutex<Vec<Rule>>>::default();
        let task = tokio::spawn(serve(listener, acceptor, router(Server { client: client.clone(), rules: rules.clone() })));
        register(&client, authority, port).await?;
        Ok((Self { rules }, task))
    }

    /// From now on the pods have this load. Replaces what was said of the same target.
    pub fn set_load(&self, namespace: &str, target: Target, load: Load) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.retain(|rule| rule.namespace != namespace || rule.target != target);
        // The newest comes first: where two match a pod, the later word counts.
        rules.insert(0, Rule { namespace: namespace.into(), target, load });
    }

    /// Forgets all loads.
    pub fn clear(&self) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn acceptor(authority: &Authority, names: &[&str]) -> Result<TlsAcceptor> {
    let pair = authority.server("metrics", names)?;
    let chain =
        CertificateDer::pem_file_iter(&pair.cert).context("no certificate")?.collect::<Result<Vec<_>, _>>().context("bad certificate")?;
    let key = PrivateKeyDer::from_pem_file(&pair.key).context("no key")?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("no TLS versions")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the certificate and its key do not fit")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, router: Router) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        // A connection that fails is the caller's to open again.
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            }
        });
    }
}

fn router(server: Server) -> Router {
    Router::new()
        .route(GROUP, get(resources))
        .route("/openapi/v2", get(|| async { Json(json!({"swagger": "2.0", "info": {"title": NAME, "version": "v1"}, "paths": {}})) }))
        .route("/openapi/v3", get(|| async { Json(json!({"paths": {}})) }))
        .route(&format!("{GROUP}/pods"), get(all_pods))
        .route(&format!("{GROUP}/namespaces/{{namespace}}/pods"), get(pods))
        .with_state(server)
}

async fn resources() -> Json<Value> {
    Json(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1",
        "resources": [{"name": "pods", "singularName": "pod", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"]}],
    }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Selector {
    #[serde(default)]
    label_selector: String,
}

async fn all_pods(State(server): State<Server>, Query(selector): Query<Selector>) -> Response {
    answer(&server, None, &selector).await
}

async fn pods(State(server): State<Server>, UrlPath(namespace): UrlPath<String>, Query(selector): Query<Selector>) -> Response {
    answer(&server, Some(&namespace), &selector).await
}

async fn answer(server: &Server, namespace: Option<&str>, selector: &Selector) -> Response {
    let api: Api<Pod> =
        namespace.map_or_else(|| Api::all(server.client.clone()), |namespace| Api::namespaced(server.client.clone(), namespace));
    // `match_any`: from the API server's cache, not from etcd.
    match api.list(&ListParams::default().labels(&selector.label_selector).match_any()).await {
        Ok(list) => {
            let ready: Vec<&Pod> = list.items.iter().filter(|pod| is_ready(pod)).collect();
            let rules = server.rules.lock().unwrap_or_else(PoisonError::into_inner);
            let items: Vec<Value> = ready.iter().map(|pod| item(pod, millicores(pod, &ready, &rules))).collect();
            Json(json!({"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": items})).into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("could not list pods: {error}")).into_response(),
    }
}

fn millicores(pod: &Pod, ready: &[&Pod], rules: &[Rule]) -> u64 {
    let applies = |rule: &&Rule, pod: &Pod| pod.metadata.namespace.as_deref() == Some(rule.namespace.as_str()) && rule.target.matches(pod);
    match rules.iter().find(|rule| applies(rule, pod)) {
        None => 1,
        Some(Rule { load: Load::PerPod(each), .. }) => *each,
        Some(rule @ Rule { load: Load::Total(total), .. }) => {
            let sharing = ready.iter().filter(|other| applies(&rule, other)).count();
            total / u64::try_from(sharing).unwrap_or(1).max(1)
        }
    }
}

fn item(pod: &Pod, millicores: u64) -> Value {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    // The first container does the work; sidecars idle.
    let usage = containers.enumerate().map(|(number, container)| {
        let cpu = if number == 0 { millicores } else { 0 };
        json!({"name": container.name, "usage": {"cpu": format!("{cpu}m"), "memory": "64Mi"}})
    });
    json!({
        "metadata": {"name": pod.metadata.name, "namespace": pod.metadata.namespace, "labels": pod.metadata.labels},
        "timestamp": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "window": "15s",
        "containers": usage.collect::<Vec<_>>(),
    })
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|it| it.type_ == "Ready" && it.status == "True"))
}

async fn register(client: &Client, authority: &Authority, port: u16) -> Result<()> {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec, ServiceReference};
    use kube::api::{ObjectMeta, Patch, PatchParams};

    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    });
    let apply = PatchParams::apply("onsale-bed").force();
    Api::<Service>::namespaced(client.clone(), NAMESPACE)
        .patch(NAME, &apply, &Patch::Apply(service))
        .await
        .context("no metrics Service")?;
    let ca = std::fs::read(&authority.cert).context("no authority")?;
    let name = "v1beta1.metrics.k8s.io";
    let spec = APIServiceSpec {
        group: Some("metrics.k8s.io".into()),
        version: Some("v1beta1".into()),
        group_priority_minimum: 100,
        version_priority: 100,
        ca_bundle: Some(ByteString(ca)),
        service: Some(ServiceReference { name: Some(NAME.into()), namespace: Some(NAMESPACE.into()), port: Some(port.into()) }),
        ..Default::default()
    };
    let object = APIService { metadata: ObjectMeta { name: Some(name.into()), ..Default::default() }, spec: Some(spec), status: None };
    let api: Api<APIService> = Api::all(client.clone());
    api.patch(name, &apply, &Patch::Apply(object)).await.context("no metrics APIService")?;
    let mut looks = 0;
    wait_until("the API server serves metrics.k8s.io", DEADLINE, async || {
        looks += 1;
        // When the API server meets the APIService before the Service, it looks again only after 30 s, or when touched.
        if looks % TOUCH_EVERY == 0 {
            let touch = json!({"metadata": {"annotations": {"bed.onsale.dev/touched": looks.to_string()}}});
            api.patch(name, &PatchParams::default(), &Patch::Merge(touch)).await?;
        }
        let conditions = api.get(name).await?.status.unwrap_or_default().conditions.unwrap_or_default();
        match conditions.into_iter().find(|it| it.type_ == "Available") {
            Some(condition) if condition.status == "True" => Ok(true),
            other => bail!("{:?}", other.and_then(|it| it.message)),
        }
    })
    .await
}
