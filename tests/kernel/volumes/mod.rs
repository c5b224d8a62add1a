//! What the controller makes, lists and removes on a share.

mod capacity;
mod file_systems;
mod hard_links;
mod import;
mod lifecycle;
mod lists;
mod policies;
