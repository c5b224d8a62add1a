//! What a pod sees at its target path.

mod ephemeral;
pub(crate) mod groups;
mod ownership;
mod read_only;
pub(crate) mod stats;
mod targets;
mod whole_share;
