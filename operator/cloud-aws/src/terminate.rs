//! `TerminateInstances`: terminated ones are fine, but a single ID that is unknown, malformed or protected spoils the whole call.
//!
//! Then EC2 is asked which of the batch it shows. Those are terminated, halving the batch around what still spoils it. One that EC2 does not
//! show is either gone for an hour or launched seconds ago, and nothing tells the two apart: it is named in `Unavailable`, so that a young
//! instance is never forgotten. An ID that cannot be an instance at all is dropped with a warning.

use std::collections::BTreeSet;

use aws_sdk_ec2::Client;
use onsale_cloud::CloudError;

use crate::{
    describe,
    errors::{Failure, UNKNOWN_INSTANCE},
};

/// Instances in one call, as AWS advises for launches; the bucket holds 1000 instances and refills by 20 a second.
const BATCH: usize = 100;
/// Codes that speak of one instance and stop the others. The last one is termination protection, switched on by a person.
const SPOILERS: [&str; 3] = [UNKNOWN_INSTANCE, "InvalidInstanceID.Malformed", "OperationNotPermitted"];
/// IDs named in a message.
const NAMED: usize = 3;

/// What could not be terminated.
#[derive(Default)]
struct Left {
    unseen: Vec<String>,
    refused: Option<Failure>,
}

/// Terminates all that can be, then reports what could not.
pub(crate) async fn terminate(client: &Client, instances: &[String]) -> Result<(), CloudError> {
    let ids: Vec<String> = instances.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect();
    let mut left = Left::default();
    for batch in ids.chunks(BATCH) {
        match call(client, batch).await {
            Ok(()) => {}
            Err(failure) if is_spoiled(&failure) => sort_out(client, batch, &mut left).await?,
            Err(failure) => return Err(failure.into()),
        }
    }
    left.verdict()
}

async fn call(client: &Client, ids: &[String]) -> Result<(), Failure> {
    client.terminate_instances().set_instance_ids(Some(ids.to_vec())).send().await?;
    Ok(())
}

fn is_spoiled(failure: &Failure) -> bool {
    failure.code().is_some_and(|code| SPOILERS.contains(&code))
}

/// Terminates those of a spoiled batch that EC2 shows.
async fn sort_out(client: &Client, batch: &[String], left: &mut Left) -> Result<(), CloudError> {
    let shown = describe::terminated(client, batch).await?;
    left.unseen.extend(batch.iter().filter(|id| !shown.contains_key(*id)).cloned());
    let alive: Vec<String> = shown.into_iter().filter(|(_, terminated)| !terminated).map(|(id, _)| id).collect();
    let mut parts = vec![alive.as_slice()];
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        match call(client, part).await {
            Ok(()) => {}
            Err(failure) if !is_spoiled(&failure) => return Err(failure.into()),
            Err(failure) if part.len() == 1 => left.refused = left.refused.take().or(Some(failure)),
            Err(_) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
    }
    Ok(())
}

impl Left {
    fn verdict(self) -> Result<(), CloudError> {
        if let Some(failure) = self.refused {
            return Err(failure.into());
        }
        let (young, senseless): (Vec<_>, Vec<_>) = self.unseen.into_iter().partition(|id| is_instance_id(id));
        if !senseless.is_empty() {
            tracing::warn!(ids = ?senseless, "cannot be instances: nothing to terminate");
        }
        if young.is_empty() {
            return Ok(());
        }
        let more = if young.len() > NAMED { format!(" and {} more", young.len() - NAMED) } else { String::new() };
        let named = young.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        Err(CloudError::Unavailable { message: format!("EC2 does not show {named}{more}: not yet, or gone for good; asked again") })
    }
}

/// `i-` and 8 (before 2016) or 17 hexadecimal digits.
fn is_instance_id(id: &str) -> bool {
    id.strip_prefix("i-").is_some_and(|rest| rest.len() >= 8 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}
