//! `DescribeInstances`: always filtered, always paged. An error is never an empty list, and half a list is an error.
//!
//! EC2 takes `*` and `?` in a filter for wildcards: tags are compared once more here, because what a list shows may be terminated.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::{
    Client,
    types::{Filter, Instance as Found, InstanceStateName as Name},
};
use jiff::Timestamp;
use onsale_api::names;
use onsale_cloud::{CloudError, Instance, InstanceState};

use crate::errors::Failure;

/// Instances in one page, of 1000 allowed: about 3 MB of XML.
const PAGE: i32 = 500;
/// Every state but terminated.
const ALIVE: [Name; 5] = [Name::Pending, Name::Running, Name::ShuttingDown, Name::Stopping, Name::Stopped];

/// The pool's instances, terminated ones included while EC2 shows them.
pub(crate) async fn list(client: &Client, cluster: &str, pool_uid: &str) -> Result<Vec<Instance>, CloudError> {
    let filters = vec![tagged(names::TAG_CLUSTER, cluster), tagged(names::TAG_POOL, pool_uid)];
    let found = find(client, filters).await?;
    found.iter().filter(|i| has(i, names::TAG_CLUSTER, cluster) && has(i, names::TAG_POOL, pool_uid)).map(instance).collect()
}

/// The cluster's instances that are not terminated, with the UIDs of their pools.
pub(crate) async fn list_cluster(client: &Client, cluster: &str) -> Result<Vec<(String, Instance)>, CloudError> {
    let found = find(client, vec![tagged(names::TAG_CLUSTER, cluster), alive()]).await?;
    let mut owned = Vec::with_capacity(found.len());
    for each in found.iter().filter(|i| has(i, names::TAG_CLUSTER, cluster)) {
        match tag(each, names::TAG_POOL) {
            Some(uid) => owned.push((uid.to_owned(), instance(each)?)),
            None => tracing::warn!(instance = each.instance_id, "carries the cluster's tag but no pool's: left alone"),
        }
    }
    Ok(owned)
}

/// IDs of what a launch made, terminated or not.
pub(crate) async fn of_launch(client: &Client, cluster: &str, pool_uid: &str, sequence: i64) -> Result<Vec<String>, CloudError> {
    let launch = sequence.to_string();
    let tags = [(names::TAG_CLUSTER, cluster), (names::TAG_POOL, pool_uid), (names::TAG_LAUNCH, launch.as_str())];
    let found = find(client, tags.map(|(key, value)| tagged(key, value)).to_vec()).await?;
    Ok(found.into_iter().filter(|i| tags.iter().all(|(key, value)| has(i, key, value))).filter_map(|i| i.instance_id).collect())
}

/// Which of the instances EC2 shows, and whether they are terminated. By filter: asked for by ID, one that is unknown would fail the call.
pub(crate) async fn terminated(client: &Client, ids: &[String]) -> Result<BTreeMap<String, bool>, CloudError> {
    let filter = Filter::builder().name("instance-id").set_values(Some(ids.to_vec())).build();
    let found = find(client, vec![filter]).await?;
    Ok(found.into_iter().filter_map(|i| Some((i.instance_id.clone()?, state(&i) == Some(&Name::Terminated)))).collect())
}

/// Every instance of the region that is pending or running, whosever it is, each once.
pub(crate) async fn running(client: &Client, mut each: impl FnMut(&Found)) -> Result<(), CloudError> {
    let states = [Name::Pending, Name::Running].map(|s| s.as_str().to_owned()).to_vec();
    let filter = Filter::builder().name("instance-state-name").set_values(Some(states)).build();
    let mut seen = BTreeSet::new();
    pages(client, vec![filter], |id, found| {
        if seen.insert(id) {
            each(&found);
        }
    })
    .await
}

/// It is one of the cluster's pools': it carries both tags.
pub(crate) fn is_of_a_pool(found: &Found, cluster: &str) -> bool {
    has(found, names::TAG_CLUSTER, cluster) && tag(found, names::TAG_POOL).is_some()
}

/// All pages, one entry for each ID.
async fn find(client: &Client, filters: Vec<Filter>) -> Result<Vec<Found>, CloudError> {
    let mut found = BTreeMap::new();
    pages(client, filters, |id, each| drop(found.insert(id, each))).await?;
    Ok(found.into_values().collect())
}

/// All pages. Not by the SDK's paginator, which takes a page that points to itself for the end.
async fn pages(client: &Client, filters: Vec<Filter>, mut each: impl FnMut(String, Found)) -> Result<(), CloudError> {
    let mut token: Option<String> = None;
    loop {
        let page = client.describe_instances().set_filters(Some(filters.clone())).max_results(PAGE).set_next_token(token.clone());
        let page = page.send().await.map_err(Failure::from)?;
        for found in page.reservations.unwrap_or_default().into_iter().flat_map(|r| r.instances.unwrap_or_default()) {
            each(found.instance_id.clone().ok_or_else(|| incomplete("?", "an ID"))?, found);
        }
        match page.next_token.filter(|t| !t.is_empty()) {
            None => return Ok(()),
            next if next == token => return Err(CloudError::Unavailable { message: "DescribeInstances repeats a page".to_owned() }),
            next => token = next,
        }
    }
}

/// As the seam sees it. A field that EC2 always sends is not made up.
fn instance(found: &Found) -> Result<Instance, CloudError> {
    let state = match state(found) {
        Some(Name::Terminated) => InstanceState::Gone,
        Some(Name::Running) => InstanceState::Running,
        Some(Name::Stopping | Name::Stopped) => InstanceState::Stopped,
        Some(Name::ShuttingDown) => InstanceState::Leaving,
        // A state that is new to us counts like one that is coming: nothing is launched on a guess.
        _ => InstanceState::Pending,
    };
    complete(found, state)
}

fn complete(found: &Found, state: InstanceState) -> Result<Instance, CloudError> {
    let id = found.instance_id().ok_or_else(|| incomplete("?", "an ID"))?;
    let at = found.launch_time().and_then(|t| Timestamp::new(t.secs(), i32::try_from(t.subsec_nanos()).ok()?).ok());
    Ok(Instance {
        id: id.to_owned(),
        instance_type: found.instance_type().ok_or_else(|| incomplete(id, "a type"))?.as_str().to_owned(),
        zone: found.placement().and_then(|p| p.availability_zone()).ok_or_else(|| incomplete(id, "a zone"))?.to_owned(),
        state,
        launched_at: at.ok_or_else(|| incomplete(id, "a launch time"))?,
        sequence: tag(found, names::TAG_LAUNCH).and_then(|s| s.parse().ok()).unwrap_or_default(),
    })
}

fn incomplete(id: &str, what: &str) -> CloudError {
    CloudError::Unavailable { message: format!("DescribeInstances shows {id} without {what}") }
}

fn state(found: &Found) -> Option<&Name> {
    found.state().and_then(|s| s.name())
}

fn tag<'a>(found: &'a Found, key: &str) -> Option<&'a str> {
    found.tags().iter().find(|t| t.key() == Some(key)).and_then(|t| t.value())
}

fn has(found: &Found, key: &str, value: &str) -> bool {
    tag(found, key) == Some(value)
}

fn tagged(key: &str, value: &str) -> Filter {
    Filter::builder().name(format!("tag:{key}")).values(value).build()
}

fn alive() -> Filter {
    Filter::builder().name("instance-state-name").set_values(Some(ALIVE.map(|s| s.as_str().to_owned()).to_vec())).build()
}
