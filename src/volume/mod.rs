//! What a volume is and what may happen to it: names, parameters, records, and the life from creation over
//! publishing to deletion.
//!
//! Plain synchronous Rust: no gRPC, no async. The kernel is reached through [`crate::linux`] only.

pub mod access;
pub mod capacity;
pub mod delete;
pub mod error;
pub mod export;
pub mod exports;
pub mod handle;
pub mod parameters;
pub mod provision;
pub mod publish;
pub mod record;
pub mod state_dir;
pub mod stats;
pub mod sub_dir;
pub mod target;
pub mod template;
pub mod trash;

pub use access::AccessMode;
pub use error::{Error, Result};
pub use export::Export;
pub use exports::Exports;
pub use handle::{VolumeHandle, VolumeKey};
pub use sub_dir::SubDir;
