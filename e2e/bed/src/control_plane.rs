//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler on loopback, ready in seconds.
//!
//! Every flag that differs from a production cluster either makes it quick (no fsync, short HPA periods) or leaves out a
//! controller that has no counterpart here (cloud routes, volumes). The audit log tells what service accounts called.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::config::AuthInfo;
use kube::{Client, Config};

use crate::audit;
use crate::certs::{Authority, Pair};
use crate::files;
use crate::kubeconfig::{self, Cluster};
use crate::process::ports::Ports;
use crate::process::{Processes, Program};
use crate::tools::Tools;
use crate::wait::wait_until;

/// A start takes 3 to 5 s; on a machine that compiles at the same time, several times that.
const DEADLINE: Duration = Duration::from_secs(90);
/// Lines of a log that explain why its program is not ready.
const TAIL: usize = 25;
/// Kubernetes' own default; the address of the `kubernetes` service is its first.
const SERVICE_RANGE: &str = "10.96.0.0/16";

/// What the parts of a bed are started from.
#[derive(Debug)]
pub struct Site<'a> {
    /// The bed's folder.
    pub folder: &'a Path,
    /// The programs.
    pub tools: &'a Tools,
    /// What runs them.
    pub processes: &'a Processes,
    /// Free ports.
    pub ports: &'a mut Ports,
}

/// The running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    /// Where it is.
    pub cluster: Cluster,
    /// What signs for it.
    pub authority: Authority,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    front_proxy: Pair,
    serving: Pair,
    service_accounts: Pair,
    etcd_url: String,
}

impl ControlPlane {
    /// Starts all four and waits until each says that it is ready. On failure the error carries the log's end.
    pub async fn start(site: &mut Site<'_>, hpa: HpaTiming) -> Result<(Self, Client)> {
        let plane = Self::prepare(site)?;
        plane.start_etcd(site).await?;
        let client = plane.start_api_server(site).await?;
        let manager = plane.start_controller_manager(site, hpa)?;
        let scheduler = plane.start_scheduler(site)?;
        plane.ready(site, "kube-controller-manager", &manager).await?;
        plane.ready(site, "kube-scheduler", &scheduler).await?;
        Ok((plane, client))
    }

    fn prepare(site: &mut Site<'_>) -> Result<Self> {
        let certs = site.folder.join("certs");
        let authority = Authority::create(&certs)?;
        let names = ["127.0.0.1", "10.96.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let cluster = Cluster { url: format!("https://127.0.0.1:{}", site.ports.reserve()?), ca: authority.cert.clone() };
        let plane = Self {
            serving: authority.server("serving", &names)?,
            front_proxy: authority.client("front-proxy", "front-proxy", &[])?,
            service_accounts: authority.key_pair("service-accounts")?,
            kubeconfig: site.folder.join("kubeconfig"),
            etcd_url: format!("http://127.0.0.1:{}", site.ports.reserve()?),
            cluster,
            authority,
        };
        let admin = plane.authority.client("admin", "admin", &["system:masters"])?;
        plane.cluster.write_for_certificate(&plane.kubeconfig, &admin)?;
        Ok(plane)
    }

    async fn start_etcd(&self, site: &mut Site<'_>) -> Result<()> {
        let (url, peer) = (&self.etcd_url, format!("http://127.0.0.1:{}", site.ports.reserve()?));
        let etcd = Program::new("etcd", &site.tools.etcd)
            .args(["--name=bed", "--unsafe-no-fsync", "--quota-backend-bytes=2147483648", "--auto-compaction-retention=1"])
            .args([format!("--listen-client-urls={url}"), format!("--advertise-client-urls={url}")])
            .args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")])
            .args([format!("--initial-cluster=bed={peer}"), format!("--data-dir={}", site.folder.join("etcd").display())]);
        site.processes.start(etcd)?;
        let probe = plain_client(url)?;
        ready(site.processes, "etcd", &probe, "/health").await
    }

    async fn start_api_server(&self, site: &mut Site<'_>) -> Result<Client> {
        let port = self.cluster.url.rsplit(':').next().context("the API server's address has a port")?;
        let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        let policy = site.folder.join("audit-policy.json");
        files::write_private(&policy, audit::POLICY)?;
        let server = Program::new("kube-apiserver", &site.tools.kube_apiserver)
            .args([format!("--etcd-servers={}", self.etcd_url), format!("--secure-port={port}")])
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"])
            .args([format!("--service-cluster-ip-range={SERVICE_RANGE}"), "--allow-privileged=true".into()])
            .args([file("tls-cert-file", &self.serving.cert), file("tls-private-key-file", &self.serving.key)])
            .args([file("client-ca-file", &self.authority.cert), "--authorization-mode=Node,RBAC".into()])
            .args(["--service-account-issuer=https://kubernetes.default.svc.cluster.local"])
            .args([file("service-account-key-file", &self.service_accounts.cert)])
            .args([file("service-account-signing-key-file", &self.service_accounts.key)])
            .args([file("requestheader-client-ca-file", &self.authority.cert), "--requestheader-allowed-names=front-proxy".into()])
            .args(["--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"])
            .args(["--requestheader-extra-headers-prefix=X-Remote-Extra-"])
            .args([file("audit-policy-file", &policy), file("audit-log-path", &audit::log(site.folder))])
            // In one file, and a second late at most; the API server waits for no disk.
            .args(["--audit-log-mode=batch", "--audit-log-batch-max-wait=1s", "--audit-log-maxsize=1000"])
            .args([file("proxy-client-cert-file", &self.front_proxy.cert), file("proxy-client-key-file", &self.front_proxy.key)]);
        site.processes.start(server)?;
        let client = kubeconfig::client(&self.kubeconfig).await?;
        ready(site.processes, "kube-apiserver", &client, "/readyz").await?;
        Ok(client)
    }

    fn start_controller_manager(&self, site: &mut Site<'_>, hpa: HpaTiming) -> Result<String> {
        let without = "*,-node-ipam-controller,-bootstrap-signer-controller,-token-cleaner-controller,\
                       -persistentvolume-attach-detach-controller,-persistentvolume-expander-controller,\
                       -ephemeral-volume-controller,-ttl-controller";
        let (program, url) = self.component(site, "kube-controller-manager", &site.tools.kube_controller_manager)?;
        let program = program
            .args(["--use-service-account-credentials=true", "--node-monitor-period=2s", "--node-monitor-grace-period=50s"])
            .args([format!("--root-ca-file={}", self.authority.cert.display())])
            .args([format!("--service-account-private-key-file={}", self.service_accounts.key.display())])
            .args([format!("--controllers={without}")])
            .args([format!("--horizontal-pod-autoscaler-sync-period={}ms", hpa.sync.as_millis())])
            .args([format!("--horizontal-pod-autoscaler-downscale-stabilization={}ms", hpa.downscale_stabilization.as_millis())])
            // A pod's first figure counts at once: the bed's figures know no start-up peaks.
            .args(["--horizontal-pod-autoscaler-cpu-initialization-period=1s", "--horizontal-pod-autoscaler-initial-readiness-delay=1s"]);
        site.processes.start(program)?;
        Ok(url)
    }

    fn start_scheduler(&self, site: &mut Site<'_>) -> Result<String> {
        let (program, url) = self.component(site, "kube-scheduler", &site.tools.kube_scheduler)?;
        site.processes.start(program)?;
        Ok(url)
    }

    /// What the two components have in common: who they are and where they listen.
    fn component(&self, site: &mut Site<'_>, name: &str, path: &Path) -> Result<(Program, String)> {
        let pair = self.authority.client(name, &format!("system:{name}"), &[])?;
        let config = site.folder.join("certs").join(format!("{name}.kubeconfig"));
        self.cluster.write_for_certificate(&config, &pair)?;
        let port = site.ports.reserve()?;
        let program = Program::new(name, path)
            .args(
                ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
                    .map(|flag| format!("--{flag}={}", config.display())),
            )
            .args(["--bind-address=127.0.0.1", "--leader-elect=false", "--kube-api-qps=200", "--kube-api-burst=300"])
            .args([format!("--secure-port={port}"), format!("--tls-cert-file={}", self.serving.cert.display())])
            .args([format!("--tls-private-key-file={}", self.serving.key.display())]);
        Ok((program, format!("https://127.0.0.1:{port}")))
    }

    async fn ready(&self, site: &Site<'_>, name: &str, url: &str) -> Result<()> {
        let mut config = Config::new(url.parse().with_context(|| format!("{url} is no address"))?);
        config.root_cert_file = Some(self.authority.cert.clone());
        config.auth_info = AuthInfo::default();
        let client = Client::try_from(config).with_context(|| format!("no client for {name}"))?;
        ready(site.processes, name, &client, "/healthz").await
    }
}

/// How quick the HPA controller is. The bed's default is as quick as it goes; `kubernetes()` is what clusters have.
#[derive(Debug, Clone, Copy)]
pub struct HpaTiming {
    /// How often each HPA is looked at.
    pub sync: Duration,
    /// How long the highest recommendation holds on the way down.
    pub downscale_stabilization: Duration,
}

impl HpaTiming {
    /// Two seconds each: a whole loop in a test.
    pub fn quick() -> Self {
        Self { sync: Duration::from_secs(2), downscale_stabilization: Duration::from_secs(2) }
    }

    /// Kubernetes' own defaults, for demonstrations and benchmarks.
    pub fn kubernetes() -> Self {
        Self { sync: Duration::from_secs(15), downscale_stabilization: Duration::from_secs(300) }
    }
}

/// A client for a plain HTTP address on loopback.
pub fn plain_client(url: &str) -> Result<Client> {
    let config = Config::new(url.parse().with_context(|| format!("{url} is no address"))?);
    Client::try_from(config).with_context(|| format!("no client for {url}"))
}

/// Waits until a program answers; fails at once, with the end of its log, when it ends instead.
pub async fn ready(processes: &Processes, name: &str, client: &Client, path: &str) -> Result<()> {
    let answered = wait_until(format!("{name} answers {path}"), DEADLINE, async || {
        if processes.check(name).is_err() {
            return Ok(true);
        }
        let request = http_get(path)?;
        let answer = tokio::time::timeout(Duration::from_secs(2), client.request_text(request)).await;
        answer.context("no answer within 2 s")?.map(|_| true).context("not ready")
    });
    let answered = answered.await;
    processes.check(name)?;
    answered.with_context(|| format!("the end of its log:\n{}", files::tail(&processes.log(name), TAIL)))
}

fn http_get(path: &str) -> Result<hyper::http::Request<Vec<u8>>> {
    hyper::http::Request::get(path).body(Vec::new()).with_context(|| format!("{path} is no path"))
}
