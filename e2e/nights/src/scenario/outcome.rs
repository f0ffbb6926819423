//! What was decided in a night, one readable line per decision. What belongs together is one line: floors that rise step by step, nodes that go one after
//! the other, an order that is refused again and again.

use std::{collections::BTreeMap, fmt::Write};

use jiff::{SignedDuration, Timestamp};

use super::{Scenario, verdict};
use crate::{
    decisions::{Decision, Made},
    sim::Inner,
};

/// What is farther apart than this belongs to two lines.
const PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// Characters of a line; what is longer goes on below.
const WIDTH: usize = 150;
/// Characters before the sentence: times and who.
const INDENT: usize = 32;

/// One line, and what it was made from.
struct Line {
    at: Timestamp,
    until: Timestamp,
    by: String,
    decision: Decision,
    count: usize,
}

/// The whole text.
#[must_use]
pub fn text(scenario: &Scenario, state: &Inner) -> String {
    let mut text = format!("{}\n", scenario.file.about);
    let (mut day, mut last) = (String::new(), BTreeMap::new());
    for line in lines(&state.journal.decisions) {
        let at = line.at.to_zoned(scenario.zone.clone());
        let today = format!("{}, {} ({})", at.strftime("%A %Y-%m-%d"), scenario.file.time_zone, at.strftime("%:z"));
        if today != day {
            text.push_str(&format!("\n{today}\n"));
            day = today;
        }
        let until = line.until.to_zoned(scenario.zone.clone()).strftime("%H:%M:%S").to_string();
        let until = if until == at.strftime("%H:%M:%S").to_string() { String::new() } else { format!(" - {until}") };
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}{until:11}  {:10} {}", at.strftime("%H:%M:%S"), who(&line.by), wrapped(&what(&line, &mut last)));
    }
    let rent = verdict::rent(state);
    let _ = writeln!(text, "\n{} instances, {:.2} node-hours for {:.2}", rent.instances, rent.hours, rent.cost);
    for ready in &scenario.file.budget.ready {
        let by = scenario.instant(ready.by);
        let at = verdict::reached(state, &ready.workload, ready.replicas);
        let told = at.map_or("never".to_owned(), |at| margin(by.duration_since(at)));
        let _ = writeln!(text, "{} {} Ready {told} they must be", ready.replicas, ready.workload);
    }
    text
}

fn margin(time: SignedDuration) -> String {
    let (secs, word) = (time.as_secs().abs(), if time.is_negative() { "after" } else { "before" });
    format!("{}m{:02}s {word}", secs / 60, secs % 60)
}

/// `c1` is the operator, `c2` the second one that ran.
fn who(by: &str) -> String {
    match by.strip_prefix('c').and_then(|n| n.parse::<usize>().ok()) {
        Some(1) => "operator".to_owned(),
        Some(n) => format!("operator {n}"),
        None => by.to_owned(),
    }
}

fn wrapped(text: &str) -> String {
    let (mut wrapped, mut column) = (String::new(), INDENT);
    for (i, word) in text.split(' ').enumerate() {
        let width = word.chars().count() + 1;
        if i > 0 && column + width > WIDTH {
            wrapped.push_str(&format!("\n{:INDENT$}", ""));
            column = INDENT;
        } else if i > 0 {
            wrapped.push(' ');
        }
        wrapped.push_str(word);
        column += width;
    }
    wrapped
}

fn lines(decisions: &[Made]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for made in decisions {
        // What somebody else did may be why it goes on: that begins a line of its own.
        let decided = |line: &&mut Line| !matches!(line.decision, Decision::Happened(_));
        let joined = lines.iter_mut().rev().take_while(decided).any(|line| line.join(made));
        if !joined {
            lines.push(Line { at: made.at, until: made.at, by: made.by.clone(), decision: made.decision.clone(), count: 1 });
        }
    }
    lines
}

impl Line {
    /// Takes a decision in, where it goes on with what this line says.
    fn join(&mut self, made: &Made) -> bool {
        if self.by != made.by || made.at.duration_since(self.until) > PAUSE {
            return false;
        }
        let joined = match (&mut self.decision, &made.decision) {
            (Decision::Floor { object, from, to }, Decision::Floor { object: o, from: f, to: t }) if object == o && to == f => {
                let same = (*to > *from) == (t > f);
                if same {
                    *to = *t;
                }
                same
            }
            (Decision::GiveBack { pool, count, refused }, Decision::GiveBack { pool: p, count: c, refused: r })
                if pool == p && refused == r =>
            {
                if refused.is_none() {
                    *count += c;
                }
                true
            }
            (
                Decision::Launch { pool, instance_type, asked, got: Ok(n) },
                Decision::Launch { pool: p, instance_type: t, asked: a, got: Ok(m) },
            ) if pool == p && instance_type == t && self.until == made.at => {
                (*asked, *n) = (*asked + a, *n + m);
                true
            }
            (
                Decision::Launch { pool, instance_type, got: Err(error), .. },
                Decision::Launch { pool: p, instance_type: t, got: Err(e), .. },
            ) => pool == p && instance_type == t && error == e,
            (Decision::Evict { of }, Decision::Evict { of: o }) | (Decision::DeletePod { of }, Decision::DeletePod { of: o }) => of == o,
            (
                Decision::Told { object, type_, status, reason, message },
                Decision::Told { object: o, type_: t, status: s, reason: r, message: m },
            ) if object == o && reason == r && self.until == made.at && (message == m || m.is_empty()) => {
                // One reason for several conditions.
                *type_ = format!("{type_}={status}, {t}");
                *status = s.clone();
                true
            }
            _ => false,
        };
        if joined {
            (self.until, self.count) = (made.at, self.count + 1);
        }
        joined
    }
}

fn what(line: &Line, last: &mut BTreeMap<String, String>) -> String {
    let times = if line.count > 1 { format!(" ({} times)", line.count) } else { String::new() };
    match &line.decision {
        Decision::Launch { pool, instance_type, asked, got: Ok(n) } if n == asked => format!("launches {n} {instance_type} in {pool}"),
        Decision::Launch { pool, instance_type, asked, got: Ok(n) } => {
            format!("launches {n} {instance_type} in {pool}, of {asked} asked for")
        }
        Decision::Launch { pool, instance_type, asked, got: Err(error) } => {
            format!("asks for {asked} {instance_type} in {pool}{times}: {error}")
        }
        Decision::GiveBack { pool, count, refused: None } => format!("gives {count} of {pool} back"),
        Decision::GiveBack { pool, count, refused: Some(error) } => format!("wants to give {count} of {pool} back{times}: {error}"),
        Decision::Floor { object, from, to } if line.count > 1 => format!("floor of {object} {from} -> {to} in {} steps", line.count),
        Decision::Floor { object, from, to } => format!("floor of {object} {from} -> {to}"),
        Decision::Entered { sale, phase, ready } => {
            let spread = spread(phase, ready);
            // Said again only where it changed.
            let news = last.insert(sale.clone(), spread.clone()).is_none_or(|before| before != spread);
            format!("{sale} is {phase}{}", if news { spread.as_str() } else { "" })
        }
        Decision::Told { object, type_, status, reason, message } => {
            let why = if message.is_empty() { String::new() } else { format!(": {message}") };
            format!("{object} {type_}={status} ({reason}){why}")
        }
        Decision::Evict { of } => format!("evicts {} of {of}", pods(line.count)),
        Decision::DeletePod { of } => format!("deletes {} of {of} that found no node", pods(line.count)),
        Decision::Happened(said) => said.clone(),
    }
}

fn pods(count: usize) -> String {
    if count == 1 { "a pod".to_owned() } else { format!("{count} pods") }
}

/// Where the pods of a sale are; not of one that only waits.
fn spread(phase: &str, ready: &[(String, BTreeMap<String, usize>)]) -> String {
    if !matches!(phase, "Ready" | "Live" | "Returning" | "Completed" | "Cancelled") {
        return String::new();
    }
    let of = |(name, counts): &(String, BTreeMap<String, usize>)| {
        let places: Vec<String> = counts.iter().map(|(pool, n)| format!("{pool} {n}")).collect();
        format!("{name} {} ({})", counts.values().sum::<usize>(), places.join(", "))
    };
    format!(": {}", ready.iter().map(of).collect::<Vec<_>>().join(", "))
}
