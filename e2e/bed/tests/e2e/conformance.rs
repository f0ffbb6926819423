//! The real API server keeps what nights take for granted of the one in the process.

use anyhow::{Context, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use onsale_bed::operator::install_crds;
use onsale_nights::conformance;

use crate::harness::{Case, Ground, alone};
use crate::workloads::namespace;

pub fn cases() -> Vec<Case> {
    vec![alone!(the_real_api_server_does_what_the_in_process_one_does)]
}

async fn the_real_api_server_does_what_the_in_process_one_does(bed: &Ground<'_>) -> Result<()> {
    install_crds(bed).await?;
    namespace(bed, "conformance").await?;
    let kubeconfig = Kubeconfig::read_from(bed.kubeconfig())?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // As the operator has it: a refused eviction is an answer.
    config.default_retry = false;
    let client = Client::try_from(config).context("no client")?;
    let kept = conformance::run(&client, "conformance", "").await?;
    eprintln!("    {} cases kept", kept.len());
    ensure!(kept.len() >= 70, "only {} cases", kept.len());
    Ok(())
}
