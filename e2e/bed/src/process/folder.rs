//! The bed's folder, its lock, and what a dead bed left behind.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::ours;
use crate::files;

/// What a bed says about itself, in `bed.json` of its folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The process that holds the bed.
    pub holder: u32,
    /// Where kubectl finds the cluster.
    pub kubeconfig: PathBuf,
    /// Where the AWS SDKs find EC2, if the bed has it.
    pub ec2: Option<String>,
    /// Everything is up.
    pub ready: bool,
}

/// A bed's folder, held by this process: the kernel lets go of the lock when the process dies, however it dies.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

/// Who holds a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Nobody, and nothing runs.
    Nobody,
    /// A living bed.
    Alive,
    /// Nobody, but these processes of a dead bed still run.
    Dead(Vec<u32>),
}

impl Folder {
    /// Takes the folder, ends what a dead bed left running in it, and empties it. Fails if a living bed has it.
    pub fn take(path: &Path) -> Result<Self> {
        files::make_folder(path)?;
        let path = path.canonicalize().with_context(|| format!("could not find {}", path.display()))?;
        let lock = File::create(path.join("lock")).with_context(|| format!("could not make a lock in {}", path.display()))?;
        hold(&lock, &path)?;
        sweep(&path)?;
        empty(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what `bed status` and others read.
    pub fn write(&self, state: &State) -> Result<()> {
        let text = serde_json::to_string_pretty(state).context("could not write the bed's state as JSON")?;
        let (new, path) = (self.path.join("bed.json.new"), self.path.join("bed.json"));
        files::write_private(&new, text)?;
        std::fs::rename(&new, &path).with_context(|| format!("could not put {} in its place", path.display()))
    }
}

fn hold(lock: &File, path: &Path) -> Result<()> {
    // Whoever only asks who holds it holds it for a moment, so one refusal proves nothing.
    for _ in 0..20 {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("could not lock {}", path.display())),
        }
    }
    bail!("a bed is up in {} already; stop it with `bed down`, or choose another --name", path.display())
}

/// Reads what the bed in that folder said last.
pub fn read(path: &Path) -> Result<State> {
    let file = path.join("bed.json");
    let text = std::fs::read(&file).with_context(|| format!("could not read {}; is a bed up?", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not what this version writes", file.display()))
}

/// Who holds the folder now.
pub fn holder(path: &Path) -> Holder {
    let Ok(path) = path.canonicalize() else { return Holder::Nobody };
    let locked = File::open(path.join("lock")).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
    if locked {
        return Holder::Alive;
    }
    let left: Vec<u32> = started(&path).into_iter().filter(|id| ours::is_ours(*id, &path)).collect();
    if left.is_empty() { Holder::Nobody } else { Holder::Dead(left) }
}

/// Ends what a dead bed left running. The caller holds the folder, or knows that nobody does.
pub fn sweep(path: &Path) -> Result<usize> {
    let path = path.canonicalize().with_context(|| format!("could not find {}", path.display()))?;
    let mut ended = 0;
    // A keeper that is at work at this moment may be faster; a process that does not end in 5 s never will.
    for _ in 0..50 {
        let left: Vec<u32> = started(&path).into_iter().filter(|id| ours::is_ours(*id, &path)).collect();
        if left.is_empty() {
            return Ok(ended);
        }
        ended += left.iter().filter(|id| ours::kill(**id)).count();
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("processes of an earlier bed in {} do not end", path.display())
}

fn started(path: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(path.join("pids")) else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    ids.filter_map(|text| text.trim().parse().ok()).collect()
}

/// Everything but the lock goes: a bed starts fresh, and yesterday's logs under today's names would mislead.
fn empty(path: &Path) -> Result<()> {
    let entries = std::fs::read_dir(path).with_context(|| format!("could not list {}", path.display()))?;
    for entry in entries.flatten().filter(|entry| entry.file_name() != "lock") {
        let old = entry.path();
        let removed = if old.is_dir() { std::fs::remove_dir_all(&old) } else { std::fs::remove_file(&old) };
        removed.with_context(|| format!("could not remove {}", old.display()))?;
    }
    Ok(())
}
