//! Trials of what a mounted file system can do. Each tries one thing, in a directory that its caller has made for this and removes later.
//!
//! All of them may block for as long as an NFS server is silent.

mod attributes;
mod content;
mod user;

pub use attributes::{access_list, user_attribute};
pub use content::{clone, copy, lock, symlink};
pub use user::{User, as_user};
