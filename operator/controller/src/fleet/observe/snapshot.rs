//! All stores together as the planner's snapshot.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;
use onsale_api::{Phase, onsale::TargetKind, pool::Launch};
use onsale_planner::{
    Snapshot,
    objects::{own, tenants::Pods},
    snapshot::{Node, Placement, Pool, Sale, SaleId, Settings, TargetState, Workload, WorkloadId},
};

use super::{
    World, ages,
    gaps::Gaps,
    node::{Membership, NodeRecord},
    pod::PodRecord,
    sale::{Found, SaleRecord, Untold},
    scaler,
    store::{Entries, Entry},
    target::Target,
};
use crate::context::Context;

/// OnSales, as a pass finds them.
#[derive(Debug, Default)]
pub struct Sales {
    /// Those that something may have to be done about, sorted.
    pub awake: Vec<Sale>,
    /// All others, by phase, but for those that are untold.
    pub asleep: BTreeMap<Phase, usize>,
    /// Of the others those whose status does not say so yet, sorted.
    pub untold: Vec<Untold>,
    /// What these name.
    pub named: BTreeSet<WorkloadId>,
}

/// Targets of unfinished sales, and everything with a WorkloadPlacement, sorted.
pub fn workload_ids(world: &World, sales: &Sales) -> Vec<WorkloadId> {
    let unfinished = sales.awake.iter().filter(|sale| !sale.is_finished());
    let mut all: BTreeSet<WorkloadId> = unfinished.flat_map(Sale::workload_ids).collect();
    all.extend(sales.named.iter().cloned());
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

/// The snapshot. Every store that it reads whole has listed; what is unknown besides is added to `gaps`.
pub fn assemble(
    world: &World,
    context: &Context,
    sales: &mut Sales,
    workloads: &[WorkloadId],
    gaps: &mut Gaps,
    now: Timestamp,
) -> Snapshot {
    let pools = pools(world, context, gaps, now);
    let members = Membership::of(&pools, |pool| world.instances.ids(&pool.uid, &pool.status.launches));
    let mut pods = pods(world, workloads, &members);
    let workloads = workloads.iter().map(|id| workload(world, id, &mut pods, gaps)).collect();
    let ids = sales.awake.iter().map(|s| &s.id).chain(sales.untold.iter().map(|s| &s.id));
    let wanted: BTreeSet<&str> = ids.map(|id| id.namespace.as_str()).collect();
    let namespaces = world.namespaces.read(|all| {
        let known = all.iter().filter(|((_, name), _)| wanted.contains(name.as_str()));
        known.map(|((_, name), e)| (name.clone(), e.record.labels.clone())).collect()
    });
    let nodes = nodes(world, &members, &mut pods);
    let sales = std::mem::take(&mut sales.awake);
    let daemon_sets = world.daemon_sets.read(|all| all.values().map(|e| e.record.0.clone()).collect()).unwrap_or_default();
    let (namespaces, settings) = (namespaces.unwrap_or_default(), context.config.settings);
    Snapshot { sales, pools, workloads, nodes, daemon_sets, namespaces, settings }
}

/// Every sale, as far as its record can be read.
pub fn sales(world: &World, settings: &Settings, gaps: &mut Gaps, now: Timestamp) -> Sales {
    let mut all = Sales::default();
    world.sales.read(|entries| {
        for ((namespace, name), entry) in entries {
            let id = SaleId { namespace: namespace.clone(), name: name.clone() };
            match entry.record.find(&id, &entry.uid, settings, now) {
                Found::Awake(sale) => all.awake.push(sale),
                Found::Asleep(asleep) if asleep.told => *all.asleep.entry(asleep.phase).or_default() += 1,
                Found::Asleep(asleep) => {
                    all.named.extend(asleep.targets().into_iter().map(|(kind, name)| WorkloadId {
                        namespace: namespace.clone(),
                        kind,
                        name,
                    }));
                    all.untold.push(Untold { id, uid: entry.uid.clone(), generation: asleep.generation });
                }
                Found::Unread => drop(gaps.sales.insert(id, entry.record.unreadable.clone().unwrap_or_default())),
            }
        }
    });
    all
}

/// These, as long as they are as they were found.
pub fn wake(world: &World, untold: &[Untold]) -> Vec<Sale> {
    let is = |sale: &Untold, entry: &Entry<SaleRecord>| (entry.uid == sale.uid).then(|| entry.record.wake(sale)).flatten();
    let wake = |sale: &Untold| world.sales.get(&sale.id.namespace, &sale.id.name, |entry| is(sale, entry)).flatten();
    untold.iter().filter_map(wake).collect()
}

fn pools(world: &World, context: &Context, gaps: &mut Gaps, now: Timestamp) -> Vec<Pool> {
    let mut all = Vec::new();
    let mut ages = world.ages.pass(now, context.clock.monotonic());
    world.pools.read(|entries| {
        for ((_, name), entry) in entries {
            let Some(object) = &entry.record.object else {
                gaps.pools.insert(name.clone(), entry.record.unreadable.clone().unwrap_or_default());
                continue;
            };
            // Whose instances nobody asked for has none: nothing was ever rented there.
            let mut pool = own::pool(name, &entry.uid, object, Some(Vec::new()));
            pool.status.launches.iter_mut().for_each(|launch| grow_old(launch, &mut ages));
            world.instances.discount(&entry.uid, &mut pool.status.launches);
            if world.instances.wants(&entry.uid) {
                pool.instances = world.instances.of(&entry.uid, &pool.status.launches, now, context.config.ledger_grace);
                let launches = &pool.status.launches;
                for instance in pool.instances.iter_mut().flatten() {
                    // The ledger's instant is by our own clock. A cloud that was silent made them when it answered, not when the entry was written.
                    let ours = launches.iter().find(|l| l.instances.contains(&instance.id)).map(Launch::made_at);
                    instance.launched_at = ours.unwrap_or_else(|| ages.began(&instance.id, instance.launched_at));
                }
            }
            all.push(pool);
        }
    });
    world.ages.keep(ages);
    all
}

/// Both instants of a launch by the clock as it goes now: each was written by the clock of its own moment.
fn grow_old(launch: &mut Launch, ages: &mut ages::Pass) {
    launch.at.0 = ages.began(&launch.token, launch.at.0);
    if let Some(answered) = &mut launch.answered_at {
        answered.0 = ages.began(&ages::answer_of(&launch.token), answered.0);
    }
}

/// Pods, as far as their stores have listed.
fn pods(world: &World, workloads: &[WorkloadId], members: &Membership) -> Pods {
    let nodes: Option<HashSet<String>> = world.nodes.read(|entries| entries.keys().map(|(_, name)| name.clone()).collect());
    let rents = |node: &NodeRecord| members.pool(node).is_some_and(|pool| members.rents(pool));
    let rented =
        world.nodes.read(|all| all.iter().filter(|(_, e)| rents(&e.record)).map(|((_, name), _)| name.clone()).collect::<Vec<_>>());
    let rented: HashSet<&str> = rented.iter().flatten().map(String::as_str).collect();
    let sort = |entries: &Entries<PodRecord>| {
        let all = entries.iter().map(|((namespace, name), e)| (namespace.as_str(), name.as_str(), e.uid.as_str(), &e.record));
        Pods::sort(all, workloads, nodes.as_ref(), &rented)
    };
    world.pods.read(sort).unwrap_or_default()
}

fn workload(world: &World, id: &WorkloadId, pods: &mut Pods, gaps: &mut Gaps) -> Workload {
    let placement = world.placements.get(&id.namespace, &id.placement_name(), |e| e.record.object.clone()).flatten();
    let placement = placement.map(|p| Placement { spec: p.spec, status: p.status.unwrap_or_default() });
    let overlay = world.overlays.get(&id.namespace, &id.placement_name(), |e| e.record.revision.unwrap_or_default());
    let target = target(world, id, gaps).and_then(|t| state(world, id, t, gaps));
    Workload { id: id.clone(), target, placement, overlay, pods: pods.take(id) }
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
    Some(target.state(floor))
}

/// Nodes of the pools; `None` until their watch has listed.
fn nodes(world: &World, members: &Membership, pods: &mut Pods) -> Option<Vec<Node>> {
    let mut all = Vec::new();
    world.nodes.read(|entries| {
        for ((_, name), entry) in entries {
            let node = &entry.record;
            let Some(pool) = members.pool(node) else { continue };
            all.push(node.node(name, &entry.uid, pool, members.rents(pool), pods.tenants(name)));
        }
    })?;
    Some(all)
}
