//! What administrators and users want: the configuration, the parameters, and the volume context.

pub mod access_mode;
pub mod keys;
pub mod parameters;
pub mod reloads;
pub mod server_pattern;
pub mod settings;
pub mod volume_context;
