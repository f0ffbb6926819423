//! Turns running instances into nodes, and takes the nodes away with their instances: the parts that kubelets and the
//! cloud controller play in life. What goes wrong in life (slow, never, without its taint) can be set.
//!
//! - `mod.rs`: the loop and what can be set
//! - `user_data.rs`: what a launch template's user data tells the kubelet

mod user_data;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::task::JoinHandle;

use crate::ec2::{Ec2, Instance};
use crate::nodes::{self, NodeSpecification, resources};

pub use user_data::{Registration, read as read_user_data};

/// How often the emulator is asked; a node joins up to this much later than its delay says.
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// What kubelet and system reserve on a node of EKS, nearly whatever its size.
const RESERVED_MILLICORES: u32 = 110;
/// The label by which the joiner knows its own nodes.
const OWN: (&str, &str) = ("bed.onsale.dev/from", "ec2");

/// What goes wrong with a node at its joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It never joins.
    NeverJoins,
    /// It joins without the taints that its user data names.
    WithoutTaints,
    /// It joins without the labels that its user data names.
    WithoutLabels,
}

#[derive(Debug, Clone)]
struct Rule {
    trouble: Trouble,
    zone: Option<String>,
    left: Option<u32>,
}

#[derive(Debug, Default)]
struct Settings {
    delay: Duration,
    rules: Vec<Rule>,
    failure: Option<String>,
}

/// The running joiner. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Joiner {
    settings: Arc<Mutex<Settings>>,
}

impl Joiner {
    /// Starts the loop.
    pub fn start(client: Client, ec2: Ec2) -> (Self, JoinHandle<()>) {
        let joiner = Self::default();
        let task = tokio::spawn(Loop { client, ec2, joiner: joiner.clone(), seen: BTreeMap::new() }.run());
        (joiner, task)
    }

    /// From running to registered: what systemd, containerd and the kubelet take. Default: nothing.
    pub fn set_delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// The next `count` instances (all: `None`) in a zone (anywhere: `None`) have this trouble. Decided when an instance is
    /// first seen running; rules are tried in the order of their making.
    pub fn add_trouble(&self, trouble: Trouble, zone: Option<&str>, count: Option<u32>) {
        self.lock().rules.push(Rule { trouble, zone: zone.map(Into::into), left: count });
    }

    /// No delay and no trouble for instances that are seen from now on; those that would never join still never do.
    pub fn reset(&self) {
        *self.lock() = Settings::default();
    }

    /// Why the last round failed, if it did.
    pub fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// What an instance suffers; uses up one of the rule's count.
    fn troubles(&self, instance: &Instance) -> Vec<Trouble> {
        let mut settings = self.lock();
        let hits =
            settings.rules.iter_mut().filter(|rule| rule.left != Some(0) && rule.zone.as_ref().is_none_or(|zone| *zone == instance.zone));
        hits.map(|rule| {
            rule.left = rule.left.map(|left| left - 1);
            rule.trouble
        })
        .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a running instance.
#[derive(Debug)]
struct Seen {
    since: Instant,
    troubles: Vec<Trouble>,
    joined: bool,
}

struct Loop {
    client: Client,
    ec2: Ec2,
    joiner: Joiner,
    seen: BTreeMap<String, Seen>,
}

impl Loop {
    async fn run(mut self) {
        loop {
            let failure = self.round().await.err().map(|error| format!("{error:#}"));
            self.joiner.lock().failure = failure;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn round(&mut self) -> Result<()> {
        // A failed read ends the round: an unknown instance is not a gone one.
        let instances = self.ec2.instances().await?;
        let running: Vec<&Instance> = instances.iter().filter(|instance| instance.state == "running").collect();
        self.join(&running).await?;
        self.leave(&running).await
    }

    async fn join(&mut self, running: &[&Instance]) -> Result<()> {
        let delay = self.joiner.lock().delay;
        let mut due = Vec::new();
        for instance in running {
            let seen = self.seen.entry(instance.id.clone()).or_insert_with(|| Seen {
                since: Instant::now(),
                troubles: self.joiner.troubles(instance),
                joined: false,
            });
            if seen.joined || seen.since.elapsed() < delay || seen.troubles.contains(&Trouble::NeverJoins) {
                continue;
            }
            if let Some(node) = node(instance, &seen.troubles) {
                due.push(node);
            }
            seen.joined = true;
        }
        let made = nodes::create(&self.client, &due).await;
        if made.is_err() {
            // Those that were made are left alone the next time; the others are tried again.
            let names: BTreeSet<&str> = due.iter().map(|node| node.name.as_str()).collect();
            for instance in running.iter().filter(|instance| names.contains(node_name(instance).as_str())) {
                if let Some(seen) = self.seen.get_mut(&instance.id) {
                    seen.joined = false;
                }
            }
        }
        made
    }

    async fn leave(&mut self, running: &[&Instance]) -> Result<()> {
        let alive: BTreeSet<&str> = running.iter().map(|instance| instance.id.as_str()).collect();
        let gone: Vec<String> = self.seen.keys().filter(|id| !alive.contains(id.as_str())).cloned().collect();
        if gone.is_empty() {
            return Ok(());
        }
        let api: Api<Node> = Api::all(self.client.clone());
        let list = api.list(&ListParams::default().labels(&format!("{}={}", OWN.0, OWN.1))).await.context("could not list nodes")?;
        let dead = |node: &Node| {
            let provider = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref());
            provider.and_then(|id| id.rsplit('/').next()).is_some_and(|id| !alive.contains(id))
        };
        let names: Vec<String> = list.items.iter().filter(|node| dead(node)).filter_map(|node| node.metadata.name.clone()).collect();
        nodes::delete(&self.client, &names).await?;
        self.seen.retain(|id, _| !gone.contains(id));
        Ok(())
    }
}

/// Named as EC2's resource-based host names are: an IP address can come back with another instance, an ID cannot.
pub fn node_name(instance: &Instance) -> String {
    format!("{}.{}.compute.internal", instance.id, instance.region)
}

fn node(instance: &Instance, troubles: &[Trouble]) -> Option<NodeSpecification> {
    let mut registration = user_data::read(instance.user_data.as_deref().unwrap_or_default())?;
    if troubles.contains(&Trouble::WithoutTaints) {
        registration.taints.clear();
    }
    if troubles.contains(&Trouble::WithoutLabels) {
        registration.labels.clear();
    }
    let memory = format!("{}Mi", instance.memory_mib);
    let allocatable = resources(
        &format!("{}m", instance.vcpus.saturating_mul(1000).saturating_sub(RESERVED_MILLICORES)),
        &format!("{}Mi", instance.memory_mib / 8 * 7),
        "110",
    );
    let base = NodeSpecification::new(&node_name(instance), &instance.zone, &instance.region, &instance.vcpus.to_string(), &memory);
    let mut node = NodeSpecification {
        provider_id: format!("aws:///{}/{}", instance.zone, instance.id),
        labels: registration.labels,
        taints: registration.taints,
        allocatable,
        ..base
    };
    node = node.label("node.kubernetes.io/instance-type", &instance.instance_type).label(OWN.0, OWN.1);
    Some(node)
}
