//! Unpacking a tar archive that nobody vouches for, beneath a directory handle.
//!
//! `tar-core` reads the headers; every file, directory and link is made here, by handles. Memory does not depend on
//! the archive: the headers of one member (at most 2 MiB), one open handle for each level of directories (at most
//! 512), and two buffers.
//!
//! Restored are files with their holes, directories, symbolic and hard links, FIFOs; of each the mode, the owner by
//! number and the time of the last change. Device nodes are left out and counted. Anything else that an archive may
//! hold is an error. Extended attributes are not restored.

mod extract;
mod member;
mod member_data;
mod stream;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::bufread::MultiGzDecoder;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::copy::Progress;
use crate::linux::dir::Dir;
use crate::linux::error::{Result, SysError};
use extract::Places;
use member::{Kind, Member};
use member_data::Room;
use stream::Stream;

/// Bytes read from an archive at a time.
const READ: usize = 256 * 1024;

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// It is a plain tar stream.
    None,
    /// It is one or more gzip members.
    Gzip,
}

/// An archive, open for reading.
#[derive(Debug)]
pub struct Archive {
    file: File,
    size: u64,
    modified: SystemTime,
    compression: Compression,
    label: String,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Names of regular files. A file with several counts for each.
    pub files: u64,
    /// Directories that the archive names. One that it names twice counts twice.
    pub directories: u64,
    /// Symbolic links and FIFOs.
    pub others: u64,
    /// Bytes written as content, holes left out.
    pub bytes: u64,
    /// Device nodes, which were left out.
    pub skipped: u64,
}

/// Why an archive was not unpacked. What there is of it is for the caller to remove.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// [`Progress::cancel`] was called.
    #[error("unpacking was cancelled")]
    Cancelled,
    /// The archive is damaged, cut off, or made to do harm.
    #[error("archive {archive}{}: {reason}", member.as_ref().map_or(String::new(), |member| format!(", member {member}")))]
    Malformed {
        /// Where the archive is.
        archive: String,
        /// The member it is wrong at, control characters escaped; `None` if it is not one member's.
        member: Option<String>,
        /// What is wrong.
        reason: String,
    },
    /// There is more content than is to be written.
    #[error("archive {archive}: there are more than {limit} bytes in it")]
    TooLarge {
        /// Where the archive is.
        archive: String,
        /// The most bytes that were to be written.
        limit: u64,
    },
    /// A system call failed. Control characters in the path are escaped.
    #[error(transparent)]
    Sys(SysError),
}

impl Archive {
    /// Opens the file `name` in `dir`. `None` if there is no regular file of that name. No link is followed, and a FIFO
    /// cannot hold the caller.
    pub fn open(dir: &Dir, name: impl AsRef<Path>, compression: Compression) -> Result<Option<Self>> {
        let name = name.as_ref();
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match dir.openat2("open", name, flags, Mode::empty()) {
            Err(error) if error.is_not_found() => return Ok(None),
            result => File::from(result?),
        };
        let metadata = file.metadata().map_err(|error| dir.error("stat", name, error))?;
        let label = shown(Path::new(&dir.label()).join(name).as_os_str().as_bytes());
        let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
        Ok(metadata.is_file().then(|| Self { file, size: metadata.len(), modified, compression, label }))
    }

    /// Bytes that the archive itself takes up. Of a plain one the content is smaller; of a compressed one nothing is
    /// known until it is unpacked.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// When the archive was written: nanoseconds since 1970-01-01 UTC; 0 where nobody knows.
    #[must_use]
    pub fn modified_ns(&self) -> u64 {
        self.modified
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.as_nanos().try_into().unwrap_or(u64::MAX))
    }

    /// Unpacks everything into `into`, an empty directory that nobody else can reach, and gives that the attributes that
    /// the archive has for its top. Ends with an error where more than `limit` bytes of content would be written. Blocks
    /// for as long as it takes.
    pub fn unpack(self, into: &Dir, limit: Option<u64>, progress: &Progress) -> Result<Summary, UnpackError> {
        match self.compression {
            Compression::None => unpack(self.file, &self.label, into, limit, progress),
            Compression::Gzip => {
                let plain = MultiGzDecoder::new(BufReader::with_capacity(READ, self.file));
                unpack(plain, &self.label, into, limit, progress)
            }
        }
    }
}

/// Unpacks a plain tar stream, which messages call `label`. See [`Archive::unpack`].
pub fn unpack(
    archive: impl Read,
    label: &str,
    into: &Dir,
    limit: Option<u64>,
    progress: &Progress,
) -> Result<Summary, UnpackError> {
    let mut stream = Stream::new(archive, label, progress);
    let mut places = Places::new(into, label)?;
    let mut room = Room::new(limit, label, progress);
    let mut summary = Summary::default();
    while let Some(member) = stream.next()? {
        unpack_member(&member, &mut stream, &mut places, &mut room, &mut summary)?;
        if member.kind != Kind::Directory {
            progress.add_file();
        }
    }
    places.leave_all()?;
    Ok(Summary { bytes: room.used(), ..summary })
}

fn unpack_member<R: Read>(
    member: &Member,
    stream: &mut Stream<R>,
    places: &mut Places,
    room: &mut Room,
    summary: &mut Summary,
) -> Result<(), UnpackError> {
    match &member.kind {
        Kind::Directory => {
            places.make_directory(member)?;
            summary.directories += 1;
        }
        Kind::File => {
            let file = places.make_file(member)?;
            let failed = |error| places.failed(member, error);
            member_data::write(member, stream, &file, room, failed)?;
            member_data::finish(member, file).map_err(failed)?;
            summary.files += 1;
        }
        Kind::HardLink(target) => {
            places.make_hard_link(member, target)?;
            summary.files += 1;
        }
        Kind::Symlink(target) => {
            places.make_symlink(member, target)?;
            summary.others += 1;
        }
        Kind::Fifo => {
            places.make_fifo(member)?;
            summary.others += 1;
        }
        Kind::Device => summary.skipped += 1,
    }
    Ok(())
}

/// `path` as it may stand in a log and on a terminal: control characters escaped, the end of a long one left out.
fn shown(path: &[u8]) -> String {
    const LONGEST: usize = 300;
    let mut text = String::new();
    for c in String::from_utf8_lossy(path).chars().take(LONGEST) {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}
