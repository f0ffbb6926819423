//! Building one Go tool from its `e2e/tools/*/go.mod`.
//!
//! Each module has its own `go.mod`, because one for all would lift shared dependencies of each to the highest version
//! that any of them asks for. Kubernetes is stamped with its version: without the stamp the server calls itself
//! `v0.0.0-master+$Format:%H$`, which is no semantic version, and Helm trips over it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{cache, checkout};
use crate::progress::Progress;

/// How one program is built.
#[derive(Debug)]
pub struct Recipe {
    /// Name of the program.
    pub name: &'static str,
    module: &'static str,
    package: &'static str,
    stamps: Vec<String>,
}

/// All of them, cheapest wait first: the control plane is what most callers wait for.
pub fn recipes() -> Vec<Recipe> {
    let kube = |name, package| Recipe { name, module: "kube", package, stamps: kubernetes_stamps() };
    vec![
        Recipe { name: "etcd", module: "etcd", package: "go.etcd.io/etcd/server/v3", stamps: vec![] },
        kube("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        kube("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        kube("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        kube("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        Recipe {
            name: "kwok",
            module: "kwok",
            package: "sigs.k8s.io/kwok/cmd/kwok",
            stamps: vec!["sigs.k8s.io/kwok/pkg/consts.Version=0.8.0".into()],
        },
        Recipe {
            name: "helm",
            module: "helm",
            package: "helm.sh/helm/v4/cmd/helm",
            stamps: vec!["helm.sh/helm/v4/internal/version.version=v4.2.4".into()],
        },
    ]
}

fn kubernetes_stamps() -> Vec<String> {
    // The tag v1.36.3 and what its own release was stamped with; change together with e2e/tools/kube/go.mod.
    let values = [
        ("gitVersion", "v1.36.3"),
        ("gitMajor", "1"),
        ("gitMinor", "36"),
        ("gitTreeState", "clean"),
        ("gitCommit", "0f29094e5b73085e3802ecc1298ecae13866bfe6"),
        ("buildDate", "2026-07-22T18:10:35Z"),
    ];
    ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"]
        .iter()
        .flat_map(|package| values.map(|(name, value)| format!("{package}.{name}={value}")))
        .collect()
}

impl Recipe {
    fn source(&self) -> PathBuf {
        checkout().join("e2e/tools").join(self.module)
    }

    fn linker_flags(&self) -> String {
        let stamps: String = self.stamps.iter().map(|stamp| format!(" -X {stamp}")).collect();
        format!("-s -w{stamps}")
    }

    /// Where the program lies once built. The folder's name says what it was built from.
    pub fn binary(&self) -> Result<PathBuf> {
        let read = |file: &str| {
            let path = self.source().join(file);
            std::fs::read(&path).with_context(|| format!("could not read {}", path.display()))
        };
        let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
        let key =
            cache::key([&read("go.mod")?, &read("go.sum")?, self.package.as_bytes(), self.linker_flags().as_bytes(), platform.as_bytes()]);
        Ok(cache::folder()?.join("tools").join(format!("{}-{key}", self.name)).join(self.name))
    }
}

/// Builds it unless it is there. The caller holds the lock.
pub fn build(recipe: &Recipe, which: &str, progress: Progress) -> Result<()> {
    let binary = recipe.binary()?;
    if binary.exists() {
        return Ok(());
    }
    let folder = binary.parent().context("a tool lies in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    let unfinished = folder.join(format!("{}.unfinished", recipe.name));
    let step = progress.step(format!("building {} ({which})", recipe.name));
    let output = Command::new("go")
        .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", &recipe.linker_flags(), "-o"])
        .arg(&unfinished)
        .arg(recipe.package)
        .current_dir(recipe.source())
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "")
        .stdin(Stdio::null())
        .output()
        .context("could not run `go`; install Go 1.26 or newer")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let end: Vec<&str> = text.lines().rev().take(20).collect();
        bail!("go build ended with {}:\n{}", output.status, end.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    std::fs::rename(&unfinished, &binary).with_context(|| format!("could not put {} in its place", binary.display()))?;
    step.done();
    Ok(())
}
