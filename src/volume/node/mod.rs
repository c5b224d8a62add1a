//! What happens at each call of the node service.

pub mod ephemeral;
pub mod health;
mod occupancy;
pub mod publish;
pub mod request;
mod stale;
pub mod stats;
mod target_dir;
pub mod target_path;
pub mod targets;
pub mod unpublish;
