//! Directories as open handles, and what a caller can do with their entries.
//!
//! A tenant can change a tree at any moment. So no path is resolved twice, and no path is given to the kernel
//! without a directory handle that it must stay beneath.

mod attributes;
mod contents;
mod entries;
mod fresh;
mod handle;
mod held;
pub mod metadata;
pub mod revalidate;
mod status;

pub use contents::Entry;
pub use handle::Dir;
pub use held::HeldFile;
pub use status::Usage;

pub(in crate::linux) use handle::{proc_path, reopen};
