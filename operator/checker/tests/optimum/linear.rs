//! A bound below the latency of any plan: replicas may be divided, and a place is one room as large as what pods can use of its nodes.

use microlp::{ComparisonOp, OptimizationDirection, Problem, Variable};

use crate::fleet::{Fleet, Work};

/// Microseconds over all replicas that no plan can go below that places them all; `None` where not even this relaxation can.
pub fn bound(fleet: &Fleet) -> Option<f64> {
    let mut problem = Problem::new(OptimizationDirection::Minimize);
    let mut by_place: Vec<Vec<(Variable, &Work)>> = vec![Vec::new(); fleet.places.len()];
    for work in &fleet.works {
        let mut all = Vec::new();
        for (i, place) in fleet.places.iter().enumerate() {
            let least = if i == 0 { work.running } else { 0 };
            let Some(cost) = work.cost(place) else { continue };
            let variable = problem.add_var(cost as f64, (least as f64, work.most().max(least) as f64));
            by_place[i].push((variable, work));
            all.push((variable, 1.0));
        }
        problem.add_constraint(all, ComparisonOp::Eq, work.peak as f64);
    }
    for (place, here) in fleet.places.iter().zip(&by_place) {
        for (of, room) in [(cpu as fn(&Work) -> i64, place.cpu), (mib, place.mib), (pod, 110)] {
            for unit in units(fleet, of) {
                let terms: Vec<_> = here.iter().map(|(variable, work)| (*variable, (of(work) / unit) as f64)).collect();
                problem.add_constraint(terms, ComparisonOp::Le, (room / unit * place.nodes) as f64);
            }
        }
    }
    Some(problem.solve().ok()?.into_solution().ok()?.objective())
}

fn cpu(work: &Work) -> i64 {
    work.cpu
}

fn mib(work: &Work) -> i64 {
    work.mib
}

fn pod(_: &Work) -> i64 {
    1
}

/// Units in which the room of a node can be counted. Rounded down, pods and room alike, each is a cut of the whole-numbered problem (Chvatal and Gomory):
/// a node of 47 units takes no more than 23 pods of two. First what divides every pod, which cuts nothing off but what no pod can use.
fn units(fleet: &Fleet, of: fn(&Work) -> i64) -> Vec<i64> {
    let mut units: Vec<i64> = fleet.works.iter().map(of).collect();
    units.push(units.iter().copied().fold(0, gcd));
    units.sort_unstable();
    units.dedup();
    units
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
