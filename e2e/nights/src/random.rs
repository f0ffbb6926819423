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

    /// A time, in whole milliseconds.
    pub fn draw(&mut self, delay: Delay) -> Duration {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let drawn = match delay {
            Delay::Between(low, high) => millis(low) + self.next() % (millis(high).saturating_sub(millis(low)) + 1),
            Delay::Quantiles { p50, p95 } => {
                let (p50, p95) = (millis(p50), millis(p95));
                // In whole numbers, so that every machine draws the same.
                let along = |from: u64, to: u64, part: u64, of: u64| from + to.saturating_sub(from) * part / of;
                match self.next() % 1_000 {
                    u @ 0..500 => along(p50 / 2, p50, u, 500),
                    u @ 500..950 => along(p50, p95, u - 500, 450),
                    u => along(p95, 2 * p95 - p50.min(p95), u - 950, 50),
                }
            }
        };
        Duration::from_millis(drawn)
    }
}

/// How long something takes, each time anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Anything from the first to the second, all alike.
    Between(Duration, Duration),
    /// Half of all take up to `p50` and none less than half of that; 95 of 100 take up to `p95`, and none longer than it by more than the two differ.
    Quantiles {
        /// Median.
        p50: Duration,
        /// 95th percentile.
        p95: Duration,
    },
}

impl From<(Duration, Duration)> for Delay {
    fn from((least, most): (Duration, Duration)) -> Self {
        Self::Between(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_are_within_the_median_and_95_of_100_within_the_other_quantile() {
        let (secs, mut random) = (Duration::from_secs, Random::new(1));
        let drawn: Vec<Duration> = (0..10_000).map(|_| random.draw(Delay::Quantiles { p50: secs(30), p95: secs(60) })).collect();
        let within = |limit| drawn.iter().filter(|d| **d <= secs(limit)).count();
        assert!((4_800..5_200).contains(&within(30)) && (9_400..9_600).contains(&within(60)), "{} {}", within(30), within(60));
        assert_eq!((within(14), within(90)), (0, 10_000));
    }
}
