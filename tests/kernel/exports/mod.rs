//! Mounts of whole exports: how many there are, with which version and options, and how they fail.

mod denied;
mod failures;
mod reach;
mod sharing;
mod superblocks;
mod versions;
