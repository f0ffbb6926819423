//! Who gets the near places: a transportation problem, solved by cancelling negative cycles.
//!
//! M. Klein, *A Primal Method for Minimal Cost Flows with Applications to the Assignment and Transportation Problems*, Management Science 14 (3), 1967: a
//! flow costs least when its residual network has no cycle of negative cost. Here the nodes are places, an arc from p to q is the workload that loses least
//! when a unit of it moves from p to q, and free room moves like a workload that does not mind where it is. A cycle leaves every place as full as it was.
//! Found by R. Bellman's and L. Ford's labels. Beside latency, and after it, the sum of the squares of what a workload holds in each place is made small:
//! that is convex, so the same theorem holds, and places that are equally far are filled evenly.

/// Most arcs looked at before it is left at what it has reached, about 0.1 s: a flow is feasible after every cycle.
const PATIENCE: usize = 20_000_000;

/// Most cycles that only make a flow more even: what is left uneven after as many is little.
const EVENING: usize = 500;

/// A unit of latency beside a unit of unevenness: no cycle is so long that unevenness could outweigh it.
const LATENCY: i128 = 1 << 40;

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

/// An arc of the residual network: the row that moves, and what a unit of it gains (negative) or loses.
type Arc = Option<(usize, i128)>;

impl Flow {
    /// Cancels negative cycles until there are none, those of latency first; whether the latency is less than before. Where it is not, nothing is changed.
    pub fn settle(&mut self) -> bool {
        let round = self.rows.len() * self.places * self.places + self.places.pow(3);
        let rounds = PATIENCE / round.max(1);
        let nearer = (0..rounds).take_while(|_| self.cancel(false)).count() > 0;
        if nearer {
            (0..rounds.min(EVENING)).take_while(|_| self.cancel(true)).count();
        }
        nearer
    }

    /// Cancels one cycle, if there is one: of latency alone, or of unevenness beside it.
    fn cancel(&mut self, even: bool) -> bool {
        let arcs = self.arcs(even);
        let cycle = self.negative_cycle(&arcs);
        if let Some(cycle) = &cycle {
            self.push(&arcs, cycle);
        }
        cycle.is_some()
    }

    /// Moves as much as can be around the cycle, or as much as evenness gains by where only that does.
    fn push(&mut self, arcs: &[Vec<Arc>], cycle: &[usize]) {
        let steps = || cycle.iter().zip(cycle.iter().cycle().skip(1));
        let moves: Vec<(usize, usize, usize)> = steps().filter_map(|(from, to)| Some((arcs[*from][*to]?.0, *from, *to))).collect();
        let cost = |(row, from, to): &(usize, usize, usize)| {
            let row = &self.rows[*row].cost;
            row[*to].unwrap_or_default() - row[*from].unwrap_or_default()
        };
        let gains = moves.iter().map(cost).sum::<i128>() < 0;
        let room = |(row, from, to): &(usize, usize, usize)| {
            let row = &self.rows[*row];
            row.free[*from].min(if *to + 1 == self.places { i64::MAX } else { row.most - row.held[*to] })
        };
        let most = moves.iter().map(room).min().unwrap_or_default();
        // Each unit makes each of at most two squares a step dearer by one.
        let even = -steps().filter_map(|(from, to)| Some(arcs[*from][*to]?.1)).sum::<i128>() / (2 * cycle.len() as i128);
        let units = if gains { most } else { most.min(i64::try_from(even).unwrap_or(most).max(1)) };
        for (row, from, to) in moves {
            let row = &mut self.rows[row];
            for of in [&mut row.held, &mut row.free] {
                of[from] -= units;
                of[to] += units;
            }
        }
    }

    fn arcs(&self, even: bool) -> Vec<Vec<Arc>> {
        let mut arcs = vec![vec![None; self.places]; self.places];
        for (index, row) in self.rows.iter().enumerate() {
            let open: Vec<(usize, i128)> = (0..self.places).filter_map(|to| Some((to, row.one_more(to, self.places, even)?))).collect();
            for from in (0..self.places).filter(|from| row.free[*from] > 0) {
                let less = row.one_less(from, self.places, even);
                for (to, more) in &open {
                    let cost = more - less;
                    if *to != from && arcs[from][*to].is_none_or(|(_, least)| cost < least) {
                        arcs[from][*to] = Some((index, cost));
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
    fn one_more(&self, to: usize, places: usize, even: bool) -> Option<i128> {
        let nowhere = to + 1 == places;
        let cost = self.cost[to].filter(|_| nowhere || self.held[to] < self.most)?;
        Some(cost * LATENCY + if nowhere || self.air || !even { 0 } else { i128::from(self.held[to]) + 1 })
    }

    fn one_less(&self, from: usize, places: usize, even: bool) -> i128 {
        let even = if from + 1 == places || self.air || !even { 0 } else { i128::from(self.held[from]) };
        self.cost[from].unwrap_or_default() * LATENCY + even
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
