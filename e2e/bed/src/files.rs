//! Writing the bed's files: folders, files that only the user reads, the end of a log.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Makes a folder and those above it.
pub fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("could not make {}", path.display()))
}

/// Writes a file that only the user may read: most of the bed's files are keys, or name them.
pub fn write_private(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("could not open {}", path.display()))?;
    file.write_all(text.as_ref()).with_context(|| format!("could not write {}", path.display()))
}

/// The last `lines` lines of a file, or why there are none.
pub fn tail(path: &Path, lines: usize) -> String {
    match std::fs::read(path) {
        Err(error) => format!("({}: {error})", path.display()),
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let end: Vec<&str> = text.lines().rev().take(lines).collect();
            end.into_iter().rev().collect::<Vec<_>>().join("\n")
        }
    }
}
