//! The services as processes: start, stop, SIGKILL, and the released binary.

mod registration;
mod restart;
mod services;
mod sigkill;
mod sigkill_copies;
mod static_binary;
mod threads;
