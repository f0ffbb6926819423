//! Vectors of what pods ask for and nodes offer.

use std::collections::BTreeMap;

use onsale_api::Amount;
use serde::Serialize;

/// CPU in millicores, memory in bytes, pods, and any extended resource by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Resources {
    /// CPU in millicores.
    pub cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Pods.
    pub pods: i64,
    /// Everything else, in whole units.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extended: BTreeMap<String, i64>,
}

/// Memory that goes with one CPU on general-purpose instances (AWS' m family: 4 GiB per vCPU), to weigh the two against each other.
const MIB_PER_MILLICORE: i64 = 4;

/// Pods per node where a pool does not say: the kubelet's default `maxPods`.
pub const DEFAULT_PODS: i64 = 110;

impl Resources {
    /// From a map of quantities as Kubernetes writes them; keys that are missing are zero.
    #[must_use]
    pub fn of<'a>(amounts: impl IntoIterator<Item = (&'a String, &'a Amount)>) -> Self {
        let mut all = Self::default();
        for (name, amount) in amounts {
            match name.as_str() {
                "cpu" => all.cpu = amount.milli(),
                "memory" => all.memory = amount.units(),
                "pods" => all.pods = amount.units(),
                _ => {
                    all.extended.insert(name.clone(), amount.units());
                }
            }
        }
        all
    }

    /// What a node offers that is declared so: as many pods as the kubelet allows where it does not say.
    #[must_use]
    pub fn offered<'a>(amounts: impl IntoIterator<Item = (&'a String, &'a Amount)>) -> Self {
        let mut all = Self::of(amounts);
        if all.pods == 0 {
            all.pods = DEFAULT_PODS;
        }
        all
    }

    /// Adds `n` times `other`.
    pub fn add(&mut self, other: &Self, n: i64) {
        self.cpu += other.cpu * n;
        self.memory += other.memory * n;
        self.pods += other.pods * n;
        for (name, amount) in &other.extended {
            *self.extended.entry(name.clone()).or_default() += amount * n;
        }
    }

    /// One number for how much room this takes, in millicores: CPU, or memory at the rate of general-purpose instances where that is more.
    #[must_use]
    pub fn size(&self) -> i64 {
        self.cpu.max((self.memory >> 20) / MIB_PER_MILLICORE)
    }

    /// Raises each component to that of `other`, where it is more.
    pub fn raise_to(&mut self, other: &Self) {
        self.cpu = self.cpu.max(other.cpu);
        self.memory = self.memory.max(other.memory);
        self.pods = self.pods.max(other.pods);
        for (name, amount) in &other.extended {
            let most = self.extended.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }

    /// The lesser of each component of the two.
    #[must_use]
    pub fn least(&self, other: &Self) -> Self {
        let common = self.extended.iter().filter_map(|(name, n)| Some((name.clone(), *n.min(other.extended.get(name)?))));
        Self {
            cpu: self.cpu.min(other.cpu),
            memory: self.memory.min(other.memory),
            pods: self.pods.min(other.pods),
            extended: common.collect(),
        }
    }

    /// Whether one `item` fits.
    #[must_use]
    pub fn holds(&self, item: &Self) -> bool {
        let room = |have: i64, ask: i64| ask <= 0 || have >= ask;
        let extended = || item.extended.iter().all(|(name, ask)| room(self.extended.get(name).copied().unwrap_or_default(), *ask));
        room(self.cpu, item.cpu) && room(self.memory, item.memory) && room(self.pods, item.pods) && extended()
    }

    /// How many of `item` fit into this; an item that asks for nothing fits without end, as `i64::MAX`.
    #[must_use]
    pub fn count_of(&self, item: &Self) -> i64 {
        let mut least = i64::MAX;
        // Most of what is asked is whether a full node takes one more: the first resource that does not reach settles it.
        for (have, ask) in [(self.cpu, item.cpu), (self.memory, item.memory), (self.pods, item.pods)] {
            if ask > 0 {
                if have < ask {
                    return 0;
                }
                least = least.min(have / ask);
            }
        }
        for (name, ask) in item.extended.iter().filter(|(_, ask)| **ask > 0) {
            least = least.min(self.extended.get(name).copied().unwrap_or_default().max(0) / ask);
        }
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(cpu: i64, memory: i64, pods: i64) -> Resources {
        Resources { cpu, memory, pods, extended: BTreeMap::new() }
    }

    #[test]
    fn the_scarcest_resource_decides_how_many_fit() {
        assert_eq!(vector(16_000, 64, 110).count_of(&vector(1_000, 5, 1)), 12);
        assert_eq!(vector(16_000, 64, 3).count_of(&vector(1_000, 5, 1)), 3);
        let mut gpu = vector(100, 0, 1);
        gpu.extended.insert("example.com/gpu".into(), 1);
        assert_eq!(vector(16_000, 64, 110).count_of(&gpu), 0);
    }
}
