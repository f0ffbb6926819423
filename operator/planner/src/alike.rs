//! What is alike is worked out and held once: most sales may use the same pools, and most workloads are equally far from them. A plan of a thousand sales
//! then neither repeats the arithmetic nor copies the names of forty pools for each of them.

use std::{cell::RefCell, collections::HashMap, ops::Deref};

use onsale_api::{GoDuration, onsale::SaleWorkload, placement::Distance};

use crate::{
    distance::{Distances, distances},
    shared::Shared,
    snapshot::Pool,
};

/// Some pools of a snapshot, in its order. Dereferences to their names. Lists of the same pools of one [`Indexed`](crate::index::Indexed) are one list.
#[derive(Clone, Debug)]
pub struct PoolList {
    number: usize,
    at: Shared<Vec<usize>>,
    names: Shared<Vec<String>>,
}

impl Deref for PoolList {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.names
    }
}

impl PoolList {
    /// The same for two lists of one [`Alike`] that are the same.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Their indices in [`Snapshot::pools`](crate::Snapshot::pools).
    #[must_use]
    pub fn at(&self) -> &[usize] {
        &self.at
    }

    /// Their names, to be held.
    #[must_use]
    pub fn names(&self) -> Shared<Vec<String>> {
        self.names.clone()
    }
}

/// All that the distances of a workload depend on.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Question {
    /// Sites, and serial calls to each.
    calls: Vec<(String, i32)>,
    max_latency: Option<GoDuration>,
    /// Numbers of the lists of all its pools, and of those that it may use.
    lists: (usize, usize),
}

/// The distances of a workload.
type Ladder = Shared<Vec<Distance>>;

/// Deletion cost of pods by zone.
type ZoneCosts = Shared<Vec<(String, i32)>>;

/// What was worked out for one snapshot. It only saves work: whoever asks gets the same as if nobody had asked before.
#[derive(Debug, Default)]
pub struct Alike {
    lists: RefCell<HashMap<Vec<usize>, PoolList>>,
    distances: RefCell<HashMap<Question, Shared<Distances>>>,
    zone_costs: RefCell<HashMap<usize, (Ladder, ZoneCosts)>>,
}

impl Alike {
    /// The list of those of `pools` at these indices.
    #[must_use]
    pub fn list(&self, pools: &[Pool], at: Vec<usize>) -> PoolList {
        let mut lists = self.lists.borrow_mut();
        if let Some(known) = lists.get(&at) {
            return known.clone();
        }
        let names: Vec<String> = at.iter().map(|i| pools[*i].name.clone()).collect();
        let list = PoolList { number: lists.len(), at: at.clone().into(), names: names.into() };
        lists.insert(at, list.clone());
        list
    }

    /// The distances of a workload to those of `list` that it may use, both lists of `pools`.
    #[must_use]
    pub fn distances(&self, pools: &[Pool], wish: &SaleWorkload, list: &PoolList, may_use: &PoolList) -> Shared<Distances> {
        let calls = wish.dependencies.iter().map(|d| (d.site.clone(), d.serial_calls)).collect();
        let question = Question { calls, max_latency: wish.max_latency, lists: (list.number, may_use.number) };
        let answer = || {
            let of = |list: &PoolList| -> Vec<&Pool> { list.at.iter().map(|i| &pools[*i]).collect() };
            distances(wish, &of(list), &of(may_use)).into()
        };
        self.distances.borrow_mut().entry(question).or_insert_with(answer).clone()
    }

    /// The deletion costs that follow from these distances, computed where they have not been yet.
    #[must_use]
    pub fn zone_costs(&self, distances: &Ladder, costs: impl FnOnce() -> Vec<(String, i32)>) -> ZoneCosts {
        let mut known = self.zone_costs.borrow_mut();
        // As long as the list is held here, no other one has its address.
        let (_, costs) = known.entry(distances.address()).or_insert_with(|| (distances.clone(), costs().into()));
        costs.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{pool, wish};

    fn pools() -> Vec<Pool> {
        vec![pool("dc").rtt("phx", "1ms").build(), pool("lz").rtt("phx", "5ms").build(), pool("or").rtt("phx", "30ms").build()]
    }

    #[test]
    fn the_same_pools_are_one_list_with_one_copy_of_their_names() {
        let (alike, pools) = (Alike::default(), pools());
        let (first, again) = (alike.list(&pools, vec![0, 2]), alike.list(&pools, vec![0, 2]));
        assert!(std::ptr::eq(&raw const *first, &raw const *again));
        assert_eq!((&*first, &*alike.list(&pools, vec![1])), (&["dc".to_owned(), "or".to_owned()][..], &["lz".to_owned()][..]));
    }

    #[test]
    fn distances_are_shared_only_where_everything_is_alike_that_they_depend_on() {
        let (alike, pools) = (Alike::default(), pools());
        let (all, some) = (alike.list(&pools, vec![0, 1, 2]), alike.list(&pools, vec![0, 1]));
        let names = |wish: &SaleWorkload, may_use: &PoolList| -> Vec<String> {
            let found = alike.distances(&pools, wish, &all, may_use);
            found.near_to_far.iter().map(|d| format!("{}={}", d.pool, d.latency)).collect()
        };
        let web = wish("web", 1).calls("phx", 2).build();
        assert_eq!(names(&web, &all), ["dc=2ms", "lz=10ms", "or=60ms"]);
        assert_eq!(names(&wish("web", 1).calls("phx", 3).build(), &all), ["dc=3ms", "lz=15ms", "or=90ms"]);
        assert_eq!(names(&wish("web", 1).calls("phx", 2).max_latency("20ms").build(), &all), ["dc=2ms", "lz=10ms"]);
        assert_eq!(names(&web, &some), ["dc=2ms", "lz=10ms"]);
        let shared = |wish: &SaleWorkload| alike.distances(&pools, wish, &all, &all);
        let (one, other) = (shared(&web), shared(&wish("checkout", 9).calls("phx", 2).build()));
        assert!(std::ptr::eq(&raw const *one, &raw const *other), "another workload that calls the same");
    }
}
