//! What a volume is and what may happen to it: names, parameters, records, and the life from creation over
//! publishing to deletion.
//!
//! Plain synchronous Rust: no gRPC, no async. The kernel is reached through [`crate::linux`] only.

pub mod access;
pub mod capacity;
pub mod change;
pub mod content;
pub mod context;
pub mod copies;
pub mod copying;
pub mod delete;
pub mod ephemeral;
pub mod error;
pub mod export;
pub mod exports;
pub mod fill;
pub mod foreign;
pub mod foreign_snapshot;
pub mod handle;
pub mod list;
pub mod lookup;
pub mod parameters;
pub mod provision;
pub mod publish;
pub mod record;
pub mod settings;
pub mod snapshot;
pub mod state_dir;
pub mod stats;
pub mod sub_dir;
pub mod target;
pub mod template;
pub mod trash;

pub use access::AccessMode;
pub use copies::Copies;
pub use error::{Error, Result};
pub use export::{Export, ExportRef};
pub use exports::Exports;
pub use handle::{VolumeHandle, VolumeKey};
pub use lookup::Volumes;
pub use sub_dir::SubDir;
