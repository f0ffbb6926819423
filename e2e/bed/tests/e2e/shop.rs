//! A small ticket shop with an operator: nodes on premises, pools in a Local Zone and a region, workloads, sales that last seconds, and how it all must end.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use onsale_api::{CapacityPool, OnSale, Phase, WorkloadPlacement};
use onsale_bed::ec2::{FixtureRequest, Instance, Timing, node_config};
use onsale_bed::nodes::{self, NodeSpecification};
use onsale_bed::operator::Operator;
use onsale_bed::progress::Progress;
use onsale_bed::{Bed, wait_until};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::harness::TEST;
use crate::workloads;

/// The process that most tests talk to.
pub const FIRST: &str = "onsale-operator-0";
/// Zones of the shop's pools, nearest first.
pub const ZONES: [&str; 3] = ["phx-dc", "us-west-2-phx-2a", "us-west-2a"];
/// Longest that anything on the bed may take.
pub const SOON: Duration = Duration::from_secs(60);

static OPERATOR: OnceCell<Operator> = OnceCell::const_new();

/// The installed operator, with timings of a bed.
pub async fn operator(bed: &Bed) -> Result<&'static Operator> {
    let quick = [
        "settings.hpaSyncPeriod=2s",
        "settings.unschedulableAfter=5s",
        "leaderElection.leaseDuration=4s",
        "leaderElection.renewDeadline=3s",
        "leaderElection.retryPeriod=500ms",
        "log.filter=info\\,onsale_controller=debug",
    ];
    OPERATOR.get_or_try_init(async || Operator::install(bed, &quick.map(str::to_owned), Progress::stderr()).await).await
}

/// A shop of its own for one test, in the namespace `name`; its pools are `<name>-dc`, `-lz` and `-or`.
pub struct Shop<'a> {
    pub bed: &'a Bed,
    pub name: &'static str,
    pub operator: &'static Operator,
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
    /// Opens it: the operator runs, `on_prem` nodes of 16 CPU are Ready, the pools exist.
    pub async fn open(bed: &'a Bed, name: &'static str, on_prem: usize) -> Result<Self> {
        let operator = operator(bed).await?;
        if !bed.processes().is_running(FIRST).unwrap_or(false) {
            operator.start(bed, FIRST).await?;
        }
        let shop = Self { bed, name, operator };
        let labels = json!({TEST: "true", "team": name});
        bed.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}).to_string()).await?;
        let node = |n| NodeSpecification::on_prem(&format!("{name}-{n}"), ZONES[0], "us-west-2", "16", "64Gi").label("shop", name);
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
        shop.pool("dc", ZONES[0], "200us", None).await?;
        shop.pool("lz", ZONES[1], "2ms", Some("c6i.4xlarge")).await?;
        shop.pool("or", ZONES[2], "30ms", Some("m6i.4xlarge")).await?;
        Ok(shop)
    }

    /// Declares a pool; rented ones get a launch template whose user data names the pool.
    pub async fn pool(&self, short: &str, zone: &str, rtt: &str, instance_type: Option<&str>) -> Result<()> {
        let name = format!("{}-{short}", self.name);
        let mut spec = json!({
            "tier": if instance_type.is_some() { "LocalZone" } else { "OnPrem" }, "zone": zone, "latency": [{"site": "phx-dc", "rtt": rtt}],
            "leadTime": {"p50": "4s", "p95": "6s"},
            "nodes": {"existing": {"selector": {"matchLabels": {"shop": self.name}}}},
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
        let object = json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "CapacityPool", "metadata": {"name": name}, "spec": spec});
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
        let found = ZONES.map(|zone| spread.get(zone).copied().unwrap_or_default());
        let elsewhere: usize = spread.iter().filter(|(zone, _)| !ZONES.contains(&zone.as_str())).map(|(_, n)| n).sum();
        ensure!(found == wanted && elsewhere == 0, "{app} is spread {spread:?}, not {wanted:?} over {ZONES:?}");
        Ok(())
    }

    /// `spec.replicas` of a Deployment.
    pub async fn replicas(&self, app: &str) -> Result<i64> {
        let path = "jsonpath={.spec.replicas}";
        let text = self.bed.kubectl(&["get", "deployment", app, "-n", self.name, "-o", path]).await?.ok()?;
        text.trim().parse().context("no replicas")
    }

    /// Instances of this shop that are not terminated.
    pub async fn instances(&self) -> Result<Vec<Instance>> {
        Ok(self.all_instances().await?.into_iter().filter(|i| i.state != "terminated").collect())
    }

    /// Instances of this shop that ever were.
    pub async fn ever_launched(&self) -> Result<usize> {
        Ok(self.all_instances().await?.len())
    }

    async fn all_instances(&self) -> Result<Vec<Instance>> {
        let mine = |i: &Instance| i.tags.get("onsale.dev/pool").is_some_and(|p| p.starts_with(&format!("{}-", self.name)));
        Ok(self.bed.ec2()?.instances().await?.into_iter().filter(mine).collect())
    }

    /// Nothing is left: no instance, no burst node, every field as it was, no record, no overlay, no finalizer, no condition that contradicts it.
    pub async fn expect_clean(&self, replicas: &[(&str, i64)]) -> Result<()> {
        wait_until("no instance is left", SOON, async || {
            let left = self.instances().await?;
            if left.is_empty() { Ok(true) } else { bail!("{} instances: {left:?}", left.len()) }
        })
        .await?;
        wait_until("no burst node is left", SOON, async || {
            let nodes = Api::<Node>::all(self.bed.client()).list(&ListParams::default().labels("onsale.dev/pool")).await?;
            Ok(nodes.items.iter().all(|n| !n.labels()["onsale.dev/pool"].starts_with(&format!("{}-", self.name))))
        })
        .await?;
        for (app, wanted) in replicas {
            let found = self.replicas(app).await?;
            ensure!(found == *wanted, "{app} has {found} replicas, {wanted} before the sale");
        }
        let records = Api::<WorkloadPlacement>::namespaced(self.bed.client(), self.name).list(&ListParams::default()).await?;
        ensure!(
            records.items.is_empty(),
            "a WorkloadPlacement is left: {:?}",
            records.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
        );
        let overlays = self.bed.kubectl(&["get", "podtemplates", "-n", self.name, "-o", "name"]).await?.ok()?;
        ensure!(overlays.trim().is_empty(), "an overlay is left: {overlays}");
        self.expect_settled().await?;
        self.expect_checker_content().await
    }

    /// Every plan of the processes that run was one that the checker had nothing to say against. Asked before a process is killed, too.
    pub async fn expect_checker_content(&self) -> Result<()> {
        for name in self.bed.processes().names().iter().filter(|n| n.starts_with("onsale-operator-")) {
            if !self.bed.processes().is_running(name)? {
                continue;
            }
            let metrics = self.operator.metrics(self.bed, name).await?;
            let violations: Vec<&str> =
                metrics.lines().filter(|l| l.starts_with("onsale_plan_violations_total") && !l.ends_with(" 0")).collect();
            ensure!(violations.is_empty(), "the checker objects to plans of {name}: {violations:?}");
        }
        Ok(())
    }

    /// Finalizers are gone, and every status agrees with the world.
    async fn expect_settled(&self) -> Result<()> {
        wait_until("finalizers are gone and statuses have settled", SOON, async || {
            for sale in self.sales().list(&ListParams::default()).await?.items {
                ensure!(sale.finalizers().is_empty(), "{} keeps {:?}", sale.name_any(), sale.finalizers());
                let status = sale.status.clone().unwrap_or_default();
                ensure!(!status.phase.is_some_and(Phase::is_active), "{} is still {:?}", sale.name_any(), status.phase);
                let over = matches!(status.phase, Some(Phase::Completed | Phase::Cancelled));
                let wanted = [
                    ("Ready", "True"),
                    ("Feasible", "True"),
                    ("Reconciling", "False"),
                    ("Stalled", "False"),
                    ("AtRisk", "False"),
                    ("Contested", "False"),
                ];
                for (type_, wanted) in wanted.iter().filter(|_| over) {
                    let found = status.conditions.iter().find(|c| c.type_ == *type_);
                    ensure!(found.is_some_and(|c| c.status == *wanted), "{} is over and says {found:?}", sale.name_any());
                }
            }
            for pool in Api::<CapacityPool>::all(self.bed.client()).list(&ListParams::default()).await?.items {
                ensure!(pool.finalizers().is_empty(), "pool {} keeps {:?}", pool.name_any(), pool.finalizers());
                let status = pool.status.clone().unwrap_or_default();
                let counts = (status.nodes.launching, status.nodes.draining, status.launches.len());
                ensure!(counts == (0, 0, 0), "pool {} still says {:?}, {} launches", pool.name_any(), status.nodes, status.launches.len());
            }
            Ok(true)
        })
        .await
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
