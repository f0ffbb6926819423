//! Note that somebody else lowered the floor's field, before it is written again: the pause between tries derives from this.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, api::Patch, core::DeserializeGuard};
use onsale_api::{WorkloadPlacement, names, placement::Contest, time::whole_seconds};
use onsale_planner::snapshot::WorkloadId;
use serde_json::json;

use super::{Done, Job, Stop, as_manager, stale_or_failed};

/// Counts one more time.
pub async fn note(job: &Job<'_>, id: &WorkloadId, manager: &str, value: i32) -> Result<Done, Stop> {
    let api: Api<WorkloadPlacement> = Api::namespaced(job.context.client.clone(), &id.namespace);
    let old = job.seen.workload(id).and_then(|w| w.placement.as_ref()).and_then(|p| p.status.contest.as_ref());
    let count = old.map_or(0, |c| c.count).saturating_add(1);
    let contest = Contest { manager: manager.to_owned(), value, count, last: Time(whole_seconds(job.now)) };
    let (name, patch) = (id.placement_name(), Patch::Merge(json!({"status": {"contest": contest}})));
    let what = format!("note a foreign write in WorkloadPlacement {}/{name}", id.namespace);
    let params = as_manager(names::MANAGER);
    let written = job.context.call(what, api.patch_status(&name, &params, &patch)).await.map_err(stale_or_failed)?;
    job.world.placements.written(DeserializeGuard(Ok(written)));
    Ok(Done::Yes)
}
