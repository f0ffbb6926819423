//! What a pool's nodes really took from their launch to Ready, as the pool's status keeps it.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use onsale_api::pool::LeadTimeSample;
use onsale_planner::{
    lead,
    plan::PoolPlan,
    snapshot::{Instance, Node, Pool, Snapshot},
};

use super::time;

/// So many are kept: enough that what is declared no longer matters, little enough to read.
const MOST: usize = 64;

/// A launch that is answered within this time was answered at once: the cloud's client gives up after 25 s.
const ANSWERED_AT_ONCE: SignedDuration = SignedDuration::from_secs(5);

/// What is recorded and what the pool's Ready nodes add to it, those launched last, in the order of launches.
///
/// Nothing is added while anything is on its way: of a launch whose fast nodes are there and whose slow ones are not, the fast ones would make the others
/// count as overdue. Which ones of a large launch are kept depends on when they were launched and on their IDs, never on how fast they were.
pub fn recorded(pool: &Pool, plan: &PoolPlan, seen: &Snapshot) -> Vec<LeadTimeSample> {
    let old = &pool.status.lead_times;
    let (Some(instances), Some(nodes), 0) = (&pool.instances, &seen.nodes, plan.launching) else { return old.clone() };
    // Of a launch whose slow nodes were given up, the fast ones tell nothing true.
    if instances.is_empty() || !plan.never_joined.is_empty() {
        return old.clone();
    }
    let instances: BTreeMap<&str, &Instance> = instances.iter().map(|i| (i.id.as_str(), i)).collect();
    let mut all: BTreeMap<&str, LeadTimeSample> = BTreeMap::new();
    let longest = lead::given_up_after(pool).as_secs();
    for node in nodes.iter().filter(|n| n.pool == pool.name) {
        let instance = node.instance.as_deref().and_then(|id| instances.get(id)).filter(|instance| !is_doubtful(pool, instance));
        all.extend(instance.and_then(|instance| Some((instance.id.as_str(), sample(instance, node, longest)?))));
    }
    // What was recorded first stands, whatever became of the node.
    all.extend(old.iter().map(|s| (s.instance.as_str(), s.clone())));
    let mut all: Vec<LeadTimeSample> = all.into_values().collect();
    all.sort_by(|a, b| (a.at.0, &a.instance).cmp(&(b.at.0, &b.instance)));
    all.split_off(all.len().saturating_sub(MOST))
}

/// The launch was answered long after it was written: when the instance was made is anybody's guess, and a lead time too short would be learned.
fn is_doubtful(pool: &Pool, instance: &Instance) -> bool {
    let launch = pool.status.launches.iter().find(|l| l.instances.contains(&instance.id));
    launch.and_then(|l| Some(l.answered_at.as_ref()?.0.duration_since(l.at.0) > ANSWERED_AT_ONCE)).unwrap_or_default()
}

/// How long the node took. `None` where that is no lead time: the clocks disagree, or it was given up by then. A node that is Ready for the second time is
/// taken for that, too.
fn sample(instance: &Instance, node: &Node, longest: i64) -> Option<LeadTimeSample> {
    let took = node.ready_since.filter(|_| node.ready)?.duration_since(instance.launched_at).as_secs();
    let seconds = i32::try_from(took).ok().filter(|s| (1..=longest).contains(&i64::from(*s)))?;
    Some(LeadTimeSample { instance: instance.id.clone(), seconds, at: time(instance.launched_at) })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    const LAUNCHED: &str = "2026-12-05T16:40:00Z";

    fn at(seconds: i64) -> Timestamp {
        LAUNCHED.parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(seconds)
    }

    /// A pool, declared with 90 s and 180 s, whose nodes took so many seconds.
    fn fleet(took: impl IntoIterator<Item = i64>) -> (Pool, Snapshot) {
        let types = json!([{"name": "c6i.large", "hourlyCost": "0.1", "allocatable": {"cpu": "2", "memory": "4Gi"}}]);
        let ec2 = json!({"region": "us-west-2", "launchTemplate": {"name": "burst", "version": "7"}, "subnets": ["subnet-0abc12"], "instanceTypes": types});
        let spec =
            json!({"tier": "LocalZone", "zone": "z", "latency": [], "leadTime": {"p50": "90s", "p95": "180s"}, "nodes": {"ec2": ec2}});
        let mut pool = Pool { protected: true, ..Pool::new("phx", serde_json::from_value(spec).unwrap()) };
        let mut nodes = Vec::new();
        for (n, took) in took.into_iter().enumerate() {
            let id = format!("i-{n:04}");
            let instance_type = "c6i.large".to_owned();
            pool.instances.as_mut().unwrap().push(Instance {
                id: id.clone(),
                instance_type,
                leaving: false,
                stopped: false,
                launched_at: at(0),
            });
            nodes.push(node(&id, Some(at(took))));
        }
        (pool, Snapshot { nodes: Some(nodes), ..Snapshot::default() })
    }

    fn node(id: &str, ready_since: Option<Timestamp>) -> Node {
        let instance = Some(id.to_owned());
        Node { instance, ready: ready_since.is_some(), ready_since, ..Node::new(&format!("node-{id}"), "phx") }
    }

    fn seconds(all: &[LeadTimeSample]) -> Vec<i32> {
        all.iter().map(|s| s.seconds).collect()
    }

    #[test]
    fn each_node_is_recorded_once_and_by_what_it_took_at_first() {
        let (mut pool, mut seen) = fleet([70, 95]);
        let settled = PoolPlan::default();
        pool.status.lead_times = recorded(&pool, &settled, &seen);
        assert_eq!(seconds(&pool.status.lead_times), [70, 95]);
        assert_eq!(pool.status.lead_times[0].at.0, at(0));
        let nodes = seen.nodes.as_mut().unwrap();
        nodes[0].ready_since = Some(at(200));
        nodes.remove(1);
        assert_eq!(recorded(&pool, &settled, &seen), pool.status.lead_times, "Ready again, and gone");
    }

    #[test]
    fn nothing_is_learned_from_the_fast_ones_while_slow_ones_are_on_their_way() {
        let (pool, seen) = fleet([70, 95]);
        assert_eq!(recorded(&pool, &PoolPlan { launching: 1, ..PoolPlan::default() }, &seen), []);
        assert_eq!(recorded(&pool, &PoolPlan::default(), &Snapshot { nodes: None, ..seen.clone() }), []);
        assert_eq!(recorded(&Pool { instances: None, ..pool }, &PoolPlan::default(), &seen), []);
    }

    #[test]
    fn nothing_is_learned_from_a_launch_that_was_answered_late_or_whose_slow_nodes_were_given_up() {
        let (mut pool, seen) = fleet([10]);
        let given_up = PoolPlan { never_joined: vec!["i-0009".to_owned()], ..PoolPlan::default() };
        assert_eq!(recorded(&pool, &given_up, &seen), []);
        let launch = json!({"sequence": 1, "token": "t", "instanceType": "c6i.large", "subnet": "subnet-0abc12", "count": 1, "resolved": true,
            "launchTemplate": {"name": "burst", "version": "7"}, "at": "2026-12-05T16:39:00Z", "answeredAt": LAUNCHED, "instances": ["i-0000"]});
        pool.status.launches.push(serde_json::from_value(launch).unwrap());
        assert_eq!(recorded(&pool, &PoolPlan::default(), &seen), [], "they may be a minute older");
        pool.status.launches[0].at = super::time(at(-3));
        assert_eq!(seconds(&recorded(&pool, &PoolPlan::default(), &seen)), [10]);
    }

    #[test]
    fn what_cannot_be_a_lead_time_teaches_nothing() {
        // Before the launch, at once, given up by then, an hour that a clock jumped.
        let longest = lead::given_up_after(&fleet([]).0).as_secs();
        let (pool, mut seen) = fleet([-30, 0, longest + 1, 3_700, longest]);
        seen.nodes.as_mut().unwrap().push(node("i-of-nobody", Some(at(80))));
        assert_eq!(seconds(&recorded(&pool, &PoolPlan::default(), &seen)), [i32::try_from(longest).unwrap()]);
        seen.nodes.as_mut().unwrap()[4].ready = false;
        assert_eq!(recorded(&pool, &PoolPlan::default(), &seen), []);
    }

    #[test]
    fn the_list_is_bounded_and_comes_to_rest() {
        let (mut pool, seen) = fleet((0..100).map(|n| 100 - n % 40));
        pool.instances.as_mut().unwrap()[3].launched_at = at(60);
        pool.status.lead_times = recorded(&pool, &PoolPlan::default(), &seen);
        let kept = pool.status.lead_times.clone();
        assert_eq!((kept.len(), kept[63].instance.as_str(), kept[63].seconds), (64, "i-0003", 37), "the one launched last");
        assert!(kept[..63].iter().zip(37..).all(|(s, n)| s.instance == format!("i-{n:04}")), "by their IDs, not by how fast they were");
        assert_eq!(recorded(&pool, &PoolPlan::default(), &seen), kept, "nothing more to write");
    }
}
