//! Terminate instances. The pool's finalizer stays until none is left, so an answer that is lost costs another call, not an instance. One that cannot be
//! terminated, protected by a person or by rights, stops neither the others nor the rest of the chain: it is told, and tried again ever less often.

use onsale_api::Reason;
use onsale_cloud::CloudError;
use onsale_planner::{plan::Waiting, snapshot::Pool};

use super::{
    Done, Job, Stop,
    launch::say,
    ledger::{self, Lack},
};
use crate::fleet::observe::kept::Kept;

/// Terminates them, and takes them out of the ledger, which would otherwise speak for them a while longer.
pub async fn terminate(job: &Job<'_>, pool: &Pool, instances: &[String], reason: Reason) -> Result<Done, Stop> {
    let ec2 = pool.spec.nodes.ec2.as_ref().ok_or_else(|| Stop::Stale(format!("CapacityPool {} rents no nodes", pool.name)))?;
    let known = &job.world.instances;
    let first = known.kept_of(&pool.uid, instances).len() < instances.len();
    let mut gone = Vec::new();
    for ids in known.calls(&pool.uid, instances, job.context.clock.monotonic()) {
        if job.hand.left() {
            break;
        }
        match job.cloud_call("terminate", job.context.cloud.terminate(&ec2.region, &ids)).await {
            Ok(()) => {
                known.terminated(&pool.uid, &ids);
                gone.extend(ids);
            }
            Err(error) => known.kept(&pool.uid, &ids, &error, job.context.clock.monotonic()),
        }
    }
    let never_joined = reason == Reason::NeverJoined;
    if !gone.is_empty() {
        let text = format!("terminated {} of {} ({reason})", gone.len(), pool.name);
        say(job, pool, if never_joined { reason } else { Reason::Terminated }, never_joined, text);
    }
    let in_ledger = pool.status.launches.iter().any(|l| l.instances.iter().any(|i| gone.contains(i)));
    // Whether they go or not: once is enough for the place to be known as short.
    let short = (never_joined && first).then_some(instances.len());
    if short.is_some() || in_ledger {
        forget(job, pool, &gone, short).await?;
    }
    Ok(told(&pool.name, &known.kept_of(&pool.uid, instances)))
}

fn told(pool: &str, kept: &[(String, Kept)]) -> Done {
    let Some((id, first)) = kept.first() else { return Done::Yes };
    let more = if kept.len() == 1 { String::new() } else { format!(" and {} more", kept.len() - 1) };
    let message = format!("instance {id}{more} of pool {pool} cannot be terminated, and goes on costing: {}", first.error);
    Done::Hindered(Waiting { reason: first.error.reason(), message, until: None })
}

/// `short`: so many never joined.
async fn forget(job: &Job<'_>, pool: &Pool, gone: &[String], short: Option<usize>) -> Result<(), Stop> {
    // As with missing capacity: the place gave less than was asked for, and another try needs time.
    let pace = CloudError::InsufficientCapacity { instance_type: "*".to_owned(), place: pool.name.clone() };
    ledger::change(job, pool, |status| {
        for entry in &mut status.launches {
            entry.instances.retain(|i| !gone.contains(i));
        }
        if let Some(count) = short {
            let message = format!(
                "{count} instances ran and never became nodes: look at the launch template's user data, its security groups and the node's access to the cluster"
            );
            ledger::note_shortfall(status, &Lack { instance_type: "*", subnet: None, reason: Reason::NeverJoined, message }, &pace, job.now);
        }
        true
    })
    .await
}
