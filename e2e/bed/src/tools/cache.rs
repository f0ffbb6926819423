//! The cache folder, keys, and the lock that keeps two processes from building the same.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::progress::Progress;

/// How often a waiting process looks whether the other one is done.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// `$XDG_CACHE_HOME/onsale-bed` or `~/.cache/onsale-bed`.
pub fn folder() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set; set one of them")?).join(".cache"),
    };
    Ok(base.join("onsale-bed"))
}

/// A short key for everything that decides what is built.
pub fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Waits for, then holds, the lock of that name until the file is dropped. The kernel lets go of it when a process
/// dies, however it dies.
pub fn lock(name: &str, progress: Progress) -> Result<File> {
    let path = folder()?.join(format!("{name}.lock"));
    std::fs::create_dir_all(folder()?).with_context(|| format!("could not make {}", folder().unwrap_or_default().display()))?;
    let file = File::create(&path).with_context(|| format!("could not open {}", path.display()))?;
    let mut waiting = None;
    loop {
        match file.try_lock() {
            Ok(()) => {
                if let Some(step) = waiting {
                    crate::progress::Step::done(step);
                }
                return Ok(file);
            }
            Err(TryLockError::WouldBlock) => {
                waiting.get_or_insert_with(|| progress.step(format!("waiting for another process that prepares the {name}")));
                std::thread::sleep(LOOK_AGAIN);
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("could not lock {}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_where_one_part_ends() {
        assert_ne!(key([b"ab".as_slice(), b"c"]), key([b"a".as_slice(), b"bc"]));
    }
}
