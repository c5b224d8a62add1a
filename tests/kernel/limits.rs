//! The time limit of each step of a mount. Each test makes one step hang, and expects an answer that names it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use nfs_subdir_csi::csi::proto::Volume;
use tonic::{Code, Status};

use crate::fixture::{Driver, Place, Setup, by_hand, mounts, server, text};
use crate::overlap::members::{Member, on_server};
use crate::overlap::network::{HEALTHY, SERVER};
use crate::support::{self, map, publish};

/// Publishes a volume, and returns the refusal and how long it took.
async fn refusal(driver: &Driver, volume: &Volume, flags: &[&str]) -> (Status, Duration) {
    let target = driver.target("a");
    let begun = Instant::now();
    let mut node = driver.node.client().await.node;
    let status = node.node_publish_volume(publish(volume, &target, flags)).await.unwrap_err();
    assert!(!target.exists() && mounts::at(&target).is_empty());
    (status, begun.elapsed())
}

/// A process of the guest that does nothing until this is dropped.
struct Paused(&'static str);

impl Paused {
    fn pause(name: &'static str) -> Self {
        server::run(Command::new("pkill").args(["-STOP", "-x", name]));
        Self(name)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        server::run(Command::new("pkill").args(["-CONT", "-x", self.0]));
    }
}

#[tokio::test]
async fn a_silent_rpcbind_is_named_within_its_limit() {
    let driver = Driver::start().await;
    fs::create_dir_all(server::exported("/share/v")).unwrap();
    let volume = by_hand(server::NAME, "/share", "v");
    let paused = Paused::pause("rpcbind");
    let (status, took) = refusal(&driver, &volume, &["nfsvers=3", "nolock"]).await;
    drop(paused);
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(status.message().contains("rpcbind at 127.0.0.1:111 does not answer"), "{status}");
    assert!(took < Duration::from_secs(8), "{took:?}");
}

/// The resolver asks a name server that never answers, until this is dropped.
struct SilentResolver {
    before: String,
    _socket: UdpSocket,
}

const RESOLV_CONF: &str = "/etc/resolv.conf";

impl SilentResolver {
    fn make() -> Self {
        let socket = UdpSocket::bind("127.0.0.53:53").unwrap();
        let before = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        fs::write(RESOLV_CONF, "nameserver 127.0.0.53\noptions timeout:20 attempts:3\n").unwrap();
        Self { before, _socket: socket }
    }
}

impl Drop for SilentResolver {
    fn drop(&mut self) {
        fs::write(RESOLV_CONF, &self.before).unwrap();
    }
}

#[tokio::test]
async fn a_silent_resolver_is_named_and_the_nfs_server_is_not_blamed() {
    let _resolver = SilentResolver::make();
    let driver = Driver::start().await;
    let (status, took) = refusal(&driver, &by_hand("nas.somewhere.test", "/share", "v"), &[]).await;
    assert_eq!(status.code(), Code::Internal, "{status}");
    let words = "cannot resolve the server's name `nas.somewhere.test`: the name servers of this node have given no answer";
    assert!(status.message().contains(words), "{status}");
    assert!(!status.message().contains("NFS server"), "{status}");
    assert!(took < Duration::from_secs(12), "{took:?}");
}

/// Of the calls that come at once, one asks for the name, and the others wait for it.
#[tokio::test]
async fn every_call_that_waits_for_a_silent_resolver_names_it() {
    let _resolver = SilentResolver::make();
    let driver = Driver::start_with(Setup { args: &["--call-timeout", "4"], ..Setup::default() }).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..6 {
        let volume = by_hand("nas.somewhere.test", "/share", &format!("v-{number}"));
        let request = publish(&volume, &driver.target(&format!("pod-{number}")), &[]);
        let mut node = driver.node.client().await.node;
        calls.spawn(async move { node.node_publish_volume(request).await.map(drop) });
        let class = [("server", "nas.somewhere.test"), ("share", "/share")];
        let request = support::create(&format!("v-{number}"), &class);
        let mut controller = driver.controller_client();
        calls.spawn(async move { controller.create_volume(request).await.map(drop) });
    }
    while let Some(answer) = calls.join_next().await {
        let status = answer.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert!(status.message().contains("the resolution of the name nas.somewhere.test"), "{status}");
        assert!(!status.message().contains("NFS server"), "{status}");
    }
}

/// The answer of an NFS server to the question for its versions: 4 only.
const VERSION_4_ONLY: [u32; 9] = [0x8000_0000 + 32, 0x6e66_7363, 1, 0, 0, 0, 2, 4, 4];

#[tokio::test]
async fn a_mount_that_hangs_is_given_up_and_leaves_nothing() {
    let driver = Driver::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Answers the first question, and lets the next connection wait until the driver has given up.
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let server = std::thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        first.read_exact(&mut [0; 44]).unwrap();
        first.write_all(&VERSION_4_ONLY.map(u32::to_be_bytes).concat()).unwrap();
        let connection = listener.accept().unwrap();
        ended.recv().unwrap();
        drop((connection, listener));
    });
    let port = format!("port={port}");
    let (status, took) =
        refusal(&driver, &by_hand("127.0.0.1", "/share", "v"), &[&port, "nfsvers=4.2"]).await;
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(status.message().contains("mount(2) has not ended within 30 s"), "{status}");
    assert!((29..36).contains(&took.as_secs()), "{took:?}");
    end.send(()).unwrap();
    server.join().unwrap();
    let exports = driver.dir().join("node/exports");
    let deadline = Instant::now() + Duration::from_mins(1);
    while exports.read_dir().unwrap().next().is_some() {
        assert!(Instant::now() < deadline, "the mount point of the attempt is still there");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn two_hundred_publishes_at_a_dead_export_all_learn_the_cause() {
    let place = Place::take(&[]).await;
    let node = Member::node(&place, 1, &[]).await;
    node.network.lose_replies(true);
    let mut calls = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for number in 0..200 {
        let volume = by_hand(SERVER, "/share", &format!("v-{number}"));
        let request = support::publish(&volume, &place.target(&format!("pod-{number}")), &[]);
        let mut client = node.client().node;
        calls.spawn(async move { client.node_publish_volume(request).await.unwrap_err() });
    }
    while let Some(status) = calls.join_next().await {
        let status = status.unwrap();
        assert_eq!(status.code(), Code::Internal, "{status}");
        assert!(status.message().contains("no NFS server answers at 10.77.0.1:2049"), "{status}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    node.network.lose_replies(false);
    // The verdict is forgotten after a few seconds.
    let volume = by_hand(SERVER, "/share", "v");
    fs::create_dir_all(on_server("v")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while node.publish(&volume, &place.target("v")).await.is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    node.unpublish(&volume, &place.target("v")).await.unwrap();
}

#[tokio::test]
async fn a_dead_first_address_of_an_export_costs_a_moment() {
    let place = Place::take(&[]).await;
    let config = place.dir.join("two-servers.yaml");
    let options = "mountOptions: [nfsvers=3, nolock]";
    let export =
        format!("exports: [{{name: fast, servers: [{SERVER}, {HEALTHY}], share: /share, {options}}}]\n");
    fs::write(&config, export).unwrap();
    let node = Member::node(&place, 1, &["--config", text(&config)]).await;
    node.network.lose_replies(true);
    fs::create_dir_all(on_server("v")).unwrap();
    let volume = Volume {
        volume_id: "any".to_owned(),
        volume_context: map(&[("export", "fast"), ("subDir", "v")]),
        ..Default::default()
    };
    let begun = Instant::now();
    node.publish(&volume, &place.target("v")).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    node.unpublish(&volume, &place.target("v")).await.unwrap();
    node.network.lose_replies(false);
}
