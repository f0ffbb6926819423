//! One sale from its declaration to the last node's leaving: declared, awaited, watched, and judged from outside.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use jiff::{SignedDuration, Timestamp};
use onsale_api::time::whole_seconds;
use onsale_api::{OnSaleStatus, Phase};

use super::before::{self, Before};
use super::report::{Calls, Report};
use super::story::Story;
use super::tell::Teller;
use super::view::View;
use super::way_back::Watcher;
use super::world::{Scene, Spread, World};
use crate::ec2::Call;
use crate::operator::{NAMESPACE, RELEASE};
use crate::progress::Progress;
use crate::{Bed, audit, wait_for};

/// How often the world is looked at: instants in the report are this exact.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Between declaring the sale and its computed start: time to read the plan.
const CURTAIN: SignedDuration = SignedDuration::from_secs(6);
/// The plan is written within a second or two.
const SOON: Duration = Duration::from_secs(30);
/// The way back may take this much longer than `returnOver` before it counts as stuck.
const STUCK: Duration = Duration::from_secs(90);
/// The audit log is this late at most, and a little.
const AUDIT_LAG: Duration = Duration::from_millis(1500);

/// What plays when the curtain rises.
pub struct Night<'a> {
    /// The bed, its stage built and the operator running.
    pub bed: &'a Bed,
    /// The story.
    pub story: &'a Story,
    /// Name of the operator's process.
    pub operator: &'a str,
    /// Where steps are shown.
    pub progress: Progress,
    /// Where the night is shown.
    pub view: View,
}

/// What was seen on the way.
struct Seen {
    ready_at: Option<Timestamp>,
    /// The first plan that was complete, while next to nothing was bound on rented nodes.
    first_plan: Option<Spread>,
    at_opening: Option<Scene>,
    nodes_peak: usize,
    way_back: Watcher,
}

impl Night<'_> {
    /// Plays it. `during` is called at every look, to change the world as it goes (load, faults).
    pub async fn play(mut self, mut during: impl FnMut(&Scene) -> Result<()>) -> Result<Report> {
        let began = Timestamp::now();
        let first_call = self.bed.ec2()?.calls(0).await?.last().map_or(0, |call| call.n);
        let before = Before::remember(self.bed, self.story).await?;
        let step = self.progress.step("kubectl apply -f examples/pools.yaml: the places where the shop may run");
        self.bed.apply(&self.story.pools_manifest()?).await?;
        step.done();
        let world = World::watch(&self.bed.client(), self.story).await?;
        let opens_at = self.declare(&world).await?;
        let (seen, status) = self.watch(&world, opens_at, &mut during).await?;
        let step = self.progress.step("comparing everything with how it was");
        let left = before::left_behind(self.bed, self.story, &before).await?;
        step.done();
        let end = world.scene(Timestamp::now());
        tokio::time::sleep(AUDIT_LAG).await;
        self.report(Evidence { began, first_call, opens_at, seen, status, left, end }).await
    }

    /// Declares the sale for the day after tomorrow, reads what the operator plans, and moves the opening to the earliest instant that leaves it its lead time.
    async fn declare(&self, world: &World) -> Result<Timestamp> {
        let step = self.progress.step("kubectl apply -f examples/stadium-tour.yaml: the sale, still far away");
        let far = whole_seconds(Timestamp::now() + SignedDuration::from_hours(48));
        self.bed.apply(&self.story.sale_manifest(far)?).await?;
        let far = planned(world, far).await?;
        let (Some(ready_by), Some(starts_at)) = (&far.ready_by, &far.starts_at) else { bail!("the plan has no instants: {far:?}") };
        let lead = ready_by.0.duration_since(starts_at.0);
        step.done();
        let step = self.progress.step("the same sale, its opening moved to tonight");
        let opens_at = whole_seconds(Timestamp::now() + CURTAIN + lead + self.story.ready_before()? + SignedDuration::from_millis(999));
        self.bed.apply(&self.story.sale_manifest(opens_at)?).await?;
        planned(world, opens_at).await?;
        step.done();
        Ok(opens_at)
    }

    async fn watch(
        &mut self,
        world: &World,
        opens_at: Timestamp,
        during: &mut impl FnMut(&Scene) -> Result<()>,
    ) -> Result<(Seen, OnSaleStatus)> {
        let mut seen = Seen { ready_at: None, first_plan: None, at_opening: None, nodes_peak: 0, way_back: Watcher::new(self.story) };
        let mut teller = Teller::default();
        let mut over: Option<Instant> = None;
        loop {
            let scene = world.scene(Timestamp::now());
            during(&scene)?;
            teller.tell(&scene, &mut self.view);
            self.view.show(&scene);
            seen.nodes_peak = seen.nodes_peak.max(scene.nodes());
            if seen.ready_at.is_none() && scene.all_ready() {
                seen.ready_at = Some(scene.at);
            }
            if seen.first_plan.is_none() {
                seen.first_plan = complete(world.planned(), &scene);
            }
            if seen.at_opening.is_none() && scene.at >= opens_at {
                seen.at_opening = Some(scene.clone());
            }
            seen.way_back.see(&scene);
            let phase = scene.sale.phase.unwrap_or_default();
            if matches!(phase, Phase::Completed | Phase::Missed | Phase::Cancelled | Phase::Invalid) {
                return Ok((seen, scene.sale));
            }
            self.check(&scene, &mut over)?;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The operator lives, and the way back does not take for ever.
    fn check(&self, scene: &Scene, over: &mut Option<Instant>) -> Result<()> {
        self.bed.processes().check(self.operator)?;
        let return_over = self.story.sale.pointer("/spec/returnOver").and_then(|v| v.as_str()).unwrap_or("30m");
        let return_over = self.story.lapse(return_over.parse::<onsale_api::GoDuration>()?.get()).unsigned_abs();
        if scene.sale.ends_at.as_ref().is_some_and(|ends_at| scene.at >= ends_at.0) {
            let since = over.get_or_insert_with(Instant::now);
            if since.elapsed() > return_over + STUCK {
                bail!("the way back is stuck: {:?}", scene.sale);
            }
        }
        Ok(())
    }

    async fn report(&self, found: Evidence) -> Result<Report> {
        let Evidence { began, first_call, opens_at, seen, status, left, end } = found;
        let ready_by = status.ready_by.as_ref().map_or(opens_at, |t| t.0);
        let calls: Vec<Call> = self.bed.ec2()?.calls(first_call).await?.into_iter().filter(|call| call.service == "ec2").collect();
        let user = format!("system:serviceaccount:{NAMESPACE}:{RELEASE}");
        let mut requests = audit::requests(self.bed.dir(), &user)?;
        requests.retain(|request| request.at >= began);
        let until = seen.ready_at.unwrap_or(opens_at);
        let told = status.report.unwrap_or_default();
        let on_time = seen.ready_at.is_some_and(|at| at <= ready_by) && told.on_time;
        let opening = seen.at_opening.unwrap_or_else(|| end.clone());
        let by_workload = opening.spread();
        let mut by_pool: BTreeMap<String, usize> = opening.pools.iter().map(|pool| (pool.name.clone(), 0)).collect();
        for (pool, n) in by_workload.values().flatten() {
            *by_pool.entry(pool.clone()).or_default() += n;
        }
        let launched: u32 = calls.iter().filter_map(|call| call.launched).sum();
        let instances_left = self.bed.ec2()?.instances().await?.iter().filter(|instance| instance.state != "terminated").count();
        let mut report = Report {
            factor: self.story.factor,
            opens_at,
            ready_by,
            ready_at: seen.ready_at,
            on_time,
            seconds_to_spare: seen.ready_at.map(|at| ready_by.duration_since(at).as_secs_f64()),
            replicas_wanted: opening.peak(),
            replicas_ready: opening.ready(),
            misplaced: misplaced(&by_workload, &seen.first_plan.unwrap_or_default()),
            misplaced_peak: usize::try_from(told.misplaced_peak).unwrap_or_default(),
            replicas_by_pool: by_pool,
            replicas_by_workload: by_workload,
            nodes_peak: seen.nodes_peak,
            rented_nodes_peak: usize::try_from(told.nodes_peak).unwrap_or_default(),
            instances_launched: usize::try_from(launched).unwrap_or_default(),
            instances_left,
            restored: left.is_empty() && told.restored,
            way_back: seen.way_back.verdict(&end),
            api_calls: audit::count(&requests).into(),
            api_calls_until_ready: audit::count(requests.iter().filter(|request| request.at <= until)).into(),
            ec2_calls: actions(calls.iter()),
            ec2_calls_until_ready: actions(calls.iter().filter(|call| call.at <= until)),
            first_launch_at: calls.iter().find(|call| call.action == "RunInstances").map(began_at),
            operator_peak_memory_bytes: peak_memory(self.bed, self.operator),
            pools: opening.pools.iter().map(|pool| pool.name.clone()).collect(),
            problems: left,
        };
        judge(&mut report, status.phase);
        Ok(report)
    }
}

/// What the report is written from.
struct Evidence {
    began: Timestamp,
    first_call: u64,
    opens_at: Timestamp,
    seen: Seen,
    status: OnSaleStatus,
    left: Vec<String>,
    end: Scene,
}

/// Waits until the status speaks of the sale that opens then.
async fn planned(world: &World, opens_at: Timestamp) -> Result<OnSaleStatus> {
    wait_for("the operator has planned the sale", SOON, async || {
        let status = world.status();
        let of_it = status.observed_generation == world.generation() && status.opens_at.as_ref().is_some_and(|at| at.0 == opens_at);
        if of_it && status.starts_at.is_some() { Ok(Some(status)) } else { bail!("the status is {status:?}") }
    })
    .await
}

/// The plan, if it has a place for every replica of the peak.
fn complete(plan: Spread, scene: &Scene) -> Option<Spread> {
    let all = scene.workloads.iter().all(|w| plan.get(&w.name).is_some_and(|pools| pools.values().sum::<usize>() >= w.peak));
    all.then_some(plan)
}

/// Replicas beyond what the plan wants in their pool.
fn misplaced(found: &Spread, plan: &Spread) -> usize {
    let wanted = |workload: &str, pool: &str| plan.get(workload).and_then(|pools| pools.get(pool)).copied().unwrap_or_default();
    found.iter().flat_map(|(workload, pools)| pools.iter().map(move |(pool, n)| n.saturating_sub(wanted(workload, pool)))).sum()
}

fn began_at(call: &Call) -> Timestamp {
    SignedDuration::try_from_secs_f64(call.seconds).map_or(call.at, |took| call.at - took)
}

fn actions<'a>(calls: impl Iterator<Item = &'a Call>) -> Calls {
    let mut by = BTreeMap::new();
    for call in calls {
        *by.entry(call.action.clone()).or_default() += 1;
    }
    by.into()
}

/// Most memory that the process ever held.
fn peak_memory(bed: &Bed, name: &str) -> Option<u64> {
    let id = bed.processes().ids().get(name).copied()?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn judge(report: &mut Report, phase: Option<Phase>) {
    let mut found = Vec::new();
    if phase != Some(Phase::Completed) {
        found.push(format!("the sale ended as {phase:?}"));
    }
    match report.ready_at {
        None => found.push("not everything was ever Ready".into()),
        Some(_) if !report.on_time => found.push("late: not everything was Ready at ready-by".into()),
        Some(_) => {}
    }
    if report.replicas_ready < report.replicas_wanted {
        found.push(format!("only {} of {} replicas were Ready at T0", report.replicas_ready, report.replicas_wanted));
    }
    if report.misplaced + report.misplaced_peak > 0 {
        found.push(format!("{} replicas misplaced at T0, {} at most by the operator's count", report.misplaced, report.misplaced_peak));
    }
    if report.instances_left > 0 {
        found.push(format!("{} instances are left", report.instances_left));
    }
    let back = &report.way_back;
    if back.at_home != back.wanted_at_home || back.fewest_at_home < back.wanted_at_home {
        found.push(format!(
            "on the way back {} of {} replicas came home, and once only {} were there",
            back.at_home, back.wanted_at_home, back.fewest_at_home
        ));
    }
    if back.out_of_turn > 0 {
        found.push(format!("on the way back {} replicas stayed although nearer ones had gone", back.out_of_turn));
    }
    if !report.restored {
        found.push("not everything is as it was".into());
    }
    report.problems.splice(0..0, found);
}
