//! One entry that is no directory.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno as Nix;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::failure::{Failure, Outcome, of_source, system};
use super::position::Position;
use super::state::CopyState;
use super::{DeviceNodes, file_data, hard_links, xattr};
use crate::linux::dir::attributes::{Attributes, Freshness, Metadata, entry_handle};

/// CopyJobs a regular file: its content up to the length it has when it is opened, or, where the server clones it, as it
/// is at that moment.
///
/// NFS 4.2 requests for a small file that is cloned: OPEN, OPEN, CLONE, SETATTR of the times, CLOSE, CLOSE; and
/// LISTXATTRS and GETACL, without which nobody knows that it has none.
pub(super) fn copy_file(run: &CopyState, place: &Position, name: &OsStr) -> Outcome {
    let source = match open_source(run, place, name) {
        Err(error) => return Err(unopened(place, name, error)),
        Ok(source) => source,
    };
    // Over NFS opening has brought these from the server.
    let metadata = Metadata::of(&source, Freshness::Cached).map_err(of_source("stat"))?;
    if metadata.kind != FileType::RegularFile {
        return Err(Failure::Changed);
    }
    let made = if metadata.links > 1 {
        hard_links::copy(run, place, name, &metadata, || make_file(run, place, name, &source, &metadata))?
    } else {
        make_file(run, place, name, &source, &metadata)?;
        true
    };
    run.counts.file(if made { metadata.allocated } else { 0 });
    run.order.progress.add_file();
    Ok(())
}

/// Opens a file with `O_DIRECT` where there is such a thing: the NFS 4 client then asks for no delegation. One costs a
/// DELEGRETURN when there are some thousand, and whoever writes to the file has to wait until it is called back.
fn open_source(run: &CopyState, place: &Position, name: &OsStr) -> crate::linux::error::Result<OwnedFd> {
    // A FIFO put in the file's place must not hold anybody.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let open = |more| place.from.openat2("open", Path::new(name), flags | more, Mode::empty());
    let direct = run.order.means.direct();
    if !direct.worth_trying() {
        return open(OFlag::empty());
    }
    match open(OFlag::O_DIRECT) {
        Err(error) if error.errno() == Some(Nix::EINVAL) => {
            direct.refuse();
            open(OFlag::empty())
        }
        opened => opened,
    }
}

/// What it means that a file could not be opened.
fn unopened(place: &Position, name: &OsStr, error: crate::linux::error::SysError) -> Failure {
    match error.errno() {
        Some(Nix::ENOENT | Nix::ESTALE) => Failure::Vanished,
        // A link; a socket; a device.
        Some(Nix::ELOOP | Nix::ENXIO | Nix::ENODEV) => Failure::Changed,
        Some(Nix::EACCES | Nix::EPERM) => match Metadata::of_entry(&place.from, name, Freshness::Now) {
            Ok(metadata) if metadata.kind != FileType::RegularFile => Failure::Changed,
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
            // Over NFS a full disk may be reported only here.
            nix::unistd::close(target)
                .map_err(|errno| system("close")(Errno::from_raw_os_error(errno as i32)))
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
    // Last: what is still to be written would change them.
    Ok(attributes.apply_times(target, OsStr::new(""))?)
}

/// Makes an empty file and tells what it is like.
///
/// Not with `O_EXCL`, which costs a SETATTR over NFS. That the file is new shows by its times: those of a finished one
/// have been set, and setting them changed its ctime.
fn create(run: &CopyState, place: &Position, name: &OsStr, mode: u32) -> Outcome<(OwnedFd, Attributes)> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let open =
        |more| place.to.openat2("create", Path::new(name), flags | more, Mode::from_bits_truncate(mode));
    match open(OFlag::empty()) {
        Ok(file) => {
            let found = Metadata::of(&file, Freshness::Cached).map_err(system("stat"))?;
            let new = found.kind == FileType::RegularFile
                && (found.size, found.links) == (0, 1)
                && found.attributes.mtime == found.ctime;
            if new {
                return Ok((file, found.attributes));
            }
        }
        // Something that cannot be opened for writing: no file.
        Err(error)
            if matches!(error.errno(), Some(Nix::EISDIR | Nix::ELOOP | Nix::ENXIO | Nix::EACCES))
                && place.to.is_dir(name)?.is_some() => {}
        Err(error) => return Err(error.into()),
    }
    run.move_away(&place.to, name)?;
    let file = open(OFlag::O_EXCL)?;
    let found = Metadata::of(&file, Freshness::Cached).map_err(system("stat"))?;
    Ok((file, found.attributes))
}

/// CopyJobs a symbolic link, FIFO, socket or device node.
pub(super) fn copy_other(run: &CopyState, place: &Position, name: &OsStr, metadata: &Metadata) -> Outcome {
    let is_device = matches!(metadata.kind, FileType::CharacterDevice | FileType::BlockDevice);
    if is_device && run.order.devices == DeviceNodes::Skip {
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
    run.order.progress.add_file();
    Ok(())
}

fn make_other(run: &CopyState, place: &Position, name: &OsStr, metadata: &Metadata) -> Outcome {
    let error = |op| move |errno: Errno| place.to.error(op, name, errno);
    let attributes = &metadata.attributes;
    if metadata.kind == FileType::Symlink {
        let target = match rustix::fs::readlinkat(&place.from, name, Vec::new()) {
            Err(Errno::INVAL) => return Err(Failure::Changed),
            target => target.map_err(of_source("read link"))?,
        };
        run.make(place, name, || {
            rustix::fs::symlinkat(&target, &place.to, name).map_err(error("make symbolic link"))
        })?;
        return Ok(attributes.apply_to_entry(&place.to, name)?);
    }
    let (op, device) = match metadata.kind {
        FileType::Fifo => ("make FIFO", 0),
        FileType::Socket => ("make socket", 0),
        FileType::CharacterDevice | FileType::BlockDevice => {
            let (major, minor) = metadata.node;
            ("make device node (needs CAP_MKNOD)", rustix::fs::makedev(major, minor))
        }
        _ => return Err(system("copy an entry of unknown kind")(Errno::OPNOTSUPP)),
    };
    let mode = rustix::fs::Mode::from_raw_mode(attributes.mode);
    run.make(place, name, || {
        rustix::fs::mknodat(&place.to, name, metadata.kind, mode, device).map_err(error(op))
    })?;
    attributes.apply_to_entry(&place.to, name)?;
    if copy_list_of_other(run, place, name, metadata)? {
        attributes.apply_to_entry(&place.to, name)?;
    }
    Ok(())
}

/// The access control list of what cannot be opened without effect. Returns whether one was set.
fn copy_list_of_other(run: &CopyState, place: &Position, name: &OsStr, metadata: &Metadata) -> Outcome<bool> {
    let source = match entry_handle(&place.from, name) {
        Err(error) if error.is_not_found() || error.is_stale() => return Ok(false),
        handle => handle?,
    };
    let now = Metadata::of(&source, Freshness::Cached).map_err(of_source("stat"))?;
    if (now.device, now.inode) != (metadata.device, metadata.inode) {
        // Replaced since: what is copied is the one before.
        return Ok(false);
    }
    let target = entry_handle(&place.to, name)?;
    let (from, to) = (xattr::Handle::of_entry(&source), xattr::Handle::of_entry(&target));
    match xattr::copy(run, &from, &to, metadata, false) {
        Err(Failure::Vanished) => Ok(false),
        copied => copied,
    }
}
