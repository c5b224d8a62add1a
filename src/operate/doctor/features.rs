//! What the server and its file system can do besides reading and writing.

use std::time::Duration;

use super::line::{Line, begin, report};
use super::scratch::Scratch;
use crate::linux::mountstats::MountStats;
use crate::linux::{Dir, ExportRoot, NfsOptions, SysError, has_status_monitor, trial};

const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn examine(scratch: &Scratch, root: &ExportRoot, options: &NfsOptions) {
    let (dir, version) = (&scratch.dir, root.version.as_str());
    begin("links", LIMIT);
    report(links(dir));
    begin("clone", LIMIT);
    report(clone(dir, version));
    begin("copy", LIMIT);
    report(copy(dir, root));
    begin("locks", LIMIT);
    report(locks(dir, version, options));
    begin("access-lists", LIMIT);
    report(access_lists(dir, version));
    begin("user-attributes", LIMIT);
    report(user_attributes(dir, version));
}

fn links(dir: &Dir) -> Line {
    const CHECK: &str = "links";
    let linked = dir
        .create_file("linked", b"x")
        .and_then(|()| dir.link("linked", dir, "link"))
        .and_then(|()| dir.fresh_entry("link"));
    let links = match linked {
        Ok(entry) => entry.map_or(0, |entry| entry.links),
        Err(error) => {
            let advice = "use an export on a file system with hard links: the driver needs them to give each directory to one volume";
            return Line::fail(CHECK, error.to_string(), advice);
        }
    };
    if links != 2 {
        let found = format!("a file with two names says that it has {links}");
        return Line::fail(CHECK, found, "use an export on a file system with hard links");
    }
    match trial::symlink(dir, "linked", "symbolic") {
        Ok(()) => Line::ok(CHECK, "hard and symbolic links can be made"),
        Err(error) => Line::warn(
            CHECK,
            error.to_string(),
            "volumes cannot contain symbolic links: use an export on another file system",
        ),
    }
}

fn clone(dir: &Dir, version: &str) -> Line {
    const CHECK: &str = "clone";
    match trial::clone(dir, "clone-from", "clone-to") {
        Ok(()) => Line::ok(CHECK, "files are cloned without copying their content"),
        Err(error) => Line::warn(
            CHECK,
            format!("{error}: snapshots and clones copy all content (NFS {version})"),
            "for fast snapshots, use NFS 4.2 and a file system with reflinks, such as XFS or Btrfs",
        ),
    }
}

fn copy(dir: &Dir, root: &ExportRoot) -> Line {
    const CHECK: &str = "copy";
    let copies = || {
        let stats = MountStats::read().ok()?;
        stats.at(&root.mount_point).map(|counters| counters.server_copies)
    };
    let before = copies();
    match trial::copy(dir, "copy-from", "copy-to") {
        Err(error) => Line::unexpected(CHECK, &error),
        Ok(()) if copies() > before => Line::ok(CHECK, "the server copies files by itself"),
        Ok(()) => Line::warn(
            CHECK,
            format!("files are copied by way of this node, not by the server (NFS {})", root.version),
            "use NFS 4.2: its servers copy without sending the content",
        ),
    }
}

fn locks(dir: &Dir, version: &str, options: &NfsOptions) -> Line {
    const CHECK: &str = "locks";
    const ADVICE: &str = "with NFS 3, start rpc.statd and rpcbind on the node and on the server, or use NFS 4, or the mount option nolock, with \
                          which a lock is valid on one node only";
    let is_local = options.contains("nolock") || options.get("local_lock").is_some_and(|kind| kind != "none");
    if version == "3" && !is_local && !has_status_monitor() {
        return Line::warn(
            CHECK,
            "this node has no rpc.statd, so programs that lock files wait and then fail",
            ADVICE,
        );
    }
    match trial::lock(dir, "locked") {
        Ok(true) if is_local => Line::warn(
            CHECK,
            "with these mount options a lock is valid on one node only",
            "remove `nolock` and `local_lock`, or let no two nodes use a volume at the same time",
        ),
        Ok(true) => Line::ok(CHECK, format!("the server locks files (NFS {version})")),
        Ok(false) => {
            Line::fail(CHECK, "a new file is locked already", "look at the lock manager of the server")
        }
        Err(error) => Line::warn(CHECK, format!("{error}: programs that lock files fail"), ADVICE),
    }
}

fn access_lists(dir: &Dir, version: &str) -> Line {
    const CHECK: &str = "access-lists";
    match trial::access_list(dir, "with-list", version != "3") {
        Ok(()) => Line::ok(CHECK, "access control lists are kept"),
        Err(error) => Line::warn(
            CHECK,
            no_attribute(&error, "access control lists"),
            "volumes, snapshots and clones have none: use a file system with access control lists on the server, and mount without noacl",
        ),
    }
}

fn user_attributes(dir: &Dir, version: &str) -> Line {
    const CHECK: &str = "user-attributes";
    match trial::user_attribute(dir, "with-attribute") {
        Ok(()) => Line::ok(CHECK, "user attributes (user.*) are kept"),
        Err(error) => Line::warn(
            CHECK,
            format!("{} (NFS {version})", no_attribute(&error, "user attributes")),
            "programs that need them fail: use NFS 4.2 and a file system with extended attributes on the server",
        ),
    }
}

fn no_attribute(error: &SysError, what: &str) -> String {
    format!("there are no {what} here: {}", error.source)
}
