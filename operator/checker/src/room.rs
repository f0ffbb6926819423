//! Room: what the nodes shall hold fits, and adds up to what the workloads want there.

use std::collections::{BTreeMap, BTreeSet};

use onsale_planner::{
    plan::{Fill, PoolPlan},
    resources::Resources,
    snapshot::{DaemonSet, Node, Pool, Requirement, TargetState, Toleration},
};

use crate::{
    Rule, Violation,
    view::{View, declared, less, offer, within},
};

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    for (pool, plan) in view.pools() {
        let mut names = BTreeSet::new();
        for fill in &plan.fills {
            if !names.insert(&fill.node) {
                found.push(Violation::new(Rule::Room, &pool.name, format!("node {} is filled twice", fill.node)));
            }
            match view.node(&fill.node).filter(|node| node.pool == pool.name) {
                Some(node) => real(view, plan, fill, node, found),
                None => new(view, pool, fill, found),
            }
            holds(view, pool, fill, found);
        }
    }
    adds_up(view, found);
}

/// New replicas that the fill brings to its node, or room that it keeps there for some, by workload.
fn fresh<'a>(view: &'a View<'_>, fill: &'a Fill) -> impl Iterator<Item = (usize, i32)> + 'a {
    let beyond = |(index, n): (&usize, &i32)| (*index, n - view.on_node(*index, &fill.node));
    fill.replicas.iter().map(beyond).chain(fill.headroom.iter().map(|(index, n)| (*index, *n))).filter(|(_, n)| *n > 0)
}

fn real(view: &View<'_>, plan: &PoolPlan, fill: &Fill, node: &Node, found: &mut Vec<Violation>) {
    let mut free = less(&node.allocatable, &node.others);
    if !node.ready {
        // What device plugins offer comes last.
        free.extended.extend(fill.room.extended.clone());
    }
    if !within(&fill.room, &free) {
        let message = format!("node {} has a room of {:?}, allocatable less others is {free:?}", node.name, fill.room);
        found.push(Violation::new(Rule::Room, &plan.name, message));
    }
    if fresh(view, fill).next().is_none() {
        return;
    }
    // Pods of workloads that no fill mentions stay where they are, and count like others.
    for (index, _, work) in view.works().filter(|(_, _, work)| work.by_pool.values().all(|n| *n == 0)) {
        if let Some(requests) = view.requests(index).filter(|_| !work.id.name.is_empty()) {
            free.add(requests, -i64::from(view.on_node(index, &node.name)));
        }
    }
    if !within(&used(view, fill), &free) {
        found.push(Violation::new(Rule::Room, &plan.name, format!("node {} is overfull with what idle workloads run there", node.name)));
    }
    let refused = |index: usize| view.seen.workloads[index].target.as_ref().is_some_and(|target| !tolerated(target, node));
    let closed = (node.cordoned && !node.draining) || !takes_pods(view, node) || fresh(view, fill).any(|(index, _)| refused(index));
    // On the way back a node may go although an unbound pod would fit: what is left finds room elsewhere.
    let held = fresh(view, fill).any(|(index, _)| view.held_works().any(|(held, ..)| held == index));
    if closed || (held && plan.surplus.iter().any(|s| s.node == node.name)) {
        found.push(Violation::new(Rule::FitNode, &plan.name, format!("node {} shall take new replicas and takes no pods", node.name)));
    }
}

/// Each taint of the node is met by a toleration of the pods: the same key, value and effect, where the toleration names them.
pub fn tolerated(target: &TargetState, node: &Node) -> bool {
    node.taints.iter().all(|taint| {
        target.tolerations.iter().any(|t| {
            let key = t.key.is_none() || t.key.as_deref() == Some(&taint.key);
            let value = t.value.is_none() || t.value.as_deref() == Some(&taint.value);
            key && value && (t.effect.is_none() || t.effect.as_deref() == Some(&taint.effect))
        })
    })
}

/// A node that is Ready, or one that is rented and may be on its way to it.
fn takes_pods(view: &View<'_>, node: &Node) -> bool {
    let Some((pool, _)) = view.pool(&node.pool) else { return false };
    let Some(instance) = &node.instance else { return node.ready };
    let leaving = pool.instances.iter().flatten().any(|i| i.id == *instance && i.leaving);
    !leaving
}

fn new(view: &View<'_>, pool: &Pool, fill: &Fill, found: &mut Vec<Violation>) {
    let kind = fill.instance_type.as_deref().unwrap_or_default();
    let Some(declared) = declared(pool).iter().find(|t| t.name == kind) else {
        let older = pool.instances.iter().flatten().any(|i| i.instance_type == kind)
            || pool.status.launches.iter().any(|l| l.instance_type == kind);
        if !older {
            found.push(Violation::new(
                Rule::Room,
                &pool.name,
                format!("{} is no node of the pool and of no type that it declares", fill.node),
            ));
        }
        return;
    };
    let mut offer = offer(declared);
    let there: Vec<_> = view.seen.daemon_sets.iter().filter(|set| within(&set.requests, &offer) && surely_runs(set, pool, kind)).collect();
    there.into_iter().for_each(|set| offer.add(&Resources { extended: BTreeMap::new(), ..set.requests.clone() }, -1));
    if !within(&fill.room, &offer) {
        let message = format!("{} has a room of {:?}, a {kind} offers {offer:?}", fill.node, fill.room);
        found.push(Violation::new(Rule::Room, &pool.name, message));
    }
}

/// A pod of the DaemonSet will be on every node of the type: it tolerates the pool's taint, and asks for nothing that is not known of such a node.
fn surely_runs(set: &DaemonSet, pool: &Pool, kind: &str) -> bool {
    let known = |key: &str| match key {
        "onsale.dev/pool" => Some(pool.name.as_str()),
        "topology.kubernetes.io/zone" => Some(pool.spec.zone.as_str()),
        "topology.kubernetes.io/region" => pool.spec.nodes.ec2.as_ref().map(|ec2| ec2.region.as_str()),
        "node.kubernetes.io/instance-type" => Some(kind),
        "kubernetes.io/os" => Some("linux"),
        _ => None,
    };
    let asks = |r: &Requirement| match (r.operator.as_str(), known(&r.key)) {
        ("In", Some(value)) => r.values.iter().any(|v| v == value),
        ("NotIn", Some(value)) => r.values.iter().all(|v| v != value),
        ("Exists", Some(_)) => true,
        _ => false,
    };
    let tolerates = |t: &Toleration| {
        let key = t.key.as_deref().is_none_or(|key| key == "onsale.dev/pool");
        key && t.value.as_deref().is_none_or(|value| value == pool.name) && t.effect.as_deref().is_none_or(|effect| effect == "NoSchedule")
    };
    let labelled = set.node_terms.is_empty() || set.node_terms.iter().any(|term| term.iter().all(asks));
    labelled && set.tolerations.iter().any(tolerates)
}

/// What the fill asks for, headroom included.
fn used(view: &View<'_>, fill: &Fill) -> Resources {
    let mut used = Resources::default();
    for (index, n) in fill.replicas.iter().chain(&fill.headroom) {
        if let Some(requests) = view.requests(*index) {
            used.add(requests, i64::from(*n));
        }
    }
    used
}

fn holds(view: &View<'_>, pool: &Pool, fill: &Fill, found: &mut Vec<Violation>) {
    let mut wrong = |message: String| found.push(Violation::new(Rule::Room, &pool.name, message));
    if let Some((index, n)) = fill.replicas.iter().chain(&fill.headroom).find(|(index, n)| **n < 0 || view.seen.workloads.len() <= **index)
    {
        wrong(format!("node {} holds {n} replicas of workload {index}", fill.node));
    }
    if fresh(view, fill).any(|(index, _)| view.requests(index).is_none()) {
        wrong(format!("node {} takes replicas of a workload that does not exist", fill.node));
    }
    // A node that is overfull with what runs there is no fault of the plan.
    let used = used(view, fill);
    if !within(&used, &fill.room) && fresh(view, fill).next().is_some() {
        wrong(format!("node {} shall hold {used:?} in a room of {:?}", fill.node, fill.room));
    }
}

fn adds_up(view: &View<'_>, found: &mut Vec<Violation>) {
    let mut filled: BTreeMap<(usize, &str), i32> = BTreeMap::new();
    for plan in &view.plan.pools {
        for (index, n) in plan.fills.iter().flat_map(|f| &f.replicas) {
            *filled.entry((*index, plan.name.as_str())).or_default() += n;
        }
    }
    for (index, _, work) in view.held_works() {
        for plan in &view.plan.pools {
            let planned = work.by_pool.get(&plan.name).copied().unwrap_or_default();
            let filled = filled.get(&(index, plan.name.as_str())).copied().unwrap_or_default();
            if planned != filled {
                let message = format!("{planned} replicas are planned in pool {}, its nodes are filled with {filled}", plan.name);
                found.push(Violation::new(Rule::FillsAddUp, &work.id, message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use onsale_planner::snapshot::Taint;

    use super::*;
    use crate::testing::night;

    #[test]
    fn a_room_is_no_larger_than_what_others_leave() {
        night().seen(|s| s.nodes.as_mut().unwrap()[0].others.cpu = 2_001).breaks(Rule::Room);
        night().plan(|p| p.pools[1].fills[0].room.cpu = 15_891).breaks(Rule::Room);
    }

    #[test]
    fn what_a_node_shall_hold_fits() {
        night().plan(|p| p.pools[0].fills[0].room.cpu = 11_999).breaks(Rule::Room);
        night().plan(|p| *p.pools[1].fills[0].replicas.get_mut(&0).unwrap() = 16).breaks(Rule::Room);
    }

    #[test]
    fn a_node_that_is_overfull_already_is_no_fault() {
        night().running(12, "near-1").plan(|p| p.pools[0].fills[0].room.cpu = 11_999).passes();
    }

    #[test]
    fn daemon_sets_are_there_before_any_replica() {
        let toleration = Toleration { key: Some("onsale.dev/pool".into()), value: None, effect: None };
        let agent = |zone: &str, tolerations: Vec<Toleration>| DaemonSet {
            requests: Resources { cpu: 2_001, pods: 1, ..Resources::default() },
            node_terms: vec![vec![Requirement {
                key: "topology.kubernetes.io/zone".into(),
                operator: "In".into(),
                values: vec![zone.into()],
            }]],
            tolerations,
        };
        let zone = night().parts().0.pools[1].spec.zone.clone();
        let with = |set: DaemonSet| night().seen(|s| s.daemon_sets.push(set));
        with(agent(&zone, vec![toleration.clone()])).breaks(Rule::Room);
        with(agent(&zone, Vec::new())).passes();
        with(agent("elsewhere", vec![toleration])).passes();
    }

    #[test]
    fn a_new_node_is_of_a_declared_type() {
        night().plan(|p| p.pools[1].fills[1].instance_type = Some("x.large".into())).breaks(Rule::Room);
    }

    #[test]
    fn fills_add_up_to_the_replicas_by_pool() {
        night().plan(|p| drop(p.pools[1].fills.pop())).breaks(Rule::FillsAddUp);
    }

    #[test]
    fn cordoned_nodes_take_nothing_new() {
        night().seen(|s| s.nodes.as_mut().unwrap()[1].cordoned = true).breaks(Rule::FitNode);
        night().seen(|s| s.nodes.as_mut().unwrap()[1].ready = false).breaks(Rule::FitNode);
        night().running(12, "near-1").seen(|s| s.nodes.as_mut().unwrap()[0].cordoned = true).passes();
    }

    #[test]
    fn nodes_whose_taints_are_not_tolerated_take_nothing_new() {
        let taint = || Taint { key: "dedicated".into(), value: "databases".into(), effect: "NoSchedule".into() };
        let tainted = || night().seen(move |s| s.nodes.as_mut().unwrap()[1].taints.push(taint()));
        tainted().breaks(Rule::FitNode);
        let toleration = |value: &str| Toleration { key: Some("dedicated".into()), value: Some(value.into()), effect: None };
        tainted().seen(|s| s.workloads[0].target.as_mut().unwrap().tolerations.push(toleration("databases"))).passes();
        tainted().seen(|s| s.workloads[0].target.as_mut().unwrap().tolerations.push(toleration("web"))).breaks(Rule::FitNode);
    }
}
