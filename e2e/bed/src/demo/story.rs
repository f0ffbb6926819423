//! The manifests of `examples/`, with time lapse: instants are replaced, durations and delays divided by one factor. Nothing else is changed.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use onsale_api::GoDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::tools;

/// Where the time of an OnSale is told as a duration.
const OF_A_SALE: [&str; 3] = ["/spec/readyBefore", "/spec/duration", "/spec/returnOver"];
/// The same of a CapacityPool. Round trips are no durations of the story: they are as they are.
const OF_A_POOL: [&str; 2] = ["/spec/leadTime/p50", "/spec/leadTime/p95"];

/// From launched to running on EC2, in life.
const BOOT: SignedDuration = SignedDuration::from_secs(45);
/// A boot takes this much more or less, in life.
const BOOT_JITTER: SignedDuration = SignedDuration::from_secs(15);
/// From running to registered: systemd, containerd, kubelet, in life.
const JOIN: SignedDuration = SignedDuration::from_secs(20);
/// From terminate to terminated, in life.
const SHUTDOWN: SignedDuration = SignedDuration::from_secs(30);

/// The story of `examples/`, told `factor` times as fast.
#[derive(Debug, Clone)]
pub struct Story {
    /// All durations and delays are divided by this.
    pub factor: f64,
    /// `examples/shop.yaml` and what else is applied with it: files, as they are.
    pub shop: Vec<PathBuf>,
    /// `examples/pools.yaml`.
    pub pools: Vec<Value>,
    /// `examples/stadium-tour.yaml`.
    pub sale: Value,
    /// How long EC2 takes, before the division.
    pub delays: Delays,
}

/// How long EC2 and the nodes take, in life.
#[derive(Debug, Clone, Copy)]
pub struct Delays {
    /// From launched to running.
    pub boot: SignedDuration,
    /// Boots take this much more or less.
    pub boot_jitter: SignedDuration,
    /// From running to registered.
    pub join: SignedDuration,
    /// From terminate to terminated.
    pub shutdown: SignedDuration,
}

impl Delays {
    /// What users of EC2 see.
    pub const REAL: Self = Self { boot: BOOT, boot_jitter: BOOT_JITTER, join: JOIN, shutdown: SHUTDOWN };
    /// No time at all: what is left is the operator's and the control plane's.
    pub const NONE: Self =
        Self { boot: SignedDuration::ZERO, boot_jitter: SignedDuration::ZERO, join: SignedDuration::ZERO, shutdown: SignedDuration::ZERO };
}

impl Story {
    /// Reads `examples/`.
    pub fn read(factor: f64) -> Result<Self> {
        ensure!(factor >= 1.0, "the factor is {factor}: time can only be made shorter, write 1 or more");
        let [sale] =
            documents("stadium-tour.yaml")?.try_into().map_err(|all: Vec<Value>| anyhow::anyhow!("{} sales, not one", all.len()))?;
        Ok(Self { factor, shop: vec![example("shop.yaml")], pools: documents("pools.yaml")?, sale, delays: Delays::REAL })
    }

    /// Only the workloads of these names; the rest of the shop stays as it is.
    pub fn only(mut self, workloads: &[&str]) -> Self {
        if let Some(all) = self.sale.pointer_mut("/spec/workloads").and_then(Value::as_array_mut) {
            all.retain(|w| w.pointer("/target/name").and_then(Value::as_str).is_some_and(|name| workloads.contains(&name)));
        }
        self
    }

    /// Another file of `examples/` applied with the shop.
    pub fn with(mut self, file: &str) -> Self {
        self.shop.push(example(file));
        self
    }

    /// Namespace of the shop and the sale.
    pub fn namespace(&self) -> &str {
        self.sale.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default")
    }

    /// Name of the sale.
    pub fn name(&self) -> &str {
        self.sale.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// A span of the story, as long as it takes here.
    pub fn lapse(&self, span: SignedDuration) -> SignedDuration {
        SignedDuration::from_millis(((span.as_secs_f64() * 1000.0) / self.factor).round() as i64)
    }

    /// `readyBefore`, as long as it takes here.
    pub fn ready_before(&self) -> Result<SignedDuration> {
        let text = self.sale.pointer("/spec/readyBefore").and_then(Value::as_str).unwrap_or("10m");
        Ok(self.lapse(text.parse::<GoDuration>().context("readyBefore")?.get()))
    }

    /// The pools, to be applied.
    pub fn pools_manifest(&self) -> Result<String> {
        let lapsed = self.pools.iter().map(|pool| self.divided(pool.clone(), &OF_A_POOL).map(|pool| pool.to_string()));
        Ok(lapsed.collect::<Result<Vec<_>>>()?.join("\n---\n"))
    }

    /// The sale, to be applied: it opens at that instant, told in the manifest's own time zone.
    pub fn sale_manifest(&self, opens_at: Timestamp) -> Result<String> {
        let mut sale = self.divided(self.sale.clone(), &OF_A_SALE)?;
        for workload in sale.pointer_mut("/spec/workloads").and_then(Value::as_array_mut).into_iter().flatten() {
            *workload = self.divided(workload.take(), &["/sessionLength"])?;
        }
        let zone = sale.pointer("/spec/timeZone").and_then(Value::as_str).unwrap_or("UTC");
        let local = opens_at.to_zoned(TimeZone::get(zone).with_context(|| format!("no time zone {zone}"))?).datetime();
        sale["spec"]["opensAt"] = json!(local.to_string());
        Ok(sale.to_string())
    }

    fn divided(&self, mut object: Value, paths: &[&str]) -> Result<Value> {
        for path in paths {
            let Some(value) = object.pointer_mut(path) else { continue };
            let span: GoDuration =
                value.as_str().with_context(|| format!("{path} is no text"))?.parse().with_context(|| (*path).to_owned())?;
            *value = json!(GoDuration::from(self.lapse(span.get())).to_string());
        }
        Ok(object)
    }
}

/// A file of `examples/`.
pub fn example(file: &str) -> PathBuf {
    tools::checkout().join("examples").join(file)
}

fn documents(file: &str) -> Result<Vec<Value>> {
    let path = example(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    let all = serde_yaml::Deserializer::from_str(&text).map(Value::deserialize);
    all.collect::<Result<_, _>>().with_context(|| format!("{} is no YAML", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_instants_and_durations_differ_from_the_examples() {
        let story = Story::read(20.0).unwrap();
        let mut told: Value = serde_json::from_str(&story.sale_manifest("2027-01-02T03:04:05Z".parse().unwrap()).unwrap()).unwrap();
        assert_eq!(told["spec"]["opensAt"], "2027-01-01T20:04:05", "seven hours behind UTC in Phoenix, all year");
        assert_eq!(told["spec"]["readyBefore"], "30s");
        for path in OF_A_SALE.into_iter().chain(["/spec/opensAt", "/spec/workloads/2/sessionLength"]) {
            *told.pointer_mut(path).unwrap() = story.sale.pointer(path).unwrap().clone();
        }
        assert_eq!(told, story.sale);
        let manifest = story.pools_manifest().unwrap();
        let mut pools: Vec<Value> = manifest.split("\n---\n").map(|text| serde_json::from_str(text).unwrap()).collect();
        for (told, written) in pools.iter_mut().zip(&story.pools) {
            for path in OF_A_POOL {
                if let Some(value) = told.pointer_mut(path) {
                    assert_ne!(value, written.pointer(path).unwrap());
                    *value = written.pointer(path).unwrap().clone();
                }
            }
        }
        assert_eq!(pools, story.pools);
    }

    #[test]
    fn at_factor_one_nothing_but_the_instant_is_replaced() {
        let story = Story::read(1.0).unwrap();
        let mut told: Value = serde_json::from_str(&story.sale_manifest("2027-01-02T03:04:05Z".parse().unwrap()).unwrap()).unwrap();
        for path in OF_A_SALE {
            let span = |value: &Value| value.pointer(path).and_then(Value::as_str).unwrap().parse::<GoDuration>().unwrap();
            assert_eq!(span(&told), span(&story.sale));
            *told.pointer_mut(path).unwrap() = json!(null);
        }
    }

    #[test]
    fn the_readme_shows_the_examples_as_they_are() {
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        let readme = read(tools::checkout().join("README.md"));
        let minimal: String =
            read(example("minimal.yaml")).lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        let pools = read(example("pools.yaml"));
        let pool = pools.split("---\n").find(|pool| pool.contains("name: phx-local-zone\n")).unwrap();
        for text in [minimal.as_str(), pool] {
            assert!(readme.contains(text.trim_end()), "README.md does not show this as it is in examples/:\n{text}");
        }
    }
}
