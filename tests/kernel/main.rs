//! The driver's binary on the kernel's NFS client and server: what a pod sees at its target path, and what is in the
//! mount table. Runs as root in the guest (`vm/run`), where whole servers can be stopped and nothing of the
//! developer's machine is mounted or unmounted.

#[path = "../support/canary.rs"]
mod canary;
mod capacity;
mod configuration;
mod copy_fidelity;
mod copy_races;
mod copy_stage;
mod copy_tree;
mod ephemeral;
mod failures;
mod fixture;
mod hostile;
mod import;
mod kill_nine;
mod kill_nine_copies;
mod lifecycle;
mod lists;
mod mounts;
mod ownership;
mod policies;
mod process;
mod publish;
mod races;
mod random;
mod readonly;
mod registration;
mod restart;
mod secrets;
mod server;
mod sharing;
mod snapshots;
mod static_binary;
mod stats;
mod superblocks;
#[path = "../support/mod.rs"]
mod support;
mod versions;
