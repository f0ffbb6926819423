//! `cargo bed bench`: the sale of `examples/` measured against a floor, both on the same bed in one run, so that their ratio holds on any machine.
//!
//! The floor is what nothing that scales ahead can beat: as many Node objects as the operator got Ready are created directly, `/scale` is set directly, the same
//! pods become Ready. EC2 boots and joins in no time for both, so that what is compared is the operator, the calls and the control plane, not a delay of our choice.

mod floor;

use std::fmt::Write;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;

use crate::demo::{self, Delays, FACTOR, Night, OPERATOR, Report, Story, View, stage};
use crate::progress::Progress;

/// What was measured.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// From the first EC2 call that launches to all pods Ready.
    pub operator_seconds: f64,
    /// From the first node's creation to all pods Ready.
    pub floor_seconds: f64,
    /// The former over the latter.
    pub over_floor: f64,
    /// Writes that it took by hand: a Node each, a `/scale` each. Reading and waiting are not counted.
    pub floor_calls: usize,
    /// All calls of the operator, from before the sale was declared until everything was Ready: reads, leases, status and events included.
    pub api_calls: usize,
    /// The same, of EC2.
    pub ec2_calls: usize,
    /// Replicas in the pool of the first complete plan, and how many there should be.
    pub placed_out: (usize, usize),
    /// Replicas at home after the way back, and how many should be.
    pub placed_back: (usize, usize),
    /// The night in full.
    pub report: Report,
}

/// Measures: the night, then the floor, on one bed.
pub async fn run(name: &str) -> Result<Figures> {
    let progress = Progress::stderr();
    let story = Story { delays: Delays::NONE, ..Story::read(FACTOR)? };
    let bed = demo::bed(name, progress).await?;
    stage::build(&bed, &story, progress).await?;
    let night = Night { bed: &bed, story: &story, operator: OPERATOR, progress, view: View::stderr() };
    let report = night.play(|_| Ok(())).await?;
    // After the night: its sale is Completed, the operator does nothing, everything is as it was, and the number of nodes is known.
    let floor = floor::measure(&bed, &story, report.rented_nodes_peak, progress).await?;
    let figures = figures(floor, report)?;
    bed.down().await?;
    Ok(figures)
}

fn figures(floor: floor::Floor, report: Report) -> Result<Figures> {
    let (launch, ready) = report.first_launch_at.zip(report.ready_at).context("the sale was never Ready")?;
    let operator_seconds = between(launch, ready);
    let seconds = floor.seconds;
    Ok(Figures {
        operator_seconds,
        floor_seconds: seconds,
        over_floor: operator_seconds / seconds,
        floor_calls: floor.calls,
        api_calls: report.api_calls_until_ready.total,
        ec2_calls: report.ec2_calls_until_ready.total,
        placed_out: (report.replicas_ready.saturating_sub(report.misplaced), report.replicas_wanted),
        placed_back: (report.way_back.at_home, report.way_back.wanted_at_home),
        report,
    })
}

fn between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

impl Figures {
    /// As people read it.
    pub fn page(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let replicas = self.report.replicas_wanted;
        writeln!(text, "{}", self.report.page())?;
        writeln!(text, "{:<64}{:>10}{:>10}{:>8}", "\nBench", "operator", "by hand", "ratio")?;
        let time = format!("  s from the first launch to {replicas} pods Ready, {} nodes", self.report.nodes_peak);
        writeln!(text, "{time:<63}{:>10.1}{:>10.1}{:>8.2}", self.operator_seconds, self.floor_seconds, self.over_floor)?;
        let ratio = self.api_calls as f64 / self.floor_calls.max(1) as f64;
        writeln!(
            text,
            "{:<63}{:>10}{:>10}{ratio:>8.2}",
            "  Kubernetes API: all calls until Ready; by hand, writes only", self.api_calls, self.floor_calls
        )?;
        writeln!(text, "{:<63}{:>10}", "  EC2 API: all calls until Ready", self.ec2_calls)?;
        let memory = self.report.operator_peak_memory_bytes.unwrap_or_default() as f64 / f64::from(1 << 20);
        writeln!(text, "{:<63}{memory:>6.0} MiB", "  peak memory of the operator")?;
        let share = |(placed, of): (usize, usize)| format!("{placed} of {of}, {:.1} %", 100.0 * placed as f64 / of.max(1) as f64);
        writeln!(text, "{:<55}{:>22}", "  replicas out: in the pool first planned", share(self.placed_out))?;
        writeln!(text, "{:<55}{:>22}", "  replicas at home, on the way back", share(self.placed_back))
    }
}
