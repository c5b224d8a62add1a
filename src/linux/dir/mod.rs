//! Directories by their handles: opening, changing and describing what is in them.

pub mod attributes;
mod handle;
pub mod revalidate;

pub(in crate::linux) use handle::single;
pub use handle::{Dir, Entry, Usage};
