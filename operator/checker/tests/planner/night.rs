//! A whole night, played roughly: due steps are done at once, instances join after two minutes, pods go to the nearest node with room.
//! It is no simulator of Kubernetes; it leads the planner through states that fit together.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use onsale_api::{
    Phase, Reason,
    placement::{Contest, FloorKind},
    pool::{Launch, Shortfall},
};
use onsale_planner::{
    Chain, Plan, Snapshot, Step,
    resources::Resources,
    snapshot::{Node, Placement, Pod, SaleId, Taint, Toleration, Workload, WorkloadId},
    steps::ChainKey,
};

use crate::{
    cloud,
    event::Event,
    seeds::World,
    world::{self, at},
};

/// The world as it is, most of it never unknown.
pub struct Night {
    all: Snapshot,
    seeds: World,
    now: Timestamp,
    /// Pools that a pod may go to by its stamp at creation; by UID.
    stamps: BTreeMap<String, Vec<String>>,
    exhausted: Vec<usize>,
    made: usize,
}

impl Night {
    /// Before the first moment.
    pub fn new(seeds: World) -> Self {
        Self { all: world::snapshot(&seeds), seeds, now: at(0), stamps: BTreeMap::new(), exhausted: Vec::new(), made: 1_000 }
    }

    /// Time passes, and something happens. What the operator sees then, and when it dies.
    pub fn moment(&mut self, minutes: i64, event: Event) -> (Snapshot, Timestamp, usize) {
        self.now += SignedDuration::from_mins(minutes);
        self.join();
        self.happen(event);
        let mut seen = self.seen();
        match event {
            Event::Blind => seen.nodes = None,
            Event::Silent(n) => {
                seen.pools.iter_mut().skip(n).take(1).filter(|p| p.spec.nodes.ec2.is_some()).for_each(|p| p.instances = None)
            }
            _ => {}
        }
        (seen, self.now, if let Event::Crash(after) = event { after } else { usize::MAX })
    }

    /// What is due is done, and the cluster follows.
    pub fn act(&mut self, plan: &Plan, chains: Vec<Chain>, crash: usize) {
        for chain in chains {
            for step in chain.steps.into_iter().take(crash) {
                self.step(&chain.key, step);
            }
        }
        for sale_plan in &plan.sales {
            if let Some(sale) = self.all.sales.iter_mut().find(|s| s.id == sale_plan.id) {
                sale.status.phase = Some(sale_plan.phase);
                sale.status.entered = sale_plan.entered.clone();
                sale.status.cost = Some(sale_plan.cost.clone());
                sale.status.opens_at = sale_plan.times.map(|t| Time(t.opens_at));
                sale.status.ready_by = sale_plan.times.map(|t| Time(t.ready_by));
                sale.status.ends_at = sale_plan.times.map(|t| Time(t.ends_at));
                sale.status.starts_at = sale_plan.times.map(|t| Time(t.starts_at));
                sale.status.predicted_ready_at = sale_plan.predicted_ready_at.map(Time);
            }
        }
        for i in 0..self.all.workloads.len() {
            self.replicas(i);
            self.bind(i);
        }
    }

    /// What a snapshot holds: workloads that an unfinished sale names or that are recorded; others' pods count as others.
    pub fn seen(&self) -> Snapshot {
        let finished = |phase| matches!(phase, Some(Phase::Completed | Phase::Missed | Phase::Cancelled | Phase::Invalid));
        let mut seen = self.all.clone();
        let (kept, gone): (Vec<Workload>, Vec<Workload>) = seen.workloads.drain(..).partition(|w| {
            w.placement.is_some() || self.all.sales.iter().any(|s| !finished(s.status.phase) && s.workload_ids().any(|id| id == w.id))
        });
        seen.workloads = kept;
        for node in seen.nodes.iter_mut().flatten() {
            for work in &gone {
                let there = work.pods.iter().filter(|p| p.node.as_deref() == Some(node.name.as_str())).count();
                node.others.add(&work.target.as_ref().unwrap().requests, i64::try_from(there).unwrap());
            }
            let pods = self.all.workloads.iter().flat_map(|w| w.pods.iter().map(move |p| (w, p)));
            node.evictable =
                pods.filter(|(_, p)| p.node.as_deref() == Some(node.name.as_str())).map(|(w, p)| world::reference(&w.id, p)).collect();
            node.evictable.sort();
        }
        seen
    }

    fn happen(&mut self, event: Event) {
        let sale = |all: &mut Snapshot, n: usize| -> Option<SaleId> { all.sales.get(n).map(|s| s.id.clone()) };
        match event {
            Event::Delete(n) => {
                if let Some(id) = sale(&mut self.all, n) {
                    let unprotected = !self.all.sales[n].protected;
                    self.all.sales[n].deleting = true;
                    self.all.sales.retain(|s| s.id != id || !unprotected);
                }
            }
            Event::Suspend(n) => self.all.sales.iter_mut().skip(n).take(1).for_each(|s| s.spec.suspend = !s.spec.suspend),
            Event::Peak(n, peak) => self.all.sales.iter_mut().skip(n).take(1).for_each(|s| s.spec.workloads[0].peak_replicas = peak),
            Event::Little(n, by) => self.all.sales.iter_mut().skip(n).take(1).for_each(|s| s.spec.workloads[0].peak_replicas += by),
            Event::Tiers(n, tiers) => self.all.sales.iter_mut().skip(n).take(1).for_each(|s| {
                let placement = s.spec.placement.get_or_insert_default();
                placement.tiers = world::tiers(tiers);
            }),
            Event::Cloud(n, free, vcpus) => self.all.pools.iter_mut().for_each(|pool| {
                cloud::tell_subnet(pool, n, free, self.now);
                cloud::tell_quota(pool, vcpus, self.now);
            }),
            Event::Move(n, by) => self.all.sales.iter_mut().skip(n).take(1).filter(|s| s.status.phase != Some(Phase::Live)).for_each(|s| {
                s.spec.opens_at = (s.spec.opens_at.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(by)).to_string();
            }),
            Event::Node(n) => self.all.nodes.iter_mut().flatten().skip(n).take(1).for_each(|node| node.ready = !node.ready),
            Event::Foreign(n, value) => self.all.workloads.iter_mut().skip(n).take(1).for_each(|w| {
                let target = w.target.as_mut().unwrap();
                (target.value, target.manager) = (value, Some("argocd".into()));
                target.replicas = if target.field.kind == FloorKind::Replicas { value } else { target.replicas.max(value) };
            }),
            Event::Limit(n, limit) => {
                self.all.pools.iter_mut().skip(n).take(1).filter_map(|p| p.spec.limits.as_mut()).for_each(|l| l.max_nodes = Some(limit))
            }
            Event::Exhausted(n) => self.exhausted.push(n),
            Event::Calm | Event::Blind | Event::Silent(_) | Event::Crash(_) => {}
        }
    }

    /// Instances become nodes two minutes after their launch.
    fn join(&mut self) {
        for (i, seed) in self.seeds.pools.iter().enumerate() {
            for instance in self.all.pools[i].instances.iter().flatten().filter(|x| !x.leaving) {
                let due = self.now.duration_since(instance.launched_at) >= SignedDuration::from_mins(2);
                let nodes = self.all.nodes.get_or_insert_default();
                if due && !nodes.iter().any(|n| n.instance.as_ref() == Some(&instance.id)) {
                    nodes.push(world::node(i, seed, &format!("node-{}", instance.id), Some(instance.id.clone())));
                }
            }
        }
        self.all.nodes.iter_mut().for_each(|nodes| nodes.sort_by(|a, b| a.name.cmp(&b.name)));
    }

    fn step(&mut self, key: &ChainKey, step: Step) {
        match key {
            ChainKey::Sale(id) => {
                let sale = self.all.sales.iter_mut().find(|s| s.id == *id).unwrap();
                sale.protected = step == Step::ProtectSale;
                let gone = sale.deleting && !sale.protected;
                self.all.sales.retain(|s| s.id != *id || !gone);
            }
            ChainKey::Pool(name) => self.pool_step(name, step),
            ChainKey::Workload(id) => self.workload_step(id, step),
        }
    }

    fn pool_step(&mut self, name: &str, step: Step) {
        let index = self.all.pools.iter().position(|p| p.name == name).unwrap();
        let pool = &mut self.all.pools[index];
        match step {
            Step::ProtectPool => pool.protected = true,
            Step::ReleasePool => pool.protected = false,
            Step::Launch { instance_type, subnet, count } => self.launch(index, instance_type, subnet, count),
            Step::Tidy { sequences, shortfalls } => {
                pool.status.launches.retain(|l| !sequences.contains(&l.sequence));
                pool.status.shortfalls.retain(|_| !shortfalls);
            }
            Step::RepairNode { node, .. } => self.nodes(&node, |n| (n.labelled, n.tainted) = (true, true)),
            Step::Cordon { node, .. } => self.nodes(&node, |n| (n.cordoned, n.draining) = (true, true)),
            Step::Uncordon { node, .. } => self.nodes(&node, |n| (n.cordoned, n.draining) = (false, false)),
            Step::Evict { pod, .. } => self.all.workloads.iter_mut().for_each(|w| w.pods.retain(|p| p.uid != pod.uid)),
            Step::Terminate { instances, .. } => {
                pool.instances.iter_mut().for_each(|all| all.retain(|i| !instances.contains(&i.id)));
                // As the controller does: what was given back is no launch that counts any more.
                pool.status.launches.iter_mut().for_each(|entry| entry.instances.retain(|i| !instances.contains(i)));
                let nodes = self.all.nodes.get_or_insert_default();
                let gone: Vec<String> =
                    nodes.iter().filter(|n| n.instance.as_ref().is_some_and(|i| instances.contains(i))).map(|n| n.name.clone()).collect();
                nodes.retain(|n| !gone.contains(&n.name));
                self.all.workloads.iter_mut().for_each(|w| w.pods.retain(|p| p.node.as_ref().is_none_or(|n| !gone.contains(n))));
            }
            other => panic!("a step that a pool never gets: {other:?}"),
        }
    }

    fn nodes(&mut self, name: &str, change: impl Fn(&mut Node)) {
        self.all.nodes.iter_mut().flatten().filter(|n| n.name == name).for_each(change);
    }

    fn launch(&mut self, index: usize, instance_type: String, subnet: String, count: i32) {
        let (now, gone) = (self.now, self.exhausted.contains(&index));
        let pool = &mut self.all.pools[index];
        pool.status.last_sequence += 1;
        let names = if gone { 0 } else { usize::try_from(count).unwrap() };
        let made: Vec<_> = (0..names).map(|n| world::instance(index, self.made + n, now)).collect();
        self.made += names;
        if gone {
            pool.status.shortfalls.retain(|s| s.instance_type != instance_type);
            let retry_at = Time(now + SignedDuration::from_mins(5));
            let reason = if index.is_multiple_of(2) { Reason::InsufficientCapacity } else { Reason::QuotaExhausted };
            let message = "none left".to_owned();
            pool.status.shortfalls.push(Shortfall {
                instance_type: instance_type.clone(),
                subnet: None,
                reason,
                message,
                at: Time(now),
                attempts: 1,
                retry_at,
            });
        }
        let launch_template = pool.spec.nodes.ec2.as_ref().unwrap().launch_template.clone();
        let instances = made.iter().map(|i| i.id.clone()).collect();
        let (sequence, token) = (pool.status.last_sequence, format!("token-{}", pool.status.last_sequence));
        pool.status.launches.push(Launch {
            sequence,
            token,
            instance_type,
            subnet,
            launch_template,
            count,
            at: Time(now),
            resolved: true,
            answered_at: Some(Time(now)),
            instances,
        });
        let all = pool.instances.get_or_insert_default();
        all.extend(made);
        all.sort_by(|a, b| a.id.cmp(&b.id));
    }

    fn workload_step(&mut self, id: &WorkloadId, step: Step) {
        let now = self.now;
        let work = self.all.workloads.iter_mut().find(|w| w.id == *id).unwrap();
        match step {
            Step::Record { spec } => {
                let status = work.placement.take().map(|p| p.status).unwrap_or_default();
                work.placement = Some(Placement { spec: *spec, status });
            }
            Step::WriteOverlay { overlay } => work.overlay = overlay.stamp.rsplit('.').next().and_then(|n| n.parse().ok()),
            Step::WriteFloor { from, to, manager, .. } => {
                let target = work.target.as_mut().unwrap();
                assert_eq!(target.value, from);
                (target.value, target.manager) = (to, Some(manager.unwrap_or_else(|| "onsale-operator".into())));
                // An HPA without load wants its minimum.
                target.replicas = to;
            }
            Step::NoteContest { manager, value } => {
                let status = &mut work.placement.as_mut().unwrap().status;
                let count = status.contest.as_ref().map_or(1, |c| c.count + 1);
                status.contest = Some(Contest { manager, value, count, last: Time(now) });
            }
            Step::ReplacePod { pod } => work.pods.retain(|p| p.uid != pod.uid),
            Step::RemoveOverlay => work.overlay = None,
            Step::RemoveRecord => work.placement = None,
            other => panic!("a step that a workload never gets: {other:?}"),
        }
    }

    /// The ReplicaSet follows `replicas`; the farthest pods go first.
    fn replicas(&mut self, index: usize) {
        let pools: BTreeMap<&str, &str> = self.all.nodes.iter().flatten().map(|n| (n.name.as_str(), n.pool.as_str())).collect();
        let work = &mut self.all.workloads[index];
        let wanted = usize::try_from(work.target.as_ref().unwrap().replicas.max(0)).unwrap();
        let spec = work.placement.as_ref().map(|p| &p.spec);
        let rank = |pod: &Pod| {
            let pool = pod.node.as_deref().and_then(|n| pools.get(n)).copied();
            let known = spec.iter().flat_map(|s| &s.distances).find(|d| Some(d.pool.as_str()) == pool).map(|d| d.rank);
            if pod.node.is_none() { i32::MAX } else { known.unwrap_or(1_000) }
        };
        if work.pods.len() > wanted {
            work.pods.sort_by_key(|pod| (rank(pod), pod.name.clone()));
            work.pods.truncate(wanted);
        }
        while work.pods.len() < wanted {
            self.made += 1;
            let name = format!("{}-x{:06}", work.id.name, self.made);
            let uid = format!("uid-{name}");
            if let (Some(spec), Some(_)) = (spec, work.overlay) {
                self.stamps.insert(uid.clone(), spec.permitted.clone());
            }
            work.pods.push(Pod { uid, revision: work.overlay, ..Pod::new(&name, None, self.now) });
        }
        work.pods.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// The scheduler puts unbound pods onto the first permitted node with room, nearest first; without a stamp onto existing nodes.
    fn bind(&mut self, index: usize) {
        let mut places: Vec<Place> =
            self.all.nodes.iter().flatten().filter(|n| n.ready && !n.cordoned).map(|node| self.place(node)).collect();
        let work = &mut self.all.workloads[index];
        let target = work.target.as_ref().unwrap();
        let skewed = target.zone_skew.is_some();
        for pod in work.pods.iter_mut().filter(|p| p.node.is_none() && !skewed) {
            let stamp = self.stamps.get(&pod.uid);
            let order = |place: &Place| match stamp {
                Some(permitted) => permitted.iter().position(|p| *p == place.pool),
                None => (!place.rented).then_some(0),
            };
            let admits = |place: &Place| {
                let terms = target.node_terms.is_empty() || target.node_terms.iter().any(|t| t.iter().all(|r| r.holds(&place.labels)));
                terms && place.taints.iter().all(|taint| tolerates(&target.tolerations, taint))
            };
            let fitting = places.iter_mut().filter(|p| p.free.count_of(&target.requests) > 0 && admits(p));
            if let Some((_, place)) = fitting.filter_map(|p| Some((order(p)?, p))).min_by_key(|(order, _)| *order) {
                place.free.add(&target.requests, -1);
                (pod.node, pod.ready) = (Some(place.name.clone()), true);
            }
        }
    }

    fn place(&self, node: &Node) -> Place {
        let mut free = node.allocatable.clone();
        free.add(&node.others, -1);
        for work in &self.all.workloads {
            let there = work.pods.iter().filter(|p| p.node.as_deref() == Some(node.name.as_str())).count();
            free.add(&work.target.as_ref().unwrap().requests, -i64::try_from(there).unwrap());
        }
        let (name, pool, labels, taints) = (node.name.clone(), node.pool.clone(), node.labels.clone(), node.taints.clone());
        Place { name, pool, labels, taints, free, rented: node.instance.is_some() }
    }
}

fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    let same = |own: &Option<String>, of: &String| own.as_ref().is_none_or(|own| own == of);
    tolerations.iter().any(|t| same(&t.key, &taint.key) && same(&t.value, &taint.value) && same(&t.effect, &taint.effect))
}

/// A node as the scheduler sees it.
struct Place {
    name: String,
    pool: String,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    free: Resources,
    rented: bool,
}
