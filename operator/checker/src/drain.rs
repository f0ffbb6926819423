//! Nodes that are emptied: what is still wanted of their pods, by a floor or by an HPA, finds room on those that stay.

use onsale_planner::{
    resources::Resources,
    snapshot::{Node, Pod, TargetState, Workload},
};

use crate::{
    Rule, Violation, access,
    room::tolerated,
    spread::admitted,
    view::{View, less},
};

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    // Whoever else cordoned a node wants its pods off it, as does what made it unready.
    let serves = |n: &&Node| n.ready && (!n.cordoned || n.draining);
    let drained: Vec<&Node> =
        view.pools().flat_map(|(_, plan)| &plan.surplus).filter(|s| s.drain).filter_map(|s| view.node(&s.node).filter(serves)).collect();
    if drained.is_empty() {
        return;
    }
    // What was never placed by us runs on rented nodes against their taint.
    for (index, workload, work) in view.works().filter(|(_, workload, _)| workload.placement.is_some()) {
        // What a spread of the pods' own lets in cannot be counted node by node.
        let Some(target) = workload.target.as_ref().filter(|t| !t.requests_missing && t.zone_skew.is_none()) else { continue };
        let on = |pod: &Pod| pod.node.as_ref().filter(|_| !pod.terminating).and_then(|name| view.node(name));
        let goes = |node: &Node| drained.iter().any(|n| n.name == node.name);
        // Pods leave a node that they may not be on any more, wherever they end up.
        let permitted = |node: &Node| {
            let near = |most: i64| access::planned_latency(work, &node.pool).is_some_and(|latency| latency <= most);
            let resides = |pool| view.bounding(work).iter().all(|(sale, wish)| access::resides(pool, sale, wish));
            work.permitted.contains(&node.pool)
                && may(target, node)
                && access::max_latency(view, work).is_none_or(near)
                && view.pool(&node.pool).is_some_and(|(pool, _)| resides(pool))
        };
        let count = |which: &dyn Fn(&Node) -> bool| -> i64 {
            let pods = workload.pods.iter().filter_map(on).filter(|node| which(node));
            i64::try_from(pods.count()).unwrap_or(i64::MAX)
        };
        let (leave, stay) = (count(&|node| goes(node) && permitted(node)), count(&|node| !goes(node)));
        // Without an HPA the floor is all that is wanted.
        let scaled = target.field.kind != onsale_api::placement::FloorKind::Replicas;
        let wanted = i64::from(if scaled { work.floor.max(target.replicas) } else { work.floor });
        let homeless = (wanted - stay).min(leave);
        let room = room(view, (index, workload, target), &drained);
        if homeless > room {
            let message =
                format!("{leave} pods are to be evicted, {homeless} of them are wanted, and nodes that stay have room for {room}");
            found.push(Violation::new(Rule::Drain, &work.id, message));
        }
    }
}

/// The pods' own terms and tolerations let them be on the node.
fn may(target: &TargetState, node: &Node) -> bool {
    admitted(&target.node_terms, &node.labels) && tolerated(target, node)
}

/// How many more pods of the workload nodes that stay could hold, were it alone there as far as nodes are rented: what others run on those may come home, too.
fn room(view: &View<'_>, (index, workload, target): (usize, &Workload, &TargetState), drained: &[&Node]) -> i64 {
    let stays = |node: &&Node| node.ready && (!node.cordoned || node.draining) && !drained.iter().any(|n| n.name == node.name);
    let bound = |workload: &Workload, node: &Node| {
        let there = |p: &&Pod| !p.terminating && p.node.as_ref() == Some(&node.name);
        i64::try_from(workload.pods.iter().filter(there).count()).unwrap_or(i64::MAX)
    };
    let free = |node: &Node| {
        let mut free: Resources = less(&node.allocatable, &node.others);
        free.add(&target.requests, -bound(workload, node));
        for (_, other, _) in view.works().filter(|(other, ..)| *other != index && node.instance.is_none()) {
            if let Some(target) = &other.target {
                free.add(&target.requests, -bound(other, node));
            }
        }
        free.count_of(&target.requests).max(0)
    };
    view.seen.known_nodes().filter(stays).filter(|node| may(target, node)).map(free).fold(0, i64::saturating_add)
}

#[cfg(test)]
mod tests {
    use onsale_api::placement::FloorKind;
    use onsale_planner::plan::{Stage, Surplus};

    use crate::{
        Rule,
        testing::{Night, night},
    };

    /// After the sale: 10 pods run near, where there is room for 14 more, and so many far, on a node that is emptied. An HPA wants so many in all.
    fn emptied(far: usize, wanted: i32) -> Night {
        let night = night().recorded().over().instances(1).joined("i-0", "far-0").seen(move |s| {
            let pods = &mut s.workloads[0].pods;
            let more = (0..far).map(|n| {
                let mut pod = pods[0].clone();
                (pod.name, pod.uid, pod.node) = (format!("far-{n}"), format!("uid-far-{n}"), Some("far-0".to_owned()));
                pod
            });
            let more: Vec<_> = more.collect();
            pods.extend(more);
            let target = s.workloads[0].target.as_mut().unwrap();
            (target.field.kind, target.replicas) = (FloorKind::HpaMinReplicas, wanted);
        });
        night.at("2026-12-05T18:40:00Z").plan(|p| {
            let work = &mut p.workloads[0];
            (work.stage, work.floor) = (Stage::Restoring, 10);
            work.claims.clear();
            p.pools[1].surplus.push(Surplus { node: "far-0".into(), instance: "i-0".into(), drain: true });
        })
    }

    #[test]
    fn what_an_hpa_still_wants_is_not_put_on_the_street() {
        emptied(8, 10).passes();
        emptied(8, 18).passes();
        emptied(15, 24).passes();
        emptied(15, 25).breaks(Rule::Drain);
        emptied(15, 25).plan(|p| p.pools[1].surplus[0].drain = false).passes();
        emptied(15, 25).seen(|s| s.workloads[0].target.as_mut().unwrap().field.kind = FloorKind::Replicas).passes();
    }
}
