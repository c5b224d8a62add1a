//! Who the server takes whom for.

use std::time::Duration;

use super::line::{Line, begin, report};
use super::scratch::{Scratch, new_file};
use crate::linux::trial::{User, as_user};
use crate::linux::{Dir, SysError};

const LIMIT: Duration = Duration::from_secs(20);
/// Numbers that most likely no user and no group of the server has: like those of pods.
const UID: u32 = 1_000_910_321;
const GID: u32 = 1_000_910_654;

pub(super) fn examine(scratch: &Scratch) {
    begin("root", LIMIT);
    let root = owner_of_root(&scratch.dir);
    report(root);
    begin("chown", LIMIT);
    report(chown(&scratch.dir));
    begin("fsgroup", LIMIT);
    report(fs_group(&scratch.dir));
}

/// The owner of what root makes.
fn owner_of_root(dir: &Dir) -> Line {
    const CHECK: &str = "root";
    match new_file(dir, "of-root", CHECK) {
        Ok(file) if file.attributes.uid == 0 => Line::ok(CHECK, "the server takes root for root"),
        Ok(file) => Line::warn(
            CHECK,
            format!("the server takes root for user {} (root_squash or all_squash)", file.attributes.uid),
            "export the share with no_root_squash and without all_squash; otherwise uid, gid and `fsGroup: require` cannot be used",
        ),
        Err(line) => line,
    }
}

fn chown(dir: &Dir) -> Line {
    const CHECK: &str = "chown";
    let given = dir.make_dir("given", 0o700).and_then(|()| {
        let given = dir.open_dir("given")?;
        given.set_owner(Some(UID), Some(GID))?;
        given.fresh()
    });
    match given.map(|metadata| (metadata.attributes.uid, metadata.attributes.gid)) {
        Ok((UID, GID)) => Line::ok(CHECK, "root can give a directory to any user and group"),
        Ok((uid, gid)) => Line::warn(
            CHECK,
            format!("a directory for {UID}:{GID} belongs to {uid}:{gid} afterwards"),
            "client and server do not agree about numbers of users: set the same Domain in /etc/idmapd.conf, or let the server use \
             numbers (/sys/module/nfsd/parameters/nfs4_disable_idmapping)",
        ),
        Err(error) => Line::warn(
            CHECK,
            error.to_string(),
            "export the share with no_root_squash, on a file system that has owners; otherwise uid, gid and `fsGroup: require` cannot be \
             used",
        ),
    }
}

/// Whether a pod with an fsGroup can use its volume: as a user whose only right is a further group.
fn fs_group(dir: &Dir) -> Line {
    const CHECK: &str = "fsgroup";
    let made = dir.make_dir("of-group", 0o770).and_then(|()| {
        let of_group = dir.open_dir("of-group")?;
        of_group.set_owner(None, Some(GID))?;
        of_group.set_mode(0o2770)?;
        Ok(of_group)
    });
    let of_group = match made {
        Ok(of_group) => of_group,
        Err(error) => {
            let advice = "export the share with no_root_squash: otherwise a volume cannot be given to the group of a pod";
            return Line::warn(CHECK, error.to_string(), advice);
        }
    };
    let as_member = User { uid: UID, gid: UID, groups: vec![GID] };
    match make_as(&of_group, &as_member, "member") {
        Ok(UID) => {
            Line::ok(CHECK, "the server takes users and their further groups as the client names them")
        }
        Ok(other) => squashes_all(other),
        Err(error) if error.op == "become" => Line::warn(
            CHECK,
            format!("not tried: {error}"),
            "run doctor in the pod of a node, which may become another user",
        ),
        Err(error) if error.is_denied() => {
            let as_first = User { uid: UID, gid: GID, groups: Vec::new() };
            match make_as(&of_group, &as_first, "first") {
                Ok(UID) => Line::warn(
                    CHECK,
                    "the server ignores the further groups that the client names, so fsGroup and supplementalGroups have no effect",
                    "remove `manage-gids` from /etc/nfs.conf of the server (or -g from the flags of mountd)",
                ),
                Ok(other) => squashes_all(other),
                Err(error) => Line::warn(
                    CHECK,
                    format!("a user cannot write into a directory of its own group: {error}"),
                    "look for all_squash in the export, and for access control lists on the server",
                ),
            }
        }
        Err(error) => Line::unexpected(CHECK, &error),
    }
}

fn squashes_all(uid: u32) -> Line {
    Line::warn(
        "fsgroup",
        format!("the server takes every user for user {uid} (all_squash)"),
        "export the share without all_squash, so that the files of pods belong to their users",
    )
}

/// The owner of a file that this user makes.
fn make_as(dir: &Dir, user: &User, name: &str) -> Result<u32, SysError> {
    as_user(user, || {
        dir.create_file(name, b"x")?;
        let file = dir.fresh_entry(name)?;
        Ok(file.map_or(u32::MAX, |file| file.attributes.uid))
    })?
}
