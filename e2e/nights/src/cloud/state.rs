//! What the cloud remembers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use onsale_api::quota;
use onsale_cloud::{
    CloudError, Instance, InstanceState, LaunchOrder, Launched, Owner,
    facts::{Facts, Question, Quota, Subnet},
};

use crate::random::{Delay, Random};

/// How the cloud behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From launch to running.
    pub boots: Delay,
    /// A launched instance is missing from lists for this long.
    pub visible_after: Duration,
    /// A terminated instance is listed as leaving for this long.
    pub gone_after: Duration,
    /// Every call takes this long.
    pub answers_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { boots: (secs(8), secs(15)).into(), visible_after: secs(3), gone_after: secs(20), answers_after: Duration::from_millis(300) }
    }
}

/// One instance.
#[derive(Clone, Debug)]
pub struct Machine {
    /// As listed, but for its state, which follows from the clock.
    pub instance: Instance,
    /// UID of the pool that it was launched for.
    pub pool_uid: String,
    /// Name of that pool.
    pub pool_name: String,
    /// Region that it runs in.
    pub region: String,
    /// Subnet that it has its address of.
    pub subnet: String,
    /// When it runs.
    pub runs_at: Timestamp,
    /// When it was terminated or failed.
    pub ended_at: Option<Timestamp>,
}

/// The cloud.
#[derive(Clone, Debug)]
pub struct State {
    /// How it behaves.
    pub settings: Settings,
    /// Zone by subnet.
    pub zones: BTreeMap<String, String>,
    /// How many instances of a type may exist at once in a subnet; unlimited where nothing is said.
    pub capacity: BTreeMap<(String, String), usize>,
    /// How many instances of a type the account may have, everywhere together, and nobody is told beforehand; unlimited where nothing is said.
    pub hidden_quota: BTreeMap<String, usize>,
    /// From launch to running, for pools where that is not as everywhere.
    pub boots: BTreeMap<String, Delay>,
    /// How long calls to a region take, where that is not as everywhere.
    pub slow: BTreeMap<String, Duration>,
    /// Subnets without free addresses.
    pub full: BTreeSet<String>,
    /// Addresses of a subnet that our instances may have; nothing is told of the others, and nothing bounds them.
    pub addresses: BTreeMap<String, i32>,
    /// Limit of the quota for Standard instances in vCPUs, and how many of them others use; not told, and no bound, where there is none.
    pub quota: Option<(i32, i32)>,
    /// Instances with termination protection.
    pub kept: BTreeSet<String>,
    /// Every call is throttled before this instant.
    pub throttled_until: Option<Timestamp>,
    /// Lists fail before this instant.
    pub blind_until: Option<Timestamp>,
    /// No call is answered before this instant.
    pub silent_until: Option<Timestamp>,
    /// Refuses every launch while it is there.
    pub refuses: Option<CloudError>,
    /// Refuses the next launches, in order.
    pub refusals: Vec<CloudError>,
    /// Every instance that ever was.
    pub machines: BTreeMap<String, Machine>,
    tokens: BTreeMap<String, (LaunchOrder, Vec<String>)>,
    random: Random,
}

impl Machine {
    /// It was not terminated and did not fail.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        self.ended_at.is_none()
    }

    fn listed(&self, now: Timestamp, settings: &Settings) -> Option<Instance> {
        let passed = |since: Timestamp, time: Duration| since.checked_add(time).is_ok_and(|at| now >= at);
        let state = match self.ended_at {
            Some(ended) if passed(ended, settings.gone_after) => return None,
            Some(_) => InstanceState::Leaving,
            None if !passed(self.instance.launched_at, settings.visible_after) => return None,
            None if now < self.runs_at => InstanceState::Pending,
            None => InstanceState::Running,
        };
        Some(Instance { state, ..self.instance.clone() })
    }
}

/// vCPUs of a type by its size, as all of EC2's are: `large` has 2, `xlarge` 4, `4xlarge` 16.
fn vcpus(instance_type: &str) -> i32 {
    let size = instance_type.split('.').nth(1).unwrap_or_default();
    match size.strip_suffix("xlarge") {
        Some("") => 4,
        Some(times) => times.parse::<i32>().map_or(2, |times| times * 4),
        None => 2,
    }
}

impl State {
    /// An empty cloud.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            settings: Settings::default(),
            zones: BTreeMap::new(),
            capacity: BTreeMap::new(),
            hidden_quota: BTreeMap::new(),
            boots: BTreeMap::new(),
            slow: BTreeMap::new(),
            full: BTreeSet::new(),
            addresses: BTreeMap::new(),
            quota: None,
            kept: BTreeSet::new(),
            throttled_until: None,
            blind_until: None,
            silent_until: None,
            refuses: None,
            refusals: Vec::new(),
            machines: BTreeMap::new(),
            tokens: BTreeMap::new(),
            random: Random::new(seed),
        }
    }

    /// Instances that exist.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.machines.values().filter(|m| m.is_alive()).count()
    }

    pub(super) fn answers_after(&self, region: &str) -> Duration {
        self.slow.get(region).copied().unwrap_or(self.settings.answers_after)
    }

    pub(super) fn throttled(&self, now: Timestamp) -> bool {
        self.throttled_until.is_some_and(|until| now < until)
    }

    fn room(&self, order: &LaunchOrder) -> usize {
        let key = (order.instance_type.clone(), order.subnet.clone());
        let zone = self.zone(&order.subnet);
        let there = |m: &&Machine| m.is_alive() && m.instance.instance_type == order.instance_type && m.instance.zone == zone;
        let taken = self.machines.values().filter(there).count();
        self.capacity.get(&key).map_or(usize::MAX, |most| most.saturating_sub(taken))
    }

    fn free_addresses(&self, subnet: &str) -> Option<i32> {
        let used = self.machines.values().filter(|m| m.is_alive() && m.subnet == subnet).count();
        self.addresses.get(subnet).map(|all| all - i32::try_from(used).unwrap_or(i32::MAX))
    }

    /// vCPUs of the instances that exist.
    fn vcpus(&self) -> i32 {
        self.machines.values().filter(|m| m.is_alive()).map(|m| vcpus(&m.instance.instance_type)).sum()
    }

    /// Instances that addresses and quota leave room for.
    fn within_bounds(&self, order: &LaunchOrder) -> usize {
        let each = vcpus(&order.instance_type).max(1);
        let by_quota = self.quota.map(|(limit, others)| (limit - others - self.vcpus()) / each);
        let least = self.free_addresses(&order.subnet).into_iter().chain(by_quota).min();
        least.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or_default())
    }

    pub(super) fn facts(&self, question: &Question) -> Facts {
        let subnet = |id: &String| Some(Subnet { id: id.clone(), zone: self.zone(id), free_addresses: self.free_addresses(id)? });
        let quota = |(limit, used_by_others)| {
            let quota = quota::of_type("c6i.4xlarge")?;
            Some(Quota { code: quota.code.to_owned(), name: quota.name.to_owned(), limit, used_by_others })
        };
        Facts {
            subnets: Ok(question.subnets.iter().filter_map(subnet).collect()),
            quotas: Ok(self.quota.and_then(quota).into_iter().collect()),
        }
    }

    fn zone(&self, subnet: &str) -> String {
        self.zones.get(subnet).cloned().unwrap_or_else(|| subnet.to_owned())
    }

    pub(super) fn launch(&mut self, order: &LaunchOrder, now: Timestamp) -> Result<Launched, CloudError> {
        if let Some((first, instances)) = self.tokens.get(&order.token) {
            return if first == order {
                Ok(Launched { instances: instances.clone() })
            } else {
                Err(CloudError::Invalid { message: format!("token {} was used for another order", order.token) })
            };
        }
        if !self.refusals.is_empty() {
            return Err(self.refusals.remove(0));
        }
        if let Some(refusal) = &self.refuses {
            return Err(refusal.clone());
        }
        if self.full.contains(&order.subnet) {
            return Err(CloudError::AddressesExhausted { subnet: order.subnet.clone() });
        }
        let wanted = usize::try_from(order.count).unwrap_or_default();
        // As on AWS: an order beyond the quota gets nothing at all.
        let running = self.machines.values().filter(|m| m.is_alive() && m.instance.instance_type == order.instance_type).count();
        if let Some(quota) = self.hidden_quota.get(&order.instance_type).filter(|quota| running + wanted > **quota) {
            let message = format!("{quota} allowed, {running} there, {wanted} asked for");
            return Err(CloudError::QuotaExhausted { instance_type: order.instance_type.clone(), message });
        }
        if self.free_addresses(&order.subnet).is_some_and(|free| free < 1) {
            return Err(CloudError::AddressesExhausted { subnet: order.subnet.clone() });
        }
        if self.quota.is_some_and(|(limit, others)| others + self.vcpus() + vcpus(&order.instance_type) > limit) {
            let message = "VcpuLimitExceeded".to_owned();
            return Err(CloudError::QuotaExhausted { instance_type: order.instance_type.clone(), message });
        }
        let count = wanted.min(self.room(order)).min(self.within_bounds(order));
        if count == 0 {
            return Err(CloudError::InsufficientCapacity { instance_type: order.instance_type.clone(), place: order.subnet.clone() });
        }
        let instances: Vec<String> = (0..count).map(|_| self.start(order, now)).collect();
        self.tokens.insert(order.token.clone(), (order.clone(), instances.clone()));
        Ok(Launched { instances })
    }

    fn start(&mut self, order: &LaunchOrder, now: Timestamp) -> String {
        let id = format!("i-{:017x}", self.machines.len() + 1);
        let boots = self.boots.get(&order.owner.pool_name).copied().unwrap_or(self.settings.boots);
        let boots = self.random.draw(boots);
        let instance = Instance {
            id: id.clone(),
            instance_type: order.instance_type.clone(),
            zone: self.zone(&order.subnet),
            state: InstanceState::Pending,
            launched_at: now,
            sequence: order.sequence,
        };
        let Owner { pool_uid, pool_name, region } = order.owner.clone();
        let runs_at = now.checked_add(boots).unwrap_or(now);
        self.machines
            .insert(id.clone(), Machine { instance, pool_uid, pool_name, region, subnet: order.subnet.clone(), runs_at, ended_at: None });
        id
    }

    /// All or none: a single one that is protected spoils the call.
    pub(super) fn terminate(&mut self, instances: &[String], now: Timestamp) -> Result<(), CloudError> {
        if let Some(id) = instances.iter().find(|id| self.kept.contains(*id)) {
            return Err(CloudError::Invalid { message: format!("OperationNotPermitted: {id} is protected") });
        }
        for id in instances {
            self.lose(id, now);
        }
        Ok(())
    }

    /// A host fails: the instance is gone without being asked.
    pub fn lose(&mut self, instance: &str, now: Timestamp) {
        if let Some(machine) = self.machines.get_mut(instance) {
            machine.ended_at.get_or_insert(now);
        }
    }

    /// The most instances that were there at once.
    #[must_use]
    pub fn most_alive(&self) -> usize {
        let alive = |m: &Machine, at: Timestamp| m.instance.launched_at <= at && m.ended_at.is_none_or(|ended| ended > at);
        let at_once = |at: Timestamp| self.machines.values().filter(|m| alive(m, at)).count();
        self.machines.values().map(|m| at_once(m.instance.launched_at)).max().unwrap_or_default()
    }

    fn answer(&self, now: Timestamp) -> Result<(), CloudError> {
        let blind = self.blind_until.is_some_and(|until| now < until);
        if blind { Err(CloudError::Unavailable { message: "lists fail (injected fault)".to_owned() }) } else { Ok(()) }
    }

    pub(super) fn list(&self, pool_uid: &str, now: Timestamp) -> Result<Vec<Instance>, CloudError> {
        self.answer(now)?;
        Ok(self.machines.values().filter(|m| m.pool_uid == pool_uid).filter_map(|m| m.listed(now, &self.settings)).collect())
    }

    pub(super) fn list_cluster(&self, region: &str, now: Timestamp) -> Result<Vec<(String, Instance)>, CloudError> {
        self.answer(now)?;
        let there = self.machines.values().filter(|m| m.region == region);
        Ok(there.filter_map(|m| Some((m.pool_uid.clone(), m.listed(now, &self.settings)?))).collect())
    }
}
