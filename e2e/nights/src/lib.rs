//! Whole nights in virtual time: the controller library, unchanged, on a Kubernetes API in the process and a simulated cloud. A night of hours takes
//! a moment, and can be stopped, copied and gone on from at any write.
//!
//! - [`api`]: the API; [`cloud`]: the cloud; [`world`]: the rest of the cluster; all of it is data behind one lock ([`sim`]), on one clock ([`clock`])
//! - [`night`]: builders, the running night, its checks, and the loops over every write
//! - [`conformance`]: what the operator takes for granted of an API server, held against this API and a real one
//! - [`scenario`]: nights as data, from `e2e/scenarios`
//! - [`rules`]: what must hold at every write; [`journal`]: one line per write; [`decisions`]: what they decide; [`random`]: delays with a seed

pub mod api;
pub mod clock;
pub mod cloud;
pub mod conformance;
pub mod decisions;
pub mod journal;
pub mod night;
pub mod random;
pub mod rules;
pub mod scenario;
pub mod sim;
pub mod world;
