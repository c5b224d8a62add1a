//! Volumes and snapshots that csi-driver-nfs has made.

mod snapshots;
mod volumes;
