//! Asks the cloud for the instances of every pool that matters, beside the passes: several pools at once, each no more than once at a time, so that a
//! region that is slow or dead holds up nobody. Every answer is worth a pass.

use std::{collections::BTreeSet, panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use onsale_cloud::{CloudError, Instance};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{World, instances::Asked};
use crate::context::Context;

/// Asks for ever. Calls that are under way end with it.
pub async fn run(context: Arc<Context>, world: Arc<World>, trigger: Arc<Notify>) {
    let (mut asking, mut calls) = (BTreeSet::new(), FuturesUnordered::new());
    loop {
        let (due, next) = world.instances.due(&context.config, context.clock.monotonic(), &asking);
        for asked in due {
            asking.insert(asked.owner.pool_uid.clone());
            calls.push(list(&context, asked));
        }
        let next = Instant::now() + next.unwrap_or(context.config.resync);
        tokio::select! {
            Some((asked, answer)) = calls.next() => {
                asking.remove(&asked.owner.pool_uid);
                world.instances.answered(&asked, answer, context.clock.monotonic());
                trigger.notify_one();
            }
            () = world.instances.changed() => {}
            () = sleep_until(next) => {}
        }
    }
}

/// One call. A panic in it is an answer that did not come.
async fn list(context: &Context, asked: Asked) -> (Asked, Result<Vec<Instance>, CloudError>) {
    let call = context.cloud_call("list", context.cloud.list(&asked.owner));
    let answer = AssertUnwindSafe(call).catch_unwind().await;
    let answer = answer.unwrap_or_else(|_| Err(CloudError::Unavailable { message: "the call panicked".to_owned() }));
    (asked, answer)
}
