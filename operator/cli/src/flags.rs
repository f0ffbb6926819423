//! Flags, named as kubectl names them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

/// What a ticket sale would do, told before anything is touched.
#[derive(Clone, Debug, Parser)]
#[command(name = "kubectl-onsale", bin_name = "kubectl onsale", version, args_override_self = true)]
pub struct Flags {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Plans the sales of the files and tells what would happen when, where, at what cost, and what is missing.
    ///
    /// Reads files alone unless --cluster, --context or --kubeconfig is given: no cluster is asked by accident. Nothing is ever written anywhere.
    /// The files hold OnSales and what they need: CapacityPools, the Namespace, Deployments, StatefulSets, DaemonSets, HPAs, ScaledObjects, and where there are
    /// pools of existing nodes their Nodes; lists as of `kubectl get -o yaml` will do. Other kinds are passed over.
    ///
    /// Exit code: 0 go, 2 no-go, 1 bad input.
    Plan(Box<Plan>),
}

/// Flags of `plan`.
#[derive(Clone, Debug, Args)]
pub struct Plan {
    /// Files or folders with manifests, `-` for standard input; may be given several times.
    #[arg(short, long, required = true, num_args = 1.., value_name = "FILE")]
    pub filename: Vec<String>,
    /// Also read the folders in the folders.
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Output: text, json, yaml, or svg for a picture of the timeline.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Plan as if it were this instant, in RFC 3339. Default: the present.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub at: Option<Timestamp>,
    /// Nodes of a pool of existing nodes that the files do not hold, such as phx-dc=20,cpu=20,memory=96Gi[,pods=110]; may be given several times.
    #[arg(long, value_name = "POOL=COUNT,cpu=..,memory=..", value_parser = crate::assumed::parse)]
    pub nodes: Vec<crate::assumed::Assumed>,
    /// Also use what the cluster has, of the kubeconfig's current context. What the files say stands before what the cluster says.
    #[arg(long)]
    pub cluster: bool,
    /// Also use what the cluster of this context has.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Also use what the cluster of this kubeconfig has. Default with --cluster or --context: KUBECONFIG, then ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of objects that name none. Default: that of the context, without a cluster `default`.
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Colour: auto is colour on a terminal, unless NO_COLOR is set.
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    pub color: Colour,
}

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For pipelines.
    Json,
    /// For pipelines.
    Yaml,
    /// A picture of the timeline.
    Svg,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// An instant that a plan can be made for.
fn instant(text: &str) -> Result<Timestamp, String> {
    let at = text.parse::<Timestamp>().ok().filter(|at| crate::read::rules::is_plannable(*at));
    at.ok_or_else(|| "write an instant in RFC 3339 such as 2026-11-21T08:00:00Z, in a year from 1970 to 8999".to_owned())
}

impl Plan {
    /// A cluster is to be asked.
    #[must_use]
    pub fn asks_cluster(&self) -> bool {
        self.cluster || self.context.is_some() || self.kubeconfig.is_some()
    }
}
