//! Nothing outlives a bed, however its process ends. Each test starts a second bed beside the shared one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use onsale_bed::process::folder::{Holder, holder, read};
use onsale_bed::process::is_ours;
use onsale_bed::{Bed, default_folder, wait_for, wait_until};

use crate::harness::{Case, Ground, beside};

pub fn cases() -> Vec<Case> {
    vec![
        beside!(a_killed_bed_leaves_no_process),
        beside!(a_dead_bed_is_found_and_cleaned_up),
        beside!(an_interrupted_bed_leaves_no_process),
    ]
}

const BED: &str = env!("CARGO_BIN_EXE_bed");

/// A bed in a process of its own, and the processes that it started.
struct Victim {
    name: String,
    process: tokio::process::Child,
    folder: PathBuf,
    children: Vec<u32>,
}

/// Named after the shared bed, so that two runs of these tests do not meet.
async fn start(shared: &Bed, purpose: &str) -> Result<Victim> {
    let name = format!("{}-{purpose}", shared.dir().file_name().context("a bed's folder has a name")?.display());
    let folder = default_folder(&name);
    let process = tokio::process::Command::new(BED)
        .args(["--name", &name, "up"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let id = process.id().context("no process ID")?;
    wait_until("the second bed is up", Duration::from_secs(120), async || {
        Ok(read(&folder).is_ok_and(|state| state.ready && state.holder == id))
    })
    .await?;
    let entries = std::fs::read_dir(folder.join("pids"))?;
    let children: Vec<u32> =
        entries.flatten().filter_map(|entry| std::fs::read_to_string(entry.path()).ok()?.trim().parse().ok()).collect();
    ensure!(children.len() == 6 && children.iter().all(|id| is_ours(*id, &folder)), "{children:?} are not six of ours");
    Ok(Victim { name, process, folder, children })
}

impl Victim {
    async fn wait_for_quiet(&self) -> Result<()> {
        wait_until("all processes of the bed have ended", Duration::from_secs(10), async || {
            let left: Vec<_> = self.children.iter().filter(|id| is_ours(**id, &self.folder)).collect();
            ensure!(left.is_empty(), "{left:?} are left");
            Ok(true)
        })
        .await
    }
}

async fn a_killed_bed_leaves_no_process(shared: &Ground<'_>) -> Result<()> {
    let mut victim = start(shared, "killed").await?;
    victim.process.kill().await?;
    victim.wait_for_quiet().await?;
    ensure!(holder(&victim.folder) == Holder::Nobody);
    Ok(())
}

async fn an_interrupted_bed_leaves_no_process(shared: &Ground<'_>) -> Result<()> {
    let mut victim = start(shared, "interrupted").await?;
    signal("-INT", victim.process.id().context("no process ID")?)?;
    let status = tokio::time::timeout(Duration::from_secs(20), victim.process.wait()).await.context("it does not end")??;
    ensure!(status.success(), "{status}");
    victim.wait_for_quiet().await
}

/// The keeper dies first, so nobody is left to clean up: what a machine's out-of-memory killer can do.
async fn a_dead_bed_is_found_and_cleaned_up(shared: &Ground<'_>) -> Result<()> {
    let mut victim = start(shared, "dead").await?;
    let keeper = wait_for("the keeper is found", Duration::from_secs(5), async || Ok(keeper_of(&victim.folder))).await?;
    signal("-KILL", keeper)?;
    victim.process.kill().await?;
    ensure!(matches!(holder(&victim.folder), Holder::Dead(left) if left.len() >= 5), "{:?}", holder(&victim.folder));
    let output = tokio::process::Command::new(BED).args(["--name", &victim.name, "down"]).output().await?;
    ensure!(String::from_utf8_lossy(&output.stdout).contains("a dead bed had left"), "{output:?}");
    victim.wait_for_quiet().await?;
    ensure!(holder(&victim.folder) == Holder::Nobody);
    Ok(())
}

fn keeper_of(folder: &Path) -> Option<u32> {
    let script = folder.join("keeper.sh").display().to_string();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.find(|id| std::fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&script)))
}

fn signal(signal: &str, id: u32) -> Result<()> {
    let status = Command::new("sh").args(["-c", &format!("kill {signal} {id}")]).status()?;
    ensure!(status.success(), "kill {signal} {id}: {status}");
    Ok(())
}
