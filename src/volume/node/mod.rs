//! What happens at each call of the node service.

pub mod directory;
mod ephemeral;
pub mod publish;
pub mod request;
pub mod stats;
mod target_dir;
pub mod target_path;
pub mod targets;
pub mod unpublish;
