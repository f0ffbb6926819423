//! What Prometheus reads. Labels come from enums only, never from names or error text.

use std::{
    fmt,
    sync::atomic::{AtomicI64, AtomicU64},
};

use onsale_api::{Phase, Reason};
use onsale_checker::Rule;
use prometheus_client::{
    encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// One label whose value is the `Debug` name of an enum's variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label<E> {
    name: &'static str,
    value: E,
}

impl<E: fmt::Debug + Clone + std::hash::Hash + Eq + 'static> EncodeLabelSet for Label<E> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        (self.name, format!("{:?}", self.value).as_str()).encode(encoder.encode_label())
    }
}

/// How a chain of steps, or a pass, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Everything was done.
    Done,
    /// The world had moved on: the next pass decides.
    Stale,
    /// The cloud refused.
    Refused,
    /// Something failed.
    Failed,
    /// It panicked.
    Panicked,
}

/// Nodes by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// At the peak of the plan.
    Planned,
    /// Instances that are no Ready node yet.
    Launching,
    /// Ready.
    Ready,
    /// On their way out.
    Draining,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of the kinds")]
pub enum Kind {
    OnSale,
    CapacityPool,
    WorkloadPlacement,
    Node,
    Pod,
    Deployment,
    StatefulSet,
    DaemonSet,
    HorizontalPodAutoscaler,
    Namespace,
    PodTemplate,
}

type ByEnum<E> = Family<Label<E>, Counter<u64, AtomicU64>>;
type GaugeByEnum<E> = Family<Label<E>, Gauge<i64, AtomicI64>>;

/// All metrics and their registry.
pub struct Metrics {
    registry: Registry,
    passes: ByEnum<Ending>,
    pass_seconds: Histogram,
    chains: ByEnum<Ending>,
    steps: Counter,
    cloud_errors: ByEnum<Reason>,
    watch_errors: ByEnum<Kind>,
    poisoned: GaugeByEnum<Kind>,
    sales: GaugeByEnum<Phase>,
    nodes: GaugeByEnum<NodeState>,
    at_risk: Gauge,
    no_go: Gauge,
    contested: Gauge,
    events_dropped: Counter,
    violations: ByEnum<Rule>,
}

impl Default for Metrics {
    fn default() -> Self {
        // From a millisecond to the length of a full act budget.
        let pass_seconds = Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0]);
        let mut all = Self {
            registry: Registry::with_prefix("onsale"),
            pass_seconds,
            passes: Family::default(),
            chains: Family::default(),
            steps: Counter::default(),
            cloud_errors: Family::default(),
            watch_errors: Family::default(),
            poisoned: Family::default(),
            sales: Family::default(),
            nodes: Family::default(),
            at_risk: Gauge::default(),
            no_go: Gauge::default(),
            contested: Gauge::default(),
            events_dropped: Counter::default(),
            violations: Family::default(),
        };
        all.register();
        all
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("passes", "Passes of the fleet loop by ending", self.passes.clone());
        r.register("pass_seconds", "Duration of a pass", self.pass_seconds.clone());
        r.register("chains", "Chains of steps by ending", self.chains.clone());
        r.register("steps", "Steps that were carried out", self.steps.clone());
        r.register("cloud_errors", "Refusals and failures of the cloud by reason", self.cloud_errors.clone());
        r.register("watch_errors", "Failures of watches by kind", self.watch_errors.clone());
        r.register("unreadable_objects", "Stored objects that cannot be read, by kind", self.poisoned.clone());
        r.register("sales", "Sales by phase", self.sales.clone());
        r.register("nodes", "Rented and existing nodes of all pools by state", self.nodes.clone());
        r.register("sales_at_risk", "Sales whose condition AtRisk is true", self.at_risk.clone());
        r.register("sales_no_go", "Sales whose condition Feasible is false", self.no_go.clone());
        r.register("sales_contested", "Sales whose condition Contested is true", self.contested.clone());
        r.register("events_dropped", "Events that were not delivered", self.events_dropped.clone());
        r.register(
            "plan_violations",
            "Rules that plans and steps broke, as the checker sees it: a fault of the operator",
            self.violations.clone(),
        );
    }

    /// Everything in the text format of OpenMetrics.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail; a metric that cannot be encoded would leave the text cut short, which a scrape reports.
        let _ = encode(&mut text, &self.registry);
        text
    }
    /// A pass ended.
    pub fn pass(&self, ending: Ending, seconds: f64) {
        self.passes.get_or_create(&Label { name: "ending", value: ending }).inc();
        self.pass_seconds.observe(seconds);
    }
    /// A chain ended after so many steps.
    pub fn chain(&self, ending: Ending, steps: usize) {
        self.chains.get_or_create(&Label { name: "ending", value: ending }).inc();
        self.steps.inc_by(u64::try_from(steps).unwrap_or(u64::MAX));
    }
    /// The cloud said no.
    pub fn cloud_error(&self, reason: Reason) {
        self.cloud_errors.get_or_create(&Label { name: "reason", value: reason }).inc();
    }
    /// A watch failed.
    pub fn watch_error(&self, kind: Kind) {
        self.watch_errors.get_or_create(&Label { name: "kind", value: kind }).inc();
    }
    /// So many objects of a kind cannot be read.
    pub fn unreadable(&self, kind: Kind, count: i64) {
        self.poisoned.get_or_create(&Label { name: "kind", value: kind }).set(count);
    }
    /// So many sales are in a phase.
    pub fn sales(&self, phase: Phase, count: i64) {
        self.sales.get_or_create(&Label { name: "phase", value: phase }).set(count);
    }
    /// So many nodes are in a state.
    pub fn nodes(&self, state: NodeState, count: i64) {
        self.nodes.get_or_create(&Label { name: "state", value: state }).set(count);
    }
    /// Sales that are at risk, that cannot be had, and that somebody else writes into.
    pub fn alarms(&self, at_risk: i64, no_go: i64, contested: i64) {
        self.at_risk.set(at_risk);
        self.no_go.set(no_go);
        self.contested.set(contested);
    }
    /// A plan, or what is due by it, broke a rule.
    pub fn violation(&self, rule: Rule) {
        self.violations.get_or_create(&Label { name: "rule", value: rule }).inc();
    }
    /// An event was not delivered.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_the_names_of_variants() {
        let metrics = Metrics::default();
        metrics.cloud_error(Reason::InsufficientCapacity);
        metrics.pass(Ending::Done, 0.01);
        metrics.violation(Rule::NodeLimit);
        let text = metrics.text();
        assert!(text.contains("onsale_cloud_errors_total{reason=\"InsufficientCapacity\"} 1"), "{text}");
        assert!(text.contains("onsale_plan_violations_total{rule=\"NodeLimit\"} 1"), "{text}");
        assert!(text.contains("onsale_passes_total{ending=\"Done\"} 1"), "{text}");
    }
}
