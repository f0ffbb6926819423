//! Go or no-go, what is missing, what stays when a sale is over or never is, and what is worth knowing.

use std::collections::BTreeSet;

use jiff::Timestamp;
use onsale_api::{Phase, Reason, onsale::Mode, time::whole_seconds};
use onsale_planner::{
    plan::{SalePlan, WorkloadPlan},
    snapshot::{SaleId, WorkloadId},
};

use super::{
    Missing, Verdict,
    build::{View, is_over},
    clock, missing,
    timeline::span,
};
use crate::rehearsal::{Sample, Shortage, Stay, What};

impl View<'_> {
    /// As the condition `Feasible` says it; besides, a sale that opened before it was seen is too late, and one whose nodes would stay for ever is none to start.
    pub(super) fn verdict(&self) -> (Verdict, String) {
        let told = self.told;
        let go = |text: &str| (Verdict::Go, text.to_owned());
        let late = told.times.zip(told.predicted_ready_at).filter(|(times, at)| *at > times.ready_by);
        let stay = self.night.stays.get(&told.id).filter(|stay| !stay.nodes.is_empty());
        match told.phase {
            Phase::Invalid => (Verdict::NoGo, told.invalid.as_ref().map_or_else(String::new, |w| w.message.clone())),
            Phase::Missed => {
                let ended = told.times.map_or_else(String::new, |t| format!(" at {}", self.stamp(t.ends_at)));
                (Verdict::NoGo, format!("its window was over{ended}: nothing would be done. Correct opensAt, or remove the sale"))
            }
            Phase::Completed => go("it is over, and everything is back"),
            Phase::Cancelled => go("it is suspended: nothing is done"),
            _ if told.unplaced > 0 => (Verdict::NoGo, format!("{} replicas find no place", told.unplaced)),
            Phase::Scheduled | Phase::Preparing | Phase::Ready | Phase::Live if late.is_some() && !told.all_ready => {
                let (by, at) = late.map_or((self.at, self.at), |(times, at)| (times.ready_by, at));
                (Verdict::NoGo, format!("too late: everything is Ready {} after ready-by", span(at.duration_since(by))))
            }
            _ => match (self.night.unplaced.get(&told.id), stay) {
                (Some(shortage), _) if told.phase != Phase::Returning => (Verdict::NoGo, self.short(shortage)),
                (_, Some(stay)) => (Verdict::NoGo, format!("it never comes back: {} would stay rented for ever", nodes(stay))),
                _ if self.too_dear().is_some() => (Verdict::NoGo, "it would cost more than budget.maxTotalCost".to_owned()),
                _ if told.phase == Phase::Returning => go("it is on its way back"),
                _ => go("everything it needs can be had in time"),
            },
        }
    }

    fn stamp(&self, at: Timestamp) -> String {
        clock::stamp(at, &self.zone())
    }

    /// There was room in the forecast, and there is none when it is played.
    fn short(&self, shortage: &Shortage) -> String {
        let (n, at) = (shortage.told.unplaced, self.stamp(shortage.at));
        if shortage.others.is_empty() {
            return format!("{n} replicas find no place at {at}, when the night is rehearsed");
        }
        format!("it finds room by itself, but not together with {}: {n} replicas have no place at {at}", names(shortage.others.iter()))
    }

    /// What is missing: by the forecast, else in the rehearsal; and what nobody would ever take back.
    pub(super) fn missing(&self, workloads: &[&WorkloadPlan]) -> Vec<Missing> {
        let sought: Vec<WorkloadId> = self.sale.workload_ids().collect();
        let mut all = missing::missing(self.world, &sought, self.told, workloads);
        if let Some(shortage) = self.night.unplaced.get(&self.told.id).filter(|_| self.told.unplaced == 0) {
            let then: Vec<&WorkloadPlan> = shortage.workloads.iter().filter(|w| sought.contains(&w.id)).collect();
            all.extend(missing::missing(self.world, &sought, &shortage.told, &then));
        }
        if let Some(stay) = self.night.stays.get(&self.told.id).filter(|stay| !stay.nodes.is_empty()) {
            let reason = stay.frozen.as_ref().map_or(Reason::Draining, |frozen| frozen.reason);
            all.push(Missing { workload: None, replicas: None, reason, message: self.stays(stay), until: None });
        }
        all.extend(self.too_dear());
        all
    }

    /// Other sales that share a workload or a pool with this one.
    pub(super) fn related(&self) -> impl Iterator<Item = &SalePlan> {
        let mine: BTreeSet<WorkloadId> = self.sale.workload_ids().collect();
        let others = self.plan.sales.iter().zip(&self.world.seen.sales).filter(|(told, _)| told.id != self.sale.id && !is_over(told.phase));
        let shares = move |told: &SalePlan, sale: &onsale_planner::snapshot::Sale| {
            sale.workload_ids().any(|id| mine.contains(&id)) || told.pools.iter().any(|pool| self.told.pools.contains(pool))
        };
        others.filter(move |(told, sale)| shares(told, sale)).map(|(told, _)| told)
    }

    /// Those of them that are on at an instant; those that are still to come, if none is.
    fn beside(&self, at: Timestamp) -> Vec<&SaleId> {
        let phase = |told: &SalePlan| {
            let events = self.night.events.iter().rev().filter(|e| whole_seconds(e.at) <= at);
            let entered = events.filter_map(|e| if let What::Phase(sale, phase) = &e.what { Some((sale, *phase)) } else { None });
            entered.into_iter().find(|(sale, _)| **sale == told.id).map_or(told.phase, |(_, phase)| phase)
        };
        let all: Vec<(&SaleId, Phase)> = self.related().map(|told| (&told.id, phase(told))).collect();
        let on: Vec<&SaleId> = all.iter().filter(|(_, phase)| phase.is_active()).map(|(id, _)| *id).collect();
        if on.is_empty() { all.into_iter().filter(|(_, phase)| !is_over(*phase)).map(|(id, _)| id).collect() } else { on }
    }

    /// What is so when the sale is over: others may go on with floors and nodes that it had.
    pub(super) fn back(&self, at: Timestamp, workloads: &[&WorkloadPlan]) -> String {
        let then = self.night.samples.iter().rfind(|(t, _)| whole_seconds(*t) <= at).map(|(_, sample)| sample);
        let (left, others) = (then.map(|sample| self.left(sample, workloads)).unwrap_or_default(), self.beside(at));
        if left.is_empty() || others.is_empty() {
            return "everything is back as it was".to_owned();
        }
        format!("what was for this sale is back; for {} stay {}", names(others.into_iter()), left.join(", "))
    }

    fn left(&self, sample: &Sample, workloads: &[&WorkloadPlan]) -> Vec<String> {
        let floor = |w: &&WorkloadPlan| {
            sample.floors.get(&w.id).copied().filter(|floor| *floor > w.baseline).map(|n| format!("{} at {n}", w.id.name))
        };
        let mine = self.world.seen.pools.iter().filter(|p| p.spec.nodes.ec2.is_some() && self.told.pools.contains(&p.name));
        let nodes = mine.filter_map(|pool| {
            let count = |of: &std::collections::BTreeMap<String, i32>| of.get(&pool.name).copied().unwrap_or_default();
            let n = count(&sample.nodes) + count(&sample.launching);
            (n > 0).then(|| format!("{n} nodes in {}", pool.name))
        });
        workloads.iter().filter_map(floor).chain(nodes).collect()
    }

    /// What stays of a sale that is never back.
    pub(super) fn stays(&self, stay: &Stay) -> String {
        let since = clock::beside(&whole_seconds(stay.since).to_zoned(clock::zone(&self.zone())), self.day());
        let why = match &stay.frozen {
            Some(frozen) => format!(": {}", frozen.message),
            None if stay.replicas.is_empty() || stay.nodes.is_empty() => String::new(),
            None => {
                let there: Vec<String> = stay.replicas.iter().map(|(id, n)| format!("{n} of {}", id.name)).collect();
                format!(": replicas run there, {}, and find room nowhere else: give them nodes that are not rented", there.join(", "))
            }
        };
        let stays = if stay.nodes.values().sum::<usize>() == 1 { "stays" } else { "stay" };
        let what = if stay.nodes.is_empty() { String::new() } else { format!("; {} {stays} rented", nodes(stay)) };
        format!("after {since} nothing more happens, and it is not back{what}{why}")
    }

    /// The day of the opening, which the headline says.
    fn day(&self) -> jiff::civil::Date {
        let opens = self.told.times.map_or(self.at, |times| times.opens_at);
        opens.to_zoned(clock::zone(&self.zone())).date()
    }

    pub(super) fn remarks(&self, workloads: &[&WorkloadPlan], missing: &[Missing]) -> Vec<String> {
        let mut all: Vec<String> = self.told.waiting_for.iter().filter(|w| missing::remarks(w)).map(|w| w.message.clone()).collect();
        if self.sale.spec.mode == Mode::Plan {
            all.push("mode is Plan: nothing of this is done before it is Live".to_owned());
        }
        if self.told.late_start {
            all.push("its start has passed already: it starts at once, and everything is later than it could have been".to_owned());
        }
        let stay = self.night.stays.get(&self.told.id).filter(|stay| stay.nodes.is_empty());
        all.extend(stay.map(|stay| self.stays(stay)));
        all.extend(self.shared(workloads));
        all.extend(self.dearer_per_hour());
        all.retain(|r| !missing.iter().any(|m| m.message == *r));
        all
    }

    /// Floors that rise above this sale's own peak, because another sale is on too; and which of them the tables count.
    fn shared(&self, workloads: &[&WorkloadPlan]) -> Vec<String> {
        let highest = |id: &WorkloadId| self.night.samples.iter().filter_map(|(_, s)| s.floors.get(id)).max().copied().unwrap_or_default();
        let wish = |(id, wish): (WorkloadId, &onsale_api::onsale::SaleWorkload)| {
            let others = self.world.seen.sales.iter().filter(|s| s.id != self.sale.id && s.workload_ids().any(|w| w == id));
            let claims = workloads.iter().filter(|w| w.id == id).flat_map(|w| &w.claims);
            let counted: BTreeSet<&str> = claims.map(|claim| claim.sale.as_str()).collect();
            let (with, without): (Vec<&SaleId>, Vec<&SaleId>) =
                others.map(|s| &s.id).partition(|other| counted.contains(other.name.as_str()));
            let most = highest(&id);
            if most <= wish.peak_replicas || with.len() + without.len() == 0 {
                return None;
            }
            let tables = match (with.is_empty(), without.is_empty()) {
                (_, true) if with.len() == 1 => "REPLICAS counts both".to_owned(),
                (_, true) => "REPLICAS counts all of them".to_owned(),
                (true, false) => "REPLICAS counts this sale alone".to_owned(),
                (false, false) => format!("REPLICAS counts this sale and {}", names(with.iter().copied())),
            };
            let all = names(with.into_iter().chain(without));
            Some(format!(
                "{} is also raised by {all}: its floor reaches {most}. {tables}, NODES AND COST what is rented for this sale",
                id.name
            ))
        };
        self.sale.workload_ids().zip(&self.sale.spec.workloads).filter_map(wish).collect()
    }
}

pub(super) fn names<'a>(sales: impl Iterator<Item = &'a SaleId>) -> String {
    sales.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How many nodes stay, and where.
fn nodes(stay: &Stay) -> String {
    stay.nodes.iter().map(|(pool, n)| format!("{n} {} in {pool}", if *n == 1 { "node" } else { "nodes" })).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        read::{Input, read},
        rehearsal::{Night, Play, rehearse},
        world::{Facts, World, world},
    };

    const SALE: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web, resources: {requests: {cpu: 500m, memory: 1Gi}}}]}}
---
apiVersion: onsale.dev/v1alpha1
kind: CapacityPool
metadata: {name: cloud}
spec:
  tier: Region
  zone: us-west-2a
  latency: [{site: dc, rtt: 30ms}]
  nodes:
    ec2:
      region: us-west-2
      launchTemplate: {name: web, version: "1"}
      subnets: [subnet-0abc1234]
      instanceTypes: [{name: c6i.large, hourlyCost: "0.1", allocatable: {cpu: 1900m, memory: 3Gi}}]
  limits: {maxNodes: 4}
  allowedNamespaces: {from: All}
---
apiVersion: onsale.dev/v1alpha1
kind: OnSale
metadata: {name: tour}
spec: {opensAt: "2026-12-05T10:00:00", timeZone: America/Phoenix, workloads: [{target: {kind: Deployment, name: web}, peakReplicas: 7}]}
"#;

    fn now() -> Timestamp {
        "2026-12-01T00:00:00Z".parse().unwrap()
    }

    fn sale() -> World {
        let objects = read(&[Input { name: "sale".to_owned(), text: SALE.to_owned() }], "shop");
        assert!(objects.mistakes.is_empty(), "{:?}", objects.mistakes);
        let mut facts = Facts::default();
        facts.add(&objects.found);
        world(&facts, now())
    }

    /// The sale's night, with a shortage at its start as it would be if the pool were smaller.
    fn short(world: &World, others: Vec<SaleId>) -> Night {
        let mut night = rehearse(world, &onsale_planner::plan(&world.seen, now()), now(), Play::All);
        let at = "2026-12-05T17:00:00Z".parse().unwrap();
        let mut smaller = world.seen.clone();
        smaller.pools[0].spec.limits.get_or_insert_default().max_nodes = Some(1);
        let plan = onsale_planner::plan(&smaller, at);
        let told = plan.sales[0].clone();
        night.unplaced.insert(told.id.clone(), Shortage { at, told, workloads: plan.workloads, others });
        night
    }

    fn told(others: Vec<SaleId>) -> (Verdict, String, Vec<Missing>) {
        let world = sale();
        let (plan, night) = (onsale_planner::plan(&world.seen, now()), short(&world, others));
        let view = View { world: &world, plan: &plan, night: &night, sale: &world.seen.sales[0], told: &plan.sales[0], at: now() };
        let (verdict, summary) = view.verdict();
        (verdict, summary, view.missing(&[]))
    }

    #[test]
    fn a_shortage_that_only_the_rehearsal_finds_blames_no_sale_that_there_is_not() {
        let (verdict, summary, missing) = told(Vec::new());
        let said = "4 replicas find no place at 2026-12-05 10:00:00 America/Phoenix, when the night is rehearsed";
        assert_eq!((verdict, summary.as_str()), (Verdict::NoGo, said));
        let why = missing.iter().find(|m| m.reason == Reason::LimitReached).unwrap();
        assert_eq!((why.workload.as_deref(), why.replicas), (Some("web"), Some(4)));
        assert!(why.message.contains("limits.maxNodes of pool cloud (1) is reached"), "{missing:?}");
    }

    #[test]
    fn a_shortage_beside_another_sale_names_it() {
        let (_, summary, _) = told(vec![SaleId { namespace: "shop".to_owned(), name: "encore".to_owned() }]);
        assert!(summary.starts_with("it finds room by itself, but not together with shop/encore: 4 replicas"), "{summary}");
    }
}
