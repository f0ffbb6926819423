//! Brings the bed up for the first test that needs it, tidies up after each, prints what helps when one fails.

use std::fmt::Debug;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures::future::LocalBoxFuture;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, Resource, ResourceExt};
use libtest_mimic::{Arguments, Failed, Trial};
use onsale_bed::process::folder::{Holder, holder};
use onsale_bed::{Bed, Options, default_folder, wait_until};
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

/// Longer than any test's own deadlines: for the day one forgets to have some.
const LIMIT: Duration = Duration::from_secs(300);
/// Lines of each log that are printed when a test fails.
const TAIL: usize = 15;
/// Namespaces that carry this label go away after the test.
pub const TEST: &str = "bed.onsale.dev/test";

/// One test. Make it with `case!`.
pub struct Case {
    pub name: String,
    pub run: for<'a> fn(&'a Bed) -> LocalBoxFuture<'a, Result<()>>,
}

/// A test from `async fn name(bed: &Bed) -> Result<()>`, named after its file and function.
macro_rules! case {
    ($function:ident) => {
        $crate::harness::Case {
            name: format!("{}::{}", module_path!().rsplit("::").next().unwrap_or_default(), stringify!($function)),
            run: |bed| Box::pin($function(bed)),
        }
    };
}
pub(crate) use case;

/// Runs what the command line asks for.
pub fn run(cases: Vec<Case>) -> ExitCode {
    // One bed, so one test at a time, whatever the command line says.
    let args = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let stage = Arc::new(Stage { runtime, bed: Mutex::default() });
    let trials = cases.into_iter().map(|case| {
        let stage = stage.clone();
        Trial::test(case.name, move || stage.play(case.run))
    });
    let conclusion = libtest_mimic::run(&args, trials.collect());
    match stage.clear() {
        Ok(()) => conclusion.exit_code(),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Stage {
    runtime: Runtime,
    bed: Mutex<Option<Result<Bed, String>>>,
}

impl Stage {
    fn play(&self, run: for<'a> fn(&'a Bed) -> LocalBoxFuture<'a, Result<()>>) -> Result<(), Failed> {
        let mut bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        // A bed that does not come up will not do so for the next test either.
        let up = || self.runtime.block_on(Bed::up(Options::new(&free_name()))).map_err(|error| format!("{error:#}"));
        let bed = bed.get_or_insert_with(up).as_ref().map_err(|error| Failed::from(error.clone()))?;
        self.runtime.block_on(async {
            let start = Instant::now();
            let result = tokio::time::timeout(LIMIT, run(bed)).await.unwrap_or_else(|_| Err(anyhow!("still running after {LIMIT:?}")));
            let took = start.elapsed();
            let result = match result {
                Ok(()) => tidy(bed).await.context("the test passed, but tidying up after it failed"),
                failed => failed,
            };
            let Err(error) = result else {
                eprintln!("    {:.1} s, tidied up in {:.1} s", took.as_secs_f64(), (start.elapsed() - took).as_secs_f64());
                return Ok(());
            };
            let scene = scene(bed).await;
            // What is left of a failed test must not fail the next one; if it cannot be tidied up, that one will say so.
            let _ = tidy(bed).await;
            Err(Failed::from(format!("{error:#}\n\n{scene}")))
        })
    }

    fn clear(&self) -> Result<()> {
        let bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Ok(bed)) = bed { self.runtime.block_on(bed.down()) } else { Ok(()) }
    }
}

/// Two checkouts' worth of tests, or a test and a person, may be at work at once.
fn free_name() -> String {
    let names = (1..).map(|number| if number == 1 { "e2e".to_owned() } else { format!("e2e-{number}") });
    names.into_iter().find(|name| holder(&default_folder(name)) != Holder::Alive).unwrap_or_default()
}

/// Takes away what tests leave: workloads, pods, then nodes. Namespaces end by themselves, which takes Kubernetes 5 s at
/// least, so each test has its own.
async fn tidy(bed: &Bed) -> Result<()> {
    let client = bed.client();
    remove_sales(bed).await?;
    let namespaces = Api::<Namespace>::all(client.clone()).list(&ListParams::default().labels(TEST)).await?;
    for namespace in namespaces.items.iter().map(ResourceExt::name_any) {
        remove_all::<HorizontalPodAutoscaler>(&client, &namespace).await?;
        remove_all::<Deployment>(&client, &namespace).await?;
        remove_all::<StatefulSet>(&client, &namespace).await?;
        remove_all::<DaemonSet>(&client, &namespace).await?;
        remove_all::<Job>(&client, &namespace).await?;
        remove_all::<ReplicaSet>(&client, &namespace).await?;
        wait_until(format!("the pods in {namespace} are gone"), Duration::from_secs(30), async || {
            remove_all::<Pod>(&client, &namespace).await?;
            Ok(Api::<Pod>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await?.items.is_empty())
        })
        .await?;
    }
    bed.kubectl(&["delete", "namespaces", "-l", TEST, "--wait=false"]).await?.ok()?;
    bed.joiner()?.reset();
    bed.metrics()?.clear();
    bed.ec2()?.reset().await?;
    bed.kubectl(&["delete", "nodes", "--all", "--timeout=60s"]).await?.ok()?;
    Ok(())
}

/// Sales and pools that a failed test left go in good order if the operator can, and by force if not: the instances go with the emulator's reset.
async fn remove_sales(bed: &Bed) -> Result<()> {
    if !bed.kubectl(&["get", "crd", "onsales.onsale.dev"]).await?.success() {
        return Ok(());
    }
    for kind in ["onsales", "workloadplacements", "capacitypools"] {
        if bed.kubectl(&["delete", kind, "--all", "--all-namespaces", "--timeout=15s"]).await?.success() {
            continue;
        }
        let path = "jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{\"\\n\"}{end}";
        for line in bed.kubectl(&["get", kind, "--all-namespaces", "-o", path]).await?.ok()?.lines() {
            let (namespace, name) = line.split_once(' ').unwrap_or(("", line));
            let namespace = if namespace.is_empty() { "default" } else { namespace };
            bed.kubectl(&["patch", kind, name, "-n", namespace, "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]).await?;
        }
    }
    Ok(())
}

async fn remove_all<K>(client: &Client, namespace: &str) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let at_once = DeleteParams::background().grace_period(0);
    let removed = Api::<K>::namespaced(client.clone(), namespace).delete_collection(&at_once, &ListParams::default()).await;
    removed.map(drop).with_context(|| format!("could not remove each {} of {namespace}", K::kind(&())))
}

/// The last calls to EC2 that were more than looking.
async fn calls(bed: &Bed) -> String {
    let Ok(ec2) = bed.ec2() else { return String::new() };
    let all = ec2.calls(0).await.unwrap_or_default();
    let acts: Vec<String> = all.iter().filter(|c| c.action != "DescribeInstances").map(|c| format!("{c:?}")).collect();
    format!(
        "--- EC2 calls but DescribeInstances ({}, the last are) ---\n{}\n",
        acts.len(),
        acts[acts.len().saturating_sub(TAIL)..].join("\n")
    )
}

/// What one would look at first.
async fn scene(bed: &Bed) -> String {
    let mut text = String::new();
    let looks: [&[&str]; 6] = [
        &["get", "onsales,workloadplacements,capacitypools", "-A", "-o", "wide"],
        &["get", "onsales", "-A", "-o", "jsonpath={range .items[*]}{.metadata.name} {.status}{\"\\n\"}{end}"],
        &["get", "nodes", "-o", "wide"],
        &["get", "deployments,replicasets,hpa,jobs", "-A"],
        &["get", "pods", "-A", "--field-selector=status.phase!=Running"],
        &["get", "events", "-A", "--sort-by=.lastTimestamp"],
    ];
    for look in looks {
        let output = bed.kubectl(look).await.map_or_else(|error| format!("{error:#}"), |output| output.stdout + &output.stderr);
        let lines: Vec<&str> = output.lines().collect();
        let end = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        text += &format!("--- kubectl {} ({} lines, the last are) ---\n{end}\n", look.join(" "), lines.len());
    }
    text += &calls(bed).await;
    text + &bed.log_tails(TAIL) + &format!("all of it: {}\n", bed.dir().display())
}
