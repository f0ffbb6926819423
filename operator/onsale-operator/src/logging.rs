//! Log lines on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::flags::LogFormat;

/// Accepts a filter that can be understood, unchanged.
///
/// # Errors
/// A sentence that shows how to write one.
pub fn filter(text: &str) -> Result<String, String> {
    match EnvFilter::builder().parse(text) {
        Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
        _ => Err("write a level, or levels by module, such as info,onsale_controller=debug".into()),
    }
}

/// Starts logging, once per process.
pub fn start(format: LogFormat, filter: &str) {
    let registry = tracing_subscriber::registry().with(EnvFilter::new(filter));
    match format {
        LogFormat::Json => registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).init(),
        LogFormat::Text => registry.with(fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr)).init(),
    }
}
