//! Copying the content of a file.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, copy_file_range, fcntl};
use nix::sys::stat::Mode;
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{Whence, fsync, ftruncate, lseek64};

use super::failure::{Failure, Outcome, of_source, system};
use super::state::CopyState;
use crate::linux::dir::metadata::{Freshness, Metadata};
use crate::linux::process::unique;
use crate::linux::raw;

/// Bytes that a server copies at once. The copy can be cancelled between two such pieces.
const PIECE: u64 = 64 << 20;
/// Bytes that are read and written at once: the largest transfer of the Linux NFS client and server.
const BUFFER: u64 = 1 << 20;
/// Bytes of the smallest hole that is kept if holes can be found only by their zeros.
const BLOCK: usize = 4096;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Copies the content into the empty file `to`. Holes stay holes. Waits until the server has written it to stable storage.
/// After a CLONE this needs no extra call: a Linux server answers when the data is stable (unless exported `async`).
pub(super) fn copy(run: &CopyState, from: &OwnedFd, to: &OwnedFd, metadata: &Metadata) -> Outcome {
    if metadata.size == 0 {
        return Ok(());
    }
    let support = run.request.support;
    if support.cloning().worth_trying() {
        match raw::clone_file(to, from) {
            Ok(()) => {
                support.cloning().works();
                run.request.progress.add_bytes(metadata.size.min(metadata.allocated));
                return Ok(());
            }
            Err(errno) if support.cloning().is_unable(errno) => {}
            Err(errno) => return Err(of_either(from, "clone", errno)),
        }
    }
    // Clear O_DIRECT, so that the kernel reads ahead.
    fcntl(from, FcntlArg::F_SETFL(OFlag::empty())).map_err(system("set flags of"))?;
    let by_server = support.copies(|| knows_holes(run));
    let sparse = metadata.allocated < metadata.size;
    Copying { run, from, to, size: metadata.size, sparse, by_server, written: 0 }.all()?;
    fsync(to).map_err(system("fsync"))
}

/// Tests with a file that is one hole whether the file system of the copy can find holes. NFS can do so since version 4.2,
/// which is also the first version with COPY. On an older version, `copy_file_range` would make the kernel read and write
/// all bytes, including the holes.
fn knows_holes(run: &CopyState) -> bool {
    let name = format!("hole.{:x}", unique());
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let links = run.request.links;
    let mode = Mode::from_bits_truncate(0o600);
    let Ok(file) = links.openat2("create", name.as_ref(), flags, mode) else { return false };
    let knows = set_length(&file, BUFFER).is_ok() && seek(&file, 0, Whence::SeekData) == Err(Errno::ENXIO);
    drop(file);
    let _ = links.remove_file(&name);
    knows
}

/// An offset as the system calls take it. The kernel supports no larger files (`MAX_LFS_FILESIZE`).
fn offset(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn seek(file: &OwnedFd, from: u64, whence: Whence) -> Result<u64, Errno> {
    lseek64(file, offset(from), whence).map(i64::cast_unsigned)
}

fn set_length(file: &OwnedFd, length: u64) -> Result<(), Errno> {
    ftruncate(file, offset(length))
}

/// A failure of a call with two files. It is harmless only if the source was removed.
fn of_either(from: &OwnedFd, op: &'static str, errno: Errno) -> Failure {
    let gone =
        errno == Errno::ESTALE && Metadata::of(from, Freshness::Now).is_err_and(|e| e == Errno::ESTALE);
    if gone { Failure::Vanished } else { system(op)(errno) }
}

struct Copying<'a> {
    run: &'a CopyState<'a>,
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    /// Length of the source in bytes when the copy began.
    size: u64,
    /// Whether the source has fewer bytes allocated than its length.
    sparse: bool,
    by_server: bool,
    /// Length of the copy so far, in bytes.
    written: u64,
}

impl Copying<'_> {
    fn all(&mut self) -> Outcome {
        let mut at = 0;
        let mut ended = false;
        while at < self.size && !ended {
            let Some((data, hole)) = self.extent(at)? else {
                ended = true;
                break;
            };
            at = self.range(data, hole)?;
            ended = at < hole;
        }
        let length = if ended {
            // The rest is a hole, or the file has become shorter.
            let now = Metadata::of(self.from, Freshness::Now).map_err(of_source("stat"))?;
            self.size.min(now.size)
        } else {
            self.size
        };
        if self.written != length {
            set_length(self.to, length).map_err(system("truncate"))?;
        }
        Ok(())
    }

    /// Begin and end of the next stretch of data at or after `at`; `None` if there is only a hole.
    fn extent(&self, at: u64) -> Outcome<Option<(u64, u64)>> {
        if !self.sparse {
            return Ok(Some((at, self.size)));
        }
        let data = match seek(self.from, at, Whence::SeekData) {
            Err(Errno::ENXIO) => return Ok(None),
            data => data.map_err(of_source("seek"))?,
        };
        let hole = match seek(self.from, data, Whence::SeekHole) {
            // The file has become shorter than `data`.
            Err(Errno::ENXIO) => return Ok(None),
            hole => hole.map_err(of_source("seek"))?,
        };
        Ok((data < self.size).then(|| (data, hole.min(self.size))))
    }

    /// Copies the bytes from `at` to `end`. Returns `end`, or the end of the source if it is before that.
    fn range(&mut self, mut at: u64, end: u64) -> Outcome<u64> {
        while self.by_server && at < end {
            self.run.check_cancelled()?;
            let piece = usize::try_from((end - at).min(PIECE)).unwrap_or(usize::MAX);
            let (mut read_at, mut write_at) = (offset(at), offset(at));
            match copy_file_range(self.from, Some(&mut read_at), self.to, Some(&mut write_at), piece) {
                // The end of the file, or a file system that reports a failure in this way. Reading will tell.
                Ok(0) => break,
                Ok(length) => {
                    self.run.request.support.copying().works();
                    at = self.wrote(at + length as u64, length);
                }
                Err(Errno::EINTR) => {}
                Err(errno) if self.run.request.support.copying().is_unable(errno) => self.by_server = false,
                Err(errno) => return Err(of_either(self.from, "copy", errno)),
            }
        }
        let mut buffer = vec![0; usize::try_from((end - at).min(BUFFER)).unwrap_or(0)];
        while at < end {
            self.run.check_cancelled()?;
            let part = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
            match pread(self.from, &mut buffer[..part], offset(at)) {
                Ok(0) => break,
                Ok(length) => {
                    self.write(&buffer[..length], at)?;
                    at += length as u64;
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(of_source("read")(errno)),
            }
        }
        Ok(at)
    }

    /// Writes bytes that were read. Of a sparse file, leaves out blocks of zeros.
    fn write(&mut self, bytes: &[u8], at: u64) -> Outcome {
        if !self.sparse {
            return self.write_all(bytes, at);
        }
        let is_zero = |block: &[u8]| block == &ZEROS[..block.len()];
        let mut run_begin = 0;
        let mut position = 0;
        for block in bytes.chunks(BLOCK) {
            if is_zero(block) {
                self.write_all(&bytes[run_begin..position], at + run_begin as u64)?;
                run_begin = position + block.len();
            }
            position += block.len();
        }
        self.write_all(&bytes[run_begin..], at + run_begin as u64)
    }

    fn write_all(&mut self, mut bytes: &[u8], mut at: u64) -> Outcome {
        while !bytes.is_empty() {
            match pwrite(self.to, bytes, offset(at)) {
                Ok(length) => {
                    at = self.wrote(at + length as u64, length);
                    bytes = &bytes[length..];
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(system("write")(errno)),
            }
        }
        Ok(())
    }

    fn wrote(&mut self, end: u64, length: usize) -> u64 {
        self.written = self.written.max(end);
        self.run.request.progress.add_bytes(length as u64);
        end
    }
}

/// Copies a file as if it were sparse and its holes could be found only by their zeros.
#[cfg(test)]
pub(super) fn copy_by_zeros(run: &CopyState, from: &std::path::Path, to: &std::path::Path) {
    let from = std::fs::File::open(from).unwrap().into();
    let to = std::fs::File::create(to).unwrap().into();
    let size = Metadata::of(&from, Freshness::Now).unwrap().size;
    let mut copying = Copying { run, from: &from, to: &to, size, sparse: true, by_server: false, written: 0 };
    copying.range(0, size).unwrap();
}
