//! `kubectl` and `helm` as a person would run them, with the bed's kubeconfig.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What a command said.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Its answer.
    pub stdout: String,
    /// Its complaints and warnings.
    pub stderr: String,
}

impl Output {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }

    /// Its answer, or an error with what it complained about.
    pub fn ok(self) -> Result<String> {
        if !self.success() {
            bail!("exit code {}: {}{}", self.code, self.stderr.trim(), self.stdout.trim());
        }
        Ok(self.stdout)
    }
}

/// Runs programs against one cluster, without reading or writing the user's own configuration.
#[derive(Debug, Clone)]
pub struct Commands {
    kubectl: PathBuf,
    helm: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
    /// Folders to look for programs in, as in `PATH`; unset: as they are.
    path: Option<OsString>,
}

impl Commands {
    pub(crate) fn new(tools: &crate::tools::Tools, kubeconfig: &Path, folder: &Path) -> Self {
        Self {
            kubectl: tools.kubectl.clone(),
            helm: tools.helm.clone(),
            kubeconfig: kubeconfig.into(),
            home: folder.join("home"),
            path: None,
        }
    }

    /// The same, with kubectl's plugins in this folder first on the `PATH`.
    pub fn with_plugins(&self, folder: &Path) -> Self {
        let all = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&all));
        Self { path: std::env::join_paths(folders).ok(), ..self.clone() }
    }

    /// The same, as somebody else.
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> Self {
        Self { kubeconfig: kubeconfig.into(), ..self.clone() }
    }

    /// Runs kubectl.
    pub async fn kubectl<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Output> {
        self.run(&self.kubectl, args, None).await
    }

    /// Runs kubectl with something on its standard input (`apply -f -`).
    pub async fn kubectl_with<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>, stdin: &str) -> Result<Output> {
        self.run(&self.kubectl, args, Some(stdin)).await
    }

    /// Runs helm.
    pub async fn helm<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Output> {
        self.run(&self.helm, args, None).await
    }

    async fn run<A: AsRef<OsStr>>(&self, program: &Path, args: impl IntoIterator<Item = A>, stdin: Option<&str>) -> Result<Output> {
        let name = program.file_name().unwrap_or_default().display().to_string();
        let mut child = Command::new(program)
            .args(args)
            .envs(self.path.as_ref().map(|path| ("PATH", path)))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .env_remove("HELM_KUBECONTEXT")
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not run {name}"))?;
        if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
            pipe.write_all(text.as_bytes()).await.with_context(|| format!("{name} did not read its input"))?;
        }
        let output = child.wait_with_output().await.with_context(|| format!("{name} did not end"))?;
        Ok(Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
