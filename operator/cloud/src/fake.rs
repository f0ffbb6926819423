//! A cloud in memory: counts, fails on request, loses answers. Capacity by instance type; everything runs as soon as it is launched.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{
    Cloud, CloudError, Instance, InstanceState, LaunchOrder, Launched, Owner,
    facts::{Facts, Question},
};

/// What the next launch shall meet.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It fails, and nothing is done.
    Refuse(CloudError),
    /// It is done, and the answer is lost.
    LoseAnswer,
}

#[derive(Default)]
struct State {
    now: Timestamp,
    next_id: u64,
    capacity: BTreeMap<String, usize>,
    tokens: BTreeMap<String, (LaunchOrder, Vec<String>)>,
    instances: BTreeMap<String, (String, Instance)>,
    faults: VecDeque<Fault>,
    calls: BTreeMap<&'static str, usize>,
}

/// A cloud in memory; clones share it.
#[derive(Clone, Default)]
pub struct FakeCloud(Arc<Mutex<State>>);

impl FakeCloud {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Sets the time that new instances carry.
    pub fn set_now(&self, now: Timestamp) {
        self.state().now = now;
    }
    /// How many instances of the type may exist at once; unlimited until set.
    pub fn set_capacity(&self, instance_type: &str, count: usize) {
        self.state().capacity.insert(instance_type.to_owned(), count);
    }
    /// What the next launches shall meet, in order.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }
    /// Calls by verb.
    #[must_use]
    pub fn calls(&self, verb: &'static str) -> usize {
        self.state().calls.get(verb).copied().unwrap_or_default()
    }
    /// IDs of all instances that exist.
    #[must_use]
    pub fn instances(&self) -> Vec<Instance> {
        self.state().instances.values().map(|(_, i)| i.clone()).collect()
    }
    /// Takes an instance away without being asked, as a failing host does.
    pub fn lose(&self, id: &str) {
        self.state().instances.remove(id);
    }
}

impl State {
    fn count(&mut self, verb: &'static str) {
        *self.calls.entry(verb).or_default() += 1;
    }

    fn launch(&mut self, order: &LaunchOrder) -> Result<Launched, CloudError> {
        if let Some((first, ids)) = self.tokens.get(&order.token) {
            return if first == order {
                Ok(Launched { instances: ids.clone() })
            } else {
                Err(CloudError::Invalid { message: format!("token {} was used for another order", order.token) })
            };
        }
        let running = self.instances.values().filter(|(_, i)| i.instance_type == order.instance_type).count();
        let room = self.capacity.get(&order.instance_type).map_or(usize::MAX, |c| c.saturating_sub(running));
        let count = usize::try_from(order.count).unwrap_or_default().min(room);
        if count == 0 {
            return Err(CloudError::InsufficientCapacity { instance_type: order.instance_type.clone(), place: order.subnet.clone() });
        }
        let ids: Vec<String> = (0..count).map(|_| self.start(order)).collect();
        self.tokens.insert(order.token.clone(), (order.clone(), ids.clone()));
        Ok(Launched { instances: ids })
    }

    fn start(&mut self, order: &LaunchOrder) -> String {
        self.next_id += 1;
        let id = format!("i-{:017x}", self.next_id);
        let instance = Instance {
            id: id.clone(),
            instance_type: order.instance_type.clone(),
            zone: order.subnet.clone(),
            state: InstanceState::Running,
            launched_at: self.now,
            sequence: order.sequence,
        };
        self.instances.insert(id.clone(), (order.owner.pool_uid.clone(), instance));
        id
    }
}

#[async_trait]
impl Cloud for FakeCloud {
    async fn launch(&self, order: &LaunchOrder) -> Result<Launched, CloudError> {
        let mut state = self.state();
        state.count("launch");
        match state.faults.pop_front() {
            Some(Fault::Refuse(error)) => Err(error),
            Some(Fault::LoseAnswer) => {
                state.launch(order)?;
                Err(CloudError::Unavailable { message: "the answer was lost".to_owned() })
            }
            None => state.launch(order),
        }
    }

    async fn list(&self, owner: &Owner) -> Result<Vec<Instance>, CloudError> {
        let mut state = self.state();
        state.count("list");
        Ok(state.instances.values().filter(|(uid, _)| *uid == owner.pool_uid).map(|(_, i)| i.clone()).collect())
    }

    async fn terminate(&self, _region: &str, instances: &[String]) -> Result<(), CloudError> {
        let mut state = self.state();
        state.count("terminate");
        for id in instances {
            state.instances.remove(id);
        }
        Ok(())
    }

    async fn list_cluster(&self, _region: &str) -> Result<Vec<(String, Instance)>, CloudError> {
        let mut state = self.state();
        state.count("list_cluster");
        Ok(state.instances.values().cloned().collect())
    }

    /// Nothing is known.
    async fn facts(&self, _question: &Question) -> Facts {
        self.state().count("facts");
        Facts { subnets: Ok(Vec::new()), quotas: Ok(Vec::new()) }
    }
}

#[cfg(test)]
mod tests {
    use onsale_api::pool::LaunchTemplate;

    use super::*;

    fn order(token: &str, count: i32) -> LaunchOrder {
        let owner = Owner { pool_uid: "uid-9".into(), pool_name: "phx".into(), region: "us-west-2".into() };
        let launch_template = LaunchTemplate { name: Some("burst".into()), id: None, version: "3".into() };
        LaunchOrder {
            owner,
            sequence: 1,
            token: token.into(),
            instance_type: "c6i.4xlarge".into(),
            subnet: "subnet-0a1b2c".into(),
            launch_template,
            count,
        }
    }

    #[tokio::test]
    async fn a_lost_answer_replayed_launches_nothing_twice() {
        let cloud = FakeCloud::default();
        cloud.inject(Fault::LoseAnswer);
        assert!(matches!(cloud.launch(&order("t", 3)).await, Err(CloudError::Unavailable { .. })));
        assert_eq!(cloud.launch(&order("t", 3)).await.unwrap().instances.len(), 3);
        assert_eq!(cloud.instances().len(), 3);
    }

    #[tokio::test]
    async fn a_zone_gives_what_it_has_and_then_says_no() {
        let cloud = FakeCloud::default();
        cloud.set_capacity("c6i.4xlarge", 2);
        assert_eq!(cloud.launch(&order("a", 3)).await.unwrap().instances.len(), 2);
        assert!(matches!(cloud.launch(&order("b", 1)).await, Err(CloudError::InsufficientCapacity { .. })));
    }

    #[test]
    fn pauses_double_and_are_bounded() {
        let (throttled, empty) = (CloudError::Throttled, CloudError::AddressesExhausted { subnet: String::new() });
        assert_eq!((throttled.retry(1).as_secs(), throttled.retry(4).as_secs(), throttled.retry(99).as_secs()), (2, 16, 600));
        assert_eq!((empty.retry(1).as_secs(), empty.retry(3).as_secs()), (180, 600));
    }
}
