//! `kubectl onsale`: what a sale would do, told before anything is touched. The binary is `kubectl-onsale`; kubectl finds it by its name.
//!
//! - [`flags`], [`run`]: from the command line to output and exit code; [`cluster`]: what a cluster has, if it is to be asked
//! - [`read`]: files to objects, and every mistake in them; [`assumed`]: nodes that a person says are there
//! - [`world`]: objects to the planner's snapshot; [`rehearsal`]: the planner's steps, carried out on it
//! - [`preview`]: what is told, as data; [`text`], [`svg`]: the same for people

pub mod assumed;
pub mod cluster;
pub mod flags;
pub mod preview;
pub mod read;
pub mod rehearsal;
pub mod run;
pub mod svg;
pub mod text;
pub mod world;
