//! What the operator is configured with. Every number argues its value here, and tests may shorten it.

use std::{sync::Arc, time::Duration};

use onsale_planner::snapshot::Settings;

use crate::{
    executor::{Executor, Threads},
    telemetry::Telemetry,
};

/// Configuration of the fleet loop.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the cluster: the value of the tag on instances.
    pub cluster: String,
    /// Namespace that the operator runs in.
    pub namespace: String,
    /// Name of this process, as events carry it: the pod's name.
    pub instance: String,
    /// What plans depend on.
    pub settings: Settings,
    /// The loop wakes at least this often, so that clock steps, suspended machines and lost events heal. Default 5 min.
    pub resync: Duration,
    /// Triggers that arrive within this time of the first make one pass. Default 75 ms: a scheduler's burst of bindings, unnoticeable otherwise.
    pub coalesce: Duration,
    /// After a pass that wrote something the next one follows within this time, events or not. Default 250 ms.
    pub settle: Duration,
    /// Every call to the Kubernetes API ends after this time. Default 10 s.
    pub call_timeout: Duration,
    /// Every call to the cloud ends after this time; only the chain that made it waits so long. Default 25 s: above the time that the cloud's client allows its own tries.
    pub cloud_timeout: Duration,
    /// One pass acts no longer than this; what remains is due again in the next. Default 10 s: statuses and new decisions must not wait for a long drain.
    pub act_budget: Duration,
    /// A pass waits this long for launches and terminations; what still waits for the cloud then goes on by itself, and a later pass takes its outcome.
    /// Default 2 s: the cloud mostly answers within, and a pass that saw its own launches is one pass fewer.
    pub act_patience: Duration,
    /// Chains of sales and workloads, and status writes, that run at once. Default 16: beyond it API priority and fairness queues them anyway. Those of
    /// pools, of which there are few, are not counted: slow ones must not keep others waiting.
    pub concurrency: usize,
    /// Instances of a pool are listed this long after the last answer while something is expected to change, and at once after a launch or a
    /// termination. Default 2 s.
    pub list_active: Duration,
    /// The same while nothing is. Default 60 s.
    pub list_idle: Duration,
    /// A list that failed is tried again at most this much later. Default 10 s.
    pub list_retry: Duration,
    /// The first pass waits this long at most for the first word of the cloud about every pool. Default 2 s: a restart would otherwise tell everybody
    /// for a moment that nothing is known; a region that is dead must not keep the loop from starting.
    pub first_lists: Duration,
    /// A ledger entry's instances that the cloud does not list yet are believed for this long. Default 5 min: EC2's stated consistency is minutes at worst.
    pub ledger_grace: Duration,
    /// Free addresses and quotas of a region are asked for this long after the last answer, while a sale that may use a pool there is active or nearer than
    /// the horizon. Default 5 min: others launch and terminate all the time, our own launches are counted anyway, and the answer reads every instance of the region.
    pub facts: Duration,
    /// Instances without an owner are looked for this often. Default 5 min: they cost money, and are very rare.
    pub sweep: Duration,
    /// A ScaledObject that was read is believed for this long; its HPA's watch covers the rest. Default 5 s.
    pub scaled_object_ttl: Duration,
    /// Length of one watch call: a dead connection is noticed within it and 5 s. Default 50 s.
    pub watch_timeout: Duration,
    /// Where the planner runs. Default: beside the async threads.
    pub executor: Arc<dyn Executor>,
    /// Metrics and health, shared with whoever serves them.
    pub telemetry: Telemetry,
}

impl Config {
    /// Defaults for a cluster of this name and an operator in this namespace.
    #[must_use]
    pub fn new(cluster: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self {
            cluster: cluster.into(),
            namespace: namespace.into(),
            instance: onsale_api::names::MANAGER.to_owned(),
            settings: Settings::default(),
            resync: Duration::from_secs(300),
            coalesce: Duration::from_millis(75),
            settle: Duration::from_millis(250),
            call_timeout: Duration::from_secs(10),
            cloud_timeout: Duration::from_secs(25),
            act_budget: Duration::from_secs(10),
            act_patience: Duration::from_secs(2),
            concurrency: 16,
            list_active: Duration::from_secs(2),
            list_idle: Duration::from_secs(60),
            list_retry: Duration::from_secs(10),
            first_lists: Duration::from_secs(2),
            ledger_grace: Duration::from_secs(300),
            facts: Duration::from_secs(300),
            sweep: Duration::from_secs(300),
            scaled_object_ttl: Duration::from_secs(5),
            watch_timeout: Duration::from_secs(50),
            executor: Arc::new(Threads),
            telemetry: Telemetry::default(),
        }
    }
}
