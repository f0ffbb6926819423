//! Terminate instances. The pool's finalizer stays until none is left, so an answer that is lost costs another call, not an instance.

use onsale_api::Reason;
use onsale_cloud::CloudError;
use onsale_planner::snapshot::Pool;

use super::{
    Done, Job, Stop,
    launch::say,
    ledger::{self, Lack},
};

/// Terminates them, and takes them out of the ledger, which would otherwise speak for them a while longer.
pub async fn terminate(job: &Job<'_>, pool: &Pool, instances: &[String], reason: Reason) -> Result<Done, Stop> {
    let ec2 = pool.spec.nodes.ec2.as_ref().ok_or_else(|| Stop::Stale(format!("CapacityPool {} rents no nodes", pool.name)))?;
    let call = job.context.cloud.terminate(&ec2.region, instances);
    job.cloud_call("terminate", call).await.map_err(Stop::Unanswered)?;
    job.world.instances.terminated(&pool.uid, instances);
    let never_joined = reason == Reason::NeverJoined;
    let text = format!("terminated {} of {} ({reason})", instances.len(), pool.name);
    say(job, pool, if never_joined { reason } else { Reason::Terminated }, never_joined, text);
    let in_ledger = pool.status.launches.iter().any(|l| l.instances.iter().any(|i| instances.contains(i)));
    if never_joined || in_ledger {
        forget(job, pool, instances, never_joined).await?;
    }
    Ok(Done::Yes)
}

async fn forget(job: &Job<'_>, pool: &Pool, instances: &[String], never_joined: bool) -> Result<(), Stop> {
    // As with missing capacity: the place gave less than was asked for, and another try needs time.
    let pace = CloudError::InsufficientCapacity { instance_type: "*".to_owned(), place: pool.name.clone() };
    ledger::change(job, pool, |status| {
        for entry in &mut status.launches {
            entry.instances.retain(|i| !instances.contains(i));
        }
        if never_joined {
            let message = format!(
                "{} instances ran and never became nodes: look at the launch template's user data, its security groups and the node's access to the cluster",
                instances.len()
            );
            ledger::note_shortfall(status, &Lack { instance_type: "*", reason: Reason::NeverJoined, message }, &pace, job.now);
        }
        true
    })
    .await
}
