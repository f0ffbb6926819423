//! Seeded randomness: SplitMix64, enough to make delays differ, and the same in every run of a seed.

use std::time::Duration;

/// A generator of numbers that look random.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A time from `range.0` to `range.1`, in whole milliseconds.
    pub fn between(&mut self, range: (Duration, Duration)) -> Duration {
        let (low, high) = (range.0.as_millis(), range.1.as_millis());
        let width = high.saturating_sub(low) + 1;
        Duration::from_millis(u64::try_from(low + u128::from(self.next()) % width).unwrap_or(u64::MAX))
    }
}
