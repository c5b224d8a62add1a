//! A tenant with write access to the share tries to make the driver work outside of a volume.

mod links;
mod races;
