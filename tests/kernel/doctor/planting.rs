//! How faults are planted, and how they are removed when the test has seen them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::fixture::fat;
use crate::fixture::server::{self, Restricted};

/// A fault, as long as this value exists.
pub(super) struct Planted(Option<Box<dyn FnOnce()>>);

impl Drop for Planted {
    fn drop(&mut self) {
        if let Some(remove) = self.0.take() {
            remove();
        }
    }
}

fn until_dropped(remove: impl FnOnce() + 'static) -> Planted {
    Planted(Some(Box::new(remove)))
}

/// Nothing has to be planted: the arguments are enough.
pub(super) fn nothing() -> Planted {
    Planted(None)
}

/// Lets the server offer only NFS 3.
pub(super) fn only_nfs_3() -> Planted {
    let restricted = Restricted::to(&["3"]);
    until_dropped(move || drop(restricted))
}

/// Exports `/export` to these clients with these options.
fn export(clients: &str, options: &str) -> Planted {
    server::run(Command::new("exportfs").args(["-u", "*:/export"]));
    let all = format!("{options},no_subtree_check,fsid=0");
    server::run(Command::new("exportfs").args(["-o", &all, &format!("{clients}:/export")]));
    let clients = clients.to_owned();
    until_dropped(move || {
        server::run(Command::new("exportfs").args(["-u", &format!("{clients}:/export")]));
        server::run(Command::new("exportfs").arg("-ra"));
        server::run(Command::new("exportfs").arg("-f"));
    })
}

pub(super) fn exported_to_another() -> Planted {
    export("10.99.99.99", "rw,no_root_squash,insecure")
}

pub(super) fn exported_with_kerberos() -> Planted {
    export("*", "rw,no_root_squash,insecure,sec=krb5")
}

pub(super) fn exported_to_secure_ports() -> Planted {
    export("*", "rw,no_root_squash,secure")
}

pub(super) fn all_squashed() -> Planted {
    export("*", "rw,all_squash,anonuid=0,anongid=0,insecure")
}

/// A port that accepts connections and never says anything.
pub(super) fn silent_port() -> Planted {
    let listener = TcpListener::bind(("127.0.0.1", super::faults::SILENT)).unwrap();
    until_dropped(move || drop(listener))
}

/// A port at which a web server listens.
pub(super) fn web_server() -> Planted {
    let listener = TcpListener::bind(("127.0.0.1", super::faults::WEB)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 44]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    // The thread ends with the test.
    nothing()
}

pub(super) fn no_mountd() -> Planted {
    stop("rpc.mountd");
    until_dropped(|| drop(server::run(&mut Command::new("rpc.mountd"))))
}

pub(super) fn no_statd() -> Planted {
    stop("rpc.statd");
    until_dropped(|| drop(server::run(Command::new("rpc.statd").arg("--no-notify"))))
}

/// The server looks up the groups of a user by itself.
pub(super) fn managed_groups() -> Planted {
    stop("rpc.mountd");
    server::run(Command::new("rpc.mountd").arg("--manage-gids"));
    server::run(Command::new("exportfs").arg("-f"));
    until_dropped(|| {
        stop("rpc.mountd");
        server::run(&mut Command::new("rpc.mountd"));
        server::run(Command::new("exportfs").arg("-f"));
        // For so long the kernel lets requests wait for the one who has looked up groups (`cache_listeners_exist` in net/sunrpc/cache.c).
        std::thread::sleep(std::time::Duration::from_secs(31));
    })
}

fn stop(program: &str) {
    server::run(Command::new("pkill").args(["-x", program]));
    while Command::new("pgrep").args(["-x", program]).output().unwrap().status.success() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Fills `/small` until not a block is left.
pub(super) fn full() -> Planted {
    fill(&[1 << 20, 1 << 12, 1 << 10, 1, 1], usize::MAX)
}

/// Fills `/small` until little is left.
pub(super) fn nearly_full() -> Planted {
    let size = server::exported("/small");
    let text = server::run(Command::new("stat").args(["-f", "-c", "%a %S"]).arg(size));
    let numbers: Vec<usize> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let mebibytes = (numbers[0] * numbers[1]) >> 20;
    fill(&[1 << 20], mebibytes - 2)
}

fn fill(sizes: &[usize], most: usize) -> Planted {
    let filler = server::exported("/small/filler");
    fs::create_dir(&filler).unwrap();
    for (round, size) in sizes.iter().enumerate() {
        for number in 0..most {
            let file = filler.join(format!("{round}-{number}"));
            if fs::write(&file, vec![1; *size]).and_then(|()| fs::File::open(&file)?.sync_all()).is_err() {
                break;
            }
        }
    }
    until_dropped(move || drop(server::run(Command::new("rm").arg("-r").arg(filler))))
}

/// The directory `/squashed/for-nobody` belongs to the user that root becomes there.
pub(super) fn of_nobody() -> Planted {
    let own = server::exported("/squashed/for-nobody");
    fs::create_dir_all(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(65534), Some(65534)).unwrap();
    nothing()
}

pub(super) fn state_is_a_link() -> Planted {
    let link = server::exported("/share/.nfs-subdir-csi");
    std::os::unix::fs::symlink("elsewhere", &link).unwrap();
    until_dropped(move || fs::remove_file(link).unwrap())
}

/// A file system in a file, at `/export/NAME`, exported.
fn disk(name: &str, make: impl FnOnce(&Path), options: &str) -> (PathBuf, Planted) {
    let (image, place) =
        (PathBuf::from(format!("/run/vm/disks/{name}")), server::exported(&format!("/{name}")));
    make(&image);
    fs::create_dir(&place).unwrap();
    server::run(Command::new("mount").args(["-o", options]).args([&image, &place]));
    let export = format!("*:{}", place.display());
    let all = "rw,no_root_squash,insecure,no_subtree_check,fsid=77";
    server::run(Command::new("exportfs").args(["-o", all, &export]));
    let (own, own_image) = (place.clone(), image);
    let planted = until_dropped(move || {
        server::run(Command::new("exportfs").args(["-u", &export]));
        server::run(Command::new("exportfs").arg("-f"));
        // The server may keep a file open for a moment.
        server::run(Command::new("umount").arg("-l").arg(&own));
        fs::remove_dir(own).unwrap();
        fs::remove_file(own_image).unwrap();
    });
    (place, planted)
}

pub(super) fn without_links() -> Planted {
    server::run(Command::new("modprobe").args([
        "-a",
        "vfat",
        "nls_cp437",
        "nls_iso8859-1",
        "nls_ascii",
        "nls_utf8",
    ]));
    disk("fat", fat::make, "loop").1
}

/// A file system that knows no time after 2038, on a server where it is 2040: its files have another time than the clocks of client and server.
pub(super) fn wrong_clock() -> Planted {
    let make = |image: &Path| {
        server::run(Command::new("truncate").args(["-s", "16M"]).arg(image));
        server::run(Command::new("mkfs.ext4").args(["-q", "-I", "128"]).arg(image));
    };
    let (_, disk) = disk("old", make, "loop");
    let (begun, now) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    server::run(Command::new("date").args(["-u", "-s", "2040-01-01"]));
    until_dropped(move || {
        let now = (now + begun.elapsed()).as_secs();
        server::run(Command::new("date").args(["-s", &format!("@{now}")]));
        drop(disk);
    })
}
