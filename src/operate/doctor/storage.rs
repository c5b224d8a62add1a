//! The share itself: what lies at its top, its space, and whether it can be written.

use std::time::Duration;

use super::line::{Line, begin, report};
use super::scratch::Scratch;
use crate::linux::{Dir, SysError};
use crate::terminal::bytes;
use crate::volume::name::sub_dir::STATE_DIR;

const LIMIT: Duration = Duration::from_secs(20);
/// How many directories at the top of the share are looked at for other file systems.
const LOOKED_AT: usize = 1000;
/// A file system is nearly full if less than this part of it is available.
const NEARLY_FULL: u64 = 20;
const CONTENT: [u8; 4096] = [1; 4096];

/// Looks at the share and changes nothing.
pub(super) fn look(share: &Dir) {
    begin("state-directory", LIMIT);
    report(state_directory(share));
    begin("file-systems-below", LIMIT);
    report(file_systems_below(share));
    begin("space", LIMIT);
    report(space(share));
}

fn state_directory(share: &Dir) -> Line {
    const CHECK: &str = "state-directory";
    match share.open_dir(STATE_DIR).and_then(|dir| dir.ownership()) {
        Err(error) if error.is_not_found() => Line::ok(CHECK, "the driver has not made a volume here yet"),
        Err(error) if error.is_unsafe_path() => Line::fail(
            CHECK,
            format!("{STATE_DIR} is a symbolic link or not a directory"),
            "move it away on the server: the driver keeps its records in a directory of this name, and follows no links",
        ),
        Err(error) => {
            let advice =
                "the driver must be able to read this directory: look at its owner and mode on the server";
            Line::fail(CHECK, error.to_string(), advice)
        }
        Ok((_, _, mode)) if mode & 0o077 != 0 => Line::warn(
            CHECK,
            format!("{STATE_DIR} has the mode {mode:04o}, so others than the driver have access to it"),
            "set the mode 0700 on the server",
        ),
        Ok((uid, _, mode)) => {
            Line::ok(CHECK, format!("{STATE_DIR} belongs to user {uid} and has the mode {mode:04o}"))
        }
    }
}

fn file_systems_below(share: &Dir) -> Line {
    const CHECK: &str = "file-systems-below";
    let entries = match share.entries(LOOKED_AT) {
        Ok(entries) => entries,
        Err(error) => {
            let advice =
                "the driver must be able to list the share: look at its owner and mode on the server";
            return Line::fail(CHECK, error.to_string(), advice);
        }
    };
    let is_other = |name: &std::ffi::OsStr| {
        let opened = share.open_place(name).and_then(|dir| dir.is_on_file_system_of(share));
        opened.is_ok_and(|is_same| !is_same)
    };
    let others: Vec<String> = entries
        .iter()
        .filter(|entry| entry.is_dir != Some(false) && is_other(&entry.name))
        .map(|entry| entry.name.to_string_lossy().into_owned())
        .collect();
    if others.is_empty() {
        return Line::ok(CHECK, "none at the top of the share");
    }
    Line::warn(
        CHECK,
        format!("these directories are other file systems of the server: {}", others.join(", ")),
        "make no volumes in them (subDir), because the driver moves and links within one file system; export them as shares of their \
         own",
    )
}

fn space(share: &Dir) -> Line {
    const CHECK: &str = "space";
    let usage = match share.usage() {
        Ok(usage) => usage,
        Err(error) => return Line::fail(CHECK, error.to_string(), "look at the file system on the server"),
    };
    let found = format!("{} of {} are available", bytes(usage.available_bytes), bytes(usage.total_bytes));
    if usage.available_bytes < usage.total_bytes / NEARLY_FULL {
        return Line::warn(
            CHECK,
            found,
            "make room: `nfs-subdir-csi trash list` shows what is kept of deleted volumes",
        );
    }
    // 0 inodes in all: the file system does not count them.
    if usage.available_inodes < usage.total_inodes / NEARLY_FULL {
        let inodes = format!("{} of {} inodes are available", usage.available_inodes, usage.total_inodes);
        return Line::warn(
            CHECK,
            inodes,
            "remove files: the file system can hold only so many, whatever their size",
        );
    }
    Line::ok(CHECK, found)
}

/// Writes a file, reads it and renames it.
pub(super) fn write(scratch: &Scratch) {
    let dir = &scratch.dir;
    let done = dir
        .create_file("written", &CONTENT)
        .and_then(|()| dir.rename("written", dir, "renamed"))
        .and_then(|()| dir.read_file("renamed", 1 << 20));
    report(match done {
        Ok(Some(content)) if content == CONTENT => {
            Line::ok("write", "a file was written, synced, renamed and read")
        }
        Ok(_) => Line::fail(
            "write",
            "a file that was written and renamed has another content, or none",
            "look for another client that works on this directory, and at the disks of the server",
        ),
        Err(error) => refused(&error),
    });
}

/// Why nothing could be written.
pub(super) fn refused(error: &SysError) -> Line {
    let advice = if error.is_read_only() {
        "the export or its file system is read-only: export it with `rw`, and look at the file system on the server"
    } else if error.is_full() {
        "the file system of the export is full, or its quota is used up: make room"
    } else if error.is_denied() {
        "the server does not let root write here: export the share with no_root_squash and without all_squash, or let the user that \
         root becomes own the top directory of the share"
    } else {
        "look at the log of the server"
    };
    Line::fail("write", error.to_string(), advice)
}
