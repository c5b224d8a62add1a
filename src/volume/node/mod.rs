//! What happens at each call of the node service.

pub mod ephemeral;
pub mod publish;
pub mod request;
pub mod stats;
pub mod target_path;
mod targets;
pub mod unpublish;
