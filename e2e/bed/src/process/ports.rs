//! Free ports that two beds never both get.
//!
//! Asking the kernel for port 0 and closing it again invites a race: it may hand the same port to the next who asks,
//! or to an outgoing connection, before the program binds it. So ports come from a range below the one that kernels
//! use for outgoing connections, and a locked file per port keeps other beds away for as long as this one lives.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use anyhow::{Context, Result, bail};

use crate::tools::cache_folder;

/// Below the outgoing range of Linux (32768) and macOS (49152), above what people usually run.
const RANGE: Range<u16> = 21_000..29_000;

/// Reserved ports; let go of when dropped.
#[derive(Debug, Default)]
pub struct Ports {
    held: Vec<File>,
}

impl Ports {
    /// A port on 127.0.0.1 that nobody uses now and no other bed will get.
    pub fn reserve(&mut self) -> Result<u16> {
        let folder = cache_folder()?.join("ports");
        std::fs::create_dir_all(&folder).with_context(|| format!("could not make {}", folder.display()))?;
        // Starting where our process ID points keeps beds apart, so that a wrong program on an old port is less likely.
        let width = u32::from(RANGE.end - RANGE.start);
        let offset = std::process::id().wrapping_mul(16) % width;
        for step in 0..width {
            let port = RANGE.start + u16::try_from((offset + step) % width).context("a port has 16 bits")?;
            let file = File::create(folder.join(port.to_string())).with_context(|| format!("could not reserve port {port}"))?;
            if file.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                self.held.push(file);
                return Ok(port);
            }
        }
        bail!("no free port between {} and {} on loopback", RANGE.start, RANGE.end)
    }
}
