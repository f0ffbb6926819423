//! What is unknown, and what must wait because of it: nothing is given back on a guess.

use std::collections::{BTreeMap, BTreeSet};

use onsale_planner::{
    Chain, Snapshot, Step,
    snapshot::{SaleId, WorkloadId},
    steps::ChainKey,
};

/// What is unknown, each with the reason. The planner takes what is missing from the snapshot for absent, so its steps are held back here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Workloads whose object or floor could not be read.
    pub workloads: BTreeMap<WorkloadId, String>,
    /// Sales that cannot be read and never could since this process started.
    pub sales: BTreeMap<SaleId, String>,
    /// Pools of which the same is true.
    pub pools: BTreeMap<String, String>,
}

impl Gaps {
    /// Everything is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workloads.is_empty() && self.sales.is_empty() && self.pools.is_empty()
    }

    /// Workloads that nothing may be done to: unknown ones, and those that an unknown sale has a claim on or an unknown pool has pods of.
    fn frozen(&self, seen: &Snapshot) -> BTreeSet<WorkloadId> {
        let touched = seen.workloads.iter().filter(|w| {
            let Some(placement) = &w.placement else { return false };
            let claimed = |c: &onsale_api::placement::Claim| {
                self.sales.contains_key(&SaleId { namespace: w.id.namespace.clone(), name: c.sale.clone() })
            };
            placement.spec.claims.iter().any(claimed) || placement.spec.distances.iter().any(|d| self.pools.contains_key(&d.pool))
        });
        touched.map(|w| w.id.clone()).chain(self.workloads.keys().cloned()).collect()
    }

    /// Leaves out what must wait: every step on a workload that is unknown or touched by the unknown, and everything that gives nodes back.
    #[must_use]
    pub fn withhold(&self, chains: Vec<Chain>, seen: &Snapshot) -> Vec<Chain> {
        if self.is_empty() {
            return chains;
        }
        let frozen = self.frozen(seen);
        let allowed = |chain: &Chain| !matches!(&chain.key, ChainKey::Workload(id) if frozen.contains(id));
        let kept = chains.into_iter().filter(allowed).map(|mut chain| {
            chain.steps.retain(|step| !gives_back(step));
            chain
        });
        kept.filter(|chain| !chain.steps.is_empty()).collect()
    }
}

/// The step gives something back that an unknown may need.
fn gives_back(step: &Step) -> bool {
    match step {
        Step::ReleasePool
        | Step::ReleaseSale
        | Step::Cordon { .. }
        | Step::Evict { .. }
        | Step::Terminate { .. }
        | Step::RemoveOverlay
        | Step::RemoveRecord => true,
        Step::ProtectSale
        | Step::ProtectPool
        | Step::Replay { .. }
        | Step::Launch { .. }
        | Step::Tidy { .. }
        | Step::RepairNode { .. }
        | Step::Uncordon { .. }
        | Step::Record { .. }
        | Step::WriteOverlay { .. }
        | Step::WriteFloor { .. }
        | Step::NoteContest { .. }
        | Step::ReplacePod { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use onsale_api::{Reason, onsale::TargetKind};

    use super::*;

    fn workload(name: &str) -> WorkloadId {
        WorkloadId { namespace: "shop".into(), kind: TargetKind::Deployment, name: name.into() }
    }

    fn chains() -> Vec<Chain> {
        let terminate = Step::Terminate { instances: vec!["i-1".into()], reason: Reason::Draining };
        vec![
            Chain { key: ChainKey::Pool("phx".into()), steps: vec![Step::Replay { sequence: 1 }, terminate] },
            Chain { key: ChainKey::Workload(workload("known")), steps: vec![Step::NoteContest { manager: "m".into(), value: 1 }] },
            Chain { key: ChainKey::Workload(workload("unknown")), steps: vec![Step::NoteContest { manager: "m".into(), value: 1 }] },
        ]
    }

    #[test]
    fn gives_nothing_back_and_leaves_the_unknown_workload_alone() {
        let mut gaps = Gaps::default();
        assert_eq!(gaps.withhold(chains(), &Snapshot::default()), chains());
        gaps.workloads.insert(workload("unknown"), "no answer".into());
        let kept = gaps.withhold(chains(), &Snapshot::default());
        assert_eq!(kept.len(), 2);
        assert_eq!(kept[0].steps, [Step::Replay { sequence: 1 }]);
        assert_eq!(kept[1].key, ChainKey::Workload(workload("known")));
    }
}
