//! Copying one entry that is not a directory.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{Mode, SFlag, makedev, mknodat};
use nix::unistd::symlinkat;

use super::failure::{Failure, Outcome, of_source, system};
use super::position::Position;
use super::request::DeviceNodes;
use super::state::CopyState;
use super::{file_data, hard_links, xattr};
use crate::linux::dir::metadata::{Attributes, Freshness, Metadata};
use crate::linux::error::{Result as SysResult, SysError};
use crate::linux::raw::FileKind;

/// Copies a regular file: its content up to the length that it has when it is opened, or, if the server clones it, its
/// content at that moment.
///
/// NFS 4.2 requests for a small file that is cloned: OPEN, OPEN, CLONE, SETATTR of the times, CLOSE, CLOSE, and also
/// LISTXATTRS and GETACL, to find out whether it has attributes and a list.
pub(super) fn copy_file(run: &CopyState, place: &Position, name: &OsStr) -> Outcome {
    let source = match open_source(run, place, name) {
        Err(error) => return Err(unopened(place, name, error)),
        Ok(source) => source,
    };
    // Over NFS, opening the file has brought these from the server.
    let metadata = Metadata::of(&source, Freshness::Cached).map_err(of_source("stat"))?;
    if metadata.kind != FileKind::File {
        return Err(Failure::Changed);
    }
    let made = if metadata.links > 1 {
        hard_links::copy(run, place, name, &metadata, || make_file(run, place, name, &source, &metadata))?
    } else {
        make_file(run, place, name, &source, &metadata)?;
        true
    };
    run.counts.file(if made { metadata.allocated } else { 0 });
    run.request.progress.add_file();
    Ok(())
}

/// Opens a file with `O_DIRECT` if the file system supports it. Then the NFS 4 client requests no delegation. A delegation
/// costs a DELEGRETURN once there are some thousand, and a program that writes to the file has to wait for its recall.
fn open_source(run: &CopyState, place: &Position, name: &OsStr) -> SysResult<OwnedFd> {
    // Non-blocking: opening a FIFO that somebody put in the file's place must not block.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let open = |more| place.from.openat2("open", Path::new(name), flags | more, Mode::empty());
    let direct = run.request.support.direct();
    if !direct.worth_trying() {
        return open(OFlag::empty());
    }
    match open(OFlag::O_DIRECT) {
        Err(error) if error.errno() == Some(Errno::EINVAL) => {
            direct.refuse();
            open(OFlag::empty())
        }
        opened => opened,
    }
}

/// Translates the error of opening a file of the source.
fn unopened(place: &Position, name: &OsStr, error: SysError) -> Failure {
    match error.errno() {
        Some(Errno::ENOENT | Errno::ESTALE) => Failure::Vanished,
        // It is now a symbolic link, a socket or a device.
        Some(Errno::ELOOP | Errno::ENXIO | Errno::ENODEV) => Failure::Changed,
        Some(Errno::EACCES | Errno::EPERM) => match Metadata::of_entry(&place.from, name, Freshness::Now) {
            Ok(metadata) if metadata.kind != FileKind::File => Failure::Changed,
            _ => error.into(),
        },
        _ => error.into(),
    }
}

fn make_file(
    run: &CopyState,
    place: &Position,
    name: &OsStr,
    source: &OwnedFd,
    metadata: &Metadata,
) -> Outcome {
    let (target, created) = create(run, place, name, metadata.attributes.mode & 0o777)?;
    match fill(run, source, &target, metadata, &created) {
        Err(Failure::Vanished) => {
            drop(target);
            place.to.remove_file(name)?;
            Err(Failure::Vanished)
        }
        filled => {
            filled?;
            // NFS may report a full disk only here.
            nix::unistd::close(target).map_err(system("close"))
        }
    }
}

fn fill(
    run: &CopyState,
    source: &OwnedFd,
    target: &OwnedFd,
    metadata: &Metadata,
    created: &Attributes,
) -> Outcome {
    let attributes = &metadata.attributes;
    file_data::copy(run, source, target, metadata)?;
    attributes.apply_owner_and_mode(target, created, OsStr::new(""))?;
    let (from, to) = (xattr::Handle::of(source), xattr::Handle::of(target));
    if xattr::copy(run, &from, &to, metadata, false)? {
        let now = Metadata::of(target, Freshness::Now).map_err(system("stat"))?;
        attributes.apply_owner_and_mode(target, &now.attributes, OsStr::new(""))?;
    }
    // Last, because the calls above change the times.
    Ok(attributes.apply_times(target, OsStr::new(""))?)
}

/// Creates an empty file. Returns it with its present attributes.
///
/// The first attempt is without `O_EXCL`, which costs one more SETATTR over NFS. The times tell whether the file is new:
/// the mtime of a complete copy was set, which made its ctime differ.
fn create(run: &CopyState, place: &Position, name: &OsStr, mode: u32) -> Outcome<(OwnedFd, Attributes)> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let open =
        |more| place.to.openat2("create", Path::new(name), flags | more, Mode::from_bits_truncate(mode));
    match open(OFlag::empty()) {
        Ok(file) => {
            let found = Metadata::of(&file, Freshness::Cached).map_err(system("stat"))?;
            let new = found.kind == FileKind::File
                && (found.size, found.links) == (0, 1)
                && found.attributes.mtime == found.ctime;
            if new {
                return Ok((file, found.attributes));
            }
        }
        // An entry with this name exists that cannot be opened for writing.
        Err(error)
            if matches!(error.errno(), Some(Errno::EISDIR | Errno::ELOOP | Errno::ENXIO | Errno::EACCES))
                && place.to.is_dir(name)?.is_some() => {}
        Err(error) => return Err(error.into()),
    }
    run.move_away(&place.to, name)?;
    let file = open(OFlag::O_EXCL)?;
    let found = Metadata::of(&file, Freshness::Cached).map_err(system("stat"))?;
    Ok((file, found.attributes))
}

/// Copies a symbolic link, FIFO, socket or device node.
pub(super) fn copy_other(run: &CopyState, place: &Position, name: &OsStr, metadata: &Metadata) -> Outcome {
    let is_device = matches!(metadata.kind, FileKind::CharacterDevice | FileKind::BlockDevice);
    if is_device && run.request.devices == DeviceNodes::Skip {
        run.counts.skipped();
        return Ok(());
    }
    let made = if metadata.links > 1 {
        hard_links::copy(run, place, name, metadata, || make_other(run, place, name, metadata))?
    } else {
        make_other(run, place, name, metadata)?;
        true
    };
    run.counts.other(if made { metadata.allocated } else { 0 });
    run.request.progress.add_file();
    Ok(())
}

/// The operation in messages about device nodes.
const MAKE_DEVICE: &str = "make device node (needs CAP_MKNOD)";

fn make_other(run: &CopyState, place: &Position, name: &OsStr, metadata: &Metadata) -> Outcome {
    let error = |op| move |errno: Errno| place.to.error(op, name, errno);
    let attributes = &metadata.attributes;
    if metadata.kind == FileKind::Symlink {
        let target = match readlinkat(&place.from, name) {
            Err(Errno::EINVAL) => return Err(Failure::Changed),
            target => target.map_err(of_source("read link"))?,
        };
        run.make(place, name, || {
            symlinkat(target.as_os_str(), &place.to, name).map_err(error("make symbolic link"))
        })?;
        return Ok(attributes.apply_to_entry(&place.to, name)?);
    }
    let (op, kind) = match metadata.kind {
        FileKind::Fifo => ("make FIFO", SFlag::S_IFIFO),
        FileKind::Socket => ("make socket", SFlag::S_IFSOCK),
        FileKind::CharacterDevice => (MAKE_DEVICE, SFlag::S_IFCHR),
        FileKind::BlockDevice => (MAKE_DEVICE, SFlag::S_IFBLK),
        _ => return Err(system("copy an entry of unknown kind")(Errno::EOPNOTSUPP)),
    };
    let (major, minor) = metadata.node;
    let device = makedev(major.into(), minor.into());
    let mode = Mode::from_bits_truncate(attributes.mode);
    run.make(place, name, || mknodat(&place.to, name, kind, mode, device).map_err(error(op)))?;
    attributes.apply_to_entry(&place.to, name)?;
    if copy_list_of_other(run, place, name, metadata)? {
        attributes.apply_to_entry(&place.to, name)?;
    }
    Ok(())
}

/// Copies the access control list of an entry that cannot be opened without effect. Returns whether a list was set.
fn copy_list_of_other(run: &CopyState, place: &Position, name: &OsStr, metadata: &Metadata) -> Outcome<bool> {
    let source = match place.from.open_entry(name) {
        Err(error) if error.is_not_found() || error.is_stale() => return Ok(false),
        handle => handle?,
    };
    let now = Metadata::of(&source, Freshness::Cached).map_err(of_source("stat"))?;
    if (now.device, now.inode) != (metadata.device, metadata.inode) {
        // The entry has been replaced. The copy is of the earlier one.
        return Ok(false);
    }
    let target = place.to.open_entry(name)?;
    let (from, to) = (xattr::Handle::of_entry(&source), xattr::Handle::of_entry(&target));
    match xattr::copy(run, &from, &to, metadata, false) {
        Err(Failure::Vanished) => Ok(false),
        copied => copied,
    }
}
