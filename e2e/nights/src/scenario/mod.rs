//! Nights as data: `e2e/scenarios/*.yaml` say what there is, what happens, and what must come of it.
//!
//! - [`file`], [`trouble`], [`budget`]: the format; [`time`]: instants and delays in it
//! - [`start`]: the state that a scenario begins with; [`timeline`]: what happens when; [`play`]: plays it
//! - [`verdict`]: whether the budget held; [`outcome`]: what was decided, one readable line each

pub mod budget;
pub mod file;
pub mod outcome;
pub mod play;
pub mod start;
pub mod time;
pub mod timeline;
pub mod trouble;
pub mod verdict;

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;

pub use file::File;
pub use play::Played;

/// A scenario that cannot be played: says where, what is wrong and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {message}")]
pub struct Mistake {
    /// The file.
    pub file: String,
    /// Field, what is wrong with it, and what to write.
    pub message: String,
}

/// A scenario, read.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Name: that of the file.
    pub name: String,
    /// Where the manifests that it includes are looked up.
    root: PathBuf,
    /// What the file says.
    pub file: File,
    zone: TimeZone,
}

impl Scenario {
    /// Reads a file; manifests that it includes are looked up below `root`.
    ///
    /// # Errors
    /// When it cannot be read, or says what makes no sense.
    pub fn read(path: &Path, root: &Path) -> Result<Self, Mistake> {
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let text = fs::read_to_string(path).map_err(|e| Mistake { file: path.display().to_string(), message: e.to_string() })?;
        Self::parse(&name, &text, root)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// When it says what makes no sense.
    pub fn parse(name: &str, text: &str, root: &Path) -> Result<Self, Mistake> {
        let mistake = |message: String| Mistake { file: format!("{name}.yaml"), message };
        let file: File = parsed(text).map_err(mistake)?;
        let zone = TimeZone::get(&file.time_zone);
        let zone =
            zone.map_err(|_| mistake(format!("timeZone: {:?} is no IANA time zone: write one such as America/Phoenix", file.time_zone)))?;
        let scenario = Self { name: name.to_owned(), root: root.to_owned(), file, zone };
        // Everything that can be found wrong is found before the night.
        let start = start::state(&scenario).map_err(mistake)?;
        timeline::of(&scenario, &start).map_err(mistake)?;
        verdict::check(&scenario, &start).map_err(mistake)?;
        Ok(scenario)
    }
}

/// A document of YAML; the error names field and line.
fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let document = serde_yaml::Deserializer::from_str(text);
    serde_yaml::with::singleton_map_recursive::deserialize(document).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least that a scenario is, with these lines more.
    fn mistake(more: &str) -> String {
        let text = format!(
            "about: A night.\nbegins: 2026-12-05T16:45:00Z\nends: \"17:20\"\nfleet:\n  existing: [{{pool: dc, nodes: 1, rtt: 200us}}]\n  \
             rented: [{{pool: lz, rtt: 1.6ms, maxNodes: 2, types: {{c6i.4xlarge: {{}}}}}}]\nworkloads: [{{name: seat-map, replicas: 2}}]\n{more}\n"
        );
        let budget = "budget: {mostInstances: 0, mostWrites: 20, phases: [{at: \"17:00\", sale: tour, is: Gone}], sales: {tour: Gone}}\n";
        let text = if more.contains("budget:") { text } else { text + budget };
        Scenario::parse("wrong", &text, Path::new("/nowhere")).map_or_else(|e| e.to_string(), |_| "it is not wrong".to_owned())
    }

    #[test]
    fn the_least_that_a_scenario_is_can_be_played() {
        assert_eq!(mistake(""), "it is not wrong");
    }

    #[test]
    fn a_field_that_is_not_there_is_named_with_its_line_and_what_there_is() {
        let said = mistake("faults:\n- noCapacity: {pool: lz, untill: \"17:00\"}");
        assert!(said.starts_with("wrong.yaml: faults"), "{said}");
        assert!(said.contains("unknown field `untill`, expected one of `pool`, `type`, `most`, `from`, `until` at line 9"), "{said}");
        let said = mistake("faults:\n- noCapacty: {pool: lz}");
        assert!(said.contains("unknown variant `noCapacty`, expected one of `noCapacity`"), "{said}");
        let said = mistake("budget: {mostWrites: 20}");
        assert!(said.contains("missing field `mostInstances` at line 8"), "{said}");
    }

    #[test]
    fn a_value_that_makes_no_sense_is_named_with_what_to_write() {
        for (more, says) in [
            ("faults: [{throttled: {from: noon}}]", "\"noon\" is no moment: write an instant such as"),
            ("faults: [{throttled: {from: \"17:30\"}}]", "the night is from 2026-12-05T16:45:00Z to 2026-12-05T17:20:00Z"),
            ("faults: [{slowBoots: {pool: lz, boot: {p50: 9m, p95: 3m}}}]", "p50 is more than p95: swap them"),
            ("faults: [{noCapacity: {pool: lzz}}]", "faults[0].pool: no pool is called \"lzz\": write one of dc, lz"),
            ("faults: [{noCapacity: {pool: lz, type: m5.large}}]", "faults[0].type: pool lz has no m5.large: write one of c6i.4xlarge"),
            (
                "edits: [{scale: {at: \"17:00\", workload: seats, replicas: 3}}]",
                "edits[0].workload: no Deployment is called \"seats\": write one of seat-map",
            ),
            (
                "edits: [{scale: {at: \"17:00\", workload: seat-map, replicas: 3, every: 0s}}]",
                "edits[0].every: 0ns is too often to be played",
            ),
            ("edits: [{load: {at: \"17:00\", workload: seat-map, replicas: 3}}]", "edits[0].workload: seat-map has no HPA"),
            (
                "sales: [{name: tour, spec: {opensAt: \"2026-12-05T17:00:00Z\", budgets: {}, workloads: [{target: {kind: Deployment, name: seat-map}, peakReplicas: 3}]}}]",
                "sales[0].spec.budgets: OnSales have no such field",
            ),
            ("sales: [{name: tour, spec: {workloads: []}}]", "missing field `opensAt`"),
            ("manifests: [examples/none.yaml]", "manifests[0]: examples/none.yaml: No such file"),
            ("timeZone: Europe/Berlyn", "timeZone: \"Europe/Berlyn\" is no IANA time zone"),
            ("budget: {mostInstances: 0, mostWrites: 20}", "budget: nothing is asked for"),
            (
                "budget: {mostInstances: 0, mostWrites: 20, ready: [{workload: seats, replicas: 3, by: \"17:00\"}]}",
                "budget.ready[0].workload: no Deployment is called \"seats\"",
            ),
        ] {
            let said = mistake(more);
            assert!(said.starts_with("wrong.yaml: ") && said.contains(says), "{more}\n{said}");
        }
    }

    #[test]
    fn a_time_of_day_is_the_first_one_after_the_beginning_where_the_scenario_is() {
        let begins = "2026-11-01T05:50:00Z".parse().unwrap();
        let zone = TimeZone::get("America/New_York").unwrap();
        let instant = |text: &str| serde_yaml::from_str::<time::Moment>(text).unwrap().instant(begins, &zone).to_string();
        // It is 01:50 there, and 02:00 will be 01:00 again.
        assert_eq!(instant("\"01:55\""), "2026-11-01T05:55:00Z");
        assert_eq!(instant("\"03:10\""), "2026-11-01T08:10:00Z");
        assert_eq!(instant("\"01:30\""), "2026-11-02T06:30:00Z");
    }
}
