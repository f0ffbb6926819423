//! Watches: one plain stream per kind, each in a task of its own, so that one that fails never delays another.

use std::sync::Arc;

use futures::{StreamExt, pin_mut};
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{sync::Notify, task::JoinSet};

use super::{
    World,
    store::{Record, Store},
};
use crate::context::Context;

/// Which store of the world a watch fills.
type Pick<R> = fn(&World) -> &Store<R>;

/// Starts every watch. Each task runs for ever; the set ends them when it is dropped.
pub fn start(tasks: &mut JoinSet<&'static str>, context: &Arc<Context>, world: &Arc<World>, trigger: &Arc<Notify>) {
    let mut start = Starter { tasks, context, world, trigger };
    start.watch(|w| &w.sales, None);
    start.watch(|w| &w.pools, None);
    start.watch(|w| &w.placements, None);
    start.watch(|w| &w.nodes, None);
    start.watch(|w| &w.pods, None);
    start.watch(|w| &w.deployments, None);
    start.watch(|w| &w.stateful_sets, None);
    start.watch(|w| &w.daemon_sets, None);
    start.watch(|w| &w.scalers, None);
    start.watch(|w| &w.namespaces, None);
    start.watch(|w| &w.overlays, Some(onsale_api::names::PLACEMENT));
}

struct Starter<'a> {
    tasks: &'a mut JoinSet<&'static str>,
    context: &'a Arc<Context>,
    world: &'a Arc<World>,
    trigger: &'a Arc<Notify>,
}

impl Starter<'_> {
    fn watch<R: Record>(&mut self, pick: Pick<R>, labels: Option<&str>) {
        let seconds = u32::try_from(self.context.config.watch_timeout.as_secs()).unwrap_or(50);
        let config = watcher::Config::default().timeout(seconds);
        let config = labels.map_or_else(|| config.clone(), |l| config.clone().labels(l));
        let (context, world, trigger) = (self.context.clone(), self.world.clone(), self.trigger.clone());
        self.tasks.spawn(async move {
            let events = watcher(Api::<R::Object>::all(context.client.clone()), config).default_backoff();
            pin_mut!(events);
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        if pick(&world).fold(event) {
                            trigger.notify_one();
                        }
                    }
                    Err(error) => {
                        context.metrics().watch_error(R::KIND);
                        tracing::warn!(kind = ?R::KIND, %error, "watch failed, trying again");
                    }
                }
            }
            name(R::KIND)
        });
    }
}

fn name(kind: crate::metrics::Kind) -> &'static str {
    use crate::metrics::Kind;
    match kind {
        Kind::OnSale => "OnSale",
        Kind::CapacityPool => "CapacityPool",
        Kind::WorkloadPlacement => "WorkloadPlacement",
        Kind::Node => "Node",
        Kind::Pod => "Pod",
        Kind::Deployment => "Deployment",
        Kind::StatefulSet => "StatefulSet",
        Kind::DaemonSet => "DaemonSet",
        Kind::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
        Kind::Namespace => "Namespace",
        Kind::PodTemplate => "PodTemplate",
    }
}
