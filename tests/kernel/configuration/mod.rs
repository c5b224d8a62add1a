//! The configuration file and the secrets that it names, changed while the services run.

pub(crate) mod edits;
mod log;
mod secrets;
