//! What the controller makes, lists and removes on a share.

mod capacity;
mod import;
mod lifecycle;
mod lists;
mod policies;
