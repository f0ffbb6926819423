//! From files to objects, and every mistake on the way.
//!
//! - [`files`]: names, folders and standard input to text; [`yaml`]: text to documents with the line of every value
//! - [`objects`]: documents to Kubernetes' and our own objects; [`rules`], [`schema`]: what the API server would refuse in our kinds; [`kubernetes`], [`strict`]: in its own
//! - [`mistake`]: a mistake, as it is told; [`mention`]: what may be meant where nothing is found

pub mod files;
pub mod kubernetes;
pub mod mention;
pub mod mistake;
pub mod objects;
pub mod rules;
pub mod schema;
pub mod strict;
pub mod yaml;

pub use files::{Input, inputs};
pub use mention::Mention;
pub use mistake::Mistake;
pub use objects::{Object, Objects, read};
