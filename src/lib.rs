//! A CSI driver that makes volumes out of directories of an NFS export.
//!
//! ```text
//! main ─► server ─► metrics ─► csi ─► volume ─► linux, cluster        arrows never turn back
//!         config, config_file, endpoint, telemetry: used by main; import, operate, quota ─► volume, linux
//! ```
//!
//! | folder | what it owns | what it may not know |
//! |---|---|---|
//! | [`import`] | the takeover of volumes of other provisioners, a command of its own | gRPC, system calls |
//! | [`quota`] | the agent beside the NFS server that limits volumes to their sizes, a command of its own | gRPC, system calls |
//! | [`metrics`] | the metrics of a service, as text | HTTP, system calls |
//! | [`operate`] | the commands for operators: lists, the trash, orphans, usage, and what is wrong with an export | gRPC, system calls |
//! | [`csi`] | the gRPC services, the dispatcher that every call goes through, the table of error codes | system calls |
//! | [`volume`] | names, parameters, records; what happens to a volume from its creation to its deletion | gRPC, async |
//! | [`cluster`] | the only question to the API server of Kubernetes: labels and annotations of a claim | volumes |
//! | [`linux`] | directory handles, mounts, the mount table, NFS, copying and removing trees, project quotas: every system call | volumes |
//!
//! # Where to begin
//!
//! Ten files, in this order, are the way of a volume from its StorageClass to its end.
//!
//! 1. [`volume::name::template`]: how the name of the volume's directory is made from the names of the claim.
//! 2. [`volume::controller::create`]: what CreateVolume does, and in which order, so that it can be killed at any moment.
//! 3. [`volume::share::state_dir`]: what the driver keeps on an export, besides the directories of the volumes.
//! 4. [`csi::call::dispatcher`]: what bounds a call. It gives each call a deadline, a guard, a place and a thread.
//! 5. [`csi::node`]: how NodePublishVolume is decoded and answered.
//! 6. [`volume::node::publish`]: how a publish opens the volume's directory and binds it to the target path.
//! 7. [`volume::share::mounts`]: when an export is mounted, and by which publishes its mount is shared.
//! 8. `system.rs` in [`linux::mount`], and `mount.rs` in [`linux::nfs`] below it: from the name of the server to mount(2).
//! 9. [`volume::controller::delete`]: how DeleteVolume moves the directory away with one rename.
//! 10. `reaper.rs` in [`volume::share`]: the thread that removes what was deleted.

pub mod cluster;
pub mod config;
pub mod config_file;
pub mod csi;
pub mod endpoint;
pub mod import;
pub mod linux;
pub mod metrics;
pub mod operate;
pub mod quantity;
pub mod quota;
pub mod server;
pub mod telemetry;
pub mod terminal;
pub mod volume;
