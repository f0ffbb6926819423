//! A simulated cloud: capacity by type and subnet, boot delays, fewer instances than asked for, lost answers, throttling, lists that lag behind, slow
//! regions, full subnets, subnets with few addresses, quotas, protected instances.
//! `onsale_cloud::fake` has neither time nor lag and cannot be copied to go on from, so this is another.

mod state;

use std::sync::Arc;

use async_trait::async_trait;
use onsale_cloud::{
    Cloud, CloudError, Instance, LaunchOrder, Launched, Owner,
    facts::{Facts, Question},
};
use tokio::time::{Instant, sleep_until};

use crate::{
    rules,
    sim::{Caller, Fate, Sim, What},
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
        let (answers_after, throttled) = self.sim.with(|inner| (inner.cloud.answers_after(region), inner.cloud.throttled(inner.now)));
        sleep_until(Instant::now() + answers_after).await;
        if throttled { Err(CloudError::Throttled) } else { Ok(()) }
    }
}

fn lost() -> CloudError {
    CloudError::Unavailable { message: "no answer (injected fault)".to_owned() }
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
        let result = self.sim.write(&self.caller, &what, |inner| {
            rules::before_launch(inner, order);
            let result = inner.cloud.launch(order, inner.now);
            inner.world.stirred = true;
            let told = result.as_ref().map_or_else(ToString::to_string, |l| format!("-> {}", l.instances.join(" ")));
            inner.journal.add(inner.now, &self.caller.name, &what, &told);
            result
        });
        let result = result.await;
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
        let act = self.sim.write(&self.caller, &what, |inner| {
            rules::before_terminate(inner, instances);
            let result = inner.cloud.terminate(instances, inner.now);
            inner.world.stirred = true;
            let told = result.as_ref().map_or_else(ToString::to_string, |()| String::new());
            inner.journal.add(inner.now, &self.caller.name, &what, &told);
            result
        });
        let result = act.await;
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
