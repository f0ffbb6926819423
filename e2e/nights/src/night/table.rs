//! How many nights with faults ended well, as a table.

use std::{fmt::Write, time::Duration};

use super::{
    daylight,
    edit::Edit,
    faults::{Fault, Verdict, strike, twice},
    loops::each,
    play,
    short::{self, Short},
};
use crate::sim::{Fate, Inner};

/// One line of the table.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Nights.
    pub cases: usize,
    /// Those that left nothing behind, broke no rule and launched nothing twice.
    pub clean: usize,
    /// Those in which everything was Ready at ready-by.
    pub on_time: usize,
    /// Those in which it could be.
    pub possible: usize,
    /// What was wrong, with the journal of each night.
    pub wrong: Vec<String>,
}

impl Row {
    fn add(&mut self, verdict: Verdict) {
        self.cases += 1;
        self.clean += usize::from(verdict.wrong.iter().all(|w| w.starts_with("late")));
        self.on_time += usize::from(verdict.on_time);
        self.possible += usize::from(verdict.possible);
        if !verdict.wrong.is_empty() {
            self.wrong.push(verdict.text);
        }
    }
}

/// Lines by the name of what goes wrong, in the order in which they were begun.
#[derive(Clone, Debug, Default)]
pub struct Table(Vec<(&'static str, Row)>);

/// What goes wrong just after a write, by the name that the table gives it. A write that fails, an answer that is lost and a process that dies are cheaper to
/// try many at a time: see [`loops`](super::loops).
pub const AROUND: [(&str, Fault); 12] = [
    ("the write is given up, and arrives 30 s later", Fault::Meets(Fate::Stray(Duration::from_secs(30)))),
    ("all watches lag 2 s from then on", Fault::Late),
    ("one watch lags 8 s from then on", Fault::LateOne),
    ("watches expire, lists are 5 s old", Fault::Outdated),
    ("a new process, its lists are 5 s old", Fault::Reborn),
    ("a new process, one of its lists is 5 s old", Fault::RebornOne),
    ("the clock is an hour ahead from then on", Fault::Ahead),
    ("the clock is an hour behind from then on", Fault::Behind),
    ("the clock is an hour ahead for 20 s", Fault::Glitch),
    ("the clock is an hour behind for 20 s", Fault::Lapse),
    ("the leader loses the lease, the write arrives late", Fault::Partition),
    ("the leader is replaced, the write arrives late", Fault::Handover),
];

/// What becomes of the write itself, and of who wrote it.
pub const ITSELF: [(&str, Fault); 5] = [
    ("the write fails", Fault::Meets(Fate::Refuse)),
    ("its answer is lost", Fault::Meets(Fate::Lose)),
    ("it is sent twice", Fault::Meets(Fate::Repeat)),
    ("the process dies just before it", Fault::DiesBefore),
    ("the process dies just after it", Fault::Dies),
];

/// What people and their tools can edit in this night.
#[must_use]
pub fn edits(night: &Short) -> Vec<(&'static str, Fault)> {
    let edits: &[Edit] = if night.changed.is_empty() { &Edit::PLAIN } else { &Edit::ROUGH };
    edits.iter().map(|edit| (edit.label(), Fault::Edited(*edit))).collect()
}

/// The undisturbed night: its states, one per write.
#[must_use]
pub fn past(night: &Short) -> Vec<Inner> {
    play(night.start.clone(), async |stage| {
        stage.sim.take_shots();
        stage.start();
        stage.run_while_not(night.last, short::over).await;
        stage.sim.shots().into_iter().step_by(2).map(|shot| shot.inner).collect()
    })
}

impl Table {
    fn row(&mut self, label: &'static str) -> &mut Row {
        let index = self.0.iter().position(|(l, _)| *l == label).unwrap_or_else(|| {
            self.0.push((label, Row::default()));
            self.0.len() - 1
        });
        &mut self.0[index].1
    }

    /// Each of these faults at every `every`-th write of the night, each from another write on.
    pub fn strike(&mut self, night: &Short, faults: &[(&'static str, Fault)], every: usize) {
        let past = past(night);
        let at = |first: usize| (first % every..past.len()).step_by(every);
        let cases: Vec<(&'static str, Fault, usize)> =
            faults.iter().enumerate().flat_map(|(i, (label, fault))| at(i * 7).map(|number| (*label, *fault, number))).collect();
        // A fault that never strikes is told, too: as a line without a case.
        for (label, _) in faults.iter().filter(|(_, fault)| !matches!(fault, Fault::Edited(_))) {
            self.row(label);
        }
        let verdicts = each(cases.len(), |i| strike(night, cases[i].1, cases[i].2, &past));
        for ((label, ..), verdict) in cases.iter().zip(verdicts) {
            verdict.into_iter().for_each(|verdict| self.row(label).add(verdict));
        }
    }

    /// Every step of the nights taken twice, and nights across a change of daylight saving time.
    pub fn whole_nights(&mut self, nights: &[Short]) {
        each(nights.len(), |i| twice(&nights[i])).into_iter().for_each(|verdict| self.row("every step is taken twice").add(verdict));
        let changes = each(daylight::CHANGES.len(), |i| daylight::across(&daylight::CHANGES[i]));
        changes.into_iter().for_each(|verdict| self.row("daylight saving time begins or ends").add(verdict));
    }

    /// As people read it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from("| fault | cases | clean | on time | possible |\n|---|---|---|---|---|\n");
        for (label, row) in &self.0 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {label} | {} | {} | {} | {} |", row.cases, row.clean, row.on_time, row.possible);
        }
        text
    }

    /// What went wrong: the journals of the nights.
    pub fn wrong(&self) -> impl Iterator<Item = &String> {
        self.0.iter().flat_map(|(_, row)| &row.wrong)
    }

    /// # Panics
    /// When a night went wrong, or none was played; shows the first ones.
    pub fn assert_all_well(&self) {
        let labels: Vec<&str> = self.wrong().filter_map(|w| w.lines().next()).collect();
        let first: Vec<&String> = self.wrong().take(2).collect();
        assert!(labels.is_empty(), "{}\n{}\n{first:#?}", self.text(), labels.join("\n"));
        assert!(!self.0.is_empty() && self.0.iter().all(|(_, row)| row.cases > 0), "{}", self.text());
    }
}
