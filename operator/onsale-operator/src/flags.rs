//! Flags. Every one has an environment variable; a bad value is refused before anything is started, in one sentence.

use std::{net::SocketAddr, time::Duration};

use clap::{ArgAction, CommandFactory, Parser, ValueEnum, error::ErrorKind};
use onsale_api::GoDuration;
use onsale_controller::{Config, lease::LeaseConfig};
use onsale_planner::snapshot::Settings;

/// Scales ticketing workloads ahead of a sale, onto EC2 nodes where that is needed, and puts everything back.
///
/// Configuration of the cluster is read from KUBECONFIG or, in a pod, from its service account; that of AWS from the usual
/// variables (AWS_REGION, AWS_ENDPOINT_URL, AWS_ROLE_ARN, ...). Durations are written as 1h30m, 90s or 250ms. Of a flag that is given twice, the
/// last one counts.
#[derive(Clone, Debug, Parser)]
#[command(name = "onsale-operator", version, args_override_self = true)]
pub struct Flags {
    /// Name of this cluster: the value of the tag that marks its instances. Two clusters in one AWS account must not share it, and it must
    /// not change while instances are rented.
    #[arg(long, env = "ONSALE_CLUSTER_NAME", value_parser = cluster_name)]
    pub cluster_name: String,
    /// Namespace that the operator runs in: where its lease lies.
    #[arg(long, env = "POD_NAMESPACE", default_value = "onsale-system")]
    pub operator_namespace: String,
    /// Name of this process: the identity in the lease and in events. No two processes may share it. Needed for leader election.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: Option<String>,
    /// Address of /healthz, /readyz and /metrics; port 0 takes a free one, which the log names.
    #[arg(long, env = "ONSALE_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Whether to act only while holding the lease. Without it, run one process and no more.
    #[arg(long, env = "ONSALE_LEADER_ELECT", default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub leader_elect: bool,
    /// Name of the lease.
    #[arg(long, env = "ONSALE_LEASE_NAME", default_value = "onsale-operator")]
    pub lease_name: String,
    /// For how long a leader that fell silent keeps the lease; whole seconds.
    #[arg(long, env = "ONSALE_LEASE_DURATION", default_value = "15s")]
    pub lease_duration: GoDuration,
    /// A leader that could not renew the lease for this long stops all work.
    #[arg(long, env = "ONSALE_LEASE_RENEW_DEADLINE", default_value = "10s")]
    pub lease_renew_deadline: GoDuration,
    /// Time between two tries to take or renew the lease.
    #[arg(long, env = "ONSALE_LEASE_RETRY_PERIOD", default_value = "2s")]
    pub lease_retry_period: GoDuration,
    /// How long an HPA takes at most to follow its minReplicas: the cluster's --horizontal-pod-autoscaler-sync-period.
    #[arg(long, env = "ONSALE_HPA_SYNC_PERIOD", default_value = "15s")]
    pub hpa_sync_period: GoDuration,
    /// Added to every lead time, in percent of it, for what nobody has measured.
    #[arg(long, env = "ONSALE_LEAD_TIME_MARGIN_PERCENT", default_value_t = 25, value_parser = clap::value_parser!(i64).range(0..=1000))]
    pub lead_time_margin_percent: i64,
    /// Instances per second that EC2 launches for this account in one region once its burst is used up (refill of the RunInstances resource bucket).
    #[arg(long, env = "ONSALE_LAUNCH_RATE", default_value_t = 2, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    pub launch_rate: i64,
    /// Instances that EC2 launches for this account in one region at once (capacity of the RunInstances resource bucket).
    #[arg(long, env = "ONSALE_LAUNCH_BURST", default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    pub launch_burst: i64,
    /// A pod that found no node for this long counts as unschedulable where it is permitted.
    #[arg(long, env = "ONSALE_UNSCHEDULABLE_AFTER", default_value = "30s")]
    pub unschedulable_after: GoDuration,
    /// Whether everything a sale needs can be had is looked at from so long before its ready-by on; at least 48h.
    #[arg(long, env = "ONSALE_HORIZON", default_value = "744h")]
    pub horizon: GoDuration,
    /// The loop looks at everything at least this often, events or not; 1s to 1h.
    #[arg(long, env = "ONSALE_RESYNC", default_value = "5m")]
    pub resync: GoDuration,
    /// After SIGTERM, leave after this long even if the lease could not be released.
    #[arg(long, env = "ONSALE_STOP_DEADLINE", default_value = "20s")]
    pub stop_deadline: GoDuration,
    /// How log lines are written.
    #[arg(long, env = "ONSALE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    /// What is logged: a level, or levels by module (info,onsale_controller=debug).
    #[arg(long, env = "ONSALE_LOG_FILTER", default_value = "info", value_parser = crate::logging::filter)]
    pub log_filter: String,
}

/// A lead time is a day at most, and its margin comes on top.
const LEAST_HORIZON: Duration = Duration::from_secs(48 * 3600);

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// EKS's rule for names of clusters, which EC2 accepts as the value of a tag.
fn cluster_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fine = (1..=100).contains(&text.len()) && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed);
    if fine { Ok(text.to_owned()) } else { Err("must be 1 to 100 letters, digits, '-', '_' or '.', the first a letter or digit".into()) }
}

impl Flags {
    /// Reads and checks the command line and the environment; ends the process with code 2 and a sentence where they are wrong.
    #[must_use]
    pub fn from_env() -> Self {
        let flags = Self::parse();
        if let Err(sentence) = flags.check() {
            Self::command().error(ErrorKind::ValueValidation, sentence).exit();
        }
        flags
    }

    fn check(&self) -> Result<(), String> {
        if self.leader_elect {
            match &self.pod_name {
                None => return Err(
                    "--pod-name (POD_NAME) is needed for leader election: give every process its own, or run one with --leader-elect=false"
                        .into(),
                ),
                Some(name) => self.lease(name).check()?,
            }
        }
        let resync = span(self.resync);
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&resync) {
            return Err(format!("--resync ({}) must be between 1s and 1h", self.resync));
        }
        if span(self.horizon) < LEAST_HORIZON {
            return Err(format!("--horizon ({}) must be at least 48h: starts are computed only for sales that are nearer", self.horizon));
        }
        Ok(())
    }

    /// The lease, as `identity`.
    #[must_use]
    pub fn lease(&self, identity: &str) -> LeaseConfig {
        LeaseConfig {
            duration: span(self.lease_duration),
            renew_deadline: span(self.lease_renew_deadline),
            retry: span(self.lease_retry_period),
            ..LeaseConfig::new(&self.operator_namespace, &self.lease_name, identity)
        }
    }

    /// What the fleet loop gets.
    #[must_use]
    pub fn config(&self) -> Config {
        let default = Config::new(&self.cluster_name, &self.operator_namespace);
        Config {
            instance: self.pod_name.clone().unwrap_or_else(|| default.instance.clone()),
            settings: Settings {
                hpa_sync: self.hpa_sync_period.get(),
                margin_percent: self.lead_time_margin_percent,
                launch_rate: self.launch_rate,
                launch_burst: self.launch_burst,
                unschedulable_after: self.unschedulable_after.get(),
                horizon: self.horizon.get(),
            },
            resync: span(self.resync),
            ..default
        }
    }

    /// A leader whose loop finished no pass for so long is stuck: two resyncs missed, and the longest pass.
    #[must_use]
    pub fn silence(&self) -> Duration {
        2 * span(self.resync) + Duration::from_secs(60)
    }

    /// How long stopping may take.
    #[must_use]
    pub fn stop_deadline(&self) -> Duration {
        span(self.stop_deadline)
    }
}

fn span(duration: GoDuration) -> Duration {
    duration.get().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(more: &[&str]) -> Result<Flags, String> {
        let args = ["onsale-operator", "--cluster-name=prod", "--pod-name=onsale-operator-0"].iter().chain(more);
        let flags = Flags::try_parse_from(args).map_err(|e| e.to_string())?;
        flags.check().map(|()| flags)
    }

    #[test]
    fn the_definition_is_sound_and_every_flag_has_a_variable_and_a_description() {
        Flags::command().debug_assert();
        for flag in Flags::command().get_arguments().filter(|a| !["help", "version"].contains(&a.get_id().as_str())) {
            assert!(flag.get_env().is_some() && flag.get_help().is_some(), "{}", flag.get_id());
        }
    }

    #[test]
    fn defaults_are_those_of_the_controller() {
        let (flags, default) = (flags(&[]).unwrap(), Config::new("prod", "onsale-system"));
        let config = flags.config();
        assert_eq!((config.cluster, config.namespace), (default.cluster, default.namespace));
        assert_eq!((config.settings, config.resync), (default.settings, default.resync));
        let (ours, lease) = (flags.lease("a"), LeaseConfig::new("onsale-system", "onsale-operator", "a"));
        assert_eq!(
            (ours.name, ours.duration, ours.renew_deadline, ours.retry),
            (lease.name, lease.duration, lease.renew_deadline, lease.retry)
        );
        assert!(flags.silence() > 2 * config.resync);
    }

    #[test]
    fn leader_election_is_a_switch_that_also_takes_a_value() {
        assert!(flags(&["--leader-elect"]).unwrap().leader_elect);
        assert!(flags(&["--leader-elect=true"]).unwrap().leader_elect);
        assert!(!flags(&["--leader-elect=false"]).unwrap().leader_elect);
        assert!(!flags(&["--leader-elect", "--leader-elect=false"]).unwrap().leader_elect, "the last one counts");
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let error = flags(&["--lease-duration=10s"]).unwrap_err();
        assert_eq!(error, "the lease duration (10s) must be longer than the renew deadline (10s)");
        assert!(flags(&["--lease-duration=10s", "--leader-elect=false"]).is_ok());
        assert_eq!(flags(&["--resync=0s"]).unwrap_err(), "--resync (0s) must be between 1s and 1h");
    }
}
