//! Which types of nodes are opened, where a pool has several.
//!
//! Each workload opens the type that is cheapest for it. Small nodes may thus use up `maxNodes` before everybody has a place, or cost more for all than a few large
//! ones: so that is tried, too, and the better of the two is taken, money last. A node that ends up emptier than it was opened for becomes a cheaper one.

use onsale_api::quota;

use super::{
    Bin, Packer, Work,
    bounds::Bounds,
    exchange,
    nodes::{declared, may_be_on_new, shape},
    packer::{Mark, Placed},
};
use crate::{addresses, pools, quotas, resources::Resources};

impl Packer<'_> {
    /// A node was opened since although another type of its pool holds more of somebody's pods.
    pub(super) fn could_be_roomier(&self, order: &[&Work], begun: Mark) -> bool {
        let seen = self.bounds.seen;
        let holds_more = |room: &Resources, than: &Resources| order.iter().any(|w| room.count_of(&w.requests) > than.count_of(&w.requests));
        let larger = |bin: &Bin| {
            let pool = &seen.pools[bin.place];
            let types = pool.spec.nodes.ec2.as_ref().map(|ec2| &ec2.instance_types);
            types.is_some_and(|types| types.len() > 1 && types.iter().any(|t| holds_more(&shape(pool, &t.name, seen), &bin.room)))
        };
        self.bins.all[begun.bins..].iter().any(|bin| bin.used() && larger(bin))
    }

    /// The better of what was placed with the cheapest nodes for each workload, and what is with few large ones.
    pub(super) fn roomier(&mut self, order: &[&Work], begun: Mark, cheapest: &Placed) -> Placed {
        let reached = exchange::worth(self, order, cheapest);
        self.go_back(begun);
        self.bounds.roomy = true;
        let placed = self.pack(order, begun);
        self.bounds.roomy = false;
        if exchange::worth(self, order, &placed) < reached {
            return placed;
        }
        self.go_back(begun);
        self.pack(order, begun)
    }

    /// Nodes that were opened since become the cheapest type that holds what is planned on them.
    pub(super) fn shrink(&mut self, begun: Mark) {
        for at in begun.bins..self.bins.all.len() {
            let position = self.bins.in_pool(self.bins.all[at].place).iter().position(|bin| *bin == at);
            if let Some(smaller) = position.and_then(|n| self.bounds.smaller(&self.bins.all[at], n)) {
                self.bins.all[at] = smaller;
            }
        }
    }
}

impl Bounds<'_> {
    /// The new node as the cheapest type of its pool that holds what is planned on it, where that is another one: of a family under the same quota, and
    /// no larger a part of that or of the subnets.
    fn smaller(&self, bin: &Bin, n: usize) -> Option<Bin> {
        let pool = Some(&self.seen.pools[bin.place]).filter(|_| bin.used())?;
        let now = declared(pool, bin.instance_type.as_deref()?)?;
        let mut used = bin.room.clone();
        used.add(&bin.free, -1);
        let code = |name: &str| quota::of_type(name).map(|q| q.code);
        let types = &pool.spec.nodes.ec2.as_ref()?.instance_types;
        let there = || bin.replicas.keys().chain(bin.headroom.keys()).filter_map(|work| self.seen.workloads[*work].target.as_ref());
        let admits = |name: &str| there().all(|target| may_be_on_new(&target.node_terms, pool, name));
        let fits =
            types.iter().filter(|t| t.hourly_cost < now.hourly_cost && shape(pool, &t.name, self.seen).holds(&used) && admits(&t.name));
        let had = fits.filter(|t| pools::short(pool, &t.name).is_none() && code(&t.name) == code(&now.name)).filter(|t| {
            quotas::vcpus(pool, &t.name) <= quotas::vcpus(pool, &now.name)
                && addresses::per_node(pool, &t.name) <= addresses::per_node(pool, &now.name)
        });
        let cheapest = had.min_by_key(|t| (t.hourly_cost, &t.name))?;
        let room = shape(pool, &cheapest.name, self.seen);
        let mut free = room.clone();
        free.add(&used, -1);
        let node = format!("new-{}-{}-{n}", pool.name, cheapest.name);
        Some(Bin { node, instance_type: Some(cheapest.name.clone()), hourly: cheapest.hourly_cost, room, free, ..bin.clone() })
    }
}
