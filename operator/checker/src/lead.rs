//! Own arithmetic of lead times: a node of a rented pool is one of ten that are as declared and of those that were measured, all of one lognormal distribution.

use onsale_planner::snapshot::Pool;

/// Where a rented pool does not say: half of the nodes are there in this time, 95 of 100 in twice of it.
const DEFAULT: (f64, f64) = (90.0, 180.0);
/// What is declared counts like so many nodes.
const DECLARED: f64 = 10.0;
/// Pods on a node that is there: half of them are Ready in this time.
const PODS_SECONDS: f64 = 10.0;
/// 95 of 100 are less than so many standard deviations above the mean.
const Z95: f64 = 1.645;

/// Seconds in which half of the pool's nodes are there, and 95 of 100.
pub fn seconds(pool: &Pool) -> (f64, f64) {
    let (p50, p95) = pool.spec.lead_time.map_or(DEFAULT, |lead| (lead.p50.get().as_secs_f64(), lead.p95.get().as_secs_f64()));
    let (mean, spread) = (p50.ln(), (p95 / p50).ln() / Z95);
    // Number, sum and sum of squares of the logarithms.
    let declared = (DECLARED, DECLARED * mean, DECLARED * (mean * mean + spread * spread));
    let measured = pool.status.lead_times.iter().map(|s| (f64::from(s.seconds) + PODS_SECONDS).ln());
    let (n, sum, squares) = measured.fold(declared, |(n, sum, squares), log| (n + 1.0, sum + log, squares + log * log));
    let mean = sum / n;
    let spread = (squares / n - mean * mean).max(0.0).sqrt();
    let learned = (mean.exp(), (mean + Z95 * spread).exp());
    // A word that was given is not taken back by a fast night.
    if pool.spec.lead_time.is_some() { (learned.0.max(p50), learned.1.max(p95)) } else { learned }
}

/// The same, for how long to wait: no node has less time than was assumed before anything was measured.
pub fn patience(pool: &Pool) -> (f64, f64) {
    let (p50, p95) = pool.spec.lead_time.map_or(DEFAULT, |lead| (lead.p50.get().as_secs_f64(), lead.p95.get().as_secs_f64()));
    let (learned50, learned95) = seconds(pool);
    (learned50.max(p50), learned95.max(p95))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::night;

    #[test]
    fn agrees_with_the_planner_about_what_was_measured() {
        let mut pool = Vec::new();
        drop(night().seen(|s| pool = s.pools.split_off(1)));
        let pool = &mut pool[0];
        for n in 0..40 {
            let sample = json!({"instance": format!("i-{n}"), "seconds": 30 + n * 7 % 100, "at": "2026-11-28T17:00:00Z"});
            pool.status.lead_times.push(serde_json::from_value(sample).unwrap());
            let (planned, (p50, p95)) = (onsale_planner::lead::of(pool), seconds(pool));
            let off = (planned.p50.get().as_secs_f64() - p50).abs().max((planned.p95.get().as_secs_f64() - p95).abs());
            assert!(off < 1.0, "{planned:?} {p50} {p95}");
        }
        assert!(seconds(pool).0 < 90.0, "it was faster than declared");
    }
}
