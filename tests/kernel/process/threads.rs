//! What the services do when the machine gives them no more threads.

use std::fs;
use std::path::Path;

use nfs_subdir_csi::csi::proto::GetCapacityRequest;

use crate::fixture::{Driver, answer, binary, new_volume, server, text, until};
use crate::support::{self, Service};

/// While this exists, no process of the guest can start a thread. Threads that exist go on.
struct NoMoreThreads(String);

const LIMIT: &str = "/proc/sys/kernel/threads-max";

impl NoMoreThreads {
    fn begin() -> Self {
        let before = fs::read_to_string(LIMIT).unwrap();
        // The kernel accepts nothing less, and more threads than this run in every guest.
        fs::write(LIMIT, "20").unwrap();
        Self(before)
    }
}

impl Drop for NoMoreThreads {
    fn drop(&mut self) {
        fs::write(LIMIT, self.0.trim()).unwrap();
    }
}

#[tokio::test]
async fn what_is_deleted_without_a_thread_for_it_is_removed_after_the_next_deletion() {
    let mut driver = Driver::start().await;
    driver.controller.kill();
    let log = driver.dir().join("log");
    let state_dir = driver.dir().join("controller");
    let args = ["--state-dir", text(&state_dir), "--log-level", "warn"];
    driver.controller = Service::start_logged(Path::new(binary()), "controller", driver.dir(), &args, &log);
    let mut controller = driver.controller.client().await.controller;
    // This mounts the export, and leaves a thread that the next calls use.
    let parameters = support::map(&[("server", server::NAME), ("share", "/share")]);
    let question = GetCapacityRequest { parameters, ..GetCapacityRequest::default() };
    answer(controller.get_capacity(question)).await.unwrap();

    let no_more = NoMoreThreads::begin();
    let mut create = async |name: &str| {
        answer(controller.create_volume(new_volume(name, &[("subDir", name)]))).await.unwrap().volume.unwrap()
    };
    let (first, second) = (create("first").await, create("second").await);
    fs::write(server::exported("/share/first/file"), "x").unwrap();
    answer(controller.delete_volume(support::delete(&first))).await.unwrap();
    drop(no_more);
    let told = fs::read_to_string(&log).unwrap();
    assert!(told.contains("cannot start the reaper"), "{told}");
    assert!(!server::exported("/share/first").exists());
    let deleted = || server::exported("/share/.nfs-subdir-csi/deleted").read_dir().unwrap().count();
    assert_eq!(deleted(), 1, "nobody can have removed it");

    answer(controller.delete_volume(support::delete(&second))).await.unwrap();
    until("both are removed", || deleted() == 0).await;
}
