//! The released binary in a root directory that has nothing else: no libraries, no nsswitch.conf, no programs.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::fixture::{Place, answer, log_level, mounts, new_volume, server, text};
use crate::support::{Client, Service, publish, unpublish};

/// Makes an empty root directory that only this process and its children see, as a container runtime does, and executes
/// the driver in it. The kubelet directory is the one of the guest, mounted with propagation to the guest.
const CONTAINER: &str = r#"
set -e
root=$1 binary=$2 kubelet=$3 csi=$4; shift 4
mount --make-private /run
mkdir -p "$root" "$csi"
mount -t tmpfs -o mode=755 root "$root"
mkdir -p "$root"/proc "$root"/run "$root"/etc "$root"/var/lib/kubelet
cp "$binary" "$root/driver"
echo 'nameserver 127.0.0.1' >"$root/etc/resolv.conf"
echo '127.0.0.1 localhost hosts-only.test' >"$root/etc/hosts"
mount -t proc proc "$root/proc"
mount -t tmpfs run "$root/run"
mkdir -p "$root$csi"
mount --bind "$csi" "$root$csi"
mount --bind "$kubelet" "$root/var/lib/kubelet"
exec env -i "$(command -v chroot)" "$root" /driver "$@"
"#;

#[tokio::test]
async fn a_static_binary_in_an_empty_root_finds_a_server_by_the_hosts_file() {
    let dns = Dns::start();
    serve_volume_of("hosts-only.test").await;
    drop(dns);
}

#[tokio::test]
async fn a_static_binary_in_an_empty_root_finds_a_server_by_dns() {
    let dns = Dns::start();
    serve_volume_of("dns-only.test").await;
    assert!(dns.has_answered.load(Ordering::Relaxed), "the DNS server was not asked for the name");
}

/// Creates and publishes a volume on this server, writes to it and unpublishes it.
async fn serve_volume_of(server: &str) {
    let place = Place::take(&[]).await;
    let controller = container(&place, "controller", &[]);
    let node = container(&place, "node", &["--node-id", "node-1"]);
    for service in [&controller, &node] {
        let root = fs::read_dir(format!("/proc/{}/root", service.pid())).unwrap();
        let mut root: Vec<_> = root.map(|entry| entry.unwrap().file_name()).collect();
        root.sort();
        assert_eq!(root, ["driver", "etc", "proc", "run", "var"], "the root directory has more in it");
    }
    let (controller_client, node_client) = (controller.client().await, node.client().await);
    let Client { controller: mut make, .. } = controller_client;
    let Client { node: mut publisher, .. } = node_client;

    let request = new_volume("v", &[("server", server)]);
    let volume = answer(make.create_volume(request)).await.unwrap().volume.unwrap();
    let seen_by_pods = place.target("a");
    let target = Path::new("/var/lib/kubelet").join(seen_by_pods.strip_prefix(place.kubelet()).unwrap());
    answer(publisher.node_publish_volume(publish(&volume, &target, &[]))).await.unwrap();
    assert_eq!(mounts::at(&seen_by_pods)[0].source, format!("{server}:/share/v"));
    fs::write(seen_by_pods.join("file"), "x").unwrap();
    assert_eq!(fs::read_to_string(server::directory(&volume).join("file")).unwrap(), "x");
    answer(publisher.node_unpublish_volume(unpublish(&volume, &target))).await.unwrap();
    assert!(mounts::at(&seen_by_pods).is_empty() && !seen_by_pods.exists());
}

fn container(place: &Place, role: &str, args: &[&str]) -> Service {
    let (root, csi) = (place.dir.join(format!("{role}-root")), place.dir.join("csi"));
    // The directory of the sockets has the same path inside and outside of the container.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "unchanged", "sh", "-c", CONTAINER, "sh"]);
    command.args([&root, &static_binary(), &place.kubelet(), &csi]);
    Service::launch(command, role, &csi, &[&["--log-level", log_level()], args].concat())
}

/// The binary that `NFS_SUBDIR_CSI_STATIC` names, or the result of the build command below.
fn static_binary() -> PathBuf {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let built = || {
        let target_dir = Path::new(env!("CARGO_BIN_EXE_nfs-subdir-csi")).ancestors().nth(2).unwrap();
        target_dir.join(&target).join("release/nfs-subdir-csi")
    };
    let binary = std::env::var_os("NFS_SUBDIR_CSI_STATIC").map_or_else(built, PathBuf::from);
    assert!(
        binary.is_file(),
        "there is no {}: build it with RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --target \
         {target}, or say where it is in NFS_SUBDIR_CSI_STATIC",
        text(&binary)
    );
    binary
}

/// A DNS server in the guest that knows one name: `dns-only.test` is 127.0.0.1.
struct Dns {
    has_answered: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (has_answered, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (answered, stopped) = (Arc::clone(&has_answered), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut query = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, asker)) = socket.recv_from(&mut query) else { continue };
                let (reply, is_answer) = reply(&query[..length]);
                socket.send_to(&reply, asker).unwrap();
                answered.fetch_or(is_answer, Ordering::Relaxed);
            }
        });
        Self { has_answered, stop, thread: Some(thread) }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// The reply to a query with one question (RFC 1035 section 4), and whether the reply has an address.
fn reply(query: &[u8]) -> (Vec<u8>, bool) {
    const HEADER: usize = 12;
    const KNOWN: &[u8] = b"\x08dns-only\x04test\x00";
    const TYPE_A: [u8; 2] = [0, 1];
    let name_length = query[HEADER..].iter().position(|&byte| byte == 0).unwrap() + 1;
    let question = &query[HEADER..HEADER + name_length + 4];
    let is_known = question[..name_length].eq_ignore_ascii_case(KNOWN);
    let is_answer = is_known && question[name_length..name_length + 2] == TYPE_A;

    let mut reply = query[..2].to_vec();
    // A response with recursion; NXDOMAIN (3) unless the name is known. Then the numbers of questions and answers.
    reply.extend([0x81, if is_known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(is_answer), 0, 0, 0, 0]);
    reply.extend(question);
    if is_answer {
        // The name at offset 12, type A, class IN, valid for 60 s, four bytes of address.
        reply.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    (reply, is_answer)
}
