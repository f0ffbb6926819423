//! What nodes offer: those that are there, those on their way, and new ones.

use std::collections::BTreeMap;

use onsale_api::pool::InstanceType;

use super::{Bin, BinState};
use crate::{
    fleet::labels_of_new,
    index::Indexed,
    resources::Resources,
    snapshot::{Node, Pool, Requirement},
};

/// The bins of the pool of this index, with nothing in them.
pub(super) fn of_pool(place: usize, seen: &Indexed<'_>) -> Vec<Bin> {
    let (pool, have) = (&seen.pools[place], &seen.have[place]);
    let type_of = |node: &Node| {
        let id = node.instance.as_deref()?;
        pool.instances.iter().flatten().find(|i| i.id == id).map(|i| i.instance_type.clone())
    };
    let real = |node: &&Node, state| Bin {
        instance: node.instance.clone(),
        state,
        picky: !node.taints.is_empty(),
        ..empty(place, pool, node.name.clone(), type_of(node), room_of(node))
    };
    let mut bins: Vec<Bin> = have.ready.iter().map(|n| real(n, BinState::Ready)).collect();
    bins.extend(have.draining.iter().map(|n| real(n, BinState::Draining)));
    // Lost nodes hold what runs there and offer nothing: those that still serve keep counting.
    bins.extend(have.lost.iter().map(|n| Bin { room: Resources::default(), free: Resources::default(), ..real(n, BinState::Ready) }));
    for instance in &have.launching {
        let node = seen.node_of(&instance.id);
        let name = node.map_or_else(|| format!("launching-{}", instance.id), |n| n.name.clone());
        let room = joining(shape(pool, &instance.instance_type, seen), node);
        let bin = empty(place, pool, name, Some(instance.instance_type.clone()), room);
        bins.push(Bin { instance: Some(instance.id.clone()), state: BinState::Launching, ..bin });
    }
    for (n, instance_type) in have.unresolved.iter().enumerate() {
        let room = shape(pool, instance_type, seen);
        let bin = empty(place, pool, format!("asked-{}-{n}", pool.name), Some((*instance_type).to_owned()), room);
        bins.push(Bin { state: BinState::Launching, ..bin });
    }
    bins
}

fn empty(place: usize, pool: &Pool, node: String, instance_type: Option<String>, room: Resources) -> Bin {
    let hourly = instance_type.as_deref().and_then(|t| declared(pool, t)).map(|t| t.hourly_cost).unwrap_or_default();
    Bin {
        node,
        pool: pool.name.clone(),
        place,
        instance_type,
        instance: None,
        state: BinState::New,
        free: room.clone(),
        room,
        replicas: BTreeMap::new(),
        running: BTreeMap::new(),
        headroom: BTreeMap::new(),
        hourly,
        owner: None,
        payer: None,
        picky: false,
        takes: 0,
    }
}

/// The room of a node that may have joined and is not Ready yet: no more than it offers already. What device plugins add comes later, and is as declared.
fn joining(mut room: Resources, node: Option<&Node>) -> Resources {
    if let Some(real) = node.map(room_of) {
        (room.cpu, room.memory, room.pods) = (room.cpu.min(real.cpu), room.memory.min(real.memory), room.pods.min(real.pods));
    }
    room
}

/// A bin for the `n`-th node of the pool of this index, which is to be launched.
#[must_use]
pub fn new_bin(place: usize, instance_type: &InstanceType, seen: &Indexed<'_>, n: usize) -> Bin {
    let pool = &seen.pools[place];
    let room = shape(pool, &instance_type.name, seen);
    empty(place, pool, format!("new-{}-{}-{n}", pool.name, instance_type.name), Some(instance_type.name.clone()), room)
}

/// The pool's declaration of an instance type; an instance of a type that was removed from the spec has none.
#[must_use]
pub fn declared<'p>(pool: &'p Pool, instance_type: &str) -> Option<&'p InstanceType> {
    pool.spec.nodes.ec2.as_ref()?.instance_types.iter().find(|t| t.name == instance_type)
}

fn room_of(node: &Node) -> Resources {
    let mut room = node.allocatable.clone();
    room.add(&node.others, -1);
    room
}

/// Whether pods that require these node labels may be on a node of the type that has not joined yet.
#[must_use]
pub fn may_be_on_new(node_terms: &[Vec<Requirement>], pool: &Pool, instance_type: &str) -> bool {
    node_terms.is_empty()
        || labels_of_new(pool, instance_type).is_some_and(|labels| node_terms.iter().any(|term| term.iter().all(|r| r.holds(&labels))))
}

/// What a node of the type that has not joined yet will offer: its allocatable less what other pods (DaemonSets first of all) take there.
#[must_use]
pub fn shape(pool: &Pool, instance_type: &str, seen: &Indexed<'_>) -> Resources {
    let Some(declared) = declared(pool, instance_type) else { return Resources::default() };
    let mut room = Resources::offered(&declared.allocatable);
    seen.overhead(&pool.name).into_iter().for_each(|overhead| room.add(overhead, -1));
    room
}
