//! The one place that shows progress, on a terminal and in a plain log alike.
//!
//! `Progress` is where to show it (or nowhere), `Step` is one thing under way: a line when it starts, a sign of life
//! while it lasts, a line with the time it took when it ends. All of it goes to stderr, so stdout stays for answers.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// On a terminal the line is redrawn this often; short enough that it is seen to be alive.
const REDRAW: Duration = Duration::from_secs(1);
/// In a log every sign of life is a line of its own, so they come less often.
const LOG_AGAIN: Duration = Duration::from_secs(10);

/// Where progress is shown. Cheap to clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    shown: bool,
    terminal: bool,
}

impl Progress {
    /// Progress on stderr: one redrawn line per step on a terminal, plain lines elsewhere.
    pub fn stderr() -> Self {
        Self { shown: true, terminal: std::io::stderr().is_terminal() }
    }

    /// Shows nothing.
    pub fn quiet() -> Self {
        Self { shown: false, terminal: false }
    }

    /// Says one thing that takes no time.
    pub fn say(self, line: &str) {
        if self.shown {
            eprintln!("{line}");
        }
    }

    /// Starts a step and keeps showing it until it is `done` or dropped.
    pub fn step(self, what: impl Into<String>) -> Step {
        let what = what.into();
        let state = Arc::new((Mutex::new(State { note: String::new(), over: false }), Condvar::new()));
        let start = Instant::now();
        let ticker = self.shown.then(|| {
            self.draw(&format!("{what} …"));
            let (what, state) = (what.clone(), state.clone());
            std::thread::spawn(move || tick(self, &what, start, &state))
        });
        Step { progress: self, what, start, state, ticker }
    }

    fn draw(self, line: &str) {
        let mut stderr = std::io::stderr().lock();
        // A closed stderr is no reason to stop working.
        let _ = if self.terminal { write!(stderr, "\r\x1b[2K{line}").and_then(|()| stderr.flush()) } else { writeln!(stderr, "{line}") };
    }
}

#[derive(Debug)]
struct State {
    note: String,
    over: bool,
}

/// One thing under way. Dropping it without `done` says that it did not finish.
#[derive(Debug)]
pub struct Step {
    progress: Progress,
    what: String,
    start: Instant,
    state: Arc<(Mutex<State>, Condvar)>,
    ticker: Option<JoinHandle<()>>,
}

impl Step {
    /// What the step is busy with; shown with the next sign of life.
    pub fn note(&self, note: impl Into<String>) {
        if let Ok(mut state) = self.state.0.lock() {
            state.note = note.into();
        }
    }

    /// How long the step has been running.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Ends the step well.
    pub fn done(mut self) {
        self.end("done in");
    }

    fn end(&mut self, how: &str) {
        let Some(ticker) = self.ticker.take() else { return };
        if let Ok(mut state) = self.state.0.lock() {
            state.over = true;
        }
        self.state.1.notify_all();
        let _ = ticker.join();
        self.progress.draw(&format!("{}: {how} {}", self.what, seconds(self.start.elapsed())));
        if self.progress.terminal {
            eprintln!();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.end("given up after");
    }
}

fn tick(progress: Progress, what: &str, start: Instant, state: &(Mutex<State>, Condvar)) {
    let every = if progress.terminal { REDRAW } else { LOG_AGAIN };
    let Ok(mut guard) = state.0.lock() else { return };
    while !guard.over {
        let Ok((next, waited)) = state.1.wait_timeout(guard, every) else { return };
        guard = next;
        if !guard.over && waited.timed_out() {
            let note = if guard.note.is_empty() { String::new() } else { format!(" ({})", guard.note) };
            progress.draw(&format!("{what}{note} … {}", seconds(start.elapsed())));
        }
    }
}

/// `4.2 s`, `1 min 05 s`.
pub fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole >= 60 { format!("{} min {:02} s", whole / 60, whole % 60) } else { format!("{:.1} s", duration.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_durations_the_way_people_say_them() {
        assert_eq!(seconds(Duration::from_millis(4_230)), "4.2 s");
        assert_eq!(seconds(Duration::from_secs(65)), "1 min 05 s");
    }
}
