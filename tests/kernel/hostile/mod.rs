//! A tenant with write access to the share tries to lead the driver out of a volume.

mod links;
mod races;
