//! The programs that a bed runs, and the promise that none of them outlives it.
//!
//! - `mod.rs`: `Processes`: start, kill, start again, stop all
//! - `keeper.sh`: a shell that waits for the end of the bed's process and then stops what is left
//! - `start.sh`: what every program starts as, so that its process ID is written before it runs
//! - `ours.rs`: process IDs: is this one (still) ours, stop it
//! - `ports.rs`: free ports that two beds never both get
//! - `folder.rs`: the bed's folder, its lock, what a dead bed left behind
//!
//! Why a keeper and not the parent-death signal: that one fires when the *thread* that started the child ends, exists on
//! Linux only, and needs `unsafe` or a helper program anyway. Why not process groups: they do not see a SIGKILL.

pub mod folder;
mod ours;
pub mod ports;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::files;

pub use ours::{interrupt, is_ours};

/// A process that ends by itself is given this long; nothing in a bed is worth waiting longer for.
const GRACE: Duration = Duration::from_secs(2);
/// Lines of a log that explain why its program died.
const TAIL: usize = 30;
/// The variable by which a process is known to belong to a bed.
pub const MARK: &str = "ONSALE_BED";

/// What to run. Output goes to `logs/<name>.log` in the bed's folder.
#[derive(Debug, Clone)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    stdin: bool,
}

impl Program {
    /// A program under a name that is unique in its bed.
    pub fn new(name: &str, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), path: path.into(), args: Vec::new(), env: Vec::new(), stdin: false }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Holds the program's standard input open as long as the bed lives, for programs that end with it.
    pub fn holding_stdin(mut self) -> Self {
        self.stdin = true;
        self
    }
}

#[derive(Debug)]
struct Running {
    program: Program,
    child: Child,
    _stdin: Option<ChildStdin>,
}

/// All programs of one bed. Dropping it stops them.
#[derive(Debug)]
pub struct Processes {
    folder: PathBuf,
    running: Mutex<BTreeMap<String, Running>>,
    keeper: Mutex<Option<Child>>,
}

impl Processes {
    /// Starts the keeper. `folder` is the bed's, locked by the caller.
    pub fn new(folder: &Path) -> Result<Self> {
        files::make_folder(&folder.join("pids"))?;
        files::make_folder(&folder.join("logs"))?;
        for (name, text) in [("keeper.sh", include_str!("keeper.sh")), ("start.sh", include_str!("start.sh"))] {
            files::write_private(&folder.join(name), text)?;
        }
        let keeper = Command::new("sh")
            .arg(folder.join("keeper.sh"))
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C at a terminal goes to the whole group: the bed answers it, nobody else.
            .process_group(0)
            .spawn()
            .context("could not start `sh` to watch over the bed's processes")?;
        Ok(Self { folder: folder.to_path_buf(), running: Mutex::default(), keeper: Mutex::new(Some(keeper)) })
    }

    /// Starts a program; `check` or the caller's own probe tells whether it lives.
    pub fn start(&self, program: Program) -> Result<u32> {
        let log = self.log(&program.name);
        let output = File::options().create(true).append(true).open(&log).with_context(|| format!("could not open {}", log.display()))?;
        let errors = output.try_clone().with_context(|| format!("could not open {} twice", log.display()))?;
        let mut child = Command::new("sh")
            .arg(self.folder.join("start.sh"))
            .arg(&self.folder)
            .arg(&program.name)
            .arg(&program.path)
            .args(&program.args)
            .envs(program.env.iter().map(|(name, value)| (name, value)))
            .env(MARK, &self.folder)
            .current_dir(&self.folder)
            .stdin(if program.stdin { Stdio::piped() } else { Stdio::null() })
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("could not start {}", program.name))?;
        let (id, stdin) = (child.id(), child.stdin.take());
        self.lock().insert(program.name.clone(), Running { program, child, _stdin: stdin });
        Ok(id)
    }

    /// Starts a program that was killed again, with the same arguments.
    pub fn restart(&self, name: &str) -> Result<()> {
        self.kill(name)?;
        let program = self.lock().remove(name).map(|running| running.program).with_context(|| format!("{name} was never started"))?;
        self.start(program).map(drop)
    }

    /// Kills a program without ceremony, as a crash would.
    pub fn kill(&self, name: &str) -> Result<()> {
        let mut running = self.lock();
        let child = &mut running.get_mut(name).with_context(|| format!("{name} was never started"))?.child;
        end(child);
        Ok(())
    }

    /// Whether a program is running; an error if it was never started.
    pub fn is_running(&self, name: &str) -> Result<bool> {
        let mut running = self.lock();
        let child = &mut running.get_mut(name).with_context(|| format!("{name} was never started"))?.child;
        Ok(child.try_wait().with_context(|| format!("could not look at {name}"))?.is_none())
    }

    /// Fails with the end of the log if the program has ended.
    pub fn check(&self, name: &str) -> Result<()> {
        if !self.is_running(name)? {
            bail!("{name} has ended; the end of its log:\n{}", files::tail(&self.log(name), TAIL));
        }
        Ok(())
    }

    /// Process IDs by name, of what runs.
    pub fn ids(&self) -> BTreeMap<String, u32> {
        let mut running = self.lock();
        running.iter_mut().filter_map(|(name, it)| matches!(it.child.try_wait(), Ok(None)).then(|| (name.clone(), it.child.id()))).collect()
    }

    /// Where a program's output goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }

    /// Names of all programs that were started.
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Stops everything, the keeper last. Calling it again does nothing.
    pub fn stop(&self) {
        // All at once, without a chance to say goodbye: the data is thrown away, and a graceful API server waits for its watches.
        for running in self.lock().values_mut() {
            let _ = running.child.kill();
        }
        for running in self.lock().values_mut() {
            end(&mut running.child);
        }
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut keeper) = keeper {
            drop(keeper.stdin.take());
            wait_a_while(&mut keeper);
            end(&mut keeper);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.stop();
    }
}

fn end(child: &mut Child) {
    // Both fail only when the process is gone already, which is what is wanted.
    let _ = child.kill();
    let _ = child.wait();
}

fn wait_a_while(child: &mut Child) {
    let start = Instant::now();
    while start.elapsed() < GRACE && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(10));
    }
}
