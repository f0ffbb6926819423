//! Lead times: from the first cloud call to Ready pods, for the slowest of n nodes.
//!
//! One node's lead time is taken as lognormal, fixed by its p50 and p95 (boot times are positive and skewed to the right). All n nodes are there by
//! the time t with probability F(t)^n, so the quantile asked of one node is `CONFIDENCE^(1/n)` (DESIGN D1).

use jiff::SignedDuration;
use onsale_api::{GoDuration, pool::LeadTime};

use crate::snapshot::{Pool, Settings};

/// All nodes of a launch shall be there in 99 nights of 100.
const CONFIDENCE: f64 = 0.99;
/// A single node that takes longer than this quantile counts as never joined: 1 of 1000 honest ones is given up too early.
const GIVEN_UP: f64 = 0.999;
/// 0.95-quantile of the standard normal distribution.
const Z95: f64 = 1.644_853_626_951_472_2;

/// Lead time of rented nodes until it is declared: 90 s and 180 s, what EKS users report for a booted node and its first pods.
const RENTED: LeadTime = LeadTime { p50: GoDuration::from_secs(90), p95: GoDuration::from_secs(180) };
/// Lead time of nodes that exist: image pull and start of a pod.
const EXISTING: LeadTime = LeadTime { p50: GoDuration::from_secs(10), p95: GoDuration::from_secs(30) };

/// Two quantiles of one node of this pool: as declared, or the default by kind of nodes.
#[must_use]
pub fn of(pool: &Pool) -> LeadTime {
    pool.spec.lead_time.unwrap_or(if pool.spec.nodes.ec2.is_some() { RENTED } else { EXISTING })
}

/// How long until all of `n` nodes (or, on existing nodes, their pods) are there, the time included that the cloud's API takes to hand them out.
#[must_use]
pub fn until_all(pool: &Pool, n: i32, settings: &Settings) -> SignedDuration {
    if n <= 0 {
        return SignedDuration::ZERO;
    }
    let handed_out = (i64::from(n) - settings.launch_burst).max(0) / settings.launch_rate.max(1);
    quantile(of(pool), CONFIDENCE.powf(1.0 / f64::from(n))) + SignedDuration::from_secs(handed_out)
}

/// How long all of `n` nodes may take, those included that come in place of the ones that are overdue by then: of `n` one of twenty is, and one at least.
#[must_use]
pub fn until_all_made_up(pool: &Pool, n: i32, settings: &Settings) -> SignedDuration {
    if n <= 0 {
        return SignedDuration::ZERO;
    }
    let late = (n + 19) / 20;
    until_all(pool, n, settings).max(overdue_after(pool) + until_all(pool, late, settings))
}

/// How long to wait for a single node before another one is launched in its place: its p95. The first one is kept, and welcome if it comes after all.
#[must_use]
pub fn overdue_after(pool: &Pool) -> SignedDuration {
    of(pool).p95.get()
}

/// How long to wait for a single node before it is given up: never less than half again its p95, so that two quantiles that lie close together, a guess more
/// often than a measurement, do not cost honest nodes.
#[must_use]
pub fn given_up_after(pool: &Pool) -> SignedDuration {
    let lead = of(pool);
    quantile(lead, GIVEN_UP).max(lead.p95.get() * 3 / 2)
}

/// The `q`-quantile in whole seconds, rounded up.
fn quantile(lead: LeadTime, q: f64) -> SignedDuration {
    let (p50, p95) = (lead.p50.get().as_secs_f64(), lead.p95.get().as_secs_f64());
    let sigma = if p50 > 0.0 && p95 > p50 { (p95 / p50).ln() / Z95 } else { 0.0 };
    let seconds = p50 * (sigma * standard_normal_quantile(q)).exp();
    SignedDuration::try_from_secs_f64(seconds.ceil()).unwrap_or(SignedDuration::from_hours(24))
}

/// Inverse of the standard normal distribution function for 0.5 <= q < 1; absolute error below 4.5e-4.
/// Abramowitz and Stegun, Handbook of Mathematical Functions, formula 26.2.23.
fn standard_normal_quantile(q: f64) -> f64 {
    let tail = (1.0 - q).clamp(1e-12, 0.5);
    let t = (-2.0 * tail.ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - above / below
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pool;

    #[test]
    fn the_normal_quantile_agrees_with_tables() {
        for (q, z) in [(0.5, 0.0), (0.95, 1.644_85), (0.99, 2.326_35), (0.999, 3.090_23), (0.9999, 3.719_02)] {
            assert!((standard_normal_quantile(q) - z).abs() < 1e-3, "{q}");
        }
    }

    #[test]
    fn the_slowest_of_many_takes_longer_than_one() {
        let (pool, settings) = (pool("lz").rented("c6i.4xlarge", "0.85", 60).lead("90s", "180s").build(), Settings::default());
        let seconds: Vec<_> = [0, 1, 10, 100].map(|n| until_all(&pool, n, &settings).as_secs()).into();
        assert_eq!(seconds[0], 0);
        assert!(seconds[1] < seconds[2] && seconds[2] < seconds[3], "{seconds:?}");
        assert!((235..=250).contains(&seconds[1]) && (420..=440).contains(&seconds[3]), "{seconds:?}");
    }

    #[test]
    fn quantiles_that_are_equal_leave_patience_all_the_same() {
        let pool = pool("lz").rented("c6i.4xlarge", "0.85", 60).lead("60s", "60s").build();
        assert_eq!(given_up_after(&pool).as_secs(), 90);
    }

    #[test]
    fn handing_out_more_than_the_burst_takes_time() {
        let (pool, settings) = (pool("lz").rented("c6i.4xlarge", "0.85", 60).build(), Settings::default());
        let (burst, more) = (until_all(&pool, 1000, &settings), until_all(&pool, 1200, &settings));
        assert!((more - burst).as_secs() >= 100);
    }
}
