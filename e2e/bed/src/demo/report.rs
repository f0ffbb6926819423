//! What happened, as JSON for programs and as a page for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::view::span;
use super::world::Spread;

/// The report of a night. Instants are those of this machine's clock.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// All durations and delays of the examples were divided by this.
    pub factor: f64,
    /// The opening, T0.
    pub opens_at: Timestamp,
    /// When everything had to be Ready.
    pub ready_by: Timestamp,
    /// When everything was Ready, watched from outside; `None`: never.
    pub ready_at: Option<Timestamp>,
    /// Ready at ready-by, by our watch and by the operator's own report.
    pub on_time: bool,
    /// How long before ready-by, in seconds; negative: after it.
    pub seconds_to_spare: Option<f64>,
    /// Replicas that the sale needs.
    pub replicas_wanted: usize,
    /// Replicas that were Ready at T0.
    pub replicas_ready: usize,
    /// Replicas by pool at T0.
    pub replicas_by_pool: BTreeMap<String, usize>,
    /// The same by workload.
    pub replicas_by_workload: Spread,
    /// Replicas at T0 in another pool than the first complete plan wants them in, counted from outside. That plan was made before the pods were; later ones
    /// move nobody, and so follow what is bound. All replicas, where no complete plan was seen.
    pub misplaced: usize,
    /// The most that the operator itself counted at once after everything was Ready.
    pub misplaced_peak: usize,
    /// Most nodes at once, the servers in Phoenix included.
    pub nodes_peak: usize,
    /// Most rented nodes at once, by the operator's report.
    pub rented_nodes_peak: usize,
    /// EC2 instances that were launched in all.
    pub instances_launched: usize,
    /// EC2 instances that are not terminated at the end.
    pub instances_left: usize,
    /// Everything is as it was.
    pub restored: bool,
    /// The way back.
    pub way_back: WayBack,
    /// Calls of the Kubernetes API by the operator, from before the sale to its end, from the API server's audit log.
    pub api_calls: Calls,
    /// The same until everything was Ready.
    pub api_calls_until_ready: Calls,
    /// Calls of the EC2 API, from EC2's own log.
    pub ec2_calls: Calls,
    /// The same until everything was Ready.
    pub ec2_calls_until_ready: Calls,
    /// When the first EC2 call that launches was made.
    pub first_launch_at: Option<Timestamp>,
    /// Most memory that the operator ever held, as the kernel counts it (VmHWM).
    pub operator_peak_memory_bytes: Option<u64>,
    /// The pools, nearest first.
    pub pools: Vec<String>,
    /// What is not as it should be; empty when all went well.
    pub problems: Vec<String>,
}

/// The way back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WayBack {
    /// Replicas that should be on premises at the end.
    pub wanted_at_home: usize,
    /// Replicas that are there.
    pub at_home: usize,
    /// The fewest that were there at any time of the way back: less than `wanted_at_home` would mean that near ones went before far ones.
    pub fewest_at_home: usize,
    /// Most replicas at any step that were left although nearer ones of the same workload had gone.
    pub out_of_turn: usize,
}

/// Calls, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Calls {
    /// All.
    pub total: usize,
    /// By what was called.
    pub by: BTreeMap<String, usize>,
}

impl From<BTreeMap<String, usize>> for Calls {
    fn from(by: BTreeMap<String, usize>) -> Self {
        Self { total: by.values().sum(), by }
    }
}

impl Report {
    /// As people read it.
    pub fn page(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let verdict = if self.problems.is_empty() { "all went well" } else { "NOT as it should be" };
        writeln!(text, "\nReport: {verdict}\n")?;
        let ready = match (self.ready_at, self.seconds_to_spare) {
            (Some(at), Some(spare)) if spare >= 0.0 => {
                format!("{spare:.1} s before ready-by, {} before the opening", span(self.opens_at.duration_since(at)))
            }
            (Some(_), Some(spare)) => format!("{:.1} s after ready-by", -spare),
            _ => "never".to_owned(),
        };
        let real = self.ready_at.map(|at| SignedDuration::from_secs_f64(self.opens_at.duration_since(at).as_secs_f64() * self.factor));
        let real = real
            .filter(|_| self.factor > 1.0)
            .map(|real| format!(" ({} in life, at factor {})", span(real), self.factor))
            .unwrap_or_default();
        line(text, "Ready", &format!("{ready}{real}"))?;
        line(text, "replicas at T0", &format!("{} of {} Ready, {} misplaced", self.replicas_ready, self.replicas_wanted, self.misplaced))?;
        line(text, "nodes", &format!("{} at the peak, {} of them rented", self.nodes_peak, self.rented_nodes_peak))?;
        line(text, "instances", &format!("{} launched, {} left", self.instances_launched, self.instances_left))?;
        let back = &self.way_back;
        line(
            text,
            "way back",
            &format!(
                "{} of {} replicas at home, never fewer than {} there; {} went out of turn",
                back.at_home, back.wanted_at_home, back.fewest_at_home, back.out_of_turn
            ),
        )?;
        let restored = if self.restored { "yes: every field as before, and the next kubectl apply finds nothing to change" } else { "NO" };
        line(text, "as it was", restored)?;
        let memory = self
            .operator_peak_memory_bytes
            .map_or("unknown".into(), |bytes| format!("{:.0} MiB at most", bytes as f64 / f64::from(1 << 20)));
        line(text, "operator memory", &memory)?;
        self.table(text)?;
        calls(text, "Kubernetes API calls", &self.api_calls, &self.api_calls_until_ready)?;
        calls(text, "EC2 API calls", &self.ec2_calls, &self.ec2_calls_until_ready)?;
        for problem in &self.problems {
            writeln!(text, "  PROBLEM: {problem}")?;
        }
        Ok(())
    }

    fn table(&self, text: &mut String) -> std::fmt::Result {
        // A node of no pool has the empty name; pods there are misplaced.
        let pools: Vec<&String> = self.pools.iter().chain(self.replicas_by_pool.keys().filter(|pool| !self.pools.contains(pool))).collect();
        write!(text, "\n  {:<18}", "replicas at T0")?;
        pools.iter().try_for_each(|pool| write!(text, "{pool:>16}"))?;
        for (workload, spread) in &self.replicas_by_workload {
            write!(text, "\n  {workload:<18}")?;
            pools.iter().try_for_each(|pool| write!(text, "{:>16}", spread.get(*pool).copied().unwrap_or_default()))?;
        }
        write!(text, "\n  {:<18}", "together")?;
        pools.iter().try_for_each(|pool| write!(text, "{:>16}", self.replicas_by_pool.get(*pool).copied().unwrap_or_default()))?;
        writeln!(text)
    }
}

fn line(text: &mut String, what: &str, is: &str) -> std::fmt::Result {
    writeln!(text, "  {what:<18}{is}")
}

fn calls(text: &mut String, what: &str, all: &Calls, until_ready: &Calls) -> std::fmt::Result {
    writeln!(text, "\n  {what:<34}{:>12}{:>12}", "until Ready", "whole night")?;
    for (name, n) in &all.by {
        writeln!(text, "    {name:<32}{:>12}{n:>12}", until_ready.by.get(name).copied().unwrap_or_default())?;
    }
    writeln!(text, "    {:<32}{:>12}{:>12}", "together", until_ready.total, all.total)
}
