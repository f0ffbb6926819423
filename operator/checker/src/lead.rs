//! Own arithmetic of lead times: a node of a rented pool is one of ten that are as declared and of those that were measured, all of one lognormal distribution;
//! and of what the cloud's API hands out in a region.

use onsale_planner::snapshot::{Pool, Settings};

/// Where a rented pool does not say: half of the nodes are there in this time, 95 of 100 in twice of it.
const DEFAULT: (f64, f64) = (90.0, 180.0);
/// The same for pods on nodes that exist.
const EXISTING: (f64, f64) = (10.0, 30.0);
/// What is declared counts like so many nodes.
const DECLARED: f64 = 10.0;
/// Pods on a node that is there: half of them are Ready in this time.
const PODS_SECONDS: f64 = 10.0;
/// 95 of 100 are less than so many standard deviations above the mean.
const Z95: f64 = 1.645;

/// Seconds in which half of the pool's nodes are there, and 95 of 100.
pub fn seconds(pool: &Pool) -> (f64, f64) {
    if pool.spec.nodes.ec2.is_none() {
        return pool.spec.lead_time.map_or(EXISTING, |lead| (lead.p50.get().as_secs_f64(), lead.p95.get().as_secs_f64()));
    }
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

/// The share of nights in which all of `n` nodes of the pool are there `seconds` after they were launched.
pub fn all_there(pool: &Pool, n: i32, seconds: f64) -> f64 {
    let (p50, p95) = self::seconds(pool);
    let one = match () {
        () if seconds <= 0.0 => 0.0,
        () if p95 > p50 => below((seconds / p50).ln() * Z95 / (p95 / p50).ln()),
        () if seconds >= p50 => 1.0,
        () => 0.0,
    };
    if n > 0 { one.powi(n) } else { 1.0 }
}

/// The standard normal distribution function (Abramowitz and Stegun, Handbook of Mathematical Functions, formula 26.2.17; error below 7.5e-8).
fn below(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let sum = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429].iter().rev().fold(0.0, |sum, b| (sum + b) * t);
    let above = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum;
    if z < 0.0 { above } else { 1.0 - above }
}

/// Seconds until the last of `n` instances is handed out in a region whose bucket was full.
pub fn handed_out(n: i32, settings: &Settings) -> f64 {
    (f64::from(n) - settings.launch_burst as f64).max(0.0) / settings.launch_rate as f64
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

    #[test]
    fn the_normal_distribution_is_that_of_tables() {
        for (z, share) in [(0.0, 0.5), (1.644_854, 0.95), (-1.644_854, 0.05), (3.090_232, 0.999), (3.719_016, 0.9999)] {
            assert!((below(z) - share).abs() < 1e-6, "{z}");
        }
    }
}
