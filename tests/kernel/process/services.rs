//! Start and end of the services, and their sockets.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto::ProbeRequest;

use crate::fixture::{BINARY, Driver, Place, log_level, server, text, until};
use crate::support::Service;

/// Needs two threads: the client has to answer the service's shutdown notice while the test waits for the service.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_service_exits_with_0_and_removes_its_socket() {
    let mut driver = Driver::start().await;
    let volume = driver.create("v", &[]).await;
    driver.publish(&volume, "a", &[]).await;
    for service in [&mut driver.controller, &mut driver.node] {
        let mode = service.socket.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660, "only root and the group of the socket (a pod's fsGroup) may use it");
        let begun = Instant::now();
        assert_eq!(service.stop().code(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(15), "it does not wait for idle clients");
        assert!(!service.socket.exists());
    }
}

/// A process that ends is faster than its own background work, so this is tried several times.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_controller_leaves_nothing_of_its_own_on_the_export() {
    let mut driver = Driver::start().await;
    for round in 0..20 {
        let volume = driver.create("v", &[]).await;
        driver.delete(&volume).await.unwrap();
        assert_eq!(driver.controller.stop().code(), Some(0));
        let processes = server::exported("/share/.nfs-subdir-csi/processes").read_dir().unwrap();
        let left: Vec<_> = processes.map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "round {round}: {left:?}");
        driver.start_controller_again().await;
    }
}

#[tokio::test]
async fn a_socket_that_a_killed_service_left_is_replaced() {
    let mut driver = Driver::start().await;
    driver.controller.kill();
    driver.node.kill();
    for socket in [&driver.controller.socket, &driver.node.socket] {
        assert!(socket.symlink_metadata().unwrap().file_type().is_socket());
    }
    driver.start_controller_again().await;
    driver.start_node_again().await;
    let volume = driver.create("v", &[]).await;
    driver.publish(&volume, "a", &[]).await;
}

#[tokio::test]
async fn a_second_service_on_a_socket_in_use_fails_and_the_first_keeps_running() {
    let driver = Driver::start().await;
    let endpoint = format!("unix://{}", driver.controller.socket.display());
    let state_dir = driver.dir().join("second");
    let output = run(&["controller", "--endpoint", &endpoint, "--state-dir", text(&state_dir)]);
    assert_fails(&output, "in use");
    driver.create("v", &[]).await;
}

#[tokio::test]
async fn a_kubelet_directory_without_shared_propagation_is_refused() {
    let place = Place::take(&[]).await;
    let private = place.kubelet().join("private");
    std::fs::create_dir(&private).unwrap();
    server::run(Command::new("mount").args(["-t", "tmpfs", "private"]).arg(&private));
    server::run(Command::new("mount").arg("--make-private").arg(&private));
    assert_fails(&node(&place.dir, &place.node_state(), &private), "mountPropagation: Bidirectional");
    let inside = place.kubelet().join("state");
    assert_fails(&node(&place.dir, &inside, &place.kubelet()), "lie on one mount");
}

#[tokio::test]
async fn a_service_without_the_right_to_mount_says_so() {
    let place = Place::take(&[]).await;
    let endpoint = format!("unix://{}", place.dir.join("c.sock").display());
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", BINARY, "controller"]);
    command.args(["--endpoint", &endpoint, "--state-dir", text(&place.dir.join("c"))]);
    assert_fails(&command.output().unwrap(), "unshare mount namespace: Operation not permitted");
}

fn node(dir: &Path, state_dir: &Path, kubelet_dir: &Path) -> Output {
    let endpoint = format!("unix://{}", dir.join("node.sock").display());
    let own = ["node", "--endpoint", &endpoint, "--node-id", "n", "--state-dir", text(state_dir)];
    run(&[&own[..], &["--kubelet-dir", text(kubelet_dir)]].concat())
}

/// Runs the driver until it ends, for 10 s at most, because a service that starts successfully does not end.
fn run(args: &[&str]) -> Output {
    Command::new("timeout").arg("10").arg(BINARY).args(args).output().unwrap()
}

fn assert_fails(output: &Output, words: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(words), "no {words:?} in: {errors}");
}

/// Seconds of processor time that the service has used.
fn processor_time(service: &Service) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", service.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // In hundredths of a second: utime and stime (proc_pid_stat(5)).
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::test]
async fn a_service_without_free_file_descriptors_waits_for_one_without_using_the_processor() {
    let place = Place::take(&[]).await;
    std::fs::create_dir(place.dir.join("node")).unwrap();
    let mut command = Command::new("prlimit");
    command.args(["--nofile=48:48", BINARY]);
    let (state_dir, kubelet) = (place.node_state(), place.kubelet());
    let of_node = ["--kubelet-dir", text(&kubelet), "--node-id", "node-1"];
    let own = ["--state-dir", text(&state_dir), "--log-level", log_level()];
    let service = Service::launch(command, "node", &place.dir, &[own, of_node].concat());
    let connect = |_| std::os::unix::net::UnixStream::connect(&service.socket).unwrap();
    let connections: Vec<_> = (0..60).map(connect).collect();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", service.pid())).unwrap().count();
    until("the service has no free file descriptor", || open() >= 48).await;
    let before = processor_time(&service);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = processor_time(&service) - before;
    assert!(used < 0.6, "{used} s of processor time in 3 s");
    drop(connections);
    service.client().await.identity.probe(ProbeRequest {}).await.unwrap();
}
