//! A small ticket shop with an operator: nodes on premises, pools in a Local Zone and a region, workloads, and sales that last seconds.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use onsale_api::{OnSale, Phase};
use onsale_bed::ec2::{FixtureRequest, Instance, Timing, node_config};
use onsale_bed::nodes::{self, NodeSpecification};
use onsale_bed::operator::Operator;
use onsale_bed::progress::Progress;
use onsale_bed::{Bed, wait_until};
use serde_json::{Value, json};

use crate::clean::objections;
use crate::harness::{Ground, TEST};
use crate::tidy::SHOP;
use crate::workloads;

/// The process that most tests talk to.
pub const FIRST: &str = "onsale-operator-0";
/// Longest that anything on the bed may take.
pub const SOON: Duration = Duration::from_secs(60);

/// Names of all shops that were ever opened.
static SHOPS: std::sync::Mutex<Vec<&'static str>> = std::sync::Mutex::new(Vec::new());

/// The installed operator, with timings of a bed.
async fn operator<'a>(ground: &Ground<'a>) -> Result<&'a Operator> {
    let quick = [
        "settings.hpaSyncPeriod=2s",
        "settings.unschedulableAfter=5s",
        "leaderElection.leaseDuration=4s",
        "leaderElection.renewDeadline=3s",
        "leaderElection.retryPeriod=500ms",
        "log.filter=info\\,onsale_controller=debug",
    ];
    ground.place.operator.get_or_try_init(async || Operator::install(ground.bed, &quick.map(str::to_owned), Progress::stderr()).await).await
}

/// The installed operator, with its first process running.
pub async fn running_operator<'a>(ground: &Ground<'a>) -> Result<&'a Operator> {
    let operator = operator(ground).await?;
    let _one_at_a_time = ground.place.starting.lock().await;
    if !ground.processes().is_running(FIRST).unwrap_or(false) {
        operator.start(ground.bed, FIRST).await?;
    }
    Ok(operator)
}

/// Where a shop rents. Tests beside each other share the usual places; one that sets a fault or a capacity there takes a place of its own.
#[derive(Debug, Clone, Copy)]
pub struct Rent {
    /// Of the pool `-lz`.
    pub local_zone: &'static str,
    /// Instance types of the pools `-lz` and `-or`, of 16 vCPUs.
    pub types: [&'static str; 2],
}

/// Where shops rent whose tests have nothing against the cloud.
pub const USUAL: Rent = Rent { local_zone: "us-west-2-phx-2a", types: ["c6i.4xlarge", "m6i.4xlarge"] };

/// Names of all shops that were ever opened.
pub fn opened() -> Vec<&'static str> {
    SHOPS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A shop of its own for one test, in the namespace `name`; its pools are `<name>-dc`, `-lz` and `-or`.
pub struct Shop<'a> {
    pub bed: &'a Bed,
    pub name: &'static str,
    pub operator: &'a Operator,
    /// Zones of its pools, nearest first.
    pub zones: [&'static str; 3],
    /// How often the checker had objected before it opened.
    pub objections: usize,
}

/// A sale in seconds from now.
#[derive(Clone)]
pub struct Plan {
    pub opens_in: i64,
    pub duration: i64,
    pub return_over: i64,
    /// Workload, peak, serial calls to phx-dc.
    pub workloads: Vec<(&'static str, i32, i32)>,
    /// Merged into the spec.
    pub more: Value,
}

/// A sale of `workloads` that opens in 15 s, lasts 5 s and returns over 3 s.
pub fn plan(workloads: &[(&'static str, i32, i32)]) -> Plan {
    Plan { opens_in: 15, duration: 5, return_over: 3, workloads: workloads.to_vec(), more: json!({}) }
}

impl<'a> Shop<'a> {
    /// Opens it: the operator runs, `on_prem` nodes of 16 CPU are Ready, which take pods of this shop only, the pools exist.
    pub async fn open(ground: &'a Ground<'a>, name: &'static str, on_prem: usize) -> Result<Self> {
        Self::open_at(ground, name, on_prem, USUAL).await
    }

    /// The same, renting elsewhere.
    pub async fn open_at(ground: &'a Ground<'a>, name: &'static str, on_prem: usize, rent: Rent) -> Result<Self> {
        ground.opens(name);
        let (bed, operator) = (ground.bed, running_operator(ground).await?);
        let objections = objections(bed)?.len();
        SHOPS.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        let shop = Self { bed, name, operator, zones: ["phx-dc", rent.local_zone, "us-west-2a"], objections };
        let labels = json!({TEST: "true", "team": name});
        bed.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}).to_string()).await?;
        let node = |n| {
            NodeSpecification::on_prem(&format!("{name}-{n}"), shop.zones[0], "us-west-2", "16", "64Gi").label(SHOP, name).taint(SHOP, name)
        };
        nodes::create(&bed.client(), &(0..on_prem).map(node).collect::<Vec<_>>()).await?;
        bed.ec2()?
            .set_timing(&Timing {
                boot_seconds: Some(0.5),
                visible_after_seconds: Some(0.3),
                shutdown_seconds: Some(0.3),
                ..Timing::default()
            })
            .await?;
        bed.joiner()?.set_delay(Duration::from_millis(500));
        shop.pool("dc", shop.zones[0], "200us", None).await?;
        shop.pool("lz", shop.zones[1], "2ms", Some(rent.types[0])).await?;
        shop.pool("or", shop.zones[2], "30ms", Some(rent.types[1])).await?;
        Ok(shop)
    }

    /// Declares a pool; rented ones get a launch template whose user data names the pool.
    pub async fn pool(&self, short: &str, zone: &str, rtt: &str, instance_type: Option<&str>) -> Result<()> {
        let name = format!("{}-{short}", self.name);
        let mut spec = json!({
            "tier": if instance_type.is_some() { "LocalZone" } else { "OnPrem" }, "zone": zone, "latency": [{"site": "phx-dc", "rtt": rtt}],
            "leadTime": {"p50": "4s", "p95": "6s"},
            "nodes": {"existing": {"selector": {"matchLabels": {SHOP: self.name}}}},
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": self.name}}},
        });
        if let Some(instance_type) = instance_type {
            let request = FixtureRequest { name: name.clone(), user_data: Some(node_config(&name)), ..FixtureRequest::default() };
            let fixture = self.bed.ec2()?.fixture(&request).await?;
            let subnet = fixture.subnets.get(zone).with_context(|| format!("no subnet in {zone}"))?;
            spec["limits"] = json!({"maxNodes": 20});
            spec["nodes"] = json!({"ec2": {
                "region": "us-west-2", "launchTemplate": {"name": name, "version": fixture.launch_template.version.to_string()}, "subnets": [subnet],
                "instanceTypes": [{"name": instance_type, "hourlyCost": "0.80", "allocatable": {"cpu": "15890m", "memory": "28Gi"}}],
            }});
        }
        let object = json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "CapacityPool", "metadata": {"name": name, "labels": {SHOP: self.name}}, "spec": spec});
        self.bed.apply(&object.to_string()).await.map(drop)
    }

    /// A Deployment of pods that ask for 1 CPU and 1 GiB, all Ready.
    pub async fn workload(&self, name: &str, replicas: usize) -> Result<()> {
        let manifest = workloads::deployment(self.name, name, replicas, &json!({})).replace("2Gi", "1Gi");
        self.bed.apply(&manifest).await?;
        workloads::wait_for_pods(self.bed, self.name, name, replicas, SOON).await
    }

    /// Applies a sale.
    pub async fn sale(&self, name: &str, plan: &Plan) -> Result<Timestamp> {
        let opens_at = onsale_api::time::whole_seconds(Timestamp::now() + SignedDuration::from_secs(plan.opens_in));
        let workload = |(name, peak, calls): &(&str, i32, i32)| json!({"target": {"kind": "Deployment", "name": name}, "peakReplicas": peak, "dependencies": [{"site": "phx-dc", "serialCalls": calls}]});
        let mut spec = json!({
            "opensAt": opens_at.to_string(), "readyBefore": "2s",
            "duration": format!("{}s", plan.duration), "returnOver": format!("{}s", plan.return_over),
            "workloads": plan.workloads.iter().map(workload).collect::<Vec<_>>(),
        });
        merge(&mut spec, &plan.more);
        let object = json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "OnSale", "metadata": {"name": name, "namespace": self.name}, "spec": spec});
        self.bed.apply(&object.to_string()).await?;
        Ok(opens_at)
    }

    /// Merges a change into a sale's spec, as `kubectl edit` would.
    pub async fn edit(&self, name: &str, spec: Value) -> Result<()> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.sales().patch(name, &PatchParams::apply("somebody"), &patch).await.map(drop).context("the edit was refused")
    }

    /// The sales of the namespace.
    pub fn sales(&self) -> Api<OnSale> {
        Api::namespaced(self.bed.client(), self.name)
    }

    /// A sale, if it is still there.
    pub async fn get(&self, name: &str) -> Result<Option<OnSale>> {
        Ok(self.sales().get_opt(name).await?)
    }

    /// Waits until a sale is in one of these phases, and returns it.
    pub async fn wait_for(&self, name: &str, phases: &[Phase], deadline: Duration) -> Result<OnSale> {
        onsale_bed::wait_for(format!("{name} is {phases:?}"), deadline, async || {
            let sale = self.get(name).await?.context("it is gone")?;
            let phase = sale.status.as_ref().and_then(|s| s.phase);
            if phase.is_some_and(|p| phases.contains(&p)) { Ok(Some(sale)) } else { bail!("it is {phase:?}: {}", brief(&sale)) }
        })
        .await
    }

    /// Waits until it is over: completed, and nothing left.
    pub async fn wait_until_over(&self, name: &str) -> Result<OnSale> {
        self.wait_for(name, &[Phase::Completed], SOON).await
    }

    /// Running pods of a workload by zone; under the empty name those without a node.
    pub async fn spread(&self, app: &str) -> Result<BTreeMap<String, usize>> {
        let zones = self.zones().await?;
        let mut counts = BTreeMap::new();
        for pod in workloads::pods(self.bed, self.name, app).await?.iter().filter(|p| p.metadata.deletion_timestamp.is_none()) {
            let node = pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default();
            *counts.entry(zones.get(&node).cloned().unwrap_or_default()).or_default() += 1;
        }
        Ok(counts)
    }

    async fn zones(&self) -> Result<BTreeMap<String, String>> {
        let nodes = Api::<Node>::all(self.bed.client()).list(&ListParams::default().match_any()).await?;
        Ok(nodes.items.iter().map(|n| (n.name_any(), n.labels().get("topology.kubernetes.io/zone").cloned().unwrap_or_default())).collect())
    }

    /// Fails unless the pods of a workload are spread over the shop's zones exactly so.
    pub async fn expect_spread(&self, app: &str, wanted: [usize; 3]) -> Result<()> {
        let spread = self.spread(app).await?;
        let found = self.zones.map(|zone| spread.get(zone).copied().unwrap_or_default());
        let elsewhere: usize = spread.iter().filter(|(zone, _)| !self.zones.contains(&zone.as_str())).map(|(_, n)| n).sum();
        ensure!(found == wanted && elsewhere == 0, "{app} is spread {spread:?}, not {wanted:?} over {:?}", self.zones);
        Ok(())
    }

    /// `spec.replicas` of a Deployment.
    pub async fn replicas(&self, app: &str) -> Result<i64> {
        let deployment = Api::<Deployment>::namespaced(self.bed.client(), self.name).get(app).await?;
        deployment.spec.and_then(|s| s.replicas).map(i64::from).context("no replicas")
    }

    /// Instances of this shop that are not terminated.
    pub async fn instances(&self) -> Result<Vec<Instance>> {
        Ok(instances_of(self.bed, self.name).await?.into_iter().filter(|i| i.state != "terminated").collect())
    }

    /// Instances of this shop that ever were.
    pub async fn ever_launched(&self) -> Result<usize> {
        Ok(instances_of(self.bed, self.name).await?.len())
    }

    /// A condition of a sale: its status and reason.
    pub async fn condition(&self, sale: &str, type_: &str) -> Result<(String, String, String)> {
        let sale = self.get(sale).await?.context("it is gone")?;
        let conditions = sale.status.map(|s| s.conditions).unwrap_or_default();
        let found = conditions.into_iter().find(|c| c.type_ == type_).with_context(|| format!("no condition {type_}"))?;
        Ok((found.status, found.reason, found.message))
    }

    /// Waits until a condition of a sale has this status and one of its reasons or messages contains `says`.
    pub async fn wait_for_condition(&self, sale: &str, type_: &str, status: &str, says: &str) -> Result<()> {
        wait_until(format!("{sale} says {type_}={status} ({says})"), SOON, async || {
            let found = self.condition(sale, type_).await?;
            let object = self.get(sale).await?.context("it is gone")?;
            let waiting = serde_json::to_string(&object.status.map(|s| s.waiting_for))?;
            if found.0 == status && (found.1.contains(says) || found.2.contains(says) || waiting.contains(says)) {
                Ok(true)
            } else {
                bail!("{found:?} {waiting}")
            }
        })
        .await
    }

    /// Pods of the whole namespace.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        Ok(Api::<Pod>::namespaced(self.bed.client(), self.name).list(&ListParams::default().match_any()).await?.items)
    }
}

/// Instances of a shop's pools that the emulator has not forgotten, terminated ones included.
pub async fn instances_of(bed: &Bed, shop: &str) -> Result<Vec<Instance>> {
    let mine = |i: &Instance| i.tags.get("onsale.dev/pool").is_some_and(|p| p.starts_with(&format!("{shop}-")));
    Ok(bed.ec2()?.instances().await?.into_iter().filter(mine).collect())
}

/// Sets members of objects in depth.
pub fn merge(onto: &mut Value, change: &Value) {
    match (onto, change) {
        (Value::Object(target), Value::Object(change)) => change.iter().for_each(|(k, v)| merge(target.entry(k).or_insert(Value::Null), v)),
        (target, change) => *target = change.clone(),
    }
}

fn brief(sale: &OnSale) -> String {
    let status = sale.status.clone().unwrap_or_default();
    let conditions = status.conditions.iter().map(|c| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message));
    format!("ready {:?}, waiting {:?}, {}", status.ready, status.waiting_for, conditions.collect::<Vec<_>>().join("; "))
}
