//! What administrators and users ask for: the configuration, parameters, the volume context.

pub mod access_mode;
pub mod keys;
pub mod parameters;
pub mod settings;
pub mod volume_context;
