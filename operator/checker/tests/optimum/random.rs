//! Fleets from a seed.

use crate::fleet::{Fleet, Place, Work};

/// SplitMix64 (Steele, Lea, Flood 2014): a seed tells the whole fleet.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `least` to `most`, both included.
    pub fn among(&mut self, least: i64, most: i64) -> i64 {
        least + i64::try_from(self.next() % u64::try_from(most - least + 1).unwrap()).unwrap()
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.among(0, i64::try_from(all.len()).unwrap() - 1)).unwrap()]
    }

    fn percent(&mut self, percent: i64) -> bool {
        self.among(1, 100) <= percent
    }
}

/// Two or three workloads and two to four places of a few nodes each. `sizes`: CPU of a pod.
pub fn small(random: &mut Random, sizes: &[i64]) -> Fleet {
    let sites = random.one_of(&[1, 1, 2]);
    let works = random.among(2, 3);
    let mut places: Vec<Place> = (0..random.among(2, if works == 2 { 4 } else { 3 })).map(|i| small_place(random, i > 0, sites)).collect();
    places[0].cpu = random.one_of(&[2_000, 4_000]);
    let mut left = places[0].nodes;
    let works = (0..works).map(|_| {
        let calls = (0..sites).map(|_| random.among(1, 12)).collect();
        let running = random.among(0, left.min(1));
        left -= running;
        let max_latency = random.percent(15).then(|| random.among(20, 200));
        let share = random.percent(15).then(|| random.one_of(&[40, 60]));
        Work { cpu: random.one_of(sizes), mib: 64, peak: random.among(1, 5), calls, running, max_latency, share }
    });
    let works = works.collect();
    kept(Fleet { places, works })
}

fn small_place(random: &mut Random, rented: bool, sites: usize) -> Place {
    Place {
        rented,
        nodes: random.among(1, 3),
        cpu: random.one_of(&[1_000, 2_000, 4_000]),
        mib: 64 << 10,
        rtts: (0..sites).map(|_| random.among(0, 15) * 2_000).collect(),
        cents: random.among(5, 90),
        small: None,
    }
}

/// The same, with a second type of nodes in places that rent: half or a quarter as large, at about so much of the price.
pub fn two_types(random: &mut Random, sizes: &[i64]) -> Fleet {
    let mut fleet = small(random, sizes);
    for place in fleet.places.iter_mut().filter(|p| p.rented) {
        let part = random.one_of(&[2, 4]);
        (place.cpu, place.cents) = (4_000, random.among(40, 90));
        place.small = Some((place.cpu / part, (place.cents / part + random.among(-8, 8)).max(1)));
    }
    fleet
}

/// What runs already is within what the sale allows.
fn kept(mut fleet: Fleet) -> Fleet {
    for work in &mut fleet.works {
        if work.cost(&fleet.places[0]).is_none() {
            work.running = 0;
        }
        work.peak = work.peak.max(work.running);
    }
    fleet
}

/// Requests of the pods in `examples/`: millicores and MiB. CPU runs out first, wherever they go.
pub const EXAMPLES: [(i64, i64); 3] = [(650, 768), (1_300, 1_536), (1_300, 2_048)];

/// Pods of every shape: here CPU runs out first and there memory, and they leave gaps.
pub const MIXED: [(i64, i64); 7] = [(650, 768), (1_300, 1_536), (1_300, 2_048), (500, 1_024), (1_000, 2_048), (2_000, 4_096), (250, 512)];

/// As large as `examples/`: a data centre, Local Zones, three zones of a region that hold all the rest.
pub fn large(random: &mut Random, pods: &[(i64, i64)]) -> Fleet {
    let sites = random.one_of(&[1, 1, 2]);
    let mut places = vec![Place {
        rented: false,
        nodes: random.among(8, 40),
        cpu: 31_000,
        mib: 120 << 10,
        rtts: vec![200, 14_000],
        cents: 0,
        small: None,
    }];
    let local = [(vec![2_200, 12_200], 85), (vec![12_200, 2_200], 82), (vec![16_200, 8_200], 80)];
    for (rtts, cents) in &local[..usize::try_from(random.among(1, 3)).unwrap()] {
        places.push(Place {
            rented: true,
            nodes: random.among(5, 45),
            cpu: 15_890,
            mib: 28 << 10,
            rtts: rtts.clone(),
            cents: *cents,
            small: None,
        });
    }
    let regional = Place { rented: true, nodes: 150, cpu: 15_890, mib: 56 << 10, rtts: vec![36_200, 26_200], cents: 77, small: None };
    places.extend((0..random.among(2, 3)).map(|_| regional.clone()));
    places.iter_mut().for_each(|place| place.rtts.truncate(sites));
    let works = (0..random.among(4, 6)).map(|_| {
        let (cpu, mib) = random.one_of(pods);
        let calls = (0..sites).map(|_| random.among(1, 20)).collect();
        let share = random.percent(10).then_some(60);
        Work { cpu, mib, peak: random.among(60, 450), calls, running: random.among(0, 12), max_latency: None, share }
    });
    let works = works.collect();
    kept(Fleet { places, works })
}
