//! Is the plan good: no single feasible and timely move of a replica that is not yet running lowers the latency cost, and no replica is
//! without a place while there is one. What cannot be judged for certain is left to the planner.

use onsale_api::{Money, pool::InstanceType};
use onsale_planner::{
    plan::{Fill, PoolPlan, Stage, WorkloadPlan},
    resources::Resources,
    snapshot::{Node, Pool, TargetState, Workload},
};

use crate::{
    Rule, Violation, access,
    budget::hourly,
    floors,
    pools::stock,
    room::tolerated,
    share, shared, spending,
    spread::{admitted, by_zone},
    view::{SaleView, View, declared, less, named, offer, within},
};

/// A new node is timely without doubt when ready-by is this many 95 % lead times away, and `SLACK_SECONDS` more: the planner's own
/// quantile of the slowest of n, API time and margin stay below that.
const LEAD_TIMES: f64 = 3.0;
const SLACK_SECONDS: f64 = 1_800.0;
/// Where what was measured varies a lot, the slowest of thousands takes longer than that: three times as far from the median as 95 of 100, on the scale of logarithms.
const SLOWEST: i32 = 3;
/// A new node is had for certain only for pods up to half of it: DaemonSets take a part that nobody knows yet.
const SHARE_OF_NEW_NODE: i64 = 2;

/// One workload whose replicas may have a better place.
struct Case<'a> {
    index: usize,
    workload: &'a Workload,
    work: &'a WorkloadPlan,
    target: &'a TargetState,
    /// Room is looked for beside the headroom that is kept already; otherwise replicas go first.
    beside_headroom: bool,
}

pub fn check(view: &View<'_>, found: &mut Vec<Violation>) {
    if view.seen.nodes.is_none() {
        return;
    }
    for (index, workload, work) in view.held_works() {
        let Some(target) = workload.target.as_ref().filter(|t| !t.requests_missing) else { continue };
        let case = Case { index, workload, work, target, beside_headroom: false };
        if stuck(view, &case) {
            continue;
        }
        // Under a spread of the pods' own the order of filling may cost up to `maxSkew` replicas their nearest place, never a place at all.
        let by_distance = work.by_pool.iter().filter(|_| target.zone_skew.is_none());
        for (name, planned) in by_distance {
            let moves = view.fresh(index, name, *planned) > 0 && may_leave(view, &case, name);
            let Some(rank) = access::rank(work, name).filter(|_| moves) else { continue };
            if let Some((pool, place)) = better(view, &case, |other| other < rank, Some(name)) {
                let message = format!("a replica planned in pool {name} of rank {rank} would be nearer in pool {pool}: {place}");
                found.push(Violation::new(Rule::NearerPlace, &work.id, message));
            }
        }
        // What an HPA's maximum cuts off finds no place anywhere.
        let capped = target.max.is_some_and(|max| floors::placed(view, index, work) >= max);
        if let Some((pool, place)) = (work.unplaced > 0 && !capped).then(|| better(view, &case, |_| true, None)).flatten() {
            let message = format!("{} replicas find no place, and pool {pool} has one: {place}", work.unplaced);
            found.push(Violation::new(Rule::FreePlace, &work.id, message));
        }
    }
}

/// A pool that certainly has room for one more replica of headroom, and where.
pub fn room_for_headroom<'a>(
    view: &View<'a>,
    index: usize,
    workload: &Workload,
    work: &WorkloadPlan,
    target: &TargetState,
) -> Option<(&'a str, String)> {
    let case = Case { index, workload, work, target, beside_headroom: true };
    let judged = view.seen.nodes.is_some() && target.zone_skew.is_none() && !stuck(view, &case);
    judged.then(|| better(view, &case, |_| true, None)).flatten()
}

/// Unbound pods that have waited too long say that room which looks free is not.
fn stuck(view: &View<'_>, case: &Case<'_>) -> bool {
    let since = |pod: &onsale_planner::snapshot::Pod| view.now.duration_since(pod.created_at);
    case.workload.pods.iter().any(|pod| pod.node.is_none() && since(pod) >= view.seen.settings.unschedulable_after)
}

/// No rented node in the pool would be left to a sale that may not be able to pay for it: the first that uses a node is charged, and the next when it leaves.
fn may_leave(view: &View<'_>, case: &Case<'_>, pool: &str) -> bool {
    let Some((pool, plan)) = view.pool(pool) else { return true };
    let whose = |index: usize| -> Vec<_> {
        let work = view.plan.workloads.get(index);
        view.holding().filter(|(sale, _)| work.is_some_and(|work| named(sale, work).is_some())).map(|(sale, _)| &sale.id).collect()
    };
    let ours = whose(case.index);
    let each = pool.spec.allowed_namespaces.as_ref().is_some_and(|allowed| allowed.max_nodes_each.is_some());
    let anybody_pays = || !each && declared(pool).iter().all(|kind| budgets_left(view, kind));
    let stays = |index: &usize| {
        let theirs = whose(*index);
        *index == case.index || (ours.len() == 1 && theirs == ours) || (!theirs.is_empty() && anybody_pays())
    };
    let left = |fill: &&Fill| fill.instance_type.is_some() && fill.replicas.get(&case.index).is_some_and(|n| *n > 0);
    let others = |fill: &Fill| fill.replicas.iter().chain(&fill.headroom).filter(|(_, n)| **n > 0).all(|(index, _)| stays(index));
    plan.fills.iter().filter(left).all(others)
}

/// A pool of such a rank with room for one more replica, and where.
fn better<'a>(view: &View<'a>, case: &Case<'_>, rank: impl Fn(i32) -> bool, from: Option<&str>) -> Option<(&'a str, String)> {
    // Also in the pass that opens every rank: this plan was still made with some left behind.
    let ranks = case.work.distances.iter().map(|d| d.rank + 1).max().unwrap_or_default();
    let closed = match &case.workload.placement {
        Some(placement) if case.work.stage == Stage::Preparing || placement.spec.released <= ranks => placement.spec.released - 1,
        _ => 0,
    };
    view.pools().find_map(|(pool, plan)| {
        let reachable = access::rank(case.work, &pool.name).is_some_and(|r| rank(r) && r >= closed);
        if !reachable || !allowed_by_every_sale(view, case, pool) || !share_left(view, case, pool) || !spread_left(view, case, pool, from) {
            return None;
        }
        let node = view.seen.known_nodes().filter(|n| n.pool == pool.name).find(|n| has_room(view, case, pool, plan, n));
        if let Some(node) = node {
            return Some((pool.name.as_str(), format!("node {} has room", node.name)));
        }
        let kind = declared(pool).iter().find(|kind| can_open(view, case, pool, plan, kind))?;
        Some((pool.name.as_str(), format!("a new {} can be had in time", kind.name)))
    })
}

fn allowed_by_every_sale(view: &View<'_>, case: &Case<'_>, pool: &Pool) -> bool {
    let near = |max: onsale_api::GoDuration| access::planned_latency(case.work, &pool.name).is_some_and(|latency| latency <= max.micros());
    let bind = view.may_bind(case.work);
    let in_reach = bind.iter().filter_map(|(_, wish)| wish.max_latency).all(near);
    let resides = bind.iter().all(|(sale, wish)| access::resides(pool, sale, wish));
    in_reach
        && resides
        && access::usable(view, case.work, pool)
        && view.deciders(case.work).iter().all(|(sale, _)| access::open(view, pool, sale))
}

fn share_left(view: &View<'_>, case: &Case<'_>, pool: &Pool) -> bool {
    let kept = |(_, plan): (&Pool, &PoolPlan)| -> i32 { plan.fills.iter().filter_map(|f| f.headroom.get(&case.index)).sum() };
    let headroom = view.pool(&pool.name).filter(|_| case.beside_headroom).map_or(0, kept);
    let there = headroom + case.work.by_pool.get(&pool.name).copied().unwrap_or_default().max(view.in_pool(case.index, &pool.name));
    let total = share::total(case.work).min(case.work.peak);
    view.may_bind(case.work).iter().filter_map(|(_, wish)| wish.max_share_per_pool).all(|share| there < share.floor_of(total))
}

/// The move keeps the pods' own zone spread, counting every zone that any pool of the workload is in.
fn spread_left(view: &View<'_>, case: &Case<'_>, pool: &Pool, from: Option<&str>) -> bool {
    let Some(skew) = case.target.zone_skew else { return true };
    let mut zones = by_zone(view, case.index, case.work, &case.target.node_terms);
    for distance in &case.work.distances {
        if let Some((other, _)) = view.pool(&distance.pool) {
            zones.entry(other.spec.zone.as_str()).or_default();
        }
    }
    if let Some((source, _)) = from.and_then(|name| view.pool(name)) {
        *zones.entry(source.spec.zone.as_str()).or_default() -= 1;
    }
    *zones.entry(pool.spec.zone.as_str()).or_default() += 1;
    let (least, most) = (zones.values().min().copied().unwrap_or_default(), zones.values().max().copied().unwrap_or_default());
    most - least <= skew
}

/// A Ready node that takes pods has room for one more replica beside what it shall hold and what it holds.
fn has_room(view: &View<'_>, case: &Case<'_>, pool: &Pool, plan: &PoolPlan, node: &Node) -> bool {
    let serves = node.ready && !node.cordoned && !node.draining && node.labelled && node.tainted;
    let leaving = node.instance.as_ref().is_some_and(|id| !pool.instances.iter().flatten().any(|i| i.id == *id && !i.leaving));
    let surplus = plan.surplus.iter().any(|s| s.node == node.name);
    if !serves || leaving || surplus || pool.deleting || !admitted(&case.target.node_terms, &node.labels) || !tolerated(case.target, node) {
        return false;
    }
    let fill = plan.fills.iter().find(|f| f.node == node.name);
    let mut used = case.target.requests.clone();
    for (index, workload, _) in view.works() {
        let planned = fill.and_then(|f| f.replicas.get(&index)).copied().unwrap_or_default();
        // Pods that are going may take their room for as long as their grace lasts, beside what is planned in their place.
        let going = workload.pods.iter().filter(|p| p.terminating && p.node.as_deref() == Some(node.name.as_str())).count();
        let going = i32::try_from(going).unwrap_or(i32::MAX);
        let headroom = fill.filter(|_| case.beside_headroom).and_then(|f| f.headroom.get(&index)).copied().unwrap_or_default();
        let most = planned.saturating_add(going).max(view.on_node(index, &node.name)) + headroom;
        if let Some(requests) = view.requests(index) {
            used.add(requests, i64::from(most));
        } else if most > 0 {
            return false;
        }
    }
    within(&used, &less(&node.allocatable, &node.others)) && fill.is_none_or(|f| within(&used, &f.room))
}

/// One more node of this type is allowed, affordable, timely and of use.
fn can_open(view: &View<'_>, case: &Case<'_>, pool: &Pool, plan: &PoolPlan, kind: &InstanceType) -> bool {
    let short = pool.status.shortfalls.iter().any(|s| s.instance_type == "*" || s.instance_type == kind.name);
    let mut half = Resources::default();
    half.add(&case.target.requests, SHARE_OF_NEW_NODE);
    let known = pool.instances.is_some() && plan.never_joined.is_empty() && case.target.node_terms.is_empty();
    !short
        && known
        && within(&half, &offer(kind))
        && timely(view, case, pool)
        && limits_left(view, pool)
        && budgets_left(view, kind)
        && shared::certain(view, pool, kind)
}

/// Rented nodes of the pool: what it shall have, has, or fills at the peak.
fn nodes(pool: &Pool, plan: &PoolPlan) -> i32 {
    let filled = plan.fills.iter().filter(|f| f.instance_type.is_some()).count();
    plan.wanted.values().sum::<i32>().max(stock(pool)).max(i32::try_from(filled).unwrap_or(i32::MAX)).max(plan.planned)
}

fn limits_left(view: &View<'_>, pool: &Pool) -> bool {
    let Some((_, plan)) = view.pool(&pool.name) else { return false };
    let each = pool.spec.allowed_namespaces.as_ref().and_then(|a| a.max_nodes_each);
    let most = pool.spec.limits.as_ref().and_then(|l| l.max_nodes).into_iter().chain(each).min();
    most.is_some_and(|most| nodes(pool, plan) < most)
}

/// Every holding sale could pay for everything and one node more.
fn budgets_left(view: &View<'_>, kind: &InstanceType) -> bool {
    let all: i32 = view.pools().map(|(pool, plan)| nodes(pool, plan)).sum();
    let dearest = |pool: &Pool| declared(pool).iter().map(|t| t.hourly_cost).max().unwrap_or_default();
    let cost: Money = view.pools().map(|(pool, plan)| hourly(pool, plan).max(dearest(pool).times(i64::from(nodes(pool, plan))))).sum();
    let within = |(sale, plan): &SaleView<'_>| {
        let Some(budget) = &sale.spec.budget else { return true };
        budget.max_nodes.is_none_or(|max| all < max)
            && budget.max_hourly_cost.is_none_or(|max| cost + kind.hourly_cost <= max)
            && spending::certain(sale, plan, cost + kind.hourly_cost)
    };
    view.holding().all(|one| within(&one))
}

fn timely(view: &View<'_>, case: &Case<'_>, pool: &Pool) -> bool {
    let (p50, p95) = crate::lead::seconds(pool);
    let longest = (p95 * LEAD_TIMES).max(p50 * (p95 / p50).powi(SLOWEST)) + SLACK_SECONDS;
    let lead = jiff::SignedDuration::try_from_secs_f64(longest).unwrap_or(jiff::SignedDuration::MAX);
    let naming = view.holding().filter(|(sale, _)| named(sale, case.work).is_some());
    naming.map(|(_, plan)| plan.times).all(|times| times.is_some_and(|t| view.now.duration_until(t.ready_by) >= lead))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use onsale_api::onsale::Budget;
    use onsale_planner::plan::Stage;

    use crate::{Rule, testing::night};

    /// One replica of near-1 goes far although there is room.
    fn wasteful() -> crate::testing::Night {
        night().plan(|p| {
            *p.workloads[0].by_pool.get_mut("near").unwrap() -= 1;
            *p.workloads[0].by_pool.get_mut("far").unwrap() += 1;
            *p.pools[0].fills[0].replicas.get_mut(&0).unwrap() -= 1;
            *p.pools[1].fills[1].replicas.get_mut(&0).unwrap() += 1;
        })
    }

    #[test]
    fn a_nearer_free_place_is_taken() {
        night().passes();
        wasteful().breaks(Rule::NearerPlace);
    }

    /// A workload of another sale, which may spend so much, has the rest of the far node.
    fn shared(max: Option<&str>) -> crate::testing::Night {
        let name = "checkout".to_owned();
        let budget = max.map(|max| Budget { max_hourly_cost: max.parse().ok(), ..Budget::default() });
        wasteful()
            .seen(|s| {
                let (mut work, mut sale) = (s.workloads[0].clone(), s.sales[0].clone());
                (work.id.name, work.pods) = (name.clone(), Vec::new());
                (sale.id.name, sale.uid, sale.spec.budget) = ("presale".into(), "uid-presale".into(), budget);
                sale.spec.workloads[0].target.name.clone_from(&name);
                s.workloads.push(work);
                s.sales.push(sale);
            })
            .plan(|p| {
                let (mut work, mut sale) = (p.workloads[0].clone(), p.sales[0].clone());
                (work.id.name, sale.id.name) = (name.clone(), "presale".into());
                work.by_pool = BTreeMap::from([("far".to_owned(), 1)]).into();
                p.workloads.push(work);
                p.sales.push(sale);
                p.pools[1].fills[1].replicas.insert(1, 1);
            })
    }

    #[test]
    fn who_pays_for_a_node_does_not_leave_it_to_one_who_cannot() {
        assert!(shared(None).finds(Rule::NearerPlace));
        assert!(shared(Some("9")).finds(Rule::NearerPlace));
        assert!(!shared(Some("0.10")).finds(Rule::NearerPlace));
    }

    #[test]
    fn a_nearer_place_that_takes_no_pods_is_none() {
        wasteful().running(11, "near-1").seen(|s| s.nodes.as_mut().unwrap()[0].cordoned = true).passes();
    }

    #[test]
    fn closed_ranks_stay_closed_while_preparing() {
        let preparing = |released: i32| {
            wasteful().recorded().seen(move |s| s.workloads[0].placement.as_mut().unwrap().spec.released = released).plan(|p| {
                p.workloads[0].stage = Stage::Preparing;
                p.workloads[0].released = 2;
            })
        };
        preparing(2).passes();
        preparing(1).breaks(Rule::NearerPlace);
    }

    #[test]
    fn a_share_keeps_replicas_away() {
        wasteful().seen(|s| s.sales[0].spec.workloads[0].max_share_per_pool = "58%".parse().ok()).passes();
    }

    #[test]
    fn nothing_is_without_a_place_while_a_new_node_can_be_had_in_time() {
        let early = || night().unplaced(1).preparing().at("2026-12-05T16:00:00Z");
        early().breaks(Rule::FreePlace);
        early().limit(1).passes();
        night().unplaced(1).preparing().at("2026-12-05T16:40:00Z").passes();
    }
}
