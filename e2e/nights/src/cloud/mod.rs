//! A simulated cloud: capacity by type and subnet, boot delays, fewer instances than asked for, lost answers, throttling, lists that lag behind, slow
//! regions, full subnets, subnets with few addresses, quotas, protected instances.
//! `onsale_cloud::fake` has neither time nor lag and cannot be copied to go on from, so this is another.

mod state;

use std::{future::pending, sync::Arc, time::Duration};

use async_trait::async_trait;
use onsale_cloud::{
    Cloud, CloudError, Instance, LaunchOrder, Launched, Owner,
    facts::{Facts, Question},
};
use tokio::time::{Instant, sleep_until};

use crate::{
    decisions::{self, Decision},
    rules,
    sim::{Caller, Fate, Inner, Sim, What},
};

pub use state::{Machine, Settings, State};

/// The cloud, as one caller reaches it.
pub struct SimCloud {
    sim: Sim,
    caller: Caller,
}

impl SimCloud {
    /// For `caller`.
    #[must_use]
    pub fn new(sim: &Sim, caller: Caller) -> Arc<Self> {
        Arc::new(Self { sim: sim.clone(), caller })
    }

    async fn arrive(&self, region: &str) -> Result<(), CloudError> {
        let (answers_after, throttled, silent_until) = self.sim.with(|inner| {
            let silent_until = inner.cloud.silent_until.filter(|until| *until > inner.now);
            (inner.cloud.answers_after(region), inner.cloud.throttled(inner.now), silent_until)
        });
        if let Some(until) = silent_until {
            // Callers have their own patience, and mostly do not hear this answer.
            sleep_until(self.sim.clock().instant(until)).await;
            return Err(CloudError::Unavailable { message: "no answer (injected fault)".to_owned() });
        }
        sleep_until(Instant::now() + answers_after).await;
        if throttled { Err(CloudError::Throttled) } else { Ok(()) }
    }
}

fn lost() -> CloudError {
    CloudError::Unavailable { message: "no answer (injected fault)".to_owned() }
}

/// Carried out much later, and nobody hears of it.
async fn stray<T>(late: Duration, act: impl FnOnce() -> Result<(), CloudError> + Send + 'static) -> T {
    tokio::spawn(async move {
        sleep_until(Instant::now() + late).await;
        drop(act());
    });
    pending().await
}

fn launch(inner: &mut Inner, caller: &Caller, what: &What, order: &LaunchOrder) -> Result<Launched, CloudError> {
    rules::before_launch(inner, order);
    let result = inner.cloud.launch(order, inner.now);
    inner.world.stirred = true;
    let told = result.as_ref().map_or_else(ToString::to_string, |l| format!("-> {}", l.instances.join(" ")));
    inner.journal.add(inner.now, &caller.name, what, &told);
    let decision = Decision::Launch {
        pool: order.owner.pool_name.clone(),
        instance_type: order.instance_type.clone(),
        asked: usize::try_from(order.count).unwrap_or_default(),
        got: result.as_ref().map(|l| l.instances.len()).map_err(ToString::to_string),
    };
    inner.journal.decided(inner.now, &caller.name, [decision]);
    result
}

fn terminate(inner: &mut Inner, caller: &Caller, what: &What, instances: &[String]) -> Result<(), CloudError> {
    rules::before_terminate(inner, instances);
    let result = inner.cloud.terminate(instances, inner.now);
    inner.world.stirred = true;
    let told = result.as_ref().map_or_else(ToString::to_string, |()| String::new());
    inner.journal.add(inner.now, &caller.name, what, &told);
    let decisions = decisions::given_back(inner, instances, result.is_err().then_some(told.as_str()));
    inner.journal.decided(inner.now, &caller.name, decisions);
    result
}

#[async_trait]
impl Cloud for SimCloud {
    async fn launch(&self, order: &LaunchOrder) -> Result<Launched, CloudError> {
        self.arrive(&order.owner.region).await?;
        let what = What { verb: "launch", place: format!("{} {} in {} ({})", order.count, order.instance_type, order.subnet, order.token) };
        let fate = self.sim.meet(&self.caller, &what).await;
        if fate == Fate::Refuse {
            self.sim.with(|inner| inner.journal.add(inner.now, &self.caller.name, &what, "refused by a fault"));
            return Err(lost());
        }
        if fate == Fate::Never {
            return std::future::pending().await;
        }
        if let Fate::Stray(late) = fate {
            let (sim, caller, order) = (self.sim.clone(), self.caller.clone(), order.clone());
            return stray(late, move || sim.with(|inner| launch(inner, &caller, &what, &order)).map(drop)).await;
        }
        if fate == Fate::Repeat {
            drop(self.sim.write(&self.caller, &what, |inner| launch(inner, &self.caller, &what, order)).await);
        }
        let result = self.sim.write(&self.caller, &what, |inner| launch(inner, &self.caller, &what, order)).await;
        if fate == Fate::Lose { Err(lost()) } else { result }
    }

    async fn list(&self, owner: &Owner) -> Result<Vec<Instance>, CloudError> {
        self.arrive(&owner.region).await?;
        self.sim.with(|inner| inner.cloud.list(&owner.pool_uid, inner.now))
    }

    async fn terminate(&self, region: &str, instances: &[String]) -> Result<(), CloudError> {
        self.arrive(region).await?;
        let what = What { verb: "terminate", place: instances.join(" ") };
        let fate = self.sim.meet(&self.caller, &what).await;
        if fate == Fate::Refuse {
            self.sim.with(|inner| inner.journal.add(inner.now, &self.caller.name, &what, "refused by a fault"));
            return Err(lost());
        }
        if fate == Fate::Never {
            return std::future::pending().await;
        }
        if let Fate::Stray(late) = fate {
            let (sim, caller, instances) = (self.sim.clone(), self.caller.clone(), instances.to_vec());
            return stray(late, move || sim.with(|inner| terminate(inner, &caller, &what, &instances))).await;
        }
        if fate == Fate::Repeat {
            drop(self.sim.write(&self.caller, &what, |inner| terminate(inner, &self.caller, &what, instances)).await);
        }
        let result = self.sim.write(&self.caller, &what, |inner| terminate(inner, &self.caller, &what, instances)).await;
        if fate == Fate::Lose { Err(lost()) } else { result }
    }

    async fn list_cluster(&self, region: &str) -> Result<Vec<(String, Instance)>, CloudError> {
        self.arrive(region).await?;
        self.sim.with(|inner| inner.cloud.list_cluster(region, inner.now))
    }

    async fn facts(&self, question: &Question) -> Facts {
        match self.arrive(&question.region).await {
            Ok(()) => self.sim.with(|inner| inner.cloud.facts(question)),
            Err(error) => Facts::unknown(error),
        }
    }
}
