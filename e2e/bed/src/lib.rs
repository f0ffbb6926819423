//! The test bed: a real Kubernetes control plane on loopback, nodes and pods played by KWOK, EC2 played by an emulator.
//!
//! `Bed::up` starts it in seconds; nothing that it started outlives it. Several can be up at once.
//!
//! - `bed.rs`: `Bed`, `Options`: the whole, and the way to its parts
//! - parts: `control_plane`, `kwok` (stages), `nodes`, `ec2`, `joiner` (instances become nodes), `metrics` (real HPAs)
//! - `operator`: installs the charts and runs the operator's binary as the rendered Deployment says; `audit`: what it called
//! - `demo`: a whole onsale of `examples/` in front of the user; `bench`: the same, measured against a floor
//! - ways in: `kubeconfig`, `commands` (kubectl, helm), `wait` (deadlines)
//! - ground: `tools` (built once), `process` (nothing is left behind), `certs`, `progress`; inside: `files`, `http`
#![expect(
    clippy::disallowed_methods,
    reason = "the bed plays the outside world: it waits for real processes on the real clock, which it is not given"
)]

pub mod audit;
mod bed;
pub mod bench;
pub mod certs;
pub mod commands;
pub mod control_plane;
pub mod demo;
pub mod ec2;
mod files;
mod http;
pub mod joiner;
pub mod kubeconfig;
pub mod kwok;
pub mod metrics;
pub mod nodes;
pub mod operator;
pub mod process;
pub mod progress;
pub mod tools;
pub mod wait;

pub use bed::{Bed, Options, default_folder};
pub use wait::{wait_for, wait_until};
