//! The virtual environment of the EC2 emulator: pinned by hash, made on first use, shared by every checkout.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{cache, checkout};
use crate::progress::Progress;

/// Makes the environment unless it is there, and says where its interpreter lies. Blocking.
///
/// `ONSALE_PYTHON` names the interpreter to make it with; `python3` when unset.
pub fn python(progress: Progress) -> Result<PathBuf> {
    let requirements = checkout().join("e2e/ec2/requirements.txt");
    let text = std::fs::read(&requirements).with_context(|| format!("could not read {}", requirements.display()))?;
    let folder = cache::folder()?.join("python").join(format!("ec2-{}", cache::key([text.as_slice()])));
    let interpreter = folder.join("bin/python");
    let finished = folder.join("finished");
    if finished.exists() && works(&interpreter) {
        return Ok(interpreter);
    }
    let _lock = cache::lock("python", progress)?;
    if finished.exists() && works(&interpreter) {
        return Ok(interpreter);
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("could not remove {}", folder.display()))?;
    }
    let step = progress.step("installing the EC2 emulator's Python packages (once)");
    let base = std::env::var("ONSALE_PYTHON").unwrap_or_else(|_| "python3".into());
    run(Command::new(&base).args(["-m", "venv"]).arg(&folder)).with_context(|| format!("could not make an environment with {base}"))?;
    run(Command::new(&interpreter)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes", "-r"])
        .arg(&requirements))
    .context("could not install e2e/ec2/requirements.txt")?;
    std::fs::write(&finished, "").context("could not mark the environment as finished")?;
    step.done();
    Ok(interpreter)
}

/// An environment points at the interpreter it was made with; an upgrade of the system can take that away.
fn works(interpreter: &Path) -> bool {
    Command::new(interpreter).args(["-c", ""]).stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("could not run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
