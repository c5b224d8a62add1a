//! The services as processes: start, stop, SIGKILL, and the binary that ships.

mod registration;
mod restart;
mod services;
mod sigkill;
mod sigkill_copies;
mod static_binary;
