//! Steps of a pool: launches within limits and for somebody, nothing given back that serves.

use std::collections::{BTreeMap, BTreeSet};

use onsale_api::Reason;
use onsale_planner::{
    plan::PoolPlan,
    snapshot::{Instance, Node, Pool},
    steps::Step,
};

use crate::{
    Rule, Violation, access, lead,
    view::{View, declared, existing},
};

/// Most instances of one launch (`Step::Launch`).
const MOST_AT_ONCE: i32 = 100;

struct Case<'a> {
    view: &'a View<'a>,
    pool: &'a Pool,
    plan: &'a PoolPlan,
    /// Steps before this one.
    before: &'a [Step],
}

pub fn check(view: &View<'_>, name: &str, steps: &[Step], found: &mut Vec<Violation>) {
    let Some((pool, plan)) = view.pool(name) else {
        found.push(Violation::new(Rule::Chains, name, "steps for a pool that does not exist"));
        return;
    };
    if pool.instances.is_none() {
        found.push(Violation::new(
            Rule::UnknownPool,
            name,
            format!("its instances are unknown, and {} steps are due: {steps:?}", steps.len()),
        ));
    }
    for (i, step) in steps.iter().enumerate() {
        let case = Case { view, pool, plan, before: &steps[..i] };
        one(&case, step, found);
    }
    launches(&Case { view, pool, plan, before: &[] }, steps, found);
}

fn one(case: &Case<'_>, step: &Step, found: &mut Vec<Violation>) {
    let name = &case.pool.name;
    let mut wrong = |rule: Rule, message: String| found.push(Violation::new(rule, name, message));
    match step {
        Step::Launch { .. } | Step::Replay { .. } if !protected(case) => {
            wrong(Rule::Launch, "rents before the pool carries our finalizer".to_owned());
        }
        Step::Replay { sequence } if !case.pool.status.launches.iter().any(|l| l.sequence == *sequence && !l.resolved) => {
            wrong(Rule::Launch, format!("replays entry {sequence}, which is not unresolved"));
        }
        Step::Terminate { instances, reason } => {
            instances.iter().filter_map(|id| kept(case, id, *reason)).for_each(|why| wrong(Rule::Terminate, why));
        }
        Step::Evict { pod, node } => match own_node(case, node) {
            Some(n) if !(n.draining || cordoned_before(case, node)) => {
                wrong(Rule::Evict, format!("evicts {} from {node}, which does not drain", pod.name))
            }
            Some(n) if !n.evictable.contains(pod) => wrong(Rule::Evict, format!("evicts {}, which is not on {node}", pod.name)),
            Some(_) => {}
            None => wrong(Rule::Evict, format!("evicts {} from {node}, which is not the pool's", pod.name)),
        },
        Step::Cordon { node, uid } => {
            let surplus = case.plan.surplus.iter().any(|s| s.node == *node);
            if !surplus || own_node(case, node).is_none_or(|n| n.uid != *uid) {
                wrong(Rule::Cordon, format!("cordons {node} ({uid}), which is not surplus or another node"));
            }
        }
        Step::Uncordon { node, uid } if own_node(case, node).is_none_or(|n| n.uid != *uid || !n.draining) => {
            wrong(Rule::Cordon, format!("uncordons {node} ({uid}), which we did not cordon"));
        }
        Step::RepairNode { node, .. } if own_node(case, node).is_none_or(|n| n.instance.is_none()) => {
            wrong(Rule::Cordon, format!("repairs {node}, which is no rented node of the pool"));
        }
        Step::ReleasePool => {
            let rented = case.pool.instances.as_ref().is_none_or(|all| all.iter().any(|i| !i.leaving || i.stopped));
            if rented || case.pool.status.launches.iter().any(|l| !l.resolved) {
                wrong(Rule::ReleasePool, "released while something is rented there, or may be".to_owned());
            }
        }
        _ => {}
    }
}

fn protected(case: &Case<'_>) -> bool {
    case.pool.protected || case.before.contains(&Step::ProtectPool)
}

fn own_node<'a>(case: &Case<'a>, name: &str) -> Option<&'a Node> {
    case.view.node(name).filter(|n| n.pool == case.pool.name)
}

fn cordoned_before(case: &Case<'_>, name: &str) -> bool {
    case.before.iter().any(|step| matches!(step, Step::Cordon { node, .. } if node == name))
}

/// Why the instance must not be terminated.
fn kept(case: &Case<'_>, id: &str, reason: Reason) -> Option<String> {
    let own = |i: &&Instance| i.id == id;
    if case.pool.instances.iter().flatten().find(own).is_none() {
        return Some(format!("terminates {id}, which is not the pool's"));
    }
    if case.view.seen.nodes.is_none() {
        return Some(format!("terminates {id} while nodes are unknown"));
    }
    let node = case.view.seen.known_nodes().find(|n| n.instance.as_deref() == Some(id));
    let given_back = case.plan.surplus.iter().any(|s| s.instance == id) || case.plan.never_joined.iter().any(|n| n == id);
    match node {
        Some(n) if n.ready && !n.evictable.is_empty() => {
            Some(format!("terminates {id}, whose node {} is Ready and holds {} pods", n.name, n.evictable.len()))
        }
        Some(n) if n.ready && reason == Reason::NeverJoined => Some(format!("terminates {id} as never joined, and {} is Ready", n.name)),
        _ if !given_back => Some(format!("terminates {id}, which is neither surplus nor never joined")),
        _ => None,
    }
}

/// The planner counts in whole seconds, so that its p95 and ours differ by less than this.
const ROUNDED_SECONDS: f64 = 1.0;
/// DescribeInstances shows what a launch made within this time (eventual consistency); an instance that is not there later is gone.
const LATE_SECONDS: i64 = 60;

/// The instance was given time to become a node that serves and did not, or somebody else cordoned it: it is made up for, within limits. Nobody's patience is
/// shorter than a pool's p95.
fn lost(case: &Case<'_>, instance: &Instance) -> bool {
    let patience = lead::patience(case.pool).1 - ROUNDED_SECONDS;
    let late = case.view.now.duration_since(instance.launched_at).as_secs_f64() >= patience;
    let serves = |n: &Node| n.draining || (!n.cordoned && (!late || (n.ready && n.labelled && n.tainted)));
    let node = case.view.seen.known_nodes().find(|n| n.instance.as_ref() == Some(&instance.id));
    node.map_or(late && case.view.seen.nodes.is_some(), |n| !serves(n))
}

/// Instances of the type, of those that `counts` lets pass, or that launches in the ledger may still be making.
fn there(case: &Case<'_>, kind: &str, counts: impl Fn(&Instance) -> bool) -> i32 {
    let of_type = |i: &&Instance| i.instance_type == kind && !i.leaving && counts(i);
    let seen: Vec<&str> = case.pool.instances.iter().flatten().filter(of_type).map(|i| i.id.as_str()).collect();
    let ledger = || case.pool.status.launches.iter().filter(|l| l.instance_type == kind);
    let listed = |id: &str| ledger().any(|l| l.instances.iter().any(|i| i == id));
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let late = |at| case.view.now.duration_since(at).as_secs() < LATE_SECONDS;
    let gone = |id: &String| case.pool.instances.iter().flatten().any(|i| i.id == *id);
    let unseen = ledger().filter(|l| l.resolved && late(l.made_at())).flat_map(|l| &l.instances).filter(|id| !gone(id)).count();
    let unresolved: i32 = ledger().filter(|l| !l.resolved).map(|l| l.count).sum();
    // What is seen and in no resolved entry may be what an unresolved one made.
    let made = number(seen.iter().filter(|id| !listed(id)).count());
    number(seen.len()) + number(unseen) + (unresolved - made).max(0)
}

fn launches(case: &Case<'_>, steps: &[Step], found: &mut Vec<Violation>) {
    let mut wrong = |message: String| found.push(Violation::new(Rule::Launch, &case.pool.name, message));
    let mut new: BTreeMap<&str, i32> = BTreeMap::new();
    for step in steps {
        let Step::Launch { instance_type, subnet, count } = step else { continue };
        *new.entry(instance_type).or_default() += count;
        let subnets = case.pool.spec.nodes.ec2.as_ref().map_or(&[][..], |ec2| &ec2.subnets);
        let declared = declared(case.pool).iter().any(|t| t.name == *instance_type) && subnets.contains(subnet);
        if !declared || !(1..=MOST_AT_ONCE).contains(count) {
            wrong(format!("launches {count} {instance_type} in {subnet}, which the pool does not declare or is no count"));
        }
    }
    if new.is_empty() {
        return;
    }
    let terminated = |id: &String| steps.iter().any(|s| matches!(s, Step::Terminate { instances, .. } if instances.contains(id)));
    for (kind, n) in &new {
        let there = there(case, kind, |i| !lost(case, i) && !terminated(&i.id));
        let wanted = case.plan.wanted.get(*kind).copied().unwrap_or_default();
        if there + n > wanted {
            wrong(format!("launches {n} {kind} beside {there}, {wanted} are wanted"));
        }
    }
    if case.pool.deleting || !access::wanted_by_a_holder(case.view, case.pool) {
        wrong("launches, but no sale that holds may use the pool".to_owned());
    }
    let kinds: BTreeSet<&str> = existing(case.pool).into_keys().chain(new.keys().copied()).collect();
    let all = kinds.iter().map(|kind| there(case, kind, |i| !terminated(&i.id))).sum::<i32>() + new.values().sum::<i32>();
    if let Some(max) = case.pool.spec.limits.as_ref().and_then(|l| l.max_nodes).filter(|max| all > *max) {
        wrong(format!("{all} nodes after the launch, limits.maxNodes is {max}"));
    }
}

#[cfg(test)]
mod tests {
    use onsale_api::Reason;
    use onsale_planner::{plan::Surplus, snapshot::PodRef, steps::Step};
    use serde_json::json;

    use crate::{
        Rule,
        testing::{Night, night},
    };

    fn launch(count: i32) -> Step {
        Step::Launch { instance_type: "c6i.4xlarge".into(), subnet: "subnet-0abc12".into(), count }
    }

    /// After the sale, with one instance that has become a node and is surplus.
    fn after() -> Night {
        let surplus = || Surplus { node: "far-0".into(), instance: "i-0".into(), drain: true };
        night().recorded().over().instances(1).joined("i-0", "far-0").plan(move |p| p.pools[1].surplus.push(surplus()))
    }

    fn pod() -> PodRef {
        PodRef { namespace: "shop".into(), name: "cart-1".into(), uid: "u-1".into(), terminating: false }
    }

    fn terminate(reason: Reason) -> Vec<Step> {
        vec![Step::Terminate { instances: vec!["i-0".into()], reason }]
    }

    #[test]
    fn launches_need_a_finalizer_a_sale_and_room_below_the_limit() {
        night().pool_steps(vec![launch(2)]).passes();
        night().pool_steps(vec![launch(3)]).breaks(Rule::Launch);
        night().seen(|s| s.pools[1].protected = false).pool_steps(vec![launch(2)]).breaks(Rule::Launch);
        night().seen(|s| s.pools[1].protected = false).pool_steps(vec![Step::ProtectPool, launch(2)]).passes();
        night()
            .recorded()
            .over()
            .plan(|p| p.pools[1].wanted.extend([("c6i.4xlarge".to_owned(), 2)]))
            .pool_steps(vec![launch(2)])
            .breaks(Rule::Launch);
        night().pool_steps(vec![Step::Replay { sequence: 7 }]).breaks(Rule::Launch);
    }

    #[test]
    fn what_was_lost_is_made_up_for_within_the_limit() {
        let cordoned = |by_us: bool| {
            night().instances(1).joined("i-0", "far-0").seen(move |s| {
                let node = &mut s.nodes.as_mut().unwrap()[2];
                (node.cordoned, node.draining) = (true, by_us);
            })
        };
        cordoned(false).pool_steps(vec![launch(2)]).passes();
        cordoned(false).limit(2).pool_steps(vec![launch(2)]).breaks(Rule::Launch);
        cordoned(true).pool_steps(vec![launch(2)]).breaks(Rule::Launch);
        // Nor is one that never became a node waited for for ever.
        night().instances(1).pool_steps(vec![launch(2)]).passes();
        let young = |s: &mut onsale_planner::Snapshot| {
            s.pools[1].instances.as_mut().unwrap()[0].launched_at = "2026-12-05T17:29:00Z".parse().unwrap()
        };
        night().instances(1).seen(young).pool_steps(vec![launch(2)]).breaks(Rule::Launch);
        // How long that is is measured.
        let slow = |s: &mut onsale_planner::Snapshot| {
            let sample = |n| json!({"instance": format!("i-slow-{n}"), "seconds": 3_600, "at": "2026-11-28T17:00:00Z"});
            s.pools[1].status.lead_times = (0..64).map(|n| serde_json::from_value(sample(n)).unwrap()).collect();
        };
        night().instances(1).seen(slow).pool_steps(vec![launch(2)]).breaks(Rule::Launch);
    }

    #[test]
    fn nothing_is_done_to_a_pool_whose_instances_are_unknown() {
        night().seen(|s| s.pools[1].instances = None).pool_steps(vec![Step::ProtectPool]).breaks(Rule::UnknownPool);
    }

    #[test]
    fn only_empty_or_lost_instances_are_terminated() {
        let full = || after().seen(|s| s.nodes.as_mut().unwrap()[2].evictable = vec![pod()]);
        after().pool_steps(terminate(Reason::Draining)).passes();
        full().pool_steps(terminate(Reason::Draining)).breaks(Rule::Terminate);
        full().seen(|s| s.nodes.as_mut().unwrap()[2].ready = false).pool_steps(terminate(Reason::Draining)).passes();
        after()
            .seen(|s| s.nodes = None)
            .plan(|p| p.pools[1].surplus.clear())
            .pool_steps(terminate(Reason::Draining))
            .breaks(Rule::Terminate);
        night().instances(1).pool_steps(terminate(Reason::Draining)).breaks(Rule::Terminate);
        night().pool_steps(terminate(Reason::Draining)).breaks(Rule::Terminate);
    }

    #[test]
    fn pods_are_evicted_on_draining_nodes_only() {
        let evict = || vec![Step::Evict { pod: pod(), node: "far-0".into() }];
        let full = |draining: bool| {
            after().seen(move |s| {
                let node = &mut s.nodes.as_mut().unwrap()[2];
                (node.evictable, node.cordoned, node.draining) = (vec![pod()], draining, draining);
            })
        };
        full(true).pool_steps(evict()).passes();
        full(false).pool_steps(evict()).breaks(Rule::Evict);
        full(true).seen(|s| s.nodes.as_mut().unwrap()[2].evictable.clear()).pool_steps(evict()).breaks(Rule::Evict);
    }

    #[test]
    fn nodes_are_cordoned_when_they_are_surplus() {
        let cordon = |uid: &str| vec![Step::Cordon { node: "far-0".into(), uid: uid.into() }];
        after().pool_steps(cordon("uid-far-0")).passes();
        after().pool_steps(cordon("uid-other")).breaks(Rule::Cordon);
        after().plan(|p| p.pools[1].surplus.clear()).pool_steps(cordon("uid-far-0")).breaks(Rule::Cordon);
    }

    #[test]
    fn a_pool_is_released_when_nothing_is_rented() {
        night().pool_steps(vec![Step::ReleasePool]).passes();
        night().instances(1).pool_steps(vec![Step::ReleasePool]).breaks(Rule::ReleasePool);
    }
}
