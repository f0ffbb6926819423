//! The fleet loop with every step taken twice: what is due is carried out, and then carried out again as it stands, on the same old snapshot.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use onsale_cloud::Cloud;
use onsale_controller::{
    Clock, Config,
    context::Context,
    fleet::{
        act::{self, Running, Shared},
        decide::{Decision, decide},
        observe::{self, World},
        status, wake,
    },
};
use tokio::{sync::Notify, task::JoinSet};

/// Runs until dropped; returns only when a watch ended. Failures are tried again after a second, without back-off.
pub async fn run(client: kube::Client, cloud: Arc<dyn Cloud>, clock: Arc<dyn Clock>, config: Config) {
    let context = Arc::new(Context::new(client, cloud, clock, config));
    let (world, trigger) = (Arc::new(World::default()), Arc::new(Notify::new()));
    let mut tasks = JoinSet::new();
    observe::watch::start(&mut tasks, &context, &world, &trigger);
    let lister = observe::lister::run(context.clone(), world.clone(), trigger.clone());
    tasks.spawn(async move {
        lister.await;
        "instances"
    });
    tokio::select! {
        _ = tasks.join_next() => {}
        () = turn(&context, &world, &trigger) => {}
    }
}

async fn turn(context: &Arc<Context>, world: &Arc<World>, trigger: &Arc<Notify>) {
    let (mut running, mut memory, begun) = (Running::default(), status::Memory::default(), context.clock.monotonic());
    loop {
        let now = context.clock.now();
        running.collect();
        let mut at_most = Duration::from_secs(1);
        if let Ok(observed) = observe::observe(world, context, begun, now).await {
            let observed = Arc::new(observed);
            let Decision { plan, chains, .. } = decide(context, &observed, now, BTreeSet::new()).await;
            let idle = chains.is_empty();
            let (context, trigger) = (context.clone(), trigger.clone());
            let shared = Shared { context, world: world.clone(), trigger, seen: observed.snapshot.clone(), now };
            let outcomes = act::act(chains.clone(), &mut running, &shared).await;
            drop(act::act(chains, &mut running, &shared).await);
            let (facts, resting) = (world.facts.of_all(&observed.snapshot.pools), Default::default());
            let material =
                status::Material { observed: &observed, facts: &facts, plan: &plan, outcomes: &outcomes, resting: &resting, now };
            let written = status::write_changed(&mut memory, &shared.context, &shared.world, &material).await;
            if idle && !written.moved {
                at_most = plan.next_change.map_or(shared.context.config.resync, |at| wake::until(at, now));
            }
        }
        wake::wait(trigger, &wake::Wake { at_most, heed_triggers: true }, context.config.coalesce).await;
    }
}
