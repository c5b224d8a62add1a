//! The driver's binary on the kernel's NFS client and server. The tests look at the target paths of pods, at mount tables and
//! at the server's files. They run as root in a guest (`vm/run`), where they can stop the server and mount what they like
//! without touching the developer's machine.

#[path = "../support/canary.rs"]
mod canary;
mod configuration;
mod copies;
mod dead_server;
mod doctor;
mod exports;
mod fixture;
mod health;
mod hostile;
mod limits;
mod metrics;
mod operate;
mod options;
mod overlap;
mod process;
mod publish;
mod quota;
#[path = "../support/scrape.rs"]
mod scrape;
mod stale;
#[path = "../support/mod.rs"]
mod support;
mod volumes;
