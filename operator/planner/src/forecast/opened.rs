//! The nodes that a sale is the first to use.

use std::collections::BTreeMap;

use onsale_api::Money;

use super::{Sweep, Wanted};
use crate::{
    launch_rate,
    packing::{Bin, BinState, Taken},
};

/// What a sale is the first to use, and what it has to wait for.
#[derive(Default)]
pub struct Opened<'a> {
    /// Replicas were placed at all.
    pub fresh: bool,
    /// Nodes at its charge.
    pub nodes: BTreeMap<&'a str, BTreeMap<String, i32>>,
    pub hourly: Money,
    /// Nodes that hold its replicas and were not used before, by pool.
    pub used: BTreeMap<&'a str, i32>,
    /// Those of them that are not there yet.
    pub launched: BTreeMap<&'a str, i32>,
}

impl<'a> Opened<'a> {
    /// What one of the sale's workloads uses, at its charge or at that of another.
    fn add(&mut self, of: &Self) {
        self.fresh |= of.fresh;
        add(&mut self.used, &of.used);
        add(&mut self.launched, &of.launched);
    }
}

fn add<'a>(to: &mut BTreeMap<&'a str, i32>, more: &BTreeMap<&'a str, i32>) {
    more.iter().for_each(|(pool, n)| *to.entry(pool).or_default() += n);
}

impl<'a> Sweep<'a> {
    /// The nodes that these are the first to use, by sale, and all of them.
    pub(super) fn opened(&self, wanted: &Wanted) -> (BTreeMap<usize, Opened<'a>>, Opened<'a>) {
        let mut taken: BTreeMap<usize, Vec<&Taken>> = BTreeMap::new();
        self.packer.taken.iter().for_each(|one| taken.entry(one.work).or_default().push(one));
        let (mut opened, mut all) = (BTreeMap::<usize, Opened<'a>>::new(), Opened::default());
        for (index, (users, _)) in wanted {
            let taken = taken.get(index).map_or(&[][..], Vec::as_slice);
            let of = self.open(taken);
            all.add(&of);
            users.iter().for_each(|user| opened.entry(*user).or_default().add(&of));
            for one in taken.iter().filter(|one| one.charged) {
                self.charge(&self.packer.bins.all[one.bin], &mut opened);
            }
        }
        (opened, all)
    }

    /// A node that the sale which pays for it is the first to use.
    fn charge(&self, bin: &Bin, opened: &mut BTreeMap<usize, Opened<'a>>) {
        let Some((sale, instance_type)) = bin.owner.as_ref().map(|(_, sale)| sale).zip(bin.instance_type.clone()) else { return };
        let opened = opened.entry(*sale).or_default();
        *opened.nodes.entry(self.pool_of(bin)).or_default().entry(instance_type).or_default() += 1;
        opened.hourly = opened.hourly + bin.hourly;
    }

    /// Counts the nodes that these are the first to use.
    fn open(&self, taken: &[&Taken]) -> Opened<'a> {
        let mut opened = Opened { fresh: !taken.is_empty(), ..Opened::default() };
        for one in taken.iter().filter(|one| one.first) {
            let bin = &self.packer.bins.all[one.bin];
            if bin.instance_type.is_none() {
                continue;
            }
            let pool = self.pool_of(bin);
            *opened.used.entry(pool).or_default() += 1;
            if bin.state >= BinState::Launching {
                *opened.launched.entry(pool).or_default() += 1;
            }
        }
        opened
    }

    /// Nodes by region instead of by pool: one bucket of the cloud's API hands out all of them.
    pub(super) fn by_region(&self, nodes: &BTreeMap<&str, i32>) -> BTreeMap<&'a str, i32> {
        let mut all = BTreeMap::new();
        for (region, n) in nodes.iter().filter_map(|(pool, n)| Some((launch_rate::region(self.seen.pool(pool)?)?, n))) {
            *all.entry(region).or_default() += n;
        }
        all
    }
}
