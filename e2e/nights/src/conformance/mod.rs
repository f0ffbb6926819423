//! What the operator takes for granted of the Kubernetes API, as cases that run against any server: `tests/nights/conformance.rs` runs them on the
//! in-process API, the end-to-end tests on a real one. What both do alike, nights may rely on.
//!
//! - [`ground`]: what a case stands on, the objects it makes, and how it compares
//! - [`objects`], [`deletion`], [`status`], [`validation`]: single objects; [`leases`], [`nodes`], [`scales`]: those with ways of their own
//! - [`patches`], [`owners`]: how they are changed, and by whom; [`lists`], [`watches`], [`evictions`]
//!
//! The CRDs must be installed. Each case has names of its own: all run beside each other in one namespace.

pub mod deletion;
pub mod evictions;
pub mod ground;
pub mod leases;
pub mod lists;
pub mod nodes;
pub mod objects;
pub mod owners;
pub mod patches;
pub mod scales;
pub mod status;
pub mod validation;
pub mod watches;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::{LocalBoxFuture, join_all};
use kube::Client;

use ground::Ground;

/// Longer than a case's own waiting: for a server that does not answer.
const LIMIT: Duration = Duration::from_secs(60);

/// One thing that the operator takes for granted.
pub struct Case {
    /// A sentence.
    pub name: String,
    run: fn(Ground) -> LocalBoxFuture<'static, Result<()>>,
}

/// A case from `async fn name(ground: Ground) -> Result<()>`.
macro_rules! case {
    ($function:ident) => {
        $crate::conformance::Case::new(concat!(module_path!(), "::", stringify!($function)), |ground| Box::pin($function(ground)))
    };
}
pub(crate) use case;

impl Case {
    fn new(path: &str, run: fn(Ground) -> LocalBoxFuture<'static, Result<()>>) -> Self {
        Self { name: path.split("::").skip(2).collect::<Vec<_>>().join("::"), run }
    }
}

/// All of them.
#[must_use]
pub fn cases() -> Vec<Case> {
    [
        objects::cases(),
        deletion::cases(),
        status::cases(),
        validation::cases(),
        patches::cases(),
        scales::cases(),
        nodes::cases(),
        owners::cases(),
        leases::cases(),
        lists::cases(),
        watches::cases(),
        evictions::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Runs those whose name contains `wanted`, beside each other, in a namespace that is there; returns their names. The client must not try
/// again by itself what is refused.
///
/// # Errors
/// One line for each that the server does not keep.
pub async fn run(client: &Client, namespace: &str, wanted: &str) -> Result<Vec<String>> {
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.name.contains(wanted)).collect();
    let grounds = (1..).map(|n| Ground::new(client.clone(), namespace, &format!("conformance-{n}")));
    let runs = cases.iter().zip(grounds).map(async |(case, ground)| {
        let run = tokio::time::timeout(LIMIT, (case.run)(ground)).await;
        run.with_context(|| format!("still running after {LIMIT:?}"))?
    });
    let results = join_all(runs).await;
    let named = cases.into_iter().map(|case| case.name).zip(results);
    let (mut kept, mut broken) = (Vec::new(), Vec::new());
    for (name, result) in named {
        match result {
            Ok(()) => kept.push(name),
            Err(error) => broken.push(format!("{name}: {error:#}")),
        }
    }
    if !broken.is_empty() {
        bail!("{} of {} are not kept:\n{}", broken.len(), broken.len() + kept.len(), broken.join("\n"));
    }
    Ok(kept)
}
