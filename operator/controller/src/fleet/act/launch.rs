//! Launch and replay: the ledger entry is stored first, then the cloud is called, then the entry is resolved. Whatever is lost on the way,
//! the same order placed again is the same launch.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use onsale_api::{CapacityPool, Reason, names, pool::Launch, time::whole_seconds};
use onsale_cloud::{CloudError, LaunchOrder, Launched};
use onsale_planner::snapshot::Pool;

use super::{
    Done, Job, Stop,
    ledger::{self, Lack},
    stale_or_failed,
};
use crate::{
    events::{self, Note},
    fleet::observe::{ages, owner},
};

/// Of 64 characters that EC2 allows for a token, what a sequence of 16 digits and the frame leave.
const LONGEST_UID: usize = 40;
/// The schema's bound on the ledger.
const MOST_ENTRIES: usize = 256;

/// What to launch.
pub struct Want<'a> {
    /// Instance type.
    pub instance_type: &'a str,
    /// Subnet.
    pub subnet: &'a str,
    /// Instances.
    pub count: i32,
}

/// The client token of a launch: never used twice, for sequences only rise.
fn token(uid: &str, sequence: i64) -> String {
    format!("onsale-{}-{sequence}", uid.chars().take(LONGEST_UID).collect::<String>())
}

/// Writes the entry, calls the cloud, resolves the entry.
pub async fn launch(job: &Job<'_>, pool: &Pool, want: &Want<'_>, newest: &mut Option<i64>) -> Result<Done, Stop> {
    let mut object = ledger::fresh(job, pool).await?;
    let expected = newest.unwrap_or(pool.status.last_sequence);
    let entry = new_entry(job, &mut object, want, expected)?;
    ledger::store(job, &object).await.map_err(stale_or_failed)?;
    *newest = Some(entry.sequence);
    job.world.ages.stamped(&entry.token);
    match place(job, pool, &object, &entry).await {
        Err(Stop::Refused(error)) => refuse(job, pool, &entry, error).await,
        other => other,
    }
}

/// Appends the entry, unless the ledger is not the one that the decision was made on.
fn new_entry(job: &Job<'_>, object: &mut CapacityPool, want: &Want<'_>, expected: i64) -> Result<Launch, Stop> {
    let name = object.metadata.name.clone().unwrap_or_default();
    let ec2 = object.spec.nodes.ec2.as_ref().ok_or_else(|| Stop::Stale(format!("CapacityPool {name} rents no nodes")))?;
    let protected = object.metadata.finalizers.iter().flatten().any(|f| f == names::FINALIZER);
    if !protected || object.metadata.deletion_timestamp.is_some() {
        return Err(Stop::Stale(format!("CapacityPool {name} is not protected by our finalizer, or is being deleted")));
    }
    let launch_template = ec2.launch_template.clone();
    let uid = object.metadata.uid.clone().unwrap_or_default();
    let status = object.status.get_or_insert_default();
    if status.last_sequence != expected || status.launches.len() >= MOST_ENTRIES {
        return Err(Stop::Stale(format!("the launch ledger of CapacityPool {name} has changed, or is full")));
    }
    let sequence = status.last_sequence + 1;
    let entry = Launch {
        sequence,
        token: token(&uid, sequence),
        instance_type: want.instance_type.to_owned(),
        subnet: want.subnet.to_owned(),
        launch_template,
        count: want.count,
        at: Time(whole_seconds(job.now)),
        resolved: false,
        answered_at: None,
        instances: Vec::new(),
    };
    status.last_sequence = sequence;
    status.launches.push(entry.clone());
    Ok(entry)
}

/// Calls the cloud again with an unresolved entry. One that is resolved by now needs nothing.
pub async fn replay(job: &Job<'_>, pool: &Pool, sequence: i64) -> Result<Done, Stop> {
    let object = ledger::fresh(job, pool).await?;
    let entries = object.status.iter().flat_map(|s| &s.launches);
    let Some(entry) = entries.clone().find(|e| e.sequence == sequence && !e.resolved).cloned() else { return Ok(Done::Yes) };
    match place(job, pool, &object, &entry).await {
        // Whether the first call launched something, a refusal of the second does not tell: tags will, once lists are sure to show it.
        Err(Stop::Refused(error)) if says_nothing_of_the_first(&error) && !is_old(job, &entry) => Err(Stop::Unanswered(error)),
        Err(Stop::Refused(error)) => refuse(job, pool, &entry, error).await,
        other => other,
    }
}

const fn says_nothing_of_the_first(error: &CloudError) -> bool {
    matches!(error, CloudError::Unauthorized { .. } | CloudError::Invalid { .. })
}

fn is_old(job: &Job<'_>, entry: &Launch) -> bool {
    job.now.duration_since(entry.at.0) > SignedDuration::try_from(job.context.config.ledger_grace).unwrap_or(SignedDuration::MAX)
}

/// Calls the cloud and resolves the entry; a final refusal is left to the caller.
async fn place(job: &Job<'_>, pool: &Pool, object: &CapacityPool, entry: &Launch) -> Result<Done, Stop> {
    let ec2 = object.spec.nodes.ec2.as_ref().ok_or_else(|| Stop::Stale(format!("CapacityPool {} rents no nodes", pool.name)))?;
    let order = LaunchOrder {
        owner: owner(object, &ec2.region),
        sequence: entry.sequence,
        token: entry.token.clone(),
        instance_type: entry.instance_type.clone(),
        subnet: entry.subnet.clone(),
        launch_template: entry.launch_template.clone(),
        count: entry.count,
    };
    match job.cloud_call("launch", job.context.cloud.launch(&order)).await {
        Ok(launched) => resolve(job, pool, entry, &launched).await,
        Err(error) if error.is_final() => Err(Stop::Refused(error)),
        Err(error) => Err(Stop::Unanswered(error)),
    }
}

async fn resolve(job: &Job<'_>, pool: &Pool, entry: &Launch, launched: &Launched) -> Result<Done, Stop> {
    let got = i32::try_from(launched.instances.len()).unwrap_or(i32::MAX);
    let (instance_type, place) = (entry.instance_type.clone(), entry.subnet.clone());
    let short = CloudError::InsufficientCapacity { instance_type, place };
    let message = format!("{short}: {got} of {} were launched", entry.count);
    ledger::change(job, pool, |status| {
        let Some(mine) = status.launches.iter_mut().find(|e| e.sequence == entry.sequence && !e.resolved) else { return false };
        (mine.resolved, mine.answered_at) = (true, Some(Time(whole_seconds(job.now))));
        mine.instances.clone_from(&launched.instances);
        if got < entry.count {
            let lack = Lack { instance_type: &entry.instance_type, subnet: None, reason: short.reason(), message: message.clone() };
            ledger::note_shortfall(status, &lack, &short, job.now);
        } else {
            ledger::end_shortfall(status, &entry.instance_type, &entry.subnet);
        }
        true
    })
    .await?;
    job.world.ages.stamped(&ages::answer_of(&entry.token));
    job.world.instances.launched(&pool.uid);
    let text = format!("launched {got} of {} {} in {}", entry.count, entry.instance_type, entry.subnet);
    say(job, pool, Reason::Launched, false, text);
    if got < entry.count { Err(Stop::Refused(short)) } else { Ok(Done::Yes) }
}

/// Nothing was launched: the entry goes, and the pool is short.
async fn refuse(job: &Job<'_>, pool: &Pool, entry: &Launch, error: CloudError) -> Result<Done, Stop> {
    ledger::change(job, pool, |status| {
        let before = status.launches.len();
        status.launches.retain(|e| e.sequence != entry.sequence || e.resolved);
        if status.launches.len() == before {
            return false;
        }
        // Addresses are the subnet's, whatever the type; everything else is the type's, for the subnets of a pool are all in its zone.
        let (instance_type, subnet) = match &error {
            CloudError::AddressesExhausted { .. } => ("*", Some(entry.subnet.as_str())),
            _ => (entry.instance_type.as_str(), None),
        };
        let lack = Lack { instance_type, subnet, reason: error.reason(), message: error.to_string() };
        ledger::note_shortfall(status, &lack, &error, job.now);
        true
    })
    .await?;
    say(job, pool, error.reason(), true, error.to_string());
    Err(Stop::Refused(error))
}

pub(super) fn say(job: &Job<'_>, pool: &Pool, reason: Reason, warning: bool, text: String) {
    let about = events::pool(&pool.name, &pool.uid);
    job.context.say(Note { about, reason, warning, text, at: job.now });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_fit_into_what_ec2_allows_and_never_repeat() {
        let uid = "0123abcd-0123-0123-0123-0123456789ab";
        assert!(token(uid, 9_999_999_999_999_999).len() <= 64);
        assert_ne!(token(uid, 1), token(uid, 11));
        assert!(token(&"u".repeat(99), 12).ends_with("-12"));
    }
}
