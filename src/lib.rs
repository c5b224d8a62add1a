//! A CSI driver that makes volumes out of directories of an NFS export.
//!
//! ```text
//! main ─► server ─► csi ─► volume ─► linux        arrows never turn back
//!         config, config_file, endpoint, telemetry: used by main; import ─► volume, linux
//! ```
//!
//! | folder | what it owns | what it may not know |
//! |---|---|---|
//! | [`import`] | the takeover of other provisioners' volumes, a command of its own | gRPC, system calls |
//! | [`csi`] | one file for each gRPC service, the bridge every call crosses, the table of error codes | system calls |
//! | [`volume`] | names, parameters, records; what happens to a volume from creation to deletion | gRPC, async |
//! | [`linux`] | directory handles, mounts, the mount table, NFS, copying and removing trees: every system call | volumes |
//!
//! To read it in ten minutes: `csi/node.rs`, `volume/publish.rs`, `linux/mount.rs`; then `csi/controller.rs`,
//! `volume/provision.rs`, `volume/delete.rs`.

pub mod config;
pub mod config_file;
pub mod csi;
pub mod endpoint;
pub mod import;
pub mod linux;
pub mod server;
pub mod telemetry;
pub mod volume;
