//! Which places a workload may use at all: the pool's `allowedNamespaces`, the `placement` of the sale, and that of the workload in it. All of them hold, and
//! where several sales name a workload, those of every sale: buyers of each meet any of its pods.
//!
//! A placement holds at once for what is new, also in the middle of a window. What runs elsewhere is not moved.

use std::{collections::BTreeMap, fmt::Display};

use onsale_api::{
    Reason,
    onsale::{Placement, SaleWorkload},
    selector,
};

use crate::{
    index::Indexed,
    plan::Waiting,
    snapshot::{Pool, Sale},
};

/// Names in one sentence at most.
const NAMED: usize = 8;

/// Whether the pool admits the namespace with these labels.
#[must_use]
pub fn is_open(labels: Option<&BTreeMap<String, String>>, pool: &Pool) -> bool {
    pool.spec.allowed_namespaces.as_ref().is_some_and(|allowed| allowed.admits(labels))
}

/// Whether the placements of the sale and of this workload in it leave the pool to it.
#[must_use]
pub fn admits(sale: &Sale, wish: &SaleWorkload, pool: &Pool) -> bool {
    [&sale.spec.placement, &wish.placement].into_iter().flatten().all(|placement| Part::ALL.iter().all(|part| part.holds(placement, pool)))
}

/// One of the things that a placement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Labels,
    Tiers,
    Zones,
}

impl Part {
    const ALL: [Self; 3] = [Self::Labels, Self::Tiers, Self::Zones];

    fn holds(self, placement: &Placement, pool: &Pool) -> bool {
        match self {
            Self::Labels => placement.pool_selector.as_ref().is_none_or(|s| selector::matches(s, &pool.labels)),
            Self::Tiers => placement.tiers.is_empty() || placement.tiers.contains(&pool.spec.tier),
            Self::Zones => placement.zones.is_empty() || placement.zones.contains(&pool.spec.zone),
        }
    }

    /// The field and what it allows.
    fn say(self, placement: &Placement) -> String {
        match self {
            Self::Labels => "placement.poolSelector".to_owned(),
            Self::Tiers => format!("placement.tiers ({})", list(placement.tiers.iter().map(|t| format!("{t:?}")))),
            Self::Zones => format!("placement.zones ({})", list(placement.zones.iter())),
        }
    }
}

/// What all sales together say of one workload.
#[derive(Debug)]
pub struct Residency<'a> {
    seen: &'a Indexed<'a>,
    wishes: Vec<(&'a Sale, &'a SaleWorkload)>,
}

impl<'a> Residency<'a> {
    /// Of the sales that count, by their index, and their wishes for the workload.
    #[must_use]
    pub fn of(seen: &'a Indexed<'a>, wishes: &[(usize, &'a SaleWorkload)]) -> Self {
        Self { seen, wishes: wishes.iter().map(|(sale, wish)| (&seen.sales[*sale], *wish)).collect() }
    }

    /// Whether all of them leave the pool to the workload.
    #[must_use]
    pub fn admits(&self, pool: &Pool) -> bool {
        self.wishes.iter().all(|(sale, wish)| admits(sale, wish, pool))
    }

    /// No placement says anything: every pool is left to the workload.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.wishes.iter().all(|(sale, wish)| sale.spec.placement.is_none() && wish.placement.is_none())
    }

    /// Why pools are left out: one sentence for each thing that some placement says, with the pools that are open and that nothing said before leaves out.
    #[must_use]
    pub fn problems(&self, workload: &str) -> Vec<Waiting> {
        if self.is_silent() {
            return Vec::new();
        }
        let open = |pool: &&Pool| self.wishes.iter().any(|(sale, _)| is_open(self.seen.namespaces.get(&sale.id.namespace), pool));
        let all: Vec<&Pool> = self.seen.snapshot().pools.iter().filter(open).collect();
        let mut rest = all.clone();
        let mut problems = Vec::new();
        for (sale, wish) in &self.wishes {
            let (of_sale, of_wish) = (format!("of sale {}", sale.id.name), format!("of {workload} in sale {}", sale.id.name));
            for (placement, whose) in [(&sale.spec.placement, of_sale), (&wish.placement, of_wish)] {
                for (part, placement) in Part::ALL.iter().flat_map(|part| placement.as_ref().map(|p| (part, p))) {
                    let (stay, out): (Vec<&Pool>, Vec<&Pool>) = rest.into_iter().partition(|pool| part.holds(placement, pool));
                    rest = stay;
                    if !out.is_empty() {
                        let pools = list(out.iter().map(|p| &p.name));
                        let message = format!("{} {whose} leaves out {pools}: allow more, or lower peakReplicas", part.say(placement));
                        problems.push(Waiting { reason: Reason::OutsidePlacement, message, until: None });
                    }
                }
            }
        }
        let alone = |(sale, wish): &(&Sale, &SaleWorkload)| all.iter().any(|pool| admits(sale, wish, pool));
        if rest.is_empty() && self.wishes.len() > 1 && self.wishes.iter().all(alone) {
            let sales = list(self.wishes.iter().map(|(sale, _)| &sale.id.name));
            let message =
                format!("no pool is within the placement of all of the sales {sales}, which name {workload}: let them allow one in common");
            problems.insert(0, Waiting { reason: Reason::PlacementsDisagree, message, until: None });
        }
        problems
    }
}

/// The first few, and how many more there are.
fn list<T: Display>(names: impl Iterator<Item = T>) -> String {
    let names: Vec<String> = names.map(|n| n.to_string()).collect();
    match names.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use onsale_api::{Reason, pool::Tier};
    use serde_json::json;

    use crate::{
        plan::{Plan, plan},
        snapshot::{Pool, Sale, Snapshot},
        testing::{at, node, pool, sale, snapshot, wish, workload},
    };

    const NOW: &str = "2026-12-05T10:00:00Z";

    /// On premises with room for 16, a Local Zone and a region.
    fn pools() -> Vec<Pool> {
        let mut region = pool("or-a").rtt("phx", "30ms").rented("m6i.4xlarge", "0.76", 20).build();
        region.spec.tier = Tier::Region;
        region.labels.insert("country".into(), "us".into());
        vec![pool("dc").rtt("phx", "200us").build(), pool("lz").rtt("phx", "1.6ms").rented("c6i.4xlarge", "0.85", 20).build(), region]
    }

    fn tour(name: &str, of_sale: serde_json::Value, of_wish: serde_json::Value) -> Sale {
        let mut wish = wish("checkout", 40).calls("phx", 12).build();
        wish.placement = serde_json::from_value(of_wish).unwrap();
        let mut sale = sale(name, vec![wish]);
        sale.spec.placement = serde_json::from_value(of_sale).unwrap();
        sale
    }

    fn world(sales: Vec<Sale>) -> Snapshot {
        snapshot(sales, pools(), vec![node("dc-1", "dc")], vec![workload("checkout", 8, &["dc-1"])])
    }

    fn places(plan: &Plan, sale: usize) -> String {
        let work = &plan.forecasts[sale].workloads[0];
        work.by_pool.iter().map(|(pool, n)| format!("{pool}={n} ")).collect::<String>() + &format!("none={}", work.unplaced)
    }

    fn reasons(plan: &Plan, sale: usize) -> Vec<Reason> {
        plan.sales[sale].waiting_for.iter().map(|w| w.reason).collect()
    }

    #[test]
    fn tiers_zones_and_labels_bound_where_new_replicas_go_and_all_hold_at_once() {
        for (of_sale, of_wish, wanted) in [
            (json!(null), json!(null), "dc=16 lz=24 none=0"),
            (json!({"tiers": ["OnPrem", "Region"]}), json!(null), "dc=16 or-a=24 none=0"),
            (json!({"zones": ["zone-lz"]}), json!(null), "dc=8 lz=32 none=0"),
            (json!({"poolSelector": {"matchLabels": {"country": "us"}}}), json!(null), "dc=8 or-a=32 none=0"),
            (json!({"tiers": ["OnPrem", "LocalZone"]}), json!({"tiers": ["LocalZone", "Region"]}), "dc=8 lz=32 none=0"),
            (json!({"tiers": ["OnPrem"]}), json!({"zones": ["zone-dc"]}), "dc=16 none=24"),
        ] {
            let plan = plan(&world(vec![tour("tour", of_sale.clone(), of_wish.clone())]), at(NOW));
            assert_eq!(places(&plan, 0), wanted, "{of_sale} {of_wish}");
        }
    }

    #[test]
    fn a_shortfall_names_every_place_that_was_left_out_and_by_what() {
        let plan = plan(&world(vec![tour("tour", json!({"tiers": ["OnPrem", "LocalZone"]}), json!({"zones": ["zone-dc"]}))]), at(NOW));
        let said: Vec<&str> = plan.sales[0].waiting_for.iter().map(|w| w.message.as_str()).collect();
        assert!(said[0].contains("placement.tiers (OnPrem, LocalZone) of sale tour leaves out or-a"), "{said:#?}");
        assert!(said[1].contains("placement.zones (zone-dc) of checkout in sale tour leaves out lz"), "{said:#?}");
    }

    #[test]
    fn the_placements_of_all_sales_hold_and_a_workload_without_a_place_in_common_is_told() {
        let two = |first, second| plan(&world(vec![tour("a", first, json!(null)), tour("b", second, json!(null))]), at(NOW));
        let common = two(json!({"tiers": ["OnPrem", "LocalZone"]}), json!({"tiers": ["LocalZone", "Region"]}));
        assert_eq!((places(&common, 0), places(&common, 1)), ("dc=8 lz=64 none=0".into(), "dc=8 lz=64 none=0".into()));
        let apart = two(json!({"tiers": ["LocalZone"]}), json!({"tiers": ["Region"]}));
        assert_eq!(reasons(&apart, 0)[0], Reason::PlacementsDisagree, "{:#?}", apart.sales[0].waiting_for);
        assert_eq!(places(&apart, 0), "dc=8 none=64");
    }
}
