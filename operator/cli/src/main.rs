//! `kubectl-onsale`: flags, the clock, the terminal.

use std::{
    io::{IsTerminal, Write, stderr, stdin, stdout},
    process::ExitCode,
};

use clap::{Parser, error::ErrorKind};
use onsale_cli::{
    cluster,
    flags::{Colour, Command, Flags},
    run::run,
    text::Style,
};

#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
fn main() -> ExitCode {
    let Command::Plan(flags) = match Flags::try_parse() {
        Ok(flags) => flags.command,
        Err(error) => {
            let _ = error.print();
            // clap's own 2 is taken: it says no-go.
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(u8::from(!asked));
        }
    };
    let now = flags.at.unwrap_or_else(jiff::Timestamp::now);
    let colour = match flags.color {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let (facts, namespace) = if flags.asks_cluster() {
        let (facts, namespace) = cluster::ask(&flags, now);
        (Some(facts), namespace)
    } else {
        (None, None)
    };
    let namespace = flags.namespace.clone().or(namespace).unwrap_or_else(|| "default".to_owned());
    let outcome = run(&flags, facts, &namespace, now, &mut stdin().lock(), Style { colour });
    let _ = stderr().write_all(outcome.err.as_bytes());
    match stdout().write_all(outcome.out.as_bytes()) {
        Ok(()) => ExitCode::from(outcome.code),
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(outcome.code),
        Err(_) => ExitCode::from(1),
    }
}
