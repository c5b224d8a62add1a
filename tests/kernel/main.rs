//! The driver's binary on the kernel's NFS client and server: what a pod sees at its target path, and what is in the
//! mount table. Runs as root in the guest (`vm/run`), where whole servers can be stopped and nothing of the
//! developer's machine is mounted or unmounted.

#[path = "../support/canary.rs"]
mod canary;
mod configuration;
mod copies;
mod exports;
mod fixture;
mod hostile;
mod process;
mod publish;
#[path = "../support/mod.rs"]
mod support;
mod volumes;
