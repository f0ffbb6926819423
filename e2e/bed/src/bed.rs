//! The whole bed, and the way to its parts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube::Client;
use tokio::task::JoinHandle;

use crate::commands::{Commands, Output};
use crate::control_plane::{self, ControlPlane, HpaTiming, Site};
use crate::ec2::Ec2;
use crate::files;
use crate::joiner::Joiner;
use crate::kubeconfig;
use crate::kwok;
use crate::metrics::Metrics;
use crate::process::Processes;
use crate::process::folder::{Folder, State};
use crate::process::ports::Ports;
use crate::progress::Progress;
use crate::tools::{self, Tools};

/// What a bed is to have.
#[derive(Debug, Clone)]
pub struct Options {
    /// Tells beds apart that are up at the same time.
    pub name: String,
    /// Where its files lie; `.bed/<name>` in the checkout when unset.
    pub folder: Option<PathBuf>,
    /// The EC2 emulator and the joiner.
    pub ec2: bool,
    /// The metrics API.
    pub metrics: bool,
    /// How quick HPAs are.
    pub hpa: HpaTiming,
    /// Where progress is shown.
    pub progress: Progress,
}

impl Options {
    /// Everything, as quick as it goes, progress on stderr.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), folder: None, ec2: true, metrics: true, hpa: HpaTiming::quick(), progress: Progress::stderr() }
    }
}

/// `.bed/<name>` in the checkout.
pub fn default_folder(name: &str) -> PathBuf {
    tools::checkout().join(".bed").join(name)
}

/// A running bed. Dropping it stops everything; `down` does the same and says so.
pub struct Bed {
    client: Client,
    plane: ControlPlane,
    commands: Commands,
    ec2: Option<(Ec2, Joiner)>,
    metrics: Option<Metrics>,
    _tasks: Tasks,
    // Dropped in this order: the programs first, then their ports, the folder's lock last.
    processes: Processes,
    _ports: Ports,
    folder: Folder,
}

/// Tasks that end with the bed.
#[derive(Debug, Default)]
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Bed {
    /// Starts a bed: seconds once the tools are built, about ten minutes before that. Whatever fails, nothing is left
    /// running, and the error carries the end of the log of the part that failed.
    pub async fn up(options: Options) -> Result<Self> {
        let progress = options.progress;
        let (tools, python) = prepare(&options).await?;
        let path = options.folder.clone().unwrap_or_else(|| default_folder(&options.name));
        let folder = Folder::take(&path)?;
        let mut state = State { holder: std::process::id(), kubeconfig: folder.path().join("kubeconfig"), ec2: None, ready: false };
        folder.write(&state)?;
        let processes = Processes::new(folder.path())?;
        let mut ports = Ports::default();
        let emulator_port = ports.reserve()?;
        let step = progress.step(format!("starting bed {}", options.name));
        let mut site = Site { folder: folder.path(), tools: &tools, processes: &processes, ports: &mut ports };
        // Python is slow to start and needs nothing of the rest.
        let emulator = async {
            match &python {
                Some(python) => Ec2::start(&processes, python, emulator_port).await.map(Some),
                None => Ok(None),
            }
        };
        let cluster = async {
            step.note("control plane");
            let (plane, client) = ControlPlane::start(&mut site, options.hpa).await.context("the control plane did not start")?;
            step.note("kwok");
            kwok::start(&mut site, &plane).await.context("kwok did not start")?;
            anyhow::Ok((plane, client))
        };
        let (emulator, cluster) = tokio::join!(emulator, cluster);
        let (plane, client) = cluster?;
        let mut tasks = Tasks::default();
        let metrics = if options.metrics { Some(start_metrics(&client, &plane, &mut tasks).await?) } else { None };
        let ec2 = emulator.context("the EC2 emulator did not start")?.map(|ec2| {
            let (joiner, task) = Joiner::start(client.clone(), ec2.clone());
            tasks.0.push(task);
            (ec2, joiner)
        });
        let commands = Commands::new(&tools, &plane.kubeconfig, folder.path());
        (state.ready, state.ec2) = (true, ec2.as_ref().map(|(ec2, _)| ec2.url().to_owned()));
        folder.write(&state)?;
        step.done();
        Ok(Self { client, plane, commands, ec2, metrics, _tasks: tasks, processes, _ports: ports, folder })
    }

    /// Stops everything and lets go of the folder; logs stay in it.
    pub async fn down(self) -> Result<()> {
        // Ending children blocks for as long as the kernel takes to free their memory.
        let down = tokio::task::spawn_blocking(move || {
            self.processes.stop();
            // While the folder is still ours: the next bed may take it at once.
            let data = self.dir().join("etcd");
            std::fs::remove_dir_all(&data).with_context(|| format!("could not remove {}", data.display()))
        });
        down.await.context("the bed did not come down")?
    }

    /// A client of the administrator.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.plane.kubeconfig
    }

    /// The bed's folder: kubeconfig, `logs/`, `certs/`.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The EC2 emulator; an error if the bed was started without.
    pub fn ec2(&self) -> Result<&Ec2> {
        self.ec2.as_ref().map(|(ec2, _)| ec2).context("this bed was started without EC2")
    }

    /// The joiner; an error if the bed was started without EC2.
    pub fn joiner(&self) -> Result<&Joiner> {
        self.ec2.as_ref().map(|(_, joiner)| joiner).context("this bed was started without EC2")
    }

    /// The metrics API; an error if the bed was started without.
    pub fn metrics(&self) -> Result<&Metrics> {
        self.metrics.as_ref().context("this bed was started without metrics")
    }

    /// The bed's programs: their logs, killing and restarting them, starting more (the operator) that end with the bed.
    pub fn processes(&self) -> &Processes {
        &self.processes
    }

    /// kubectl and helm as the administrator; `with_kubeconfig` makes them somebody else's.
    pub fn commands(&self) -> &Commands {
        &self.commands
    }

    /// Runs kubectl as the administrator.
    pub async fn kubectl(&self, args: &[&str]) -> Result<Output> {
        self.commands.kubectl(args).await
    }

    /// Runs helm as the administrator.
    pub async fn helm(&self, args: &[&str]) -> Result<Output> {
        self.commands.helm(args).await
    }

    /// `kubectl apply` of one or several documents, as a person would: client-side.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        self.commands.kubectl_with(["apply", "-f", "-"], yaml).await?.ok()
    }

    /// `kubectl apply` of a file or a folder.
    pub async fn apply_file(&self, path: &Path) -> Result<String> {
        self.commands.kubectl([Path::new("apply"), Path::new("-f"), path]).await?.ok()
    }

    /// A kubeconfig of a plain user with at most one group, who may do what RBAC says.
    pub fn user_kubeconfig(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let file = format!("user-{}", user.replace(['/', ':'], "-"));
        let pair = self.plane.authority.client(&file, user, group.as_slice())?;
        let path = self.dir().join("certs").join(format!("{file}.kubeconfig"));
        self.plane.cluster.write_for_certificate(&path, &pair)?;
        Ok(path)
    }

    /// A kubeconfig with a token of a service account, to run a program as its pod would.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = kubeconfig::service_account_token(&self.client, namespace, name).await?;
        let path = self.dir().join("certs").join(format!("serviceaccount-{namespace}-{name}.kubeconfig"));
        self.plane.cluster.write_for_token(&path, &token)?;
        Ok(path)
    }

    /// Kills the API server as a crash would, starts it again and waits until it is ready.
    pub async fn restart_api_server(&self) -> Result<()> {
        self.processes.restart("kube-apiserver")?;
        control_plane::ready(&self.processes, "kube-apiserver", &self.client, "/readyz").await
    }

    /// The ends of all logs, for the day a test fails.
    pub fn log_tails(&self, lines: usize) -> String {
        let tail = |name: &String| format!("--- {name} ---\n{}\n", files::tail(&self.processes.log(name), lines));
        self.processes.names().iter().map(tail).collect()
    }
}

async fn prepare(options: &Options) -> Result<(Tools, Option<PathBuf>)> {
    let (progress, ec2) = (options.progress, options.ec2);
    let prepared = tokio::task::spawn_blocking(move || {
        let tools = tools::ensure(progress)?;
        let python = if ec2 { Some(tools::python(progress)?) } else { None };
        Ok((tools, python))
    });
    prepared.await.context("the tools could not be prepared")?
}

async fn start_metrics(client: &Client, plane: &ControlPlane, tasks: &mut Tasks) -> Result<Metrics> {
    let (metrics, task) = Metrics::start(client.clone(), &plane.authority).await.context("the metrics API did not start")?;
    tasks.0.push(task);
    Ok(metrics)
}
