//! KWOK: plays kubelets and pods on the nodes that carry the annotation `kwok.x-k8s.io/node: fake`.
//!
//! The stages lie in `stages/`, compiled in; its README lists the annotations by which a pod is slow or never Ready.

use anyhow::Result;

use crate::control_plane::{ControlPlane, Site, plain_client, ready};
use crate::files;
use crate::process::Program;

/// A node that KWOK plays carries this annotation.
pub const PLAYED: (&str, &str) = ("kwok.x-k8s.io/node", "fake");
/// Pod annotation: a Go duration from scheduled to Ready.
pub const READY_AFTER: &str = "bed.onsale.dev/ready-after";
/// Pod annotation: a Go duration longer than `READY_AFTER`; Ready at a random moment between the two.
pub const READY_JITTER: &str = "bed.onsale.dev/ready-jitter";
/// Pod annotation: runs, and never becomes Ready.
pub const NEVER_READY: &str = "bed.onsale.dev/never-ready";
/// Pod annotation: a Go duration from deletion to gone.
pub const TERMINATE_AFTER: &str = "bed.onsale.dev/terminate-after";
/// Node annotation: nobody makes the node Ready.
pub const DOWN: &str = "bed.onsale.dev/down";

const STAGES: [&str; 6] = [
    include_str!("../stages/node-initialize.yaml"),
    include_str!("../stages/node-heartbeat.yaml"),
    include_str!("../stages/pod-ready.yaml"),
    include_str!("../stages/pod-never-ready.yaml"),
    include_str!("../stages/pod-complete.yaml"),
    include_str!("../stages/pod-delete.yaml"),
];

/// Starts it and waits until it answers.
pub async fn start(site: &mut Site<'_>, plane: &ControlPlane) -> Result<()> {
    let stages = site.folder.join("stages.yaml");
    files::write_private(&stages, STAGES.join("\n---\n"))?;
    let address = format!("127.0.0.1:{}", site.ports.reserve()?);
    let kwok = Program::new("kwok", &site.tools.kwok)
        .args([format!("--kubeconfig={}", plane.kubeconfig.display()), format!("--config={}", stages.display())])
        .args(["--manage-all-nodes=false".into(), format!("--manage-nodes-with-annotation-selector={}={}", PLAYED.0, PLAYED.1)])
        .args(["--v=WARN", "--node-ip=127.0.0.1", "--node-lease-duration-seconds=40", "--cidr=10.244.0.0/16"])
        .arg(format!("--server-address={address}"));
    site.processes.start(kwok)?;
    ready(site.processes, "kwok", &plain_client(&format!("http://{address}"))?, "/healthz").await
}
