//! Free addresses and quotas by region: what the cloud said last, asked beside the passes while a sale that may use a pool of the region is near.
//!
//! What is known is recorded in the pools' status, and planned with from there: a restarted operator, and `kubectl onsale plan`, know it too.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use onsale_api::{
    pool::{QuotaFacts, SubnetFacts},
    quota,
    time::whole_seconds,
};
use onsale_cloud::{
    CloudError,
    facts::{Facts as Answer, Question},
};
use onsale_planner::{Snapshot, index::Indexed, lifecycle, snapshot::Pool};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::World;
use crate::{config::Config, context::Context};

/// What is known of one pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// A sale that may use it is near.
    pub wanted: bool,
    /// The cloud was asked, and said something.
    pub answered: bool,
    /// Its subnets.
    pub subnets: Vec<SubnetFacts>,
    /// Its quotas.
    pub quotas: Vec<QuotaFacts>,
    /// Why something is unknown.
    pub errors: Vec<CloudError>,
}

/// What is known of one region.
#[derive(Default)]
struct Region {
    wanted: Question,
    /// What was asked when the last answer came, and its monotonic time.
    asked: Option<(Question, Duration)>,
    subnets: Vec<SubnetFacts>,
    quotas: Vec<QuotaFacts>,
    errors: Vec<CloudError>,
    failures: i32,
}

impl Region {
    fn due_in(&self, config: &Config, monotonic: Duration) -> Duration {
        let Some((question, at)) = self.asked.as_ref() else { return Duration::ZERO };
        if *question != self.wanted {
            return Duration::ZERO;
        }
        let failed = self.errors.iter().map(|error| error.retry(self.failures).unsigned_abs()).min();
        (*at + failed.map_or(config.facts, |pause| pause.min(config.facts))).saturating_sub(monotonic)
    }

    fn answered(&mut self, question: Question, answer: Answer, at: Timestamp, monotonic: Duration) {
        let at = Time(whole_seconds(at));
        self.errors.clear();
        match answer.subnets {
            Ok(all) => {
                let fact = |s: onsale_cloud::facts::Subnet| SubnetFacts {
                    id: s.id,
                    zone: s.zone,
                    free_addresses: s.free_addresses,
                    at: at.clone(),
                };
                self.subnets = all.into_iter().map(fact).collect();
            }
            Err(error) => self.errors.push(error),
        }
        match answer.quotas {
            Ok(all) => {
                let fact = |q: onsale_cloud::facts::Quota| QuotaFacts {
                    code: q.code,
                    name: q.name,
                    limit: q.limit,
                    used_by_others: q.used_by_others,
                    at: at.clone(),
                };
                self.quotas = all.into_iter().map(fact).collect();
            }
            Err(error) if !self.errors.contains(&error) => self.errors.push(error),
            Err(_) => {}
        }
        self.failures = if self.errors.is_empty() { 0 } else { self.failures.saturating_add(1) };
        for error in &self.errors {
            tracing::warn!(region = question.region, %error, "free addresses or quotas unknown");
        }
        self.asked = Some((question, monotonic));
    }
}

/// What is known, by region.
#[derive(Default)]
pub struct Facts {
    all: Mutex<BTreeMap<String, Region>>,
    changed: Notify,
}

impl Facts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Region>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These matter now, and no others: those are forgotten.
    pub fn want(&self, wanted: Vec<Question>) {
        let mut all = self.lock();
        let mut changed = false;
        all.retain(|region, _| wanted.iter().any(|w| w.region == *region));
        for question in wanted {
            let region = all.entry(question.region.clone()).or_default();
            changed |= region.wanted != question;
            region.wanted = question;
        }
        drop(all);
        if changed {
            self.changed.notify_one();
        }
    }

    fn due(&self, config: &Config, monotonic: Duration, asking: &BTreeSet<String>) -> (Vec<Question>, Option<Duration>) {
        let all = self.lock();
        let idle = all.iter().filter(|(region, _)| !asking.contains(*region));
        let (due, later): (Vec<_>, Vec<_>) = idle.map(|(_, r)| (r, r.due_in(config, monotonic))).partition(|(_, left)| left.is_zero());
        (due.into_iter().map(|(r, _)| r.wanted.clone()).collect(), later.into_iter().map(|(_, left)| left).min())
    }

    /// Takes an answer; whether it says anything.
    fn answered(&self, question: Question, answer: Answer, at: Timestamp, monotonic: Duration) -> bool {
        let mut all = self.lock();
        let Some(region) = all.get_mut(&question.region) else { return false };
        region.answered(question, answer, at, monotonic);
        !(region.subnets.is_empty() && region.quotas.is_empty() && region.errors.is_empty())
    }

    /// What is known of each rented pool, by its name.
    pub fn of_all(&self, pools: &[Pool]) -> BTreeMap<String, Known> {
        pools.iter().filter(|p| p.spec.nodes.ec2.is_some()).map(|p| (p.name.clone(), self.of(p))).collect()
    }

    fn of(&self, pool: &Pool) -> Known {
        let all = self.lock();
        let Some((ec2, region)) = pool.spec.nodes.ec2.as_ref().and_then(|ec2| Some((ec2, all.get(&ec2.region)?))) else {
            return Known::default();
        };
        let codes = codes(pool);
        Known {
            wanted: ec2.subnets.iter().all(|id| region.wanted.subnets.contains(id)),
            answered: region.asked.is_some(),
            subnets: region.subnets.iter().filter(|s| ec2.subnets.contains(&s.id)).cloned().collect(),
            quotas: region.quotas.iter().filter(|q| codes.contains(q.code.as_str())).cloned().collect(),
            errors: region.errors.clone(),
        }
    }
}

/// Codes of the quotas that a pool's types count against.
pub fn codes(pool: &Pool) -> BTreeSet<&'static str> {
    let types = pool.spec.nodes.ec2.iter().flat_map(|ec2| &ec2.instance_types);
    types.filter_map(|t| quota::of_type(&t.name)).map(|quota| quota.code).collect()
}

/// What is to be asked: about the pools that sales may use which are active, or which are looked at already: an increase of a quota takes days or weeks, and
/// must be asked for in time.
pub fn wanted(seen: &Snapshot, now: Timestamp) -> Vec<Question> {
    let indexed = Indexed::new(seen, now);
    let near = |sale: &usize| {
        let draft = lifecycle::draft(&indexed, *sale);
        draft.phase.is_active() || (draft.waits() && draft.looked_at_from(&seen.settings, now).is_none())
    };
    let near = (0..seen.sales.len()).filter(near);
    let used: BTreeSet<usize> = near.flat_map(|sale| lifecycle::pools_of(&indexed, sale, true).at().to_vec()).collect();
    let mut regions: BTreeMap<&str, Question> = BTreeMap::new();
    for ec2 in used.into_iter().filter_map(|at| seen.pools[at].spec.nodes.ec2.as_ref()) {
        let question = regions.entry(&ec2.region).or_insert_with(|| Question { region: ec2.region.clone(), ..Question::default() });
        question.subnets.extend(ec2.subnets.iter().cloned());
        question.instance_types.extend(ec2.instance_types.iter().map(|t| t.name.clone()));
    }
    regions.into_values().collect()
}

/// Asks for ever, every region by itself. Calls that are under way end with it.
pub async fn run(context: Arc<Context>, world: Arc<World>, trigger: Arc<Notify>) {
    let (mut asking, mut calls) = (BTreeSet::new(), FuturesUnordered::new());
    loop {
        let (due, next) = world.facts.due(&context.config, context.clock.monotonic(), &asking);
        for question in due {
            asking.insert(question.region.clone());
            calls.push(ask(&context, question));
        }
        let next = Instant::now() + next.unwrap_or(context.config.resync);
        tokio::select! {
            Some((question, answer, at)) = calls.next() => {
                asking.remove(&question.region);
                if world.facts.answered(question, answer, at, context.clock.monotonic()) {
                    trigger.notify_one();
                }
            }
            () = world.facts.changed.notified() => {}
            () = sleep_until(next) => {}
        }
    }
}

/// One call, and when it was made: what is launched while it is on its way comes on top. A panic in it is an answer that did not come.
async fn ask(context: &Context, question: Question) -> (Question, Answer, Timestamp) {
    let at = context.clock.now();
    let call = context.cloud_call("facts", context.cloud.facts(&question).map(Ok));
    let answer = AssertUnwindSafe(call).catch_unwind().await;
    let answer = answer.unwrap_or_else(|_| Err(CloudError::Unavailable { message: "the call panicked".to_owned() }));
    (question, answer.unwrap_or_else(Answer::unknown), at)
}

#[cfg(test)]
mod tests {
    use onsale_cloud::facts::{Quota, Subnet};

    use super::*;

    const REGION: &str = "us-west-2";

    fn question(subnets: &[&str]) -> Question {
        Question { region: REGION.into(), subnets: subnets.iter().map(|s| (*s).to_owned()).collect(), instance_types: BTreeSet::new() }
    }

    fn answer(free_addresses: i32) -> Answer {
        let subnet = Subnet { id: "subnet-0a1b2c".into(), zone: "z".into(), free_addresses };
        Answer { subnets: Ok(vec![subnet]), quotas: Ok(Vec::new()) }
    }

    fn pool() -> Pool {
        let ec2 = serde_json::json!({"region": REGION, "launchTemplate": {"name": "burst", "version": "3"}, "subnets": ["subnet-0a1b2c"],
            "instanceTypes": [{"name": "c6i.large", "hourlyCost": "1", "allocatable": {"cpu": "2", "memory": "4Gi"}}]});
        let spec = serde_json::json!({"tier": "Region", "zone": "z", "latency": [{"site": "dc", "rtt": "1ms"}], "nodes": {"ec2": ec2}, "limits": {"maxNodes": 9}});
        Pool::new("phx", serde_json::from_value(spec).unwrap())
    }

    struct Bench(Facts, Config);

    impl Bench {
        fn new() -> Self {
            let all = Facts::default();
            all.want(vec![question(&["subnet-0a1b2c"])]);
            Self(all, Config::new("test", "test"))
        }
        fn due(&self, secs: u64) -> usize {
            self.0.due(&self.1, Duration::from_secs(secs), &BTreeSet::new()).0.len()
        }
        fn hear(&self, answer: Answer, secs: u64) {
            self.0.answered(question(&["subnet-0a1b2c"]), answer, Timestamp::UNIX_EPOCH, Duration::from_secs(secs));
        }
    }

    #[test]
    fn asks_every_few_minutes_and_at_once_when_the_question_changes() {
        let bench = Bench::new();
        assert_eq!(bench.due(0), 1);
        bench.hear(answer(7), 10);
        assert_eq!((bench.due(309), bench.due(310)), (0, 1));
        bench.0.want(vec![question(&["subnet-0a1b2c", "subnet-0d4e5f"])]);
        assert_eq!(bench.due(11), 1);
        bench.0.want(Vec::new());
        assert_eq!(bench.due(999), 0);
    }

    #[test]
    fn half_an_answer_is_half_known_and_asked_for_again_sooner() {
        let bench = Bench::new();
        bench.hear(answer(7), 0);
        let quota = Quota { code: "L-1216C47A".into(), name: "Standard".into(), limit: 64, used_by_others: 8 };
        bench.hear(Answer { subnets: Err(CloudError::Throttled), quotas: Ok(vec![quota]) }, 300);
        let known = bench.0.of(&pool());
        assert_eq!((known.subnets[0].free_addresses, known.quotas[0].limit, known.errors), (7, 64, vec![CloudError::Throttled]));
        assert_eq!((bench.due(301), bench.due(302)), (0, 1));
        bench.hear(answer(6), 302);
        assert_eq!((bench.0.of(&pool()).errors.len(), bench.0.of(&pool()).subnets[0].free_addresses), (0, 6));
    }
}
