//! Mounts: of exports, of volumes at their target paths, and the kernel's table of all mounts.

pub mod fake;
mod mounter;
pub mod mountinfo;
pub mod mountstats;
pub mod namespace;
mod system;

pub use mounter::{ExportRoot, Mounter, PreparedBind};
pub use mountinfo::MountTable;
pub use system::SysMounter;
