//! What may happen in a night.

use proptest::prelude::*;

/// What happens at one moment of a night besides the passing of time.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// Nothing.
    Calm,
    /// A sale is deleted, by its number.
    Delete(usize),
    /// A sale is suspended.
    Suspend(usize),
    /// The first peak of a sale changes.
    Peak(usize, i32),
    /// The first peak of a sale changes by so much.
    Little(usize, i32),
    /// A sale is kept to the tiers of these bits.
    Tiers(usize, u8),
    /// The cloud says how many addresses are free in a subnet, and how many vCPUs others leave.
    Cloud(usize, i32, i32),
    /// A sale that is not Live moves by so many minutes.
    Move(usize, i64),
    /// A node of this number changes between Ready and not.
    Node(usize),
    /// A floor's field is written by somebody else.
    Foreign(usize, i32),
    /// A pool's limit changes.
    Limit(usize, i32),
    /// Nodes are unknown for this moment.
    Blind,
    /// The instances of a pool are unknown for this moment.
    Silent(usize),
    /// A pool has no capacity left from now on, or its quota is used up.
    Exhausted(usize),
    /// The operator dies after so many steps of each chain.
    Crash(usize),
}

/// Random moments: minutes that pass, and what happens.
pub fn moments() -> impl Strategy<Value = Vec<(i64, Event)>> {
    let event = prop_oneof![
        12 => Just(Event::Calm),
        1 => (0..3_usize).prop_map(Event::Delete),
        1 => (0..3_usize).prop_map(Event::Suspend),
        1 => (0..3_usize, 1..80_i32).prop_map(|(n, peak)| Event::Peak(n, peak)),
        1 => (0..3_usize, 1..=7_u8).prop_map(|(n, tiers)| Event::Tiers(n, tiers)),
        2 => (0..3_usize, 0..12_i32, 0..90_i32).prop_map(|(n, free, vcpus)| Event::Cloud(n, free, vcpus)),
        1 => (0..3_usize, -60..120_i64).prop_map(|(n, by)| Event::Move(n, by)),
        1 => (0..12_usize).prop_map(Event::Node),
        1 => (0..5_usize, 0..40_i32).prop_map(|(n, value)| Event::Foreign(n, value)),
        1 => (0..6_usize, 0..6_i32).prop_map(|(n, limit)| Event::Limit(n, limit)),
        1 => Just(Event::Blind),
        1 => (0..6_usize).prop_map(Event::Silent),
        1 => (0..6_usize).prop_map(Event::Exhausted),
        1 => (0..3_usize).prop_map(Event::Crash),
    ];
    proptest::collection::vec((prop::sample::select(vec![0_i64, 1, 1, 2, 5, 10, 20, 40]), event), 1..=24)
}
