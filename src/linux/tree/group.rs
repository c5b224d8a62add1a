//! Giving a whole directory tree to a group, by directory handles and with several threads.

use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{Gid, fchownat};

use super::copy::Progress;
use super::visit::{Failed, Seen, visit_tree};
use crate::linux::dir::Dir;
use crate::linux::dir::metadata::{Attributes, Freshness, Metadata};
use crate::linux::dir::proc_path;
use crate::linux::error::{Result, SysError};
use crate::linux::raw::FileKind;

/// What a group needs to read and write a file, and what its owner gets with it. These are the bits that kubelet adds.
const FILE_BITS: (u32, u32) = (0o060, 0o660);
/// The same for a directory. With setgid, what is created in it belongs to the group too.
const DIRECTORY_BITS: (u32, u32) = (0o2070, 0o2770);

/// Whether a directory with this group and mode needs no change for `gid`: its group can read and write in it. A mode without
/// setgid can be intended, so it is kept.
#[must_use]
pub fn belongs_to_group(gid: u32, mode: u32, wanted: u32) -> bool {
    gid == wanted && mode & 0o070 == 0o070
}

/// Gives everything in `top`, and `top` itself at the end, to the group `gid`, and lets the group read and write. Symbolic
/// links are changed themselves and never followed. What has the group already is not changed. Ends with the first failure;
/// then `top` is not changed, so that the next attempt begins anew. An entry that disappears meanwhile is no failure.
///
/// NFS requests: a READDIR for some hundred entries, a LOOKUP for each entry whose attributes did not come with it, and for each
/// entry that changes one SETATTR for the group and perhaps one for the mode.
pub fn change_group(top: &Dir, gid: u32, progress: &Progress) -> Result<()> {
    visit_tree(top, "change the group of", progress, &|entry, metadata| match entry {
        Seen::Directory(dir) => give_dir(dir, gid),
        Seen::Other(entry) => give(entry, metadata, gid),
    })?;
    give_dir(&top.open_dir(".")?, gid).map_err(|(op, errno)| SysError::new(op, top.label(), errno))
}

/// Gives a directory to the group.
fn give_dir(dir: &Dir, gid: u32) -> Result<(), Failed> {
    let metadata = Metadata::of(dir, Freshness::Cached).map_err(|errno| ("stat", errno))?;
    give(dir.as_fd(), &metadata, gid)
}

/// Gives an entry of any kind to the group, by a handle that may have been opened with `O_PATH`.
fn give(entry: BorrowedFd<'_>, metadata: &Metadata, gid: u32) -> Result<(), Failed> {
    let Attributes { mode, gid: before, .. } = metadata.attributes;
    if before != gid {
        fchownat(entry, "", None, Some(Gid::from_raw(gid)), AtFlags::AT_EMPTY_PATH)
            .map_err(|errno| ("change the group of", errno))?;
    }
    let (needed, given) = match metadata.kind {
        FileKind::Directory => DIRECTORY_BITS,
        FileKind::File | FileKind::Fifo | FileKind::Socket => FILE_BITS,
        // A symbolic link has no mode. A volume must not give access to a device.
        _ => return Ok(()),
    };
    // chown(2) clears setuid and setgid of a file.
    let cleared = before != gid && metadata.kind != FileKind::Directory && mode & 0o6000 != 0;
    if mode & needed != needed || cleared {
        let mode = Mode::from_bits_truncate(mode | given);
        fchmodat(AT_FDCWD, proc_path(entry).as_str(), mode, FchmodatFlags::FollowSymlink)
            .map_err(|errno| ("change the mode of", errno))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    /// Group and mode. Without root only the own group can be given, and then only modes are tested.
    fn group() -> u32 {
        let own = tempfile::tempdir().unwrap().path().metadata().unwrap();
        if own.uid() == 0 { 4321 } else { own.gid() }
    }

    fn look(path: &Path) -> (u32, u32) {
        let metadata = path.symlink_metadata().unwrap();
        (metadata.gid(), metadata.mode() & 0o7777)
    }

    fn change(top: &Path, gid: u32) -> Result<u64> {
        let progress = Progress::default();
        change_group(&Dir::open(top).unwrap(), gid, &progress).map(|()| progress.files())
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_whole_tree_gets_the_group_and_what_links_lead_to_does_not() {
        let (temporary, outside, gid) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), group());
        let top = temporary.path().join("v");
        std::fs::write(outside.path().join("canary"), "").unwrap();
        let before = (look(outside.path()), look(&outside.path().join("canary")));
        let mut place = top.clone();
        for _ in 0..40 {
            std::fs::create_dir_all(&place).unwrap();
            set_mode(&place, 0o700);
            for number in 0..70 {
                std::fs::write(place.join(format!("file-{number}")), "").unwrap();
                set_mode(&place.join(format!("file-{number}")), 0o600);
            }
            symlink(outside.path(), place.join("link")).unwrap();
            symlink(outside.path().join("canary"), place.join("link-to-file")).unwrap();
            place.push("d");
        }
        set_mode(&top.join("file-0"), 0o4750);
        assert_eq!(change(&top, gid).unwrap(), 40 * 72 + 39);
        assert_eq!(look(&top), (gid, 0o2770));
        assert_eq!(look(&top.join("d/d/d")), (gid, 0o2770));
        assert_eq!(look(&top.join("d/d/file-69")), (gid, 0o660));
        assert_eq!(look(&top.join("file-0")), (gid, 0o4770), "it stays setuid");
        assert_eq!(look(&top.join("d/link")).0, gid);
        assert_eq!((look(outside.path()), look(&outside.path().join("canary"))), before);
    }

    #[test]
    fn a_mode_with_which_the_group_can_write_stays() {
        let (temporary, gid) = (tempfile::tempdir().unwrap(), group());
        let (dir, file) = (temporary.path().join("dir"), temporary.path().join("file"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(&file, "").unwrap();
        set_mode(&dir, 0o2777);
        set_mode(&file, 0o664);
        change(temporary.path(), gid).unwrap();
        assert_eq!((look(&dir), look(&file)), ((gid, 0o2777), (gid, 0o664)));
        assert!(belongs_to_group(gid, 0o775, gid) && belongs_to_group(gid, 0o2770, gid));
        assert!(!belongs_to_group(gid, 0o755, gid) && !belongs_to_group(0, 0o777, gid + 1));
    }

    #[test]
    fn an_attempt_that_is_ended_leaves_the_top_so_that_the_next_one_begins_anew() {
        let (temporary, gid) = (tempfile::tempdir().unwrap(), group());
        std::fs::write(temporary.path().join("file"), "").unwrap();
        set_mode(temporary.path(), 0o700);
        let before = look(temporary.path());
        let progress = Progress::default();
        progress.cancel();
        let error = change_group(&Dir::open(temporary.path()).unwrap(), gid, &progress).unwrap_err();
        assert!(error.to_string().contains("/file"), "{error}");
        assert_eq!(look(temporary.path()), before);
        assert_eq!(change(temporary.path(), gid).unwrap(), 1);
        assert_eq!(look(temporary.path()), (gid, 0o2770));
    }
}
