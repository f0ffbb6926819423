//! Process IDs: is this one (still) ours, stop it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::MARK;

/// Whether that process runs and was started by the bed in `folder`. A process ID alone proves nothing: it may have been
/// given to somebody else since.
pub fn is_ours(id: u32, folder: &Path) -> bool {
    let mark = format!("{MARK}={}", folder.display());
    if Path::new("/proc/self").exists() {
        let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        return environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes());
    }
    let output = Command::new("ps").args(["eww", "-o", "command=", "-p", &id.to_string()]).stderr(Stdio::null()).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(&mark))
}

/// Asks a process to end in good order.
pub fn interrupt(id: u32) -> bool {
    signal("-TERM", id)
}

/// Ends a process at once.
pub(super) fn kill(id: u32) -> bool {
    signal("-KILL", id)
}

fn signal(signal: &str, id: u32) -> bool {
    // The shell's own `kill`: the standard library has none, and the program is not everywhere.
    let script = format!("kill {signal} {id}");
    Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
