//! What is known, from files and from a cluster, as the planner's snapshot; and what had to be assumed, in sentences.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::{SignedDuration, Timestamp};
use onsale_api::{CapacityPool, OnSale, WorkloadPlacement, onsale::TargetKind, placement::FloorKind, pool::InstanceType, quota};
use onsale_planner::{
    Snapshot,
    addresses::{self, Addresses},
    lead,
    objects::{
        node::{Membership, NodeRecord},
        own,
        pod::PodRecord,
        scaler::{self, ScaledObject, ScalerRecord},
        target::Target,
        tenants::Pods,
    },
    quotas::Quotas,
    resources::Resources,
    snapshot::{DaemonSet, Instance, Node, Placement, Pod, Pool, Sale, SaleId, Settings, TargetState, Workload, WorkloadId},
};

use crate::{
    assumed,
    preview::timeline::span,
    read::{Mention, Object},
};

/// A node of no pool: nobody has to know more of it.
const ELSEWHERE: &str = "elsewhere";

/// Namespace and name.
pub type Key = (String, String);

/// Objects by name, each kind slim. What a file says stands before what the cluster says.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Sales.
    pub sales: BTreeMap<Key, OnSale>,
    /// Pools.
    pub pools: BTreeMap<String, CapacityPool>,
    /// Placements.
    pub placements: BTreeMap<Key, WorkloadPlacement>,
    /// Deployments and StatefulSets.
    pub targets: BTreeMap<WorkloadId, Target>,
    /// DaemonSets.
    pub daemon_sets: BTreeMap<Key, DaemonSet>,
    /// HPAs.
    pub scalers: BTreeMap<Key, ScalerRecord>,
    /// ScaledObjects.
    pub scaled_objects: BTreeMap<Key, ScaledObject>,
    /// Nodes.
    pub nodes: BTreeMap<String, NodeRecord>,
    /// Pods.
    pub pods: BTreeMap<Key, PodRecord>,
    /// Labels of namespaces.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// What is meant to be a workload in the files, also what is not read as one.
    pub mentions: Vec<Mention>,
    /// Where all this comes from besides the files; `None`: files alone.
    pub cluster: Option<String>,
}

impl Facts {
    /// Adds what files say.
    pub fn add(&mut self, found: &[Object]) {
        found.iter().for_each(|object| self.add_object(object));
    }

    /// Adds one object.
    pub fn add_object(&mut self, object: &Object) {
        let key = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| -> Key {
            (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
        };
        let id = |meta, kind| -> WorkloadId {
            let (namespace, name) = key(meta);
            WorkloadId { namespace, kind, name }
        };
        match object {
            Object::Sale(sale) => self.add_sale(key(&sale.metadata), sale),
            Object::Pool(pool) => self.add_pool(pool),
            Object::Placement(placement) => drop(self.placements.insert(key(&placement.metadata), (**placement).clone())),
            Object::Deployment(object) => {
                self.targets.insert(id(&object.metadata, TargetKind::Deployment), (**object).clone().into());
            }
            Object::StatefulSet(object) => {
                self.targets.insert(id(&object.metadata, TargetKind::StatefulSet), (**object).clone().into());
            }
            Object::DaemonSet(object) => drop(self.daemon_sets.insert(key(&object.metadata), (**object).clone().into())),
            Object::Scaler(hpa) => drop(self.scalers.insert(key(&hpa.metadata), (**hpa).clone().into())),
            Object::ScaledObject(object) => self.add_scaled(key(&object.0), &object.0, &object.1),
            Object::Node(node) => drop(self.nodes.insert(key(&node.metadata).1, (**node).clone().into())),
            Object::Pod(pod) => drop(self.pods.insert(key(&pod.metadata), (**pod).clone().into())),
            Object::Namespace(namespace) => {
                self.namespaces.insert(key(&namespace.metadata).1, namespace.metadata.labels.clone().unwrap_or_default());
            }
        }
    }

    /// A file changes what is wished, not what was remembered: UID, age and status stay those of the cluster.
    fn add_sale(&mut self, key: Key, sale: &OnSale) {
        let mut sale = sale.clone();
        if let Some(there) = self.sales.get(&key) {
            if there.spec == sale.spec {
                sale.metadata.generation = there.metadata.generation;
            } else {
                sale.metadata.generation = there.metadata.generation.map(|g| g + 1);
            }
            sale.metadata.uid.clone_from(&there.metadata.uid);
            sale.metadata.creation_timestamp.clone_from(&there.metadata.creation_timestamp);
            sale.metadata.finalizers.clone_from(&there.metadata.finalizers);
            sale.status.clone_from(&there.status);
        }
        self.sales.insert(key, sale);
    }

    fn add_pool(&mut self, pool: &CapacityPool) {
        let mut pool = pool.clone();
        let name = pool.metadata.name.clone().unwrap_or_default();
        if let Some(there) = self.pools.get(&name) {
            pool.metadata.uid.clone_from(&there.metadata.uid);
            pool.metadata.finalizers.clone_from(&there.metadata.finalizers);
            pool.status.clone_from(&there.status);
        }
        self.pools.insert(name, pool);
    }

    /// KEDA makes an HPA for a ScaledObject; in files there is none.
    fn add_scaled(
        &mut self,
        (namespace, name): Key,
        meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
        object: &serde_json::Value,
    ) {
        let scaled = ScaledObject::of(meta, object);
        let target = &object["spec"]["scaleTargetRef"];
        let kind = target["kind"].as_str().unwrap_or("Deployment").to_owned();
        let of = target["name"].as_str().unwrap_or_default().to_owned();
        let owned = self.scalers.values().any(|h| h.scaled_object.as_ref() == Some(&name));
        if !owned {
            let record =
                ScalerRecord { target: (kind, of), min: scaled.min, max: scaled.max, manager: None, scaled_object: Some(name.clone()) };
            self.scalers.insert((namespace.clone(), format!("keda-hpa-{name}")), record);
        }
        self.scaled_objects.insert((namespace, name), scaled);
    }
}

/// The snapshot, and what had to be assumed for it.
#[derive(Clone, Debug)]
pub struct World {
    /// For the planner.
    pub seen: Snapshot,
    /// What had to be assumed, in sentences.
    pub assumptions: Vec<String>,
    /// Pools of existing nodes of which no node is known.
    pub blind: Vec<String>,
    /// What workloads want by their HPAs when no sale is on.
    pub ordinary: BTreeMap<WorkloadId, i32>,
    /// What is meant to be a workload in the files, also what is not read as one.
    pub mentions: Vec<Mention>,
    /// Where it comes from besides the files.
    pub cluster: Option<String>,
    /// How old the oldest word of the cloud about addresses and quotas is that is planned with; `None`: there is none.
    pub told: Option<String>,
}

/// The world at an instant.
#[must_use]
pub fn world(facts: &Facts, at: Timestamp) -> World {
    let sales: Vec<Sale> = facts.sales.iter().map(|((namespace, name), object)| sale(namespace, name, object, at)).collect();
    let ids = workload_ids(facts, &sales);
    let pools: Vec<Pool> = facts
        .pools
        .iter()
        .map(|(name, pool)| own::pool(name, &uid(pool.metadata.uid.as_ref(), name), pool, Some(instances(facts, name, pool, at))))
        .collect();
    let members = Membership::of(&pools, |pool| pool.instances.iter().flatten().map(|i| i.id.clone()).collect::<Vec<_>>());
    let names: HashSet<String> = facts.nodes.keys().cloned().collect();
    let rents = |record: &NodeRecord| members.pool(record).is_some_and(|pool| members.rents(pool));
    let rented: HashSet<&str> = facts.nodes.iter().filter(|(_, record)| rents(record)).map(|(name, _)| name.as_str()).collect();
    let uids: Vec<String> = facts.pods.keys().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
    let all = facts.pods.iter().zip(&uids).map(|(((namespace, name), pod), uid)| (namespace.as_str(), name.as_str(), uid.as_str(), pod));
    let mut pods = Pods::sort(all, &ids, Some(&names), &rented);
    let workloads: Vec<Workload> = ids.iter().map(|id| workload(facts, id, &mut pods)).collect();
    let node = |(name, record): (&String, &NodeRecord)| {
        let pool = members.pool(record)?;
        Some(record.node(name, name, pool, members.rents(pool), pods.tenants(name)))
    };
    let nodes: Vec<_> = facts.nodes.iter().filter_map(node).collect();
    let namespaces = facts.namespaces.iter().map(|(name, labels)| (name.clone(), with_name(name, labels))).collect();
    let known = |pool: &Pool| facts.cluster.is_some() || pool.spec.nodes.ec2.is_some() || nodes.iter().any(|n| n.pool == pool.name);
    let blind = pools.iter().filter(|p| !known(p)).map(|p| p.name.clone()).collect();
    // Whoever asks wants to know now.
    let settings = Settings { horizon: SignedDuration::MAX, ..Settings::default() };
    let daemon_sets = facts.daemon_sets.values().cloned().collect();
    let seen = Snapshot { sales, pools, workloads, nodes: Some(nodes), daemon_sets, namespaces, settings };
    let ordinary = seen.workloads.iter().filter_map(|w| Some((w.id.clone(), w.target.as_ref()?.replicas))).collect();
    let (mentions, cluster) = (facts.mentions.clone(), facts.cluster.clone());
    let mut world = World { seen, assumptions: Vec::new(), blind, ordinary, mentions, cluster, told: None };
    if facts.cluster.is_none() {
        world.assume(facts, at);
    }
    world.hear(at);
    world.measured();
    world
}

fn uid(uid: Option<&String>, name: &str) -> String {
    uid.cloned().unwrap_or_else(|| format!("file:{name}"))
}

/// The label that Kubernetes gives every namespace.
fn with_name(name: &str, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut labels = labels.clone();
    labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    labels
}

fn sale(namespace: &str, name: &str, object: &OnSale, at: Timestamp) -> Sale {
    let id = SaleId { namespace: namespace.to_owned(), name: name.to_owned() };
    let uid = uid(object.metadata.uid.as_ref(), &format!("{namespace}/{name}"));
    let sale = own::sale(id, &uid, object);
    Sale { created_at: object.metadata.creation_timestamp.as_ref().map_or(at, |t| t.0), ..sale }
}

fn workload_ids(facts: &Facts, sales: &[Sale]) -> Vec<WorkloadId> {
    let named = sales.iter().filter(|sale| !sale.is_finished()).flat_map(Sale::workload_ids);
    let placed = facts.placements.iter().map(|((namespace, _), placement)| {
        let target = &placement.spec.target;
        WorkloadId { namespace: namespace.clone(), kind: target.kind, name: target.name.clone() }
    });
    let all: BTreeSet<WorkloadId> = named.chain(placed).collect();
    all.into_iter().collect()
}

/// A pool's instances as far as the cluster tells: its nodes, and those of its ledger that have not joined.
fn instances(facts: &Facts, name: &str, pool: &CapacityPool, at: Timestamp) -> Vec<Instance> {
    if pool.spec.nodes.ec2.is_none() {
        return Vec::new();
    }
    let ledger = pool.status.iter().flat_map(|s| &s.launches).filter(|l| l.resolved);
    let launched = ledger.flat_map(|l| l.instances.iter().map(move |id| (id.clone(), (l.instance_type.clone(), l.made_at()))));
    let mut all: BTreeMap<String, (String, Timestamp)> = launched.collect();
    for node in facts.nodes.values().filter(|n| n.labels.get(onsale_api::names::POOL).is_some_and(|p| p == name)) {
        let instance_type = node.labels.get("node.kubernetes.io/instance-type").cloned().unwrap_or_default();
        // One that is Ready and in no ledger any more ran already when the cloud was asked how many addresses are free.
        let launched_at = if node.ready { at - addresses::KEPT } else { at };
        if let Some(id) = &node.instance {
            all.entry(id.clone()).or_insert((instance_type, launched_at));
        }
    }
    all.into_iter()
        .map(|(id, (instance_type, launched_at))| Instance { id, instance_type, leaving: false, stopped: false, launched_at })
        .collect()
}

fn workload(facts: &Facts, id: &WorkloadId, pods: &mut Pods) -> Workload {
    let placement = facts.placements.get(&(id.namespace.clone(), id.placement_name()));
    let overlay = placement.map(|p| p.spec.revision);
    let placement = placement.map(|p| Placement { spec: p.spec.clone(), status: p.status.clone().unwrap_or_default() });
    Workload { id: id.clone(), target: facts.targets.get(id).and_then(|t| state(facts, id, t)), placement, overlay, pods: pods.take(id) }
}

fn state(facts: &Facts, id: &WorkloadId, target: &Target) -> Option<TargetState> {
    let mut here = facts.scalers.iter().filter(|((namespace, _), hpa)| *namespace == id.namespace && hpa.scales(id.kind, &id.name));
    let hpa = here.next().map(|((_, name), hpa)| (name.as_str(), hpa));
    let scaled = hpa.and_then(|(_, hpa)| facts.scaled_objects.get(&(id.namespace.clone(), hpa.scaled_object.clone()?)));
    let floor = scaler::floor(&id.name, target, hpa, scaled)?;
    let mut state = target.clone().state(floor);
    if state.field.kind != FloorKind::Replicas {
        state.replicas = state.replicas.max(state.value);
    }
    Some(state)
}

impl World {
    /// What the cloud said of addresses and quotas, as the pools' status has it, and what it did not.
    fn hear(&mut self, at: Timestamp) {
        let rented: Vec<&Pool> = self.seen.pools.iter().filter(|p| p.spec.nodes.ec2.is_some()).collect();
        if rented.is_empty() {
            return;
        }
        let (addresses, quotas) = (Addresses::of(&self.seen, at), Quotas::of(&self.seen, at));
        let of_quota =
            |pool: &Pool, kind: &InstanceType| quota::of_type(&kind.name).map(|_| quotas.bound(pool, &kind.name).and_then(|b| b.said));
        let (mut said, mut unknown): (Vec<Timestamp>, Vec<&str>) = (Vec::new(), Vec::new());
        for pool in rented {
            let index = self.seen.pools.iter().position(|p| p.name == pool.name).unwrap_or_default();
            let kinds = pool.spec.nodes.ec2.iter().flat_map(|ec2| &ec2.instance_types);
            let all: Vec<Option<Timestamp>> = [addresses.said(index)]
                .into_iter()
                .chain(kinds.filter_map(|kind| of_quota(pool, kind)).map(|said| said.map(|fact| fact.at.0)))
                .collect();
            if all.contains(&None) {
                unknown.push(&pool.name);
            }
            said.extend(all.into_iter().flatten());
        }
        let unknown = match (unknown.is_empty(), said.is_empty()) {
            (true, _) => None,
            (false, true) => Some("Free addresses of subnets and vCPU quotas are unknown, and bound nothing.".to_owned()),
            (false, false) => Some(format!("Free addresses or vCPU quotas of {} are unknown, and bound nothing.", unknown.join(", "))),
        };
        self.told = said.into_iter().min().map(|first| format!("{} ago", span(at.duration_since(first))));
        let known = self.told.as_ref().map(|told| format!("Free addresses and vCPU quotas as of {told}, from the pools' status."));
        self.assumptions.extend(known.into_iter().chain(unknown));
    }

    /// Which pools' lead times are not only what is declared.
    fn measured(&mut self) {
        let of = |pool: &Pool| {
            let (lead, nodes) = (lead::of(pool), pool.status.lead_times.len());
            format!("{} measured on {nodes} nodes (p50 {}, p95 {})", pool.name, span(lead.p50.get()), span(lead.p95.get()))
        };
        let rented = self.seen.pools.iter().filter(|p| p.spec.nodes.ec2.is_some() && !p.status.lead_times.is_empty());
        let all: Vec<String> = rented.map(of).collect();
        if !all.is_empty() {
            self.assumptions.push(format!("Lead times: {}; of every other pool as declared.", all.join(", ")));
        }
    }

    /// From files alone: the ordinary day is taken to be going on as declared.
    fn assume(&mut self, facts: &Facts, at: Timestamp) {
        if facts.pods.is_empty() {
            self.ordinary_day(at);
        }
        if !self.blind.is_empty() {
            let names = self.blind.join(", ");
            self.assumptions.push(format!(
                "Nodes of {names} are unknown: what runs today is taken to fill them, so that nothing more finds room there. Say what is there with --nodes \
                 {}=20,cpu=20,memory=96Gi, give `kubectl get nodes -o yaml` as another file, or ask the cluster with --cluster.",
                self.blind[0]
            ));
        }
    }

    /// Puts the declared replicas on the nodes that exist, as evenly as the scheduler does; what finds none there is on nodes that nobody told us of.
    fn ordinary_day(&mut self, at: Timestamp) {
        let nodes = self.seen.nodes.iter().flatten().filter(|n| n.instance.is_none() && n.ready && !n.cordoned);
        let mut free: Vec<(String, Resources)> = nodes.map(|n| (n.name.clone(), n.allocatable.clone())).collect();
        let known = free.len();
        let hidden = self.blind.first().and_then(|pool| assumed::node(self.seen.pool(pool)?));
        // Without any pool of existing nodes, what runs today runs on nodes of no pool.
        let elsewhere = known == 0 && hidden.is_none();
        let (mut there, mut placed, mut homeless) = (Resources::default(), 0, 0);
        for work in &mut self.seen.workloads {
            let Some(target) = &work.target else { continue };
            for i in 0..target.replicas.max(target.value) {
                let fits = free.iter_mut().filter(|(_, room)| room.count_of(&target.requests) > 0);
                let mut node = fits.max_by_key(|(_, room)| (room.cpu, room.memory)).map(|(name, room)| {
                    room.add(&target.requests, -1);
                    name.clone()
                });
                match (&node, &hidden) {
                    (Some(_), _) => placed += 1,
                    (None, Some(hidden)) => {
                        there.add(&target.requests, 1);
                        node = Some(hidden.name.clone());
                    }
                    (None, None) => {
                        homeless += 1;
                        node = elsewhere.then(|| ELSEWHERE.to_owned());
                    }
                }
                let uid = format!("{}-{i}", work.id);
                work.pods.push(Pod { uid, ..Pod::new(&format!("{}-{i}", work.id.name), node.as_deref(), at) });
            }
        }
        self.seen.nodes.get_or_insert_default().extend(hidden.map(|node| Node { allocatable: there, ..node }));
        if placed > 0 {
            self.assumptions.push(format!(
                "Running pods are unknown: {placed} replicas that the files declare are taken to run on the {known} known nodes, spread evenly, with nothing \
                 else there."
            ));
        }
        if homeless > 0 && elsewhere {
            self.assumptions.push(format!(
                "Running pods are unknown: {homeless} replicas that the files declare are taken to run on nodes of no pool, and to stay there."
            ));
        } else if homeless > 0 {
            self.assumptions.push(format!(
                "{homeless} replicas that the files declare fit on no known node today: the plan finds places for them too."
            ));
        }
    }
}
