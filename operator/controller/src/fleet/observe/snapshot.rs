//! All stores together as the planner's snapshot.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use kube::core::Selector;
use onsale_api::{OnSale, Phase, names, onsale::TargetKind};
use onsale_planner::{
    Snapshot,
    resources::Resources,
    snapshot::{Node, Placement, Pod, PodRef, Pool, Sale, SaleId, TargetState, Workload, WorkloadId},
};

use super::{World, gaps::Gaps, is_protected, node::Membership, scaler, target::Target};
use crate::context::Context;

/// Targets of unfinished sales, and everything with a WorkloadPlacement, sorted.
pub fn workload_ids(world: &World) -> Vec<WorkloadId> {
    let mut all = BTreeSet::new();
    world.sales.read(|sales| {
        for sale in sales.values().filter_map(|e| e.record.object.as_ref()).filter(|s| !is_finished(s)) {
            let namespace = sale.metadata.namespace.clone().unwrap_or_default();
            all.extend(sale.spec.workloads.iter().map(|w| id(&namespace, w.target.kind, &w.target.name)));
        }
    });
    world.placements.read(|placements| {
        for ((namespace, _), entry) in placements {
            all.extend(entry.record.object.iter().map(|p| id(namespace, p.spec.target.kind, &p.spec.target.name)));
        }
    });
    all.into_iter().collect()
}

fn id(namespace: &str, kind: TargetKind, name: &str) -> WorkloadId {
    WorkloadId { namespace: namespace.to_owned(), kind, name: name.to_owned() }
}

/// Over, and not edited since.
fn is_finished(sale: &OnSale) -> bool {
    let Some(status) = &sale.status else { return false };
    let over = matches!(status.phase, Some(Phase::Completed | Phase::Missed | Phase::Cancelled));
    over && status.observed_generation == sale.metadata.generation
}

/// The snapshot. Every store that it reads whole has listed; what is unknown besides is added to `gaps`.
pub fn assemble(world: &World, context: &Context, workloads: &[WorkloadId], gaps: &mut Gaps, now: Timestamp) -> Snapshot {
    let sales = sales(world, gaps);
    let pools = pools(world, context, gaps, now);
    let mut pods = Pods::sort(world, workloads);
    let workloads = workloads.iter().map(|id| workload(world, id, &mut pods, gaps)).collect();
    let wanted: BTreeSet<&str> = sales.iter().map(|s| s.id.namespace.as_str()).collect();
    let namespaces = world.namespaces.read(|all| {
        let known = all.iter().filter(|((_, name), _)| wanted.contains(name.as_str()));
        known.map(|((_, name), e)| (name.clone(), e.record.labels.clone())).collect()
    });
    let nodes = nodes(world, &pools, &mut pods);
    Snapshot { sales, pools, workloads, nodes, namespaces: namespaces.unwrap_or_default(), settings: context.config.settings }
}

fn sales(world: &World, gaps: &mut Gaps) -> Vec<Sale> {
    let mut all = Vec::new();
    world.sales.read(|entries| {
        for ((namespace, name), entry) in entries {
            let id = SaleId { namespace: namespace.clone(), name: name.clone() };
            match (&entry.record.object, &entry.record.unreadable) {
                (Some(object), _) => all.push(sale(id, &entry.uid, object)),
                (None, why) => drop(gaps.sales.insert(id, why.clone().unwrap_or_default())),
            }
        }
    });
    all
}

fn sale(id: SaleId, uid: &str, object: &OnSale) -> Sale {
    let meta = &object.metadata;
    Sale {
        id,
        uid: uid.to_owned(),
        generation: meta.generation.unwrap_or_default(),
        created_at: meta.creation_timestamp.as_ref().map(|t| t.0).unwrap_or_default(),
        spec: object.spec.clone(),
        status: object.status.clone().unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
        protected: is_protected(meta),
        return_now: meta.annotations.as_ref().is_some_and(|a| a.get(names::RETURN).is_some_and(|v| v == "Now")),
    }
}

fn pools(world: &World, context: &Context, gaps: &mut Gaps, now: Timestamp) -> Vec<Pool> {
    let mut all = Vec::new();
    world.pools.read(|entries| {
        for ((_, name), entry) in entries {
            let Some(object) = &entry.record.object else {
                gaps.pools.insert(name.clone(), entry.record.unreadable.clone().unwrap_or_default());
                continue;
            };
            let mut status = object.status.clone().unwrap_or_default();
            world.instances.discount(&entry.uid, &mut status.launches);
            let listed = || world.instances.of(&entry.uid, &status.launches, now, context.config.ledger_grace);
            // Whose instances nobody asked for has none: nothing was ever rented there.
            let instances = if world.instances.wants(&entry.uid) { listed() } else { Some(Vec::new()) };
            all.push(Pool {
                name: name.clone(),
                uid: entry.uid.clone(),
                labels: object.metadata.labels.clone().unwrap_or_default(),
                spec: object.spec.clone(),
                instances,
                status,
                deleting: object.metadata.deletion_timestamp.is_some(),
                protected: is_protected(&object.metadata),
            });
        }
    });
    all
}

/// Pods by what they mean: those of the snapshot's workloads, and what all others ask for on each node.
#[derive(Default)]
struct Pods {
    ours: HashMap<WorkloadId, Vec<Pod>>,
    others: HashMap<String, Resources>,
    evictable: HashMap<String, Vec<PodRef>>,
}

impl Pods {
    fn sort(world: &World, workloads: &[WorkloadId]) -> Self {
        let mut all = Self::default();
        let known: HashMap<(&str, TargetKind, &str), &WorkloadId> =
            workloads.iter().map(|w| ((w.namespace.as_str(), w.kind, w.name.as_str()), w)).collect();
        let nodes: Option<HashSet<String>> = world.nodes.read(|entries| entries.keys().map(|(_, name)| name.clone()).collect());
        let gone = |node: &Option<String>| nodes.as_ref().zip(node.as_ref()).is_some_and(|(all, node)| !all.contains(node));
        world.pods.read(|entries| {
            for ((namespace, name), entry) in entries {
                let pod = &entry.record;
                if pod.finished {
                    continue;
                }
                if let Some(node) = pod.node.as_ref().filter(|_| pod.is_evictable()) {
                    let (namespace, name, uid) = (namespace.clone(), name.clone(), entry.uid.clone());
                    let pod = PodRef { namespace, name, uid, terminating: pod.terminating };
                    all.evictable.entry(node.clone()).or_default().push(pod);
                }
                match pod.workload().and_then(|(kind, owner)| known.get(&(namespace.as_str(), kind, owner))) {
                    Some(workload) => {
                        let brief = pod.brief(name, &entry.uid);
                        let lost = gone(&brief.node);
                        let brief = Pod { ready: brief.ready && !lost, terminating: brief.terminating || lost, ..brief };
                        all.ours.entry((*workload).clone()).or_default().push(brief);
                    }
                    None => all.add_other(pod),
                }
            }
        });
        all
    }

    fn add_other(&mut self, pod: &super::pod::PodRecord) {
        if let Some(node) = &pod.node {
            self.others.entry(node.clone()).or_default().add(&pod.requests, 1);
        }
    }
}

fn workload(world: &World, id: &WorkloadId, pods: &mut Pods, gaps: &mut Gaps) -> Workload {
    let placement = world.placements.get(&id.namespace, &id.placement_name(), |e| e.record.object.clone()).flatten();
    let placement = placement.map(|p| Placement { spec: p.spec, status: p.status.unwrap_or_default() });
    let overlay = world.overlays.get(&id.namespace, &id.placement_name(), |e| e.record.revision.unwrap_or_default());
    let target = target(world, id, gaps).and_then(|t| state(world, id, t, gaps));
    Workload { id: id.clone(), target, placement, overlay, pods: pods.ours.remove(id).unwrap_or_default() }
}

/// The object of a workload; `None` when it does not exist, or, said in `gaps`, is unknown.
fn target(world: &World, id: &WorkloadId, gaps: &mut Gaps) -> Option<Target> {
    let (listed, target) = match id.kind {
        TargetKind::Deployment => (world.deployments.listed(), world.deployments.get(&id.namespace, &id.name, |e| e.record.0.clone())),
        TargetKind::StatefulSet => (world.stateful_sets.listed(), world.stateful_sets.get(&id.namespace, &id.name, |e| e.record.0.clone())),
    };
    if !listed {
        gaps.workloads.insert(id.clone(), format!("{:?}s are not listed yet", id.kind));
    }
    target
}

fn state(world: &World, id: &WorkloadId, target: Target, gaps: &mut Gaps) -> Option<TargetState> {
    let hpa = world.scalers.read(|all| scaler::of(all, &id.namespace, id.kind, &id.name).map(|(name, hpa)| (name.to_owned(), hpa.clone())));
    let hpa = hpa.flatten();
    let owner = hpa.as_ref().and_then(|(_, hpa)| hpa.scaled_object.as_deref());
    let scaled = owner.and_then(|name| world.scaled_objects.get(&id.namespace, name));
    let floor = scaler::floor(&id.name, &target, hpa.as_ref().map(|(name, hpa)| (name.as_str(), hpa)), scaled.as_ref());
    let Some(floor) = floor else {
        gaps.workloads.entry(id.clone()).or_insert_with(|| format!("the ScaledObject of {id} is not read yet"));
        return None;
    };
    Some(TargetState {
        requests: target.requests,
        requests_missing: target.requests_missing,
        replicas: target.replicas,
        field: floor.field,
        value: floor.value,
        manager: floor.manager,
        max: floor.max,
        grace: target.grace,
        zone_skew: target.zone_skew,
        node_terms: target.node_terms,
        own_deletion_cost: target.own_deletion_cost,
    })
}

/// Nodes of the pools; `None` until their watch has listed.
fn nodes(world: &World, pools: &[Pool], pods: &mut Pods) -> Option<Vec<Node>> {
    let members = membership(world, pools);
    let mut all = Vec::new();
    world.nodes.read(|entries| {
        for ((_, name), entry) in entries {
            let node = &entry.record;
            let Some(pool) = members.pool(node) else { continue };
            let rented = members.rented.iter().any(|p| p == pool);
            let marked = |value: Option<&String>| !rented || value.is_some_and(|v| v == pool);
            all.push(Node {
                name: name.clone(),
                uid: entry.uid.clone(),
                pool: pool.to_owned(),
                instance: node.instance.clone().filter(|_| rented),
                labels: node.labels.clone(),
                ready: node.ready,
                cordoned: node.cordoned,
                draining: node.draining,
                labelled: marked(node.labels.get(names::POOL)),
                tainted: marked(node.taint.as_ref()),
                allocatable: node.allocatable.clone(),
                others: pods.others.remove(name).unwrap_or_default(),
                evictable: if rented { pods.evictable.remove(name).unwrap_or_default() } else { Vec::new() },
            });
        }
    })?;
    Some(all)
}

fn membership(world: &World, pools: &[Pool]) -> Membership {
    let mut members = Membership::default();
    for pool in pools {
        if pool.spec.nodes.ec2.is_some() {
            members.rented.push(pool.name.clone());
            let ids = world.instances.ids(&pool.uid, &pool.status.launches);
            members.instances.extend(ids.into_iter().map(|id| (id, pool.name.clone())));
        } else if let Some(selector) = pool.spec.nodes.existing.as_ref().and_then(|e| Selector::try_from(e.selector.clone()).ok()) {
            members.existing.push((pool.name.clone(), selector));
        }
    }
    members
}
