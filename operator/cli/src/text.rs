//! For people: short, aligned, with colour where there is a terminal.

use std::fmt::Write;

use jiff::{Timestamp, Zoned, tz::TimeZone};
use onsale_api::{GoDuration, Money};

use crate::preview::{
    Kind, Missing, PoolPreview, Preview, SalePreview, Verdict, WorkloadPreview,
    clock::{beside, zone},
    merge::{Row, merge},
    timeline::span,
};

/// Colours, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// ANSI escapes are understood.
    pub colour: bool,
}

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "1;31";
const GREEN: &str = "1;32";
const YELLOW: &str = "33";

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// The whole preview.
#[must_use]
pub fn text(preview: &Preview, style: Style) -> String {
    let mut out = String::new();
    for (n, sale) in preview.sales.iter().enumerate() {
        if n > 0 {
            out.push('\n');
        }
        Page { out: &mut out, style, sale, zone: zone(&sale.time_zone), at: preview.at }.write();
    }
    let mut notes = preview.assumptions.clone();
    if let Some(cluster) = &preview.cluster {
        notes.insert(0, cluster.clone());
    }
    if !notes.is_empty() {
        let _ = writeln!(
            out,
            "\n{}",
            style.paint(BOLD, if preview.cluster.is_some() { "FROM THE CLUSTER" } else { "ASSUMED, FROM FILES ALONE" })
        );
        for note in notes {
            let _ = writeln!(out, "{}", wrap(&note, "  "));
        }
    }
    out
}

struct Page<'a> {
    out: &'a mut String,
    style: Style,
    sale: &'a SalePreview,
    zone: TimeZone,
    at: Timestamp,
}

impl Page<'_> {
    fn write(mut self) {
        self.headline();
        if let Some(times) = &self.sale.times {
            self.missing();
            self.changes();
            if self.sale.workloads.iter().any(|w| w.placed > 0) {
                self.timeline(times.starts_at);
                self.workloads();
                self.pools();
            }
        }
        self.remarks();
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    fn title(&mut self, title: &str) {
        self.out.push('\n');
        let title = self.style.paint(BOLD, title);
        self.line(&title);
    }

    fn local(&self, at: Timestamp) -> Zoned {
        onsale_api::time::whole_seconds(at).to_zoned(self.zone.clone())
    }

    fn headline(&mut self) {
        let sale = self.sale;
        let (word, colour) = match sale.verdict {
            Verdict::Go => ("GO", GREEN),
            Verdict::NoGo => ("NO-GO", RED),
        };
        let word = self.style.paint(colour, word);
        self.line(&format!("{word}  {}/{}: {}", sale.namespace, sale.name, sale.summary));
        if let Some(times) = &sale.times {
            let left = times.opens_at.duration_since(self.at);
            let when = if left.is_negative() { format!("{} ago", span(left)) } else { format!("in {}", span(left)) };
            let opens = self.local(times.opens_at).strftime("%A %Y-%m-%d %H:%M:%S").to_string();
            self.line(&format!("    opens {opens} {} ({when})", sale.time_zone));
        }
    }

    fn missing(&mut self) {
        if self.sale.missing.is_empty() {
            return;
        }
        self.title("MISSING");
        let mut last: Option<&str> = None;
        for Missing { workload, replicas, reason, message, until } in &self.sale.missing {
            if let (Some(name), Some(n)) = (workload, replicas)
                && last != Some(name)
            {
                let line = format!("  {n} replicas of {name} find no place:");
                self.line(&line);
                last = Some(name);
            }
            let indent = if workload.is_some() { "    " } else { "  " };
            let today = self.local(self.at).date();
            let until = until.map(|t| format!(" (tried again at {})", beside(&self.local(t), today))).unwrap_or_default();
            let reason = self.style.paint(YELLOW, &reason.to_string());
            let line = format!("{indent}{reason}: {message}{until}");
            self.line(&line);
        }
    }

    fn changes(&mut self) {
        if self.sale.changes.is_empty() {
            return;
        }
        self.title(if self.sale.changes.len() == 1 { "IT WOULD BE A GO WITH" } else { "IT WOULD BE A GO WITH ANY ONE OF" });
        for change in &self.sale.changes {
            let line = format!("  {change}");
            self.line(&line);
        }
    }

    fn timeline(&mut self, starts_at: Timestamp) {
        let start = self.local(starts_at);
        self.title(&format!("TIMELINE, {} {}", start.strftime("%Y-%m-%d"), self.sale.time_zone));
        let mut day = start.date();
        let rows = merge(&self.sale.timeline);
        for Row { at, kind, text, until } in rows {
            let when = self.local(at);
            if when.date() != day {
                day = when.date();
                let line = format!("  {day}");
                self.line(&line);
            }
            let until = until.map(|t| format!(", step by step until {}", beside(&self.local(t), day))).unwrap_or_default();
            let (word, promise) = word(kind);
            let lines = wrapped(&format!("{text}{until}"), 88);
            for (n, text) in lines.into_iter().enumerate() {
                let text = if promise { self.style.paint(BOLD, &text) } else { text };
                let line = if n == 0 { format!("  {}  {word:<12} {text}", when.strftime("%H:%M:%S")) } else { format!("{:25}{text}", "") };
                self.line(&line);
            }
        }
    }

    fn workloads(&mut self) {
        self.title("REPLICAS");
        let mut rows = vec![["WORKLOAD", "POOL", "NOW", "PEAK", "LATENCY"].map(str::to_owned).to_vec()];
        for work in &self.sale.workloads {
            rows.extend(work_rows(work));
        }
        self.table(&rows, &[2, 3]);
    }

    fn pools(&mut self) {
        self.title("NODES AND COST");
        let mut rows = vec![["POOL", "TIER", "NODES", "LIMIT", "PER HOUR"].map(str::to_owned).to_vec()];
        rows.extend(self.sale.pools.iter().map(pool_row));
        let cost = &self.sale.cost;
        let nodes = format!("{} rented", cost.nodes);
        let limit = cost.max_nodes.map(|n| n.to_string()).unwrap_or_default();
        let budget = cost.max_hourly.map(|m| format!(" of {m}")).unwrap_or_default();
        rows.push(vec!["all".to_owned(), String::new(), nodes, limit, format!("{}{budget}", money(cost.hourly))]);
        self.table(&rows, &[]);
        let most = cost.max_total.map(|m| format!(" of {m}")).unwrap_or_default();
        let beside = if cost.beside.is_empty() { String::new() } else { format!(", as rehearsed beside {}", cost.beside.join(", ")) };
        let line = format!("  {}{most} for the whole window{beside}", money(cost.window));
        self.line(&line);
        let recorded: Vec<String> = self.sale.pools.iter().flat_map(|p| p.recorded.iter().map(|r| format!("  {}: {r}", p.name))).collect();
        if !recorded.is_empty() {
            self.title("RECORDED BY THE OPERATOR");
            recorded.iter().for_each(|line| self.line(line));
        }
    }

    fn remarks(&mut self) {
        if self.sale.remarks.is_empty() {
            return;
        }
        self.title("WORTH KNOWING");
        for remark in &self.sale.remarks {
            let line = wrap(remark, "  ");
            self.line(&line);
        }
    }

    /// Columns as wide as their widest cell; those in `right` end at the right.
    fn table(&mut self, rows: &[Vec<String>], right: &[usize]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (n, row) in rows.iter().enumerate() {
            let cells = row.iter().enumerate().map(|(c, cell)| {
                let pad = " ".repeat(widths[c] - cell.chars().count());
                if right.contains(&c) { format!("{pad}{cell}") } else { format!("{cell}{pad}") }
            });
            let line = format!("  {}", cells.collect::<Vec<_>>().join("  "));
            let line = if n == 0 { self.style.paint(DIM, line.trim_end()) } else { line };
            self.line(&line);
        }
    }
}

fn work_rows(work: &WorkloadPreview) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let now: i32 = work.pools.iter().map(|s| s.now).sum();
    for (n, share) in work.pools.iter().enumerate() {
        let name = if n == 0 { work.name.clone() } else { String::new() };
        let pool = if share.pool.is_empty() { "no pool".to_owned() } else { share.pool.clone() };
        rows.push(vec![name, pool, share.now.to_string(), share.at_peak.to_string(), share.latency.map(brief).unwrap_or_default()]);
    }
    let latency = match (work.latency_now, work.latency_at_peak, work.best_latency) {
        (Some(now), Some(peak), Some(best)) => format!("{} now, {} at the peak, {} at best", brief(now), brief(peak), brief(best)),
        (None, Some(peak), Some(best)) => format!("{} at the peak, {} at best", brief(peak), brief(best)),
        _ => String::new(),
    };
    let name = if rows.is_empty() { work.name.clone() } else { String::new() };
    let peak = if work.placed < work.peak { format!("{} of {}", work.placed, work.peak) } else { work.peak.to_string() };
    rows.push(vec![name, "all".to_owned(), now.to_string(), peak, latency]);
    rows
}

fn pool_row(pool: &PoolPreview) -> Vec<String> {
    let rented: Vec<String> = pool.rented.iter().map(|r| format!("{} {}", r.count, r.instance_type)).collect();
    let nodes = match (pool.existing_nodes, pool.max_nodes) {
        (_, Some(_)) if rented.is_empty() => "none".to_owned(),
        (_, Some(_)) => rented.join(", "),
        (Some(n), None) => format!("{n} there already"),
        (None, None) => "unknown: taken as full".to_owned(),
    };
    let limit = pool.max_nodes.map(|n| n.to_string()).unwrap_or_default();
    let cost = if pool.rented.is_empty() { String::new() } else { money(pool.hourly) };
    vec![pool.name.clone(), format!("{:?}", pool.tier), nodes, limit, cost]
}

/// Three figures are enough.
#[must_use]
pub fn brief(latency: GoDuration) -> String {
    let micros = latency.micros();
    let unit = [100_000, 10_000, 1_000].into_iter().find(|u| micros >= *u).map_or(1, |u| u / 100);
    GoDuration::from_micros((micros + unit / 2) / unit * unit).to_string()
}

/// With cents, and no more digits than that.
fn money(amount: Money) -> String {
    let cents = (amount.micros() + 5_000) / 10_000;
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// A word for the kind of moment, and whether it is one of the promises.
const fn word(kind: Kind) -> (&'static str, bool) {
    match kind {
        Kind::Start => ("start", true),
        Kind::Launch => ("launch", false),
        Kind::NodesReady => ("nodes Ready", false),
        Kind::FloorsRise => ("floors rise", false),
        Kind::Ready => ("Ready", true),
        Kind::ReadyAtLatest => ("latest", false),
        Kind::ReadyBy => ("ready-by", true),
        Kind::Opens => ("T0", true),
        Kind::ReturnStarts => ("return", true),
        Kind::FloorsFall => ("floors fall", false),
        Kind::NodesReturned => ("nodes go", false),
        Kind::Back => ("back", true),
        Kind::Stays => ("stays", true),
    }
}

/// Indented, with a hanging second line.
fn wrap(text: &str, indent: &str) -> String {
    format!("{indent}{}", wrapped(text, 108).join(&format!("\n{indent}  ")))
}

/// Lines of at most `width` characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + word.chars().count() >= width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}
