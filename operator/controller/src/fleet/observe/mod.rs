//! Observe: from watches and cloud reads to the planner's snapshot. Unknown is not empty: what has not been read yet is said to be so.
//!
//! - [`store`], [`watch`]: one stream and one store of slim records per kind; [`slim`]: objects that never were more
//! - [`sale`], [`asleep`], [`custom`], [`pod`], [`node`], [`target`], [`scaler`], [`namespace`]: what is kept of each kind, read by the planner's `objects`
//! - [`scaled_object`]: what is read on demand; [`instances`], [`lister`], [`kept`]: what the cloud is asked for beside the passes, and what it keeps;
//!   [`together`]: its lists and the launch ledger; [`ages`]: how old they are, whatever the wall clock does; [`facts`]: free addresses and quotas
//! - [`snapshot`]: all of it together; [`gaps`]: what is unknown, and what must wait because of it

pub mod ages;
pub mod asleep;
pub mod custom;
pub mod facts;
pub mod gaps;
pub mod instances;
pub mod kept;
pub mod lister;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod sale;
pub mod scaled_object;
pub mod scaler;
pub mod slim;
pub mod snapshot;
pub mod store;
pub mod target;
mod together;
pub mod watch;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use onsale_api::{CapacityPool, Phase, WorkloadPlacement};
use onsale_cloud::{CloudError, Owner};
use onsale_planner::{
    Snapshot,
    objects::own,
    snapshot::{Sale, WorkloadId},
};

use crate::{context::Context, metrics::Kind};

use self::{custom::Custom, gaps::Gaps, instances::Wanted, snapshot::Sales, store::Store};

/// Everything that is kept between passes: what the watches say, and what was read lately. Losing it costs a list, never an instance.
#[derive(Default)]
pub struct World {
    /// OnSales.
    pub sales: Store<sale::SaleRecord>,
    /// CapacityPools.
    pub pools: Store<Custom<CapacityPool>>,
    /// WorkloadPlacements.
    pub placements: Store<Custom<WorkloadPlacement>>,
    /// Nodes.
    pub nodes: Store<node::NodeRecord>,
    /// Pods.
    pub pods: Store<pod::PodRecord>,
    /// Deployments.
    pub deployments: Store<target::DeploymentRecord>,
    /// StatefulSets.
    pub stateful_sets: Store<target::StatefulSetRecord>,
    /// DaemonSets.
    pub daemon_sets: Store<target::DaemonSetRecord>,
    /// HPAs.
    pub scalers: Store<scaler::ScalerRecord>,
    /// Namespaces.
    pub namespaces: Store<namespace::NamespaceRecord>,
    /// Overlay PodTemplates.
    pub overlays: Store<namespace::OverlayRecord>,
    /// Instances.
    pub instances: instances::Instances,
    /// How old what the cloud gave us is.
    pub ages: ages::Ages,
    /// Free addresses and quotas.
    pub facts: facts::Facts,
    /// ScaledObjects.
    pub scaled_objects: scaled_object::ScaledObjects,
}

/// What a pass knows.
pub struct Observed {
    /// For the planner, and for chains that outlive the pass.
    pub snapshot: Arc<Snapshot>,
    /// What is unknown, and what must wait because of it.
    pub gaps: Gaps,
    /// Sales that nothing has to be done about, by phase: they are not in the snapshot.
    pub asleep: BTreeMap<Phase, usize>,
    /// More of these, whose status does not say so yet.
    pub untold: Vec<sale::Untold>,
    /// Generation of each pool's spec, by its name.
    pub pool_generations: BTreeMap<String, i64>,
    /// Why the instances of a pool are unknown, by its name.
    pub cloud_errors: BTreeMap<String, CloudError>,
}

/// Why there is nothing to plan with yet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Some watch that every plan depends on has not listed once.
    #[error("not listed yet: {kinds:?}")]
    NotListed {
        /// Which.
        kinds: Vec<Kind>,
    },
    /// The cloud has not said yet what some pool has, and this process has only begun.
    #[error("no word of the cloud yet about the instances of some pool")]
    NothingListed {
        /// How much longer that is worth waiting for.
        left: Duration,
    },
}

impl Error {
    /// When to look again, should nothing happen before.
    #[must_use]
    pub fn again_in(&self) -> Option<Duration> {
        match self {
            Self::NotListed { .. } => None,
            Self::NothingListed { left } => Some(*left),
        }
    }
}

impl World {
    /// Every watch has listed.
    pub fn synced(&self) -> bool {
        self.unlisted().is_empty()
            && [self.nodes.listed(), self.deployments.listed(), self.stateful_sets.listed(), self.daemon_sets.listed()].iter().all(|l| *l)
    }

    /// The kinds that every plan depends on and that are not known yet. Nodes are not among them (the planner knows unknown nodes), nor are
    /// Deployments and StatefulSets, which are a matter of the workloads of that kind, nor DaemonSets, whose pods are seen on the first node at the latest.
    fn unlisted(&self) -> Vec<Kind> {
        let all = [
            (Kind::OnSale, self.sales.listed()),
            (Kind::CapacityPool, self.pools.listed()),
            (Kind::WorkloadPlacement, self.placements.listed()),
            (Kind::Pod, self.pods.listed()),
            (Kind::HorizontalPodAutoscaler, self.scalers.listed()),
            (Kind::Namespace, self.namespaces.listed()),
            (Kind::PodTemplate, self.overlays.listed()),
        ];
        all.into_iter().filter(|(_, listed)| !listed).map(|(kind, _)| kind).collect()
    }
}

/// The world as it is known now, from the watches and the lister; only ScaledObjects are read here. `begun` is the monotonic time of the loop's start.
///
/// # Errors
/// While a watch that every plan depends on has not listed; and for a moment after the start, while the cloud has not been heard.
pub async fn observe(world: &World, context: &Context, begun: Duration, now: Timestamp) -> Result<Observed, Error> {
    let kinds = world.unlisted();
    if !kinds.is_empty() {
        return Err(Error::NotListed { kinds });
    }
    let mut gaps = Gaps::default();
    let mut sales = snapshot::sales(world, &context.config.settings, &mut gaps, now);
    world.instances.want(rented_pools(world, &sales.awake));
    let left = (begun + context.config.first_lists).saturating_sub(context.clock.monotonic());
    if !left.is_zero() && world.instances.awaited() {
        return Err(Error::NothingListed { left });
    }
    let workloads = snapshot::workload_ids(world, &sales);
    for (workload, why) in scaled_objects(world, context, &workloads).await {
        gaps.workloads.insert(workload, why);
    }
    let snapshot = Arc::new(snapshot::assemble(world, context, &mut sales, &workloads, &mut gaps, now));
    let generation = |e: &store::Entry<Custom<CapacityPool>>| e.record.object.as_ref().and_then(|p| p.metadata.generation);
    let generations = world.pools.read(|all| all.iter().filter_map(|((_, name), e)| Some((name.clone(), generation(e)?))).collect());
    let cloud_errors = snapshot.pools.iter().filter_map(|p| Some((p.name.clone(), world.instances.error(&p.uid)?))).collect();
    let Sales { asleep, untold, .. } = sales;
    Ok(Observed { snapshot, gaps, asleep, untold, pool_generations: generations.unwrap_or_default(), cloud_errors })
}

/// The rented pools whose instances matter: those with our finalizer or a ledger, for nothing is rented without, and all while a sale is active.
fn rented_pools(world: &World, sales: &[Sale]) -> Vec<Wanted> {
    let any_active = sales.iter().any(|sale| sale.status.phase.is_some_and(Phase::is_active));
    let wanted = |pool: &CapacityPool| {
        let ec2 = pool.spec.nodes.ec2.as_ref()?;
        let status = pool.status.clone().unwrap_or_default();
        let moving = !status.launches.is_empty() || status.nodes.launching + status.nodes.draining > 0;
        let protected = own::is_protected(&pool.metadata);
        let matters = moving || any_active || protected || status.nodes.planned > 0;
        let bare = !protected && status.launches.is_empty();
        matters.then(|| Wanted { owner: owner(pool, &ec2.region), expecting: moving, bare })
    };
    world.pools.read(|all| all.values().filter_map(|e| e.record.object.as_ref().and_then(wanted)).collect()).unwrap_or_default()
}

/// Whose a pool's instances are.
#[must_use]
pub fn owner(pool: &CapacityPool, region: &str) -> Owner {
    Owner {
        pool_uid: pool.metadata.uid.clone().unwrap_or_default(),
        pool_name: pool.metadata.name.clone().unwrap_or_default(),
        region: region.to_owned(),
    }
}

/// Reads the ScaledObjects that own the HPAs of these workloads; returns those that are not known, and why.
async fn scaled_objects(world: &World, context: &Context, workloads: &[WorkloadId]) -> Vec<(WorkloadId, String)> {
    let owned = world.scalers.read(|all| {
        let owner = |w: &WorkloadId| scaler::of(all, &w.namespace, w.kind, &w.name).and_then(|(_, hpa)| hpa.scaled_object.clone());
        workloads.iter().filter_map(|w| Some((w.clone(), owner(w)?))).collect::<Vec<_>>()
    });
    let reads = owned.unwrap_or_default().into_iter().map(|(workload, name)| async move {
        let result = world.scaled_objects.refresh(context, &workload.namespace, &name).await;
        let known = world.scaled_objects.get(&workload.namespace, &name).is_some();
        result.err().filter(|_| !known).map(|error| (workload, error.to_string()))
    });
    futures::future::join_all(reads).await.into_iter().flatten().collect()
}
