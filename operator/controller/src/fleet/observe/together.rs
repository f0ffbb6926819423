//! What the cloud lists and what the launch ledger knows, together: lists lag behind, and so do answers to launches.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use onsale_api::pool::Launch;
use onsale_cloud::{Instance, InstanceState};
use onsale_planner::snapshot;

/// Listed instances and those that the ledger says exist although the cloud does not list them yet, sorted by ID.
pub fn merge(listed: &[Instance], seen: &BTreeSet<String>, ledger: &[Launch], now: Timestamp, grace: Duration) -> Vec<snapshot::Instance> {
    let exists = |i: &&Instance| i.state != InstanceState::Gone;
    let mut all: BTreeMap<String, snapshot::Instance> = listed.iter().filter(exists).map(|i| (i.id.clone(), brief(i))).collect();
    let young = |entry: &&Launch| now.duration_since(entry.made_at()) < SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
    for entry in ledger.iter().filter(|e| e.resolved).filter(young) {
        for id in entry.instances.iter().filter(|id| !seen.contains(*id)) {
            let (instance_type, launched_at) = (entry.instance_type.clone(), entry.made_at());
            all.entry(id.clone()).or_insert(snapshot::Instance {
                id: id.clone(),
                instance_type,
                leaving: false,
                stopped: false,
                launched_at,
            });
        }
    }
    all.into_values().collect()
}

fn brief(instance: &Instance) -> snapshot::Instance {
    snapshot::Instance {
        id: instance.id.clone(),
        instance_type: instance.instance_type.clone(),
        leaving: matches!(instance.state, InstanceState::Leaving | InstanceState::Stopped),
        stopped: instance.state == InstanceState::Stopped,
        launched_at: instance.launched_at,
    }
}

/// Takes what is listed already off launches that have not been answered yet: it would count twice.
pub fn discount(listed: &[Instance], ledger: &mut [Launch]) {
    for entry in ledger.iter_mut().filter(|e| !e.resolved) {
        let made = listed.iter().filter(|i| i.sequence == entry.sequence).count();
        entry.count = entry.count.saturating_sub(i32::try_from(made).unwrap_or(i32::MAX)).max(0);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn instance(id: &str) -> Instance {
        Instance {
            id: id.into(),
            instance_type: "c6i.large".into(),
            zone: "z".into(),
            state: InstanceState::Running,
            launched_at: Timestamp::UNIX_EPOCH,
            sequence: 1,
        }
    }

    fn ledger(at: &str) -> Vec<Launch> {
        let entry = json!({"sequence": 1, "token": "t", "instanceType": "c6i.large", "subnet": "subnet-0a1b2c", "count": 2, "at": at, "resolved": true,
            "launchTemplate": {"name": "burst", "version": "1"}, "instances": ["i-1", "i-2"]});
        vec![serde_json::from_value(entry).unwrap()]
    }

    fn ids(seen: &[&str], at: &str) -> Vec<String> {
        let seen = seen.iter().map(|s| (*s).to_owned()).collect();
        let now = "2026-12-05T10:04:00Z".parse().unwrap();
        merge(&[instance("i-1")], &seen, &ledger(at), now, Duration::from_secs(300)).into_iter().map(|i| i.id).collect()
    }

    #[test]
    fn believes_the_ledger_for_a_while_about_instances_that_are_not_listed_yet() {
        assert_eq!(ids(&["i-1"], "2026-12-05T10:00:00Z"), ["i-1", "i-2"]);
        assert_eq!(ids(&["i-1"], "2026-12-05T09:58:00Z"), ["i-1"]);
    }

    #[test]
    fn believes_an_answer_that_came_long_after_the_order() {
        let mut entries = ledger("2026-12-05T09:50:00Z");
        entries[0].answered_at = Some("2026-12-05T10:03:00Z".parse().map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time).unwrap());
        let now = "2026-12-05T10:04:00Z".parse().unwrap();
        let all = merge(&[], &BTreeSet::new(), &entries, now, Duration::from_secs(300));
        assert!(all.len() == 2 && all.iter().all(|i| i.launched_at.to_string() == "2026-12-05T10:03:00Z"), "{all:?}");
    }

    #[test]
    fn an_instance_that_was_listed_once_and_is_missing_now_is_gone() {
        assert_eq!(ids(&["i-1", "i-2"], "2026-12-05T10:00:00Z"), ["i-1"]);
    }

    #[test]
    fn what_an_unanswered_launch_made_counts_once() {
        let mut entries = ledger("2026-12-05T10:00:00Z");
        discount(&[instance("i-1")], &mut entries);
        assert_eq!(entries[0].count, 2, "an answer says what it made");
        entries[0].resolved = false;
        discount(&[instance("i-1")], &mut entries);
        assert_eq!(entries[0].count, 1);
    }
}
