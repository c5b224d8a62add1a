//! Unpacking an untrusted tar archive beneath a directory handle.
//!
//! The crate `tar-core` parses the headers. Every file, directory and link is created here, by handles. The memory is
//! bounded for any archive: the headers of one member (at most 2 MiB), one open handle for each level of directories
//! (at most 512), and two buffers.
//!
//! What is restored: files with their holes, directories, symbolic links, hard links and FIFOs, each with mode, numeric
//! owner and time of last change. Device nodes are left out and counted. Extended attributes are not restored. Any other
//! kind of member is an error.

mod error;
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
use crate::linux::error::Result;
use error::shown;
use extract::OutputTree;
use member::{Kind, Member};
use member_data::Room;
use stream::{READ, Stream};

pub use error::UnpackError;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not compressed: a plain tar stream.
    None,
    /// One or more gzip members.
    Gzip,
}

/// An archive that is open for reading.
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
    /// Names of regular files. A file with several hard links counts once for each.
    pub files: u64,
    /// Members that are directories. A directory with two members counts twice.
    pub directories: u64,
    /// Symbolic links and FIFOs.
    pub others: u64,
    /// Bytes of content that were written, without holes.
    pub bytes: u64,
    /// Device nodes. They are left out.
    pub skipped: u64,
}

impl Archive {
    /// Opens the file `name` in `dir`. `None` if there is no regular file of that name. Does not follow a symbolic link
    /// and does not block on a FIFO.
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

    /// Size of the archive file in bytes. The content of an uncompressed archive is smaller. For a compressed archive the
    /// size of the content is unknown until it is unpacked.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Time of last change of the archive file in nanoseconds since 1970-01-01 UTC; 0 if it is unknown.
    #[must_use]
    pub fn modified_ns(&self) -> u64 {
        self.modified
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.as_nanos().try_into().unwrap_or(u64::MAX))
    }

    /// Unpacks everything into `into`, an empty directory that no tenant can reach. `into` gets the attributes that the
    /// archive has for its top directory. Fails if the content has more than `limit` bytes. Blocks until it is done.
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

/// Unpacks an uncompressed tar stream. `label` is its name in messages. See [`Archive::unpack`].
pub fn unpack(
    archive: impl Read,
    label: &str,
    into: &Dir,
    limit: Option<u64>,
    progress: &Progress,
) -> Result<Summary, UnpackError> {
    let mut stream = Stream::new(archive, label, progress);
    let mut output = OutputTree::new(into, label)?;
    let mut room = Room::new(limit, label, progress);
    let mut summary = Summary::default();
    while let Some(member) = stream.next()? {
        unpack_member(&member, &mut stream, &mut output, &mut room, &mut summary)?;
        if member.kind != Kind::Directory {
            progress.add_file();
        }
    }
    output.leave_all()?;
    Ok(Summary { bytes: room.used(), ..summary })
}

fn unpack_member<R: Read>(
    member: &Member,
    stream: &mut Stream<R>,
    output: &mut OutputTree,
    room: &mut Room,
    summary: &mut Summary,
) -> Result<(), UnpackError> {
    match &member.kind {
        Kind::Directory => {
            output.make_directory(member)?;
            summary.directories += 1;
        }
        Kind::File => {
            let file = output.make_file(member)?;
            let failed = |error| output.failed(member, error);
            member_data::write(member, stream, &file, room, failed)?;
            member_data::finish(member, file).map_err(failed)?;
            summary.files += 1;
        }
        Kind::HardLink(target) => {
            output.make_hard_link(member, target)?;
            summary.files += 1;
        }
        Kind::Symlink(target) => {
            output.make_symlink(member, target)?;
            summary.others += 1;
        }
        Kind::Fifo => {
            output.make_fifo(member)?;
            summary.others += 1;
        }
        Kind::Device => summary.skipped += 1,
    }
    Ok(())
}
