//! A Kubernetes API in the process: what the controller uses of it, with the answers, refusals and side effects of a real one. Both are held against
//! the cases of [`crate::conformance`].
//!
//! - [`kinds`]: what is served; [`request`], [`failure`], [`serve`]: HTTP in and out, as a `tower::Service` for `kube::Client`
//! - [`store`]: objects, versions, generations, finalizers; [`write`]: create, replace, patch, delete; [`patch`], [`managed`], [`scale`], [`evict`]
//! - [`schema`]: what the CRDs refuse; [`select`], [`list`], [`watch`]: lists and watches

pub mod evict;
pub mod failure;
pub mod kinds;
pub mod list;
pub mod managed;
pub mod patch;
pub mod request;
pub mod scale;
pub mod schema;
pub mod select;
pub mod serve;
pub mod store;
pub mod watch;
pub mod write;
