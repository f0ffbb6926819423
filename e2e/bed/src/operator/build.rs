//! The operator's binary, never a stale one: cargo is asked each time, with the selection that tests and demo are built with.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::progress::Progress;
use crate::tools;

/// Builds the workspace's binaries (nothing to do when they are fresh) and says where the operator's lies. cargo shows its own progress.
///
/// The whole workspace is selected, so that the AWS SDK is compiled with the same features as for `cargo test` and `cargo demo`: once.
pub async fn build(progress: Progress) -> Result<PathBuf> {
    let step = progress.step("building the operator (cargo, about 5 minutes the first time)");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--workspace", "--bins"]).current_dir(tools::checkout());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    // Variables of the cargo that runs us would make the one below rebuild what depends on them.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
        command.env_remove(name);
    }
    let status = command.stdin(Stdio::null()).status().await.context("could not run cargo")?;
    if !status.success() {
        bail!("cargo build failed: see above");
    }
    step.done();
    let binary = beside()?.join("onsale-operator");
    if !binary.exists() {
        bail!("{} does not exist although cargo built it: is CARGO_TARGET_DIR the same?", binary.display());
    }
    Ok(binary)
}

/// The folder of this build: that of the running program, or of the test binary in its `deps`.
fn beside() -> Result<PathBuf> {
    let own = std::env::current_exe().context("who am I?")?;
    let folder = own.parent().context("a program lies in a folder")?;
    Ok(if folder.ends_with("deps") { folder.parent().unwrap_or(folder).to_path_buf() } else { folder.to_path_buf() })
}
