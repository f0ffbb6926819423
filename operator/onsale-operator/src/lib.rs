//! What the binary is made of besides the controller: nothing that decides anything.
//!
//! - [`flags`]: every flag with its environment variable, checked, and what the controller gets of it
//! - [`logging`]: lines for machines or for people, on standard error
//! - [`stop`]: SIGTERM and SIGINT as one future

pub mod flags;
pub mod logging;
pub mod stop;
