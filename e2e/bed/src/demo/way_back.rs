//! The way back, judged from outside: of each workload the farthest replicas go first, and what is at home stays.

use std::collections::BTreeMap;

use onsale_api::{GoDuration, Phase};
use serde_json::Value;

use super::report::WayBack;
use super::story::Story;
use super::world::Scene;

/// Watches the way back.
#[derive(Debug)]
pub struct Watcher {
    home: String,
    /// Pools by round trip, in microseconds: equal ones are equally near.
    distance: BTreeMap<String, i64>,
    opening: Option<Scene>,
    fewest_at_home: Option<usize>,
    out_of_turn: usize,
}

impl Watcher {
    /// For the pools of the story.
    pub fn new(story: &Story) -> Self {
        let name = |pool: &Value| pool.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let rtt = |pool: &Value| pool.pointer("/spec/latency/0/rtt")?.as_str()?.parse::<GoDuration>().ok().map(GoDuration::micros);
        let home = story.pools.iter().find(|pool| pool.pointer("/spec/nodes/existing").is_some());
        Self {
            home: home.map(name).unwrap_or_default(),
            distance: story.pools.iter().filter_map(|pool| Some((name(pool), rtt(pool)?))).collect(),
            opening: None,
            fewest_at_home: None,
            out_of_turn: 0,
        }
    }

    /// Looks at one scene.
    pub fn see(&mut self, scene: &Scene) {
        match scene.sale.phase {
            // The first step down may be seen before the phase that goes with it.
            Some(Phase::Live) if scene.all_ready() => self.opening = Some(scene.clone()),
            Some(Phase::Returning | Phase::Completed) => {
                let at_home = self.at_home(scene);
                self.fewest_at_home = Some(self.fewest_at_home.map_or(at_home, |fewest| fewest.min(at_home)));
                self.out_of_turn = self.out_of_turn.max(self.count_out_of_turn(scene));
            }
            _ => {}
        }
    }

    /// The verdict, at the end.
    pub fn verdict(&self, end: &Scene) -> WayBack {
        let at_home = self.at_home(end);
        WayBack {
            wanted_at_home: end.baseline(),
            at_home,
            fewest_at_home: self.fewest_at_home.unwrap_or(at_home),
            out_of_turn: self.out_of_turn,
        }
    }

    fn at_home(&self, scene: &Scene) -> usize {
        scene.workloads.iter().filter_map(|w| w.counted.pools.get(&self.home)).sum()
    }

    /// Replicas that are left although nearer ones of the same workload have gone. Counted when a workload is as large as its floor: between two steps.
    fn count_out_of_turn(&self, scene: &Scene) -> usize {
        let Some(opening) = &self.opening else { return 0 };
        let settled = scene.workloads.iter().filter(|w| w.counted.pools.values().sum::<usize>() == w.floor && w.counted.pending == 0);
        let counted = settled.filter_map(|now| {
            let was = opening.workloads.iter().find(|w| w.name == now.name)?;
            Some(out_of_turn(&self.by_distance(&was.counted.pools), &self.by_distance(&now.counted.pools)))
        });
        counted.sum()
    }

    /// Replicas by distance: pools that are equally near are one.
    fn by_distance(&self, pools: &BTreeMap<String, usize>) -> BTreeMap<i64, usize> {
        let mut by = BTreeMap::new();
        for (pool, n) in pools {
            *by.entry(self.distance.get(pool).copied().unwrap_or(i64::MAX)).or_default() += n;
        }
        by
    }
}

/// `was` without its farthest, until as many are left as there are now: what is beyond that should have gone before others.
fn out_of_turn(was: &BTreeMap<i64, usize>, now: &BTreeMap<i64, usize>) -> usize {
    let mut left: usize = now.values().sum();
    let mut stay = BTreeMap::new();
    for (distance, n) in was {
        let kept = left.min(*n);
        left -= kept;
        stay.insert(*distance, kept);
    }
    now.iter().map(|(distance, n)| n.saturating_sub(stay.get(distance).copied().unwrap_or_default())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farthest_go_first() {
        let was = BTreeMap::from([(1, 10), (5, 10), (9, 10)]);
        assert_eq!(out_of_turn(&was, &was), 0);
        assert_eq!(out_of_turn(&was, &[(1, 10), (5, 10), (9, 3)].into()), 0);
        assert_eq!(out_of_turn(&was, &[(1, 10), (5, 7), (9, 3)].into()), 3);
        assert_eq!(out_of_turn(&was, &[(1, 6), (9, 1)].into()), 1);
    }
}
