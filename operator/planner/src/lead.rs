//! Lead times: from the first cloud call to Ready pods, for the slowest of n nodes.
//!
//! One node's lead time is taken as lognormal, fixed by its p50 and p95 (boot times are positive and skewed to the right). All n nodes are there by
//! the time t with probability F(t)^n, so the quantile asked of one node is `CONFIDENCE^(1/n)`. What is declared is believed until measured: it
//! counts like ten nodes, next to what the pool's nodes really took.

use jiff::SignedDuration;
use onsale_api::{GoDuration, pool::LeadTime};

use crate::snapshot::Pool;

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

/// What is declared weighs as much as this many measured nodes: a handful of nodes that were lucky moves little, a sale's worth of them a lot.
const DECLARED_COUNTS: f64 = 10.0;
/// No lead time is longer: the bound of a declared one.
const LONGEST_SECONDS: f64 = 86_400.0;

/// Two quantiles of one node of this pool: the default by kind of nodes until nodes of the pool have been measured; as declared, or longer where they took
/// longer. A declared one is never shortened: a night of fast nodes is no promise of the next, with another launch template perhaps.
#[must_use]
pub fn of(pool: &Pool) -> LeadTime {
    let learned = if pool.spec.nodes.ec2.is_some() { learned(assumed(pool), measured(pool)) } else { assumed(pool) };
    pool.spec.lead_time.map_or(learned, |declared| longer(declared, learned))
}

/// As declared, or the default.
fn assumed(pool: &Pool) -> LeadTime {
    pool.spec.lead_time.unwrap_or(if pool.spec.nodes.ec2.is_some() { RENTED } else { EXISTING })
}

fn longer(a: LeadTime, b: LeadTime) -> LeadTime {
    LeadTime { p50: a.p50.max(b.p50), p95: a.p95.max(b.p95) }
}

/// What patience goes by: never less than what was assumed, or a night of fast nodes would make ordinary ones count as lost, and nothing would be learned of
/// them any more.
fn patient(pool: &Pool) -> LeadTime {
    longer(of(pool), assumed(pool))
}

/// Seconds from the launch of each measured node of the pool to Ready pods. Measured is the node; to this comes the time that pods take on a node that is
/// there, the median of them: how they vary is little next to how nodes do.
fn measured(pool: &Pool) -> Vec<f64> {
    let pods = EXISTING.p50.get().as_secs_f64();
    pool.status.lead_times.iter().filter(|s| s.seconds > 0).map(|s| f64::from(s.seconds) + pods).collect()
}

/// The lognormal with mean and variance of the logarithms of `n` measured nodes together with `k` = 10 that are as declared:
///
/// - mean `m = (k m0 + n x) / (k + n)`, `m0` of the declared ones, `x` of the measured ones,
/// - variance `(k s0² + Σ(xi - x)² + k n / (k + n) (x - m0)²) / (k + n)`, where the last term is how far both disagree.
///
/// These are the parameters of the conjugate posterior of a normal distribution whose mean and variance are both unknown, for a prior worth `k` observations
/// of each (Gelman et al., Bayesian Data Analysis, 3rd edition, section 3.3, equation 3.8 ff.). Whoever is measured in which order is the same.
fn learned(declared: LeadTime, mut measured: Vec<f64>) -> LeadTime {
    if measured.is_empty() {
        return declared;
    }
    // Sums of floating-point numbers depend on their order.
    measured.sort_by(f64::total_cmp);
    let logs: Vec<f64> = measured.iter().map(|seconds| seconds.ln()).collect();
    let n = logs.iter().map(|_| 1.0).sum::<f64>();
    let (m0, s0) = parameters(declared);
    let x = logs.iter().sum::<f64>() / n;
    let all = DECLARED_COUNTS + n;
    let within: f64 = logs.iter().map(|log| (log - x).powi(2)).sum();
    let between = DECLARED_COUNTS * n / all * (x - m0).powi(2);
    let mean = (DECLARED_COUNTS * m0 + n * x) / all;
    let sigma = ((DECLARED_COUNTS * s0.powi(2) + within + between) / all).sqrt();
    let quantile = |z: f64| {
        let seconds = (mean + z * sigma).exp().round().clamp(1.0, LONGEST_SECONDS);
        GoDuration::from(SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::from_hours(24)))
    };
    LeadTime { p50: quantile(0.0), p95: quantile(Z95) }
}

/// Mean and standard deviation of the logarithm of seconds.
fn parameters(lead: LeadTime) -> (f64, f64) {
    let (p50, p95) = (lead.p50.get().as_secs_f64(), lead.p95.get().as_secs_f64());
    (p50.ln(), if p50 > 0.0 && p95 > p50 { (p95 / p50).ln() / Z95 } else { 0.0 })
}

/// How fast nodes of a pool are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    lead: LeadTime,
    overdue_after: SignedDuration,
}

impl Pace {
    /// The pool's.
    #[must_use]
    pub fn of(pool: &Pool) -> Self {
        Self { lead: of(pool), overdue_after: overdue_after(pool) }
    }

    /// How long until all of `n` nodes (or, on existing nodes, their pods) are there, once the cloud's API has handed them out.
    #[must_use]
    pub fn until_all(&self, n: i32) -> SignedDuration {
        if n <= 0 {
            return SignedDuration::ZERO;
        }
        quantile(self.lead, CONFIDENCE.powf(1.0 / f64::from(n)))
    }

    /// How long until those are there that come in place of the overdue ones of `n`.
    #[must_use]
    pub fn until_made_up(&self, n: i32) -> SignedDuration {
        if n <= 0 {
            return SignedDuration::ZERO;
        }
        self.overdue_after + self.until_all(made_up(n))
    }
}

/// How many of `n` nodes are overdue when most are there, and are made up for: one of twenty, and one at least.
#[must_use]
pub const fn made_up(n: i32) -> i32 {
    (n + 19) / 20
}

/// How long to wait for a single node before another one is launched in its place: its p95. The first one is kept, and welcome if it comes after all.
#[must_use]
pub fn overdue_after(pool: &Pool) -> SignedDuration {
    patient(pool).p95.get()
}

/// How long to wait for a single node before it is given up, and beyond which nothing is learned: never less than half again its p95, so that two quantiles that lie close together, a guess more
/// often than a measurement, do not cost honest nodes.
#[must_use]
pub fn given_up_after(pool: &Pool) -> SignedDuration {
    let lead = patient(pool);
    quantile(lead, GIVEN_UP).max(lead.p95.get() * 3 / 2)
}

/// The `q`-quantile in whole seconds, rounded up.
fn quantile(lead: LeadTime, q: f64) -> SignedDuration {
    let (_, sigma) = parameters(lead);
    let seconds = lead.p50.get().as_secs_f64() * (sigma * standard_normal_quantile(q)).exp();
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
    use serde_json::json;

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
        let pool = pool("lz").rented("c6i.4xlarge", "0.85", 60).lead("90s", "180s").build();
        let seconds: Vec<_> = [0, 1, 10, 100].map(|n| Pace::of(&pool).until_all(n).as_secs()).into();
        assert_eq!(seconds[0], 0);
        assert!(seconds[1] < seconds[2] && seconds[2] < seconds[3], "{seconds:?}");
        assert!((235..=250).contains(&seconds[1]) && (420..=440).contains(&seconds[3]), "{seconds:?}");
    }

    #[test]
    fn quantiles_that_are_equal_leave_patience_all_the_same() {
        let pool = pool("lz").rented("c6i.4xlarge", "0.85", 60).lead("60s", "60s").build();
        assert_eq!(given_up_after(&pool).as_secs(), 90);
    }

    /// A pool declared with 90 s and 180 s, of which nodes took so long.
    fn after(seconds: impl IntoIterator<Item = i32>) -> Pool {
        let mut pool = pool("lz").rented("c6i.4xlarge", "0.85", 60).lead("90s", "180s").build();
        let sample = |(n, seconds)| json!({"instance": format!("i-{n:04}"), "seconds": seconds, "at": "2026-11-28T17:00:00Z"});
        pool.status.lead_times = seconds.into_iter().enumerate().map(|s| serde_json::from_value(sample(s)).unwrap()).collect();
        pool
    }

    fn quantiles(pool: &Pool) -> (i64, i64) {
        (of(pool).p50.get().as_secs(), of(pool).p95.get().as_secs())
    }

    #[test]
    fn nothing_measured_leaves_what_is_declared_and_as_declared_changes_nothing() {
        assert_eq!(quantiles(&after([])), (90, 180));
        // Less the ten seconds that pods take: quantiles of the declared distribution, in even steps of probability.
        let as_declared = (0..50).map(|i| 90.0 * (0.421_387 * normal((f64::from(i) + 0.5) / 50.0)).exp() - 10.0);
        let (p50, p95) = quantiles(&after(as_declared.map(|s| s.round() as i32)));
        assert!((88..=92).contains(&p50) && (172..=184).contains(&p95), "{p50} {p95}");
    }

    fn normal(q: f64) -> f64 {
        if q < 0.5 { -standard_normal_quantile(1.0 - q) } else { standard_normal_quantile(q) }
    }

    #[test]
    fn a_node_or_two_hardly_move_it_and_fifty_do() {
        let undeclared = |mut pool: Pool| {
            pool.spec.lead_time = None;
            pool
        };
        let fast = || after((0..50).map(|i| 35 + i % 11));
        let (one, fifty) = (quantiles(&undeclared(after([40]))), quantiles(&undeclared(fast())));
        assert_eq!(quantiles(&fast()), (90, 180), "a word that was given stands");
        for pool in [fast(), undeclared(fast())] {
            assert_eq!((overdue_after(&pool), given_up_after(&pool)), (overdue_after(&after([])), given_up_after(&after([]))));
        }
        assert!((83..90).contains(&one.0) && (165..=185).contains(&one.1), "{one:?}");
        assert!((50..62).contains(&fifty.0) && fifty.1 < 110, "{fifty:?}");
    }

    #[test]
    fn slow_nights_make_starts_earlier_and_patience_longer() {
        let (declared, slow) = (after([]), after((0..50).map(|i| 200 + i)));
        assert!(quantiles(&slow).0 > 180, "{:?}", quantiles(&slow));
        for n in [1, 20, 100] {
            assert!(Pace::of(&slow).until_all(n) > Pace::of(&declared).until_all(n) * 3 / 2, "{n}");
        }
        assert!(overdue_after(&slow).as_secs() > 250 && given_up_after(&slow) > given_up_after(&declared));
    }

    #[test]
    fn the_order_of_what_was_measured_does_not_matter() {
        let seconds: Vec<i32> = (0..64).map(|i| 30 + (i * 37) % 101).collect();
        let (forth, back) = (after(seconds.clone()), after(seconds.into_iter().rev()));
        assert_eq!(of(&forth), of(&back));
        assert_eq!(Pace::of(&forth).until_all(77), Pace::of(&back).until_all(77));
    }

    #[test]
    fn nodes_that_exist_are_as_declared() {
        let mut existing = pool("dc").build();
        existing.status = after([300; 50]).status;
        assert_eq!(of(&existing), EXISTING);
    }
}
