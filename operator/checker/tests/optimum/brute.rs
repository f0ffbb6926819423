//! The optimum of a small fleet, by trying every assignment of replicas to places.

use crate::fleet::{Fleet, Place, Worth};

/// The best that any assignment comes to. Sizes of pods must divide each other, in CPU, and CPU must be what runs out: then filling nodes with the largest
/// first wastes nothing, and tells for certain what a place holds.
pub fn best(fleet: &Fleet) -> Worth {
    let mut search = Search { fleet, held: vec![vec![0; fleet.works.len()]; fleet.places.len()], best: None };
    search.held[0] = fleet.works.iter().map(|w| w.running).collect();
    search.workload(0, 0, 0);
    search.best.expect("nothing placed at all is an assignment, too")
}

struct Search<'a> {
    fleet: &'a Fleet,
    /// Replicas by place and workload.
    held: Vec<Vec<i64>>,
    best: Option<Worth>,
}

impl Search<'_> {
    fn workload(&mut self, work: usize, unplaced: i64, latency: i64) {
        let Some(wanted) = self.fleet.works.get(work) else {
            let cents = self.fleet.places.iter().zip(&self.held).map(|(place, held)| self.cents(place, held)).sum();
            let found = Worth { unplaced, latency, cents };
            self.best = Some(self.best.map_or(found, |best| best.min(found)));
            return;
        };
        let running = wanted.running * wanted.cost(&self.fleet.places[0]).unwrap_or_default();
        self.place(work, 0, wanted.peak - wanted.running, unplaced, latency + running);
    }

    fn place(&mut self, work: usize, place: usize, left: i64, unplaced: i64, latency: i64) {
        if self.best.is_some_and(|best| unplaced > best.unplaced) {
            return;
        }
        let Some(here) = self.fleet.places.get(place) else { return self.workload(work + 1, unplaced + left, latency) };
        let wanted = &self.fleet.works[work];
        let before = self.held[place][work];
        for more in 0..=left {
            let Some(cost) = wanted.cost(here).or((more == 0).then_some(0)) else { break };
            self.held[place][work] = before + more;
            let allowed = more == 0 || (before + more <= wanted.most() && self.nodes(here, &self.held[place]) <= here.nodes);
            if !allowed {
                break;
            }
            self.place(work, place + 1, left - more, unplaced, latency + more * cost);
        }
        self.held[place][work] = before;
    }

    fn cents(&self, place: &Place, held: &[i64]) -> i64 {
        match place.small {
            _ if !place.rented => 0,
            None => place.cents * self.nodes(place, held),
            Some(small) => self.of_two_types(place, small, held),
        }
    }

    /// The cheapest nodes of two types that hold these replicas, within the limit. Pods are equal: a node holds so many of them.
    fn of_two_types(&self, place: &Place, (cpu, cents): (i64, i64), held: &[i64]) -> i64 {
        let (pods, pod) = (held.iter().sum::<i64>(), self.fleet.works[0].cpu);
        let all = (0..=place.nodes).flat_map(|large| (0..=place.nodes - large).map(move |small| (large, small)));
        let hold = |(large, small): &(i64, i64)| large * (place.cpu / pod) + small * (cpu / pod) >= pods;
        all.filter(hold).map(|(large, small)| large * place.cents + small * cents).min().expect("the large ones alone hold them")
    }

    /// Nodes that these replicas take.
    fn nodes(&self, place: &Place, held: &[i64]) -> i64 {
        let mut pods: Vec<i64> = self.fleet.works.iter().zip(held).flat_map(|(w, n)| (0..*n).map(|_| w.cpu)).collect();
        pods.sort_unstable_by(|a, b| b.cmp(a));
        let mut free: Vec<i64> = Vec::new();
        for pod in pods {
            match free.iter_mut().find(|free| **free >= pod) {
                Some(free) => *free -= pod,
                None if pod <= place.cpu => free.push(place.cpu - pod),
                None => return i64::MAX,
            }
        }
        i64::try_from(free.len()).unwrap_or(i64::MAX)
    }
}
