//! The EC2 emulator's own tests, which also hold it against unpatched moto: it must not be bent to fit the operator.

use anyhow::{Context, Result, bail};
use onsale_bed::progress::Progress;
use onsale_bed::tools;
use tokio::process::Command;

use crate::harness::{Case, Ground, beside};

pub fn cases() -> Vec<Case> {
    vec![beside!(it_does_what_ec2_does_where_moto_knows_how)]
}

async fn it_does_what_ec2_does_where_moto_knows_how(_: &Ground<'_>) -> Result<()> {
    let python = tokio::task::spawn_blocking(|| tools::python(Progress::stderr())).await??;
    let folder = tools::checkout().join("e2e/ec2");
    let command = Command::new(python).args(["-m", "unittest", "--failfast", "test_ec2"]).current_dir(folder).kill_on_drop(true).output();
    let output = command.await.context("could not run Python")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
