//! The live view: redrawn in place on a terminal, a compact line whenever something changes in a log. Everything goes to stderr.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use onsale_api::Phase;

use super::world::{PoolScene, Scene, WorkloadScene};

/// Shown at most this often.
const EVERY: Duration = Duration::from_millis(900);
/// In a log a sign of life comes this often although nothing changed.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// The frame needs so many columns.
const WIDTH: usize = 79;
/// Cells of a bar.
const BAR: usize = 24;

/// Where the night is shown.
#[derive(Debug)]
pub struct View {
    shown: bool,
    terminal: bool,
    /// Lines of the frame that stand on the terminal.
    drawn: usize,
    last: Option<Instant>,
    said: String,
}

impl View {
    /// On stderr: in place if it is a terminal that is wide enough.
    pub fn stderr() -> Self {
        let terminal = std::io::stderr().is_terminal() && columns().is_none_or(|columns| columns > WIDTH);
        Self { shown: true, terminal, drawn: 0, last: None, said: String::new() }
    }

    /// Nowhere.
    pub fn quiet() -> Self {
        Self { shown: false, terminal: false, drawn: 0, last: None, said: String::new() }
    }

    /// What is happening, and why it matters. Stays above the frame.
    pub fn headline(&mut self, scene: &Scene, title: &str, why: &str) {
        if !self.shown {
            return;
        }
        self.wipe();
        let clock = clock(scene);
        let (bold, plain) = if self.terminal { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        let mut text = format!("\n{bold}{clock:>7}  {title}{plain}\n");
        for line in wrapped(why, WIDTH - 9) {
            text += &format!("         {line}\n");
        }
        put(&text);
        self.last = None;
    }

    /// What it looks like now.
    pub fn show(&mut self, scene: &Scene) {
        if !self.shown || self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        if self.terminal {
            self.wipe();
            let frame = frame(scene);
            put(&(frame.join("\n") + "\n"));
            self.drawn = frame.len();
        } else {
            let what = line(scene);
            if what == self.said && self.last.is_some_and(|last| last.elapsed() < SIGN_OF_LIFE) {
                return;
            }
            put(&format!("{:>7}  {what}\n", clock(scene)));
            self.said = what;
        }
        self.last = Some(Instant::now());
    }

    fn wipe(&mut self) {
        if self.drawn > 0 {
            put(&format!("\x1b[{}A\x1b[J", self.drawn));
            self.drawn = 0;
        }
    }
}

/// A closed stderr is no reason to stop.
fn put(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Columns of the terminal, as `stty` sees them.
fn columns() -> Option<usize> {
    let output = std::process::Command::new("stty").arg("size").stdin(std::process::Stdio::inherit()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.split_whitespace().nth(1)?.parse().ok()
}

/// `T-42s`, `T+1m05s`; nothing before the opening is known.
fn clock(scene: &Scene) -> String {
    scene.sale.opens_at.as_ref().map(|opens_at| countdown(scene.at, opens_at.0)).unwrap_or_default()
}

fn countdown(now: Timestamp, opens_at: Timestamp) -> String {
    let left = opens_at.duration_since(now);
    // The last second before the opening is T-1s, the first after it T+0s.
    let seconds = if left.is_positive() { (left.as_millis() + 999) / 1000 } else { -left.as_millis() / 1000 };
    let sign = if left.is_positive() { '-' } else { '+' };
    if seconds < 120 { format!("T{sign}{seconds}s") } else { format!("T{sign}{}m{:02}s", seconds / 60, seconds % 60) }
}

fn against(scene: &Scene, at: Option<&Timestamp>) -> String {
    match (at, &scene.sale.opens_at) {
        (Some(at), Some(opens_at)) => countdown(*at, opens_at.0),
        _ => "-".into(),
    }
}

fn slack(scene: &Scene) -> String {
    scene.sale.slack.clone().unwrap_or_else(|| "-".into())
}

fn phase(scene: &Scene) -> String {
    scene.sale.phase.map(|phase| format!("{phase:?}")).unwrap_or_default()
}

/// One line: what a log needs.
fn line(scene: &Scene) -> String {
    let pool = |pool: &PoolScene| {
        let mut text = format!("{} {}", pool.name, pool.ready);
        if pool.launching > 0 {
            text += &format!("+{}", pool.launching);
        }
        if pool.leaving > 0 {
            text += &format!("-{}", pool.leaving);
        }
        text + &format!(":{}", pool.pods)
    };
    let used = scene.pools.iter().filter(|p| p.ready + p.launching + p.leaving + p.pods > 0).map(pool).collect::<Vec<_>>().join("  ");
    let slack = if scene.sale.phase.is_some_and(|p| matches!(p, Phase::Scheduled | Phase::Preparing | Phase::Ready)) {
        format!("slack {}  ", slack(scene))
    } else {
        String::new()
    };
    format!("{:<9}  {slack}Ready {}/{}  nodes:pods  {used}", phase(scene), scene.ready(), scene.peak())
}

fn frame(scene: &Scene) -> Vec<String> {
    let ready_by = against(scene, scene.sale.ready_by.as_ref().map(|t| &t.0));
    let predicted = against(scene, scene.sale.predicted_ready_at.as_ref().map(|t| &t.0));
    let mut lines = vec![
        String::new(),
        format!(
            "  \x1b[1m{:>7}  {:<10}\x1b[0m ready-by {ready_by}   predicted {predicted}   slack {}",
            clock(scene),
            phase(scene),
            slack(scene)
        ),
        String::new(),
        format!("  {:<16}{:>6}{:>7}{:>7}   Ready of the peak", "workload", "usual", "floor", "Ready"),
    ];
    lines.extend(scene.workloads.iter().map(workload));
    lines.push(String::new());
    lines.push(format!("  {:<16}{:>6}{:>7}{:>7}   █ Ready ▒ coming ░ planned ▽ leaving", "pool", "nodes", "coming", "pods"));
    let most = scene.pools.iter().map(|p| p.planned.max(p.ready + p.launching + p.leaving)).max().unwrap_or_default();
    lines.extend(scene.pools.iter().map(|p| pool(p, most)));
    let pending: usize = scene.workloads.iter().map(|w| w.counted.pending).sum();
    lines.push(format!(
        "  {:<16}{:>6}{:>7}{:>7}   {pending} pods without a node",
        "together",
        scene.nodes(),
        launching(scene),
        bound(scene)
    ));
    lines
}

fn launching(scene: &Scene) -> usize {
    scene.pools.iter().map(|p| p.launching).sum()
}

fn bound(scene: &Scene) -> usize {
    scene.pools.iter().map(|p| p.pods).sum()
}

fn workload(w: &WorkloadScene) -> String {
    let full = w.counted.ready.min(w.peak) * BAR / w.peak.max(1);
    format!("  {:<16}{:>6}{:>7}{:>7}   {}{}", w.name, w.baseline, w.floor, w.counted.ready, "█".repeat(full), "░".repeat(BAR - full))
}

fn pool(p: &PoolScene, most: usize) -> String {
    // As many nodes to a cell as it takes.
    let per_cell = most.div_ceil(WIDTH - 43).max(1);
    let cells = |n: usize| n.div_ceil(per_cell);
    let planned = p.planned.saturating_sub(p.ready + p.launching + p.leaving);
    let bar =
        ["█".repeat(cells(p.ready)), "▒".repeat(cells(p.launching)), "░".repeat(cells(planned)), "▽".repeat(cells(p.leaving))].concat();
    format!("  {:<16}{:>6}{:>7}{:>7}   {bar}", p.name, p.ready + p.leaving, p.launching, p.pods)
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut();
        match last {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `32s`, `1m05s`: a span in a sentence.
pub fn span(span: SignedDuration) -> String {
    let seconds = span.as_secs().abs();
    let sign = if span.is_negative() { "-" } else { "" };
    if seconds < 120 { format!("{sign}{seconds} s") } else { format!("{sign}{} min {:02} s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn counts_down_to_the_opening_and_up_from_it() {
        let opens_at = at("2026-12-05T17:00:00Z");
        assert_eq!(countdown(at("2026-12-05T16:59:18Z"), opens_at), "T-42s");
        assert_eq!(countdown(at("2026-12-05T16:59:59.6Z"), opens_at), "T-1s");
        assert_eq!(countdown(at("2026-12-05T17:00:00.4Z"), opens_at), "T+0s");
        assert_eq!(countdown(at("2026-12-05T17:02:05Z"), opens_at), "T+2m05s");
    }

    #[test]
    fn the_frame_fits_the_width_and_a_line_names_only_pools_that_are_used() {
        let counted = super::super::world::Counted { ready: 300, ..Default::default() };
        let pool =
            |name: &str, n: usize| PoolScene { name: name.into(), planned: n, launching: n / 3, ready: n / 3, leaving: 0, pods: n * 4 };
        let scene = Scene {
            at: at("2026-12-05T16:59:18Z"),
            sale: onsale_api::OnSaleStatus { phase: Some(Phase::Preparing), ..Default::default() },
            workloads: vec![WorkloadScene { name: "seat-map".into(), baseline: 100, floor: 440, peak: 440, counted }],
            pools: vec![pool("phx-local-zone", 45), pool("oregon-a", 0)],
            others: 0,
        };
        for line in frame(&scene) {
            assert!(line.replace("\x1b[1m", "").replace("\x1b[0m", "").chars().count() <= WIDTH, "{line}");
        }
        assert_eq!(line(&scene), "Preparing  slack -  Ready 300/440  nodes:pods  phx-local-zone 15+15:180");
    }

    #[test]
    fn wraps_at_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    }
}
