//! A small night to break: one workload, two pools, one sale that is Live. Everything starts allowed and good.
//!
//! 10 of 40 replicas run on `near-1`; the plan fills the two near nodes with 12 each and two new far ones with 15 and 1.

mod parts;

use std::collections::BTreeMap;

use jiff::Timestamp;
use onsale_api::{Phase, Reason, onsale::Entered};
use onsale_planner::{
    Chain, Plan, Snapshot,
    plan::{Forecast, Stage, Times, Waiting},
    snapshot::{Instance, Placement, Pod},
    steps::{ChainKey, Step},
};

use crate::{Rule, Violation, check, check_steps};
use parts::{at, far_pool, id, near_pool, node, pod, pool_plans, sale, sale_plan, time, workload, workload_plan};
pub use parts::{floor_field, record};

/// A world, a plan for it and steps, to be changed and judged.
pub struct Night {
    seen: Snapshot,
    plan: Plan,
    now: Timestamp,
    chains: Vec<Chain>,
}

/// The night as it should be.
pub fn night() -> Night {
    let seen = Snapshot {
        sales: vec![sale()],
        pools: vec![near_pool(), far_pool()],
        workloads: vec![workload()],
        nodes: Some(vec![node("near-1", "near", None), node("near-2", "near", None)]),
        namespaces: [("shop".to_owned(), [("team".to_owned(), "tickets".to_owned())].into())].into(),
        ..Snapshot::default()
    };
    let plan =
        Plan { sales: vec![sale_plan()], workloads: vec![workload_plan()], pools: pool_plans(), forecasts: Vec::new(), next_change: None };
    Night { seen, plan, now: at("2026-12-05T17:30:00Z"), chains: Vec::new() }
}

impl Night {
    pub fn seen(mut self, change: impl FnOnce(&mut Snapshot)) -> Self {
        change(&mut self.seen);
        self
    }
    pub fn plan(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.plan);
        self
    }
    pub fn at(mut self, now: &str) -> Self {
        self.now = at(now);
        self
    }
    pub fn parts(self) -> (Snapshot, Plan) {
        (self.seen, self.plan)
    }

    /// The far pool has so many instances that are no nodes yet.
    pub fn instances(self, n: i32) -> Self {
        let one = |i| Instance {
            id: format!("i-{i}"),
            instance_type: "c6i.4xlarge".into(),
            leaving: false,
            stopped: false,
            launched_at: at("2026-12-05T16:30:00Z"),
        };
        self.seen(|s| s.pools[1].instances = Some((0..n).map(one).collect()))
    }
    /// An instance has become a node.
    pub fn joined(self, instance: &str, name: &str) -> Self {
        let node = node(name, "far", Some(instance.to_owned()));
        self.seen(|s| s.nodes.as_mut().unwrap().push(node))
    }
    /// So many pods run, all on one node.
    pub fn running(self, n: i32, node: &str) -> Self {
        self.seen(|s| s.workloads[0].pods = (0..n).map(|i| pod(i, Some(node))).collect())
    }
    /// Nothing new comes to the near pool: the 10 that run there stay, the other 30 are planned on two far nodes.
    pub fn near_stays(self) -> Self {
        self.plan(|p| {
            p.workloads[0].by_pool = BTreeMap::from([("near".to_owned(), 10), ("far".to_owned(), 30)]).into();
            p.workloads[0].distances.remove(0);
            p.workloads[0].distances[0].rank = 0;
            p.workloads[0].permitted = vec!["far".into()];
            let overlay = p.workloads[0].overlay.as_mut().unwrap();
            overlay.required.remove(0);
            overlay.preferred.remove(0);
            overlay.zone_costs.remove(0);
            p.sales[0].pools.remove(0);
            p.pools[0].fills.pop();
            p.pools[0].fills[0].replicas = [(0, 10)].into();
            p.pools[1].fills[1].replicas = [(0, 15)].into();
        })
    }
    /// One more pod that is not bound, with this stamp.
    pub fn unbound(self, revision: Option<i64>) -> Self {
        let created_at = self.now;
        self.seen(|s| s.workloads[0].pods.push(Pod { revision, created_at, ..pod(10, None) }))
    }
    /// The intent is recorded.
    pub fn recorded(self) -> Self {
        self.seen(|s| s.workloads[0].placement = Some(Placement { spec: record(), status: Default::default() }))
    }
    /// Another sale waits that starts five minutes before this ready-by, and needs these nodes: pool, instance type and count.
    pub fn follow(self, ready_by: &str, nodes: &[(&str, &str, i32)]) -> Self {
        let (ready_by, mut next, mut of) = (at(ready_by), sale(), sale_plan());
        (next.id.name, next.uid, next.status) = ("next".to_owned(), "uid-next".to_owned(), Default::default());
        let opens_at = ready_by + next.spec.ready_before.get();
        next.spec.opens_at = opens_at.to_string();
        let starts_at = ready_by - jiff::SignedDuration::from_mins(5);
        of.times = Some(Times { opens_at, ready_by, starts_at, ends_at: opens_at + next.spec.duration.get() });
        (of.id, of.phase, of.entered) = (next.id.clone(), Phase::Scheduled, Entered::default());
        let mut forecast = Forecast { sale: next.id.clone(), workloads: Vec::new(), nodes: Default::default() };
        for (pool, instance_type, n) in nodes {
            forecast.nodes.entry((*pool).to_owned()).or_default().insert((*instance_type).to_owned(), *n);
        }
        self.seen(|s| s.sales.push(next)).plan(|p| {
            p.sales.push(of);
            p.forecasts.push(forecast);
        })
    }
    /// The far pool's limit.
    pub fn limit(self, max: i32) -> Self {
        self.seen(|s| s.pools[1].spec.limits.as_mut().unwrap().max_nodes = Some(max))
    }
    /// One far node and its `n` replicas less, with a reason.
    pub fn unplaced(self, n: i32) -> Self {
        let why = || Waiting { reason: Reason::LimitReached, message: "pool far is at its limit".into(), until: None };
        self.plan(|p| {
            p.pools[1].fills.pop();
            p.pools[1].wanted.insert("c6i.4xlarge".into(), 1);
            p.pools[1].planned = 1;
            *p.workloads[0].by_pool.get_mut("far").unwrap() -= n;
            (p.workloads[0].unplaced, p.workloads[0].floor, p.sales[0].unplaced) = (n, 40 - n, n);
            p.workloads[0].problems.push(why());
            p.sales[0].waiting_for.push(why());
        })
    }
    /// The sale is Preparing.
    pub fn preparing(self) -> Self {
        self.plan(|p| {
            p.sales[0].phase = Phase::Preparing;
            p.sales[0].entered = Entered { preparing: time("2026-12-05T15:50:00Z"), ..Entered::default() };
            (p.workloads[0].stage, p.workloads[0].released) = (Stage::Preparing, 2);
        })
    }
    /// The sale is over and returns: of its 30 it holds 18 when a third of the way is gone.
    pub fn over(self) -> Self {
        let night = self.at("2026-12-05T18:10:00Z").seen(|s| s.sales[0].status.phase = Some(Phase::Live));
        night.plan(|p| {
            p.sales[0].phase = Phase::Returning;
            p.sales[0].entered.returning = time("2026-12-05T18:00:00Z");
            p.workloads[0].stage = Stage::Returning;
            (p.workloads[0].claims[0].extra, p.workloads[0].floor) = (18, 28);
            p.pools[1].wanted.clear();
            p.pools[1].fills.clear();
            p.workloads[0].by_pool.remove("far");
        })
    }
    /// The sale was called off and is back.
    pub fn called_off(self) -> Self {
        self.seen(|s| (s.sales[0].deleting, s.sales[0].status.phase) = (true, Some(Phase::Returning))).plan(|p| {
            p.sales[0].phase = Phase::Cancelled;
            let work = &mut p.workloads[0];
            (work.stage, work.floor, work.overlay) = (Stage::Idle, 10, None);
            work.claims.clear();
            work.by_pool.clear();
            work.permitted.clear();
            p.pools[1].wanted.clear();
            p.pools.iter_mut().for_each(|pool| pool.fills.clear());
        })
    }
    /// Only the near pool is permitted by the overlay's terms, and the far one by none.
    pub fn near_only(self) -> Self {
        self.plan(|p| {
            p.workloads[0].stage = Stage::Preparing;
            p.workloads[0].released = 1;
            p.workloads[0].permitted = vec!["near".into()];
            let overlay = p.workloads[0].overlay.as_mut().unwrap();
            overlay.required.truncate(1);
            overlay.tolerated.clear();
        })
    }

    pub fn chain(mut self, key: ChainKey, steps: Vec<Step>) -> Self {
        self.chains.push(Chain { key, steps });
        self
    }
    pub fn sale_steps(self, steps: Vec<Step>) -> Self {
        let key = ChainKey::Sale(self.seen.sales[0].id.clone());
        self.chain(key, steps)
    }
    pub fn pool_steps(self, steps: Vec<Step>) -> Self {
        self.chain(ChainKey::Pool("far".into()), steps)
    }
    pub fn workload_steps(self, steps: Vec<Step>) -> Self {
        let key = ChainKey::Workload(id());
        self.chain(key, steps)
    }

    fn judge(&self) -> Vec<Violation> {
        let mut found = check(&self.seen, &self.plan, self.now);
        found.extend(check_steps(&self.seen, &self.plan, self.now, &self.chains));
        found
    }
    #[track_caller]
    pub fn passes(self) {
        let found = self.judge();
        assert!(found.is_empty(), "{}", found.iter().map(|v| format!("{v}\n")).collect::<String>());
    }
    pub fn finds(&self, rule: Rule) -> bool {
        self.judge().iter().any(|v| v.rule == rule)
    }
    #[track_caller]
    pub fn breaks(self, rule: Rule) {
        let found = self.judge();
        assert!(found.iter().any(|v| v.rule == rule), "{rule:?} is not among {found:#?}");
    }
}
