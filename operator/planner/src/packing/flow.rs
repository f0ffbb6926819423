//! Who gets the near places: a transportation problem, solved by cancelling negative cycles.
//!
//! M. Klein, *A Primal Method for Minimal Cost Flows with Applications to the Assignment and Transportation Problems*, Management Science 14 (3), 1967: a
//! flow costs least when its residual network has no cycle of negative cost. Here the nodes are places, an arc from p to q is the workload that loses least
//! when a unit of it moves from p to q, and free room moves like a workload that does not mind where it is. A cycle leaves every place as full as it was.
//! Found by R. Bellman's and L. Ford's labels. Workloads that lose the same everywhere move as one, so that a thousand of a kind cost what one does. After
//! latency, the sum of the squares of what a workload holds in places that are equally far is made small: that is convex, so the same theorem holds, and they
//! are filled evenly.

use std::collections::BTreeMap;

/// Most arcs looked at before it is left at what it has reached, some 25 ms: a flow is feasible after every cycle.
const PATIENCE: usize = 5_000_000;

/// Most cycles that only make a flow more even: what is left uneven after as many is little.
const EVENING: usize = 500;

/// Units of every row (a workload, the free room last) in every place; the last place is nowhere.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// Rows.
    pub rows: Vec<Row>,
    /// Places, the last of which is nowhere.
    pub places: usize,
}

/// One workload.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What a unit costs in each place; `None` where it may not go.
    pub cost: Vec<Option<i128>>,
    /// Units in each place, those that stay included.
    pub held: Vec<i64>,
    /// Of these may move.
    pub free: Vec<i64>,
    /// Most units in one place.
    pub most: i64,
    /// It does not matter how even it is.
    pub air: bool,
}

/// Rows that move as one.
type Group = Vec<usize>;

/// An arc of the residual network: the group that moves, and what a unit of it gains (negative) or loses.
type Arc = Option<(usize, i128)>;

/// What a cycle shall make less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Less {
    Latency,
    /// Unevenness, at equal latency.
    Uneven,
}

impl Flow {
    /// Cancels negative cycles until there are none, those of latency first; whether the latency is less than before. Where it is not, nothing is changed.
    pub fn settle(&mut self) -> bool {
        let nearer = self.cancel_all(&self.alike(), Less::Latency, usize::MAX);
        if nearer {
            let each: Vec<Group> = (0..self.rows.len()).map(|row| vec![row]).collect();
            self.cancel_all(&each, Less::Uneven, EVENING);
        }
        nearer
    }

    /// Rows that cost the same everywhere. One that may hold so much and no more in a place is like no other.
    fn alike(&self) -> Vec<Group> {
        let mut groups: BTreeMap<(&[Option<i128>], usize), Group> = BTreeMap::new();
        for (index, row) in self.rows.iter().enumerate() {
            let apart = if row.most == i64::MAX { usize::MAX } else { index };
            groups.entry((&row.cost, apart)).or_default().push(index);
        }
        groups.into_values().collect()
    }

    /// Whether there were any.
    fn cancel_all(&mut self, groups: &[Group], less: Less, most: usize) -> bool {
        let round = self.rows.len() * self.places + groups.len() * self.places.pow(2) + self.places.pow(3);
        (0..most.min(PATIENCE / round.max(1))).take_while(|_| self.cancel(groups, less)).count() > 0
    }

    /// Cancels one cycle, if there is one.
    fn cancel(&mut self, groups: &[Group], less: Less) -> bool {
        let arcs = self.arcs(groups, less);
        let cycle = self.negative_cycle(&arcs);
        if let Some(cycle) = &cycle {
            self.push(groups, &arcs, cycle, less);
        }
        cycle.is_some()
    }

    /// Moves as much as can be around the cycle, or as much as evenness gains by.
    fn push(&mut self, groups: &[Group], arcs: &[Vec<Arc>], cycle: &[usize], less: Less) {
        let steps = || cycle.iter().zip(cycle.iter().cycle().skip(1));
        let moves: Vec<(&Group, usize, usize)> =
            steps().filter_map(|(from, to)| Some((&groups[arcs[*from][*to]?.0], *from, *to))).collect();
        let room = |(group, from, to): &(&Group, usize, usize)| group.iter().map(|row| self.movable(*row, *from, *to)).sum();
        let most: i64 = moves.iter().map(room).min().unwrap_or_default();
        // Each unit makes each of at most two squares a step dearer by one.
        let even = || -steps().filter_map(|(from, to)| Some(arcs[*from][*to]?.1)).sum::<i128>() / (2 * cycle.len() as i128);
        let units = if less == Less::Latency { most } else { most.min(i64::try_from(even()).unwrap_or(most).max(1)) };
        for (group, from, to) in moves {
            let mut left = units;
            for index in group {
                let some = left.min(self.movable(*index, from, to));
                let row = &mut self.rows[*index];
                for of in [&mut row.held, &mut row.free] {
                    of[from] -= some;
                    of[to] += some;
                }
                left -= some;
            }
        }
    }

    /// Units of a row that can move.
    fn movable(&self, row: usize, from: usize, to: usize) -> i64 {
        let row = &self.rows[row];
        let open = if to + 1 == self.places { i64::MAX } else { row.most - row.held[to] };
        row.free[from].min(open).max(0)
    }

    fn arcs(&self, groups: &[Group], less: Less) -> Vec<Vec<Arc>> {
        let mut arcs = vec![vec![None; self.places]; self.places];
        for (index, group) in groups.iter().enumerate() {
            let Some(first) = group.first().map(|row| &self.rows[*row]) else { continue };
            let open: Vec<usize> = (0..self.places).filter(|to| first.takes(*to, self.places)).collect();
            for from in (0..self.places).filter(|from| group.iter().any(|row| self.rows[*row].free[*from] > 0)) {
                for to in open.iter().copied().filter(|to| *to != from) {
                    let Some(cost) = first.cost(from, to, self.places, less) else { continue };
                    if arcs[from][to].is_none_or(|(_, least)| cost < least) {
                        arcs[from][to] = Some((index, cost));
                    }
                }
            }
        }
        arcs
    }

    /// Places around a cycle of negative cost.
    fn negative_cycle(&self, arcs: &[Vec<Arc>]) -> Option<Vec<usize>> {
        let mut label = vec![0_i128; self.places];
        let mut before = vec![0_usize; self.places];
        let mut last = None;
        for _ in 0..self.places {
            last = None;
            for (from, out) in arcs.iter().enumerate() {
                for (to, arc) in out.iter().enumerate() {
                    if let Some((_, cost)) = arc
                        && label[from] + cost < label[to]
                    {
                        (label[to], before[to], last) = (label[from] + cost, from, Some(to));
                    }
                }
            }
            last?;
        }
        // A label that still falls after as many rounds as there are places hangs on a cycle.
        let start = (0..self.places).fold(last?, |at, _| before[at]);
        let mut cycle = vec![start];
        while before[cycle[cycle.len() - 1]] != start {
            cycle.push(before[cycle[cycle.len() - 1]]);
        }
        cycle.reverse();
        Some(cycle)
    }
}

impl Row {
    /// Whether one more unit may be there.
    fn takes(&self, to: usize, places: usize) -> bool {
        self.cost[to].is_some() && (to + 1 == places || self.held[to] < self.most)
    }

    /// What a unit that moves costs more than before; `None` where evenness is nobody's business: between places that are not equally far.
    fn cost(&self, from: usize, to: usize, places: usize, less: Less) -> Option<i128> {
        let farther = self.cost[to]? - self.cost[from].unwrap_or_default();
        match less {
            Less::Latency => Some(farther),
            Less::Uneven if farther != 0 => None,
            Less::Uneven if self.air || to + 1 == places || from + 1 == places => Some(0),
            Less::Uneven => Some(i128::from(self.held[to]) + 1 - i128::from(self.held[from])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cost: &[i128], held: &[i64]) -> Row {
        Row { cost: cost.iter().copied().map(Some).collect(), held: held.to_vec(), free: held.to_vec(), most: i64::MAX, air: false }
    }

    fn air(held: &[i64]) -> Row {
        Row { air: true, ..row(&vec![0; held.len()], held) }
    }

    #[test]
    fn a_chain_of_three_moves_is_found_where_no_exchange_of_two_helps() {
        let rows = vec![row(&[5, 1, 9, 99], &[1, 0, 0, 0]), row(&[9, 5, 1, 99], &[0, 1, 0, 0]), row(&[1, 9, 5, 99], &[0, 0, 1, 0])];
        let mut flow = Flow { rows, places: 4 };
        assert!(flow.settle());
        assert_eq!(flow.rows.iter().map(|r| r.held.clone()).collect::<Vec<_>>(), [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]);
    }

    #[test]
    fn what_has_no_place_takes_free_room_and_equal_places_evenly() {
        let rows = vec![row(&[3, 3, 1_000], &[0, 0, 7]), air(&[9, 9, 9])];
        let mut flow = Flow { rows, places: 3 };
        assert!(flow.settle());
        let held = flow.rows[0].held.clone();
        assert!(held == [4, 3, 0] || held == [3, 4, 0], "{held:?}");
        assert!(!flow.settle(), "it stays as it is");
    }

    #[test]
    fn shares_are_kept() {
        let mut shared = row(&[1, 5, 1_000], &[0, 6, 0]);
        shared.most = 4;
        let mut flow = Flow { rows: vec![shared, air(&[9, 0, 9])], places: 3 };
        assert!(flow.settle());
        assert_eq!(flow.rows[0].held, [4, 2, 0]);
    }
}
