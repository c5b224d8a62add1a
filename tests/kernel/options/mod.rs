//! The driver's mount options compared with those of mount.nfs(8).

mod generator;
mod ranks;
mod same_as_mount_nfs;
