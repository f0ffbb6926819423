//! The operator on the bed: installed by helm from the charts, run as a process with the arguments, environment and service account of the rendered
//! Deployment, so that a wrong flag or a missing permission fails the tests.
//!
//! What a host process cannot have as a pod has it is substituted, and nothing else:
//! - the Deployment is scaled to 0: the process stands for its pod;
//! - `KUBECONFIG` with the API server's address and a bound token of the service account, for the files that a pod finds under /var/run/secrets;
//! - `POD_NAME`, `POD_NAMESPACE`: the values of the downward API;
//! - `--listen`: 127.0.0.1 and a free port;
//! - credentials of AWS in the environment, for those of an IAM role; no instance metadata.

mod build;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::http::Method;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;

use crate::http::Http;
use crate::process::{Program, interrupt};
use crate::progress::Progress;
use crate::{Bed, tools, wait_until};

pub use build::build;

/// Namespace of the release.
pub const NAMESPACE: &str = "onsale-system";
/// Name of the release, and of what it makes.
pub const RELEASE: &str = "onsale-operator";
/// The cluster's name: the value of the tag on instances.
pub const CLUSTER: &str = "bed";

/// An installed operator. Processes are started and killed by the name of the pod that they stand for.
#[derive(Debug, Clone)]
pub struct Operator {
    binary: PathBuf,
    kubeconfig: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Operator {
    /// Builds the binary, installs both charts as a person would, and reads what was rendered. `values` are further `--set` of helm.
    pub async fn install(bed: &Bed, values: &[String], progress: Progress) -> Result<Self> {
        let binary = build(progress).await?;
        install_crds(bed).await?;
        let chart = tools::checkout().join("charts/onsale-operator").display().to_string();
        let mut args: Vec<String> = ["upgrade", "--install", RELEASE, &chart, "--namespace", NAMESPACE].map(str::to_owned).into();
        let endpoint = format!("aws.endpointUrl={}", bed.ec2()?.url());
        let quick = [&format!("clusterName={CLUSTER}"), "aws.region=us-west-2", &endpoint, "log.format=text"].map(str::to_owned);
        args.extend(quick.iter().chain(values).flat_map(|value| ["--set".to_owned(), value.clone()]));
        bed.commands().helm(&args).await?.ok().context("helm did not install the operator")?;
        bed.kubectl(&["scale", "deployment", RELEASE, "--namespace", NAMESPACE, "--replicas=0"]).await?.ok()?;
        Self::rendered(bed, binary).await
    }

    async fn rendered(bed: &Bed, binary: PathBuf) -> Result<Self> {
        let deployment: Deployment = Api::namespaced(bed.client(), NAMESPACE).get(RELEASE).await.context("no Deployment was rendered")?;
        let pod = deployment.spec.and_then(|s| s.template.spec).context("the Deployment has no pods")?;
        let account = pod.service_account_name.clone().context("the Deployment names no service account")?;
        let kubeconfig = bed.service_account_kubeconfig(NAMESPACE, &account).await?;
        let container = pod.containers.into_iter().next().context("the Deployment has no container")?;
        let fixed = |e: k8s_openapi::api::core::v1::EnvVar| Some((e.name, e.value?));
        let args = container.args.unwrap_or_default().into_iter().filter(|a| !a.starts_with("--listen")).collect();
        Ok(Self { binary, kubeconfig, args, env: container.env.unwrap_or_default().into_iter().filter_map(fixed).collect() })
    }

    /// Starts a process that stands for the pod `name`, and waits until it says that it is ready.
    pub async fn start(&self, bed: &Bed, name: &str) -> Result<()> {
        let port = free_port()?;
        let mut program = Program::new(name, &self.binary).args(self.args.clone()).arg(format!("--listen=127.0.0.1:{port}"));
        for (key, value) in &self.env {
            program = program.env(key, value);
        }
        let own = [
            ("POD_NAME", name),
            ("POD_NAMESPACE", NAMESPACE),
            ("AWS_ACCESS_KEY_ID", "bed"),
            ("AWS_SECRET_ACCESS_KEY", "bed"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("NO_COLOR", "1"),
        ];
        for (key, value) in own {
            program = program.env(key, value);
        }
        bed.processes().start(program.env("KUBECONFIG", &self.kubeconfig))?;
        std::fs::write(bed.dir().join(format!("{name}.port")), port.to_string()).context("could not note the port")?;
        wait_until(format!("{name} is ready"), Duration::from_secs(30), async || {
            bed.processes().check(name)?;
            Ok(get(port, "/readyz").await.is_ok())
        })
        .await
    }

    /// Kills the process as a crash would.
    pub fn kill(&self, bed: &Bed, name: &str) -> Result<()> {
        bed.processes().kill(name)
    }

    /// Asks the process to stop, as a rollout does, and waits for it.
    pub async fn stop(&self, bed: &Bed, name: &str) -> Result<()> {
        let Some(id) = bed.processes().ids().get(name).copied() else { bail!("{name} does not run") };
        interrupt(id);
        wait_until(format!("{name} has stopped"), Duration::from_secs(30), async || Ok(!bed.processes().is_running(name)?)).await
    }

    /// What the process says on /metrics.
    pub async fn metrics(&self, bed: &Bed, name: &str) -> Result<String> {
        let port = std::fs::read_to_string(bed.dir().join(format!("{name}.port"))).context("it was never started")?;
        get(port.trim().parse().context("no port was noted")?, "/metrics").await
    }

    /// kubeconfig of the operator's service account.
    pub fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }
}

/// Installs the chart with the CRDs, and waits until the API server serves them.
pub async fn install_crds(bed: &Bed) -> Result<()> {
    let chart = tools::checkout().join("charts/onsale-operator-crds").display().to_string();
    let install = ["upgrade", "--install", "onsale-operator-crds", &chart, "--namespace", NAMESPACE, "--create-namespace"];
    bed.helm(&install).await?.ok().context("helm did not install the CRDs")?;
    let established = ["wait", "--for=condition=Established", "--timeout=30s", "crd"];
    let crds = ["onsales.onsale.dev", "capacitypools.onsale.dev", "workloadplacements.onsale.dev"];
    bed.commands().kubectl(established.iter().chain(&crds)).await?.ok()?;
    wait_until("the API server serves the kinds", Duration::from_secs(20), async || {
        Ok(bed.kubectl(&["get", "onsales,capacitypools,workloadplacements", "-A"]).await?.success())
    })
    .await
}

async fn get(port: u16, path: &str) -> Result<String> {
    let (status, text) = Http::new(&format!("http://127.0.0.1:{port}")).send(Method::GET, path, &[], Vec::new()).await?;
    if status == 200 { Ok(text) } else { bail!("{path} answered {status}: {text}") }
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr().context("no address")?.port())
}
