//! The bytes of a file.

use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, copy_file_range, ftruncate, ioctl_ficlone, seek};
use rustix::io::{Errno, pread, pwrite};

use super::failure::{Failure, Outcome, of_source, system};
use super::state::CopyState;
use crate::linux::dir::attributes::{Freshness, Metadata};

/// What a server copies at once; between two pieces the copy can be cancelled.
const PIECE: u64 = 64 << 20;
/// What is read and written at once: the largest transfer of the Linux NFS client and server.
const BUFFER: u64 = 1 << 20;
/// The smallest hole that is kept where holes can only be found by their zeros.
const BLOCK: usize = 4096;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// CopyJobs the content into the empty file `to`. Holes stay holes. Waits until the server has it on stable storage, as far
/// as that takes waiting: a Linux server answers CLONE when it has (unless exported `async`).
pub(super) fn copy(run: &CopyState, from: &OwnedFd, to: &OwnedFd, metadata: &Metadata) -> Outcome {
    if metadata.size == 0 {
        return Ok(());
    }
    let means = run.order.means;
    if means.cloning().worth_trying() {
        match ioctl_ficlone(to, from) {
            Ok(()) => {
                means.cloning().works();
                run.order.progress.add_bytes(metadata.size.min(metadata.allocated));
                return Ok(());
            }
            Err(errno) if means.cloning().is_unable(errno) => {}
            Err(errno) => return Err(of_either(from, "clone", errno)),
        }
    }
    // It was opened with O_DIRECT, but is to be read ahead.
    rustix::fs::fcntl_setfl(from, rustix::fs::OFlags::empty()).map_err(system("set flags of"))?;
    let by_server = means.copies(|| knows_holes(run));
    let sparse = metadata.allocated < metadata.size;
    Copying { run, from, to, size: metadata.size, sparse, by_server, written: 0 }.all()?;
    rustix::fs::fsync(to).map_err(system("fsync"))
}

/// Whether the file system of the copy tells holes from data, found out with a file that is one hole. NFS does since
/// 4.2, the version that has COPY: before that, `copy_file_range` would only make the kernel read and write, holes
/// included.
fn knows_holes(run: &CopyState) -> bool {
    use nix::fcntl::OFlag;
    let name = format!("hole.{:x}", crate::linux::unique());
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let links = run.order.links;
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    let Ok(file) = links.openat2("create", name.as_ref(), flags, mode) else { return false };
    let knows = ftruncate(&file, BUFFER).is_ok() && seek(&file, SeekFrom::Data(0)) == Err(Errno::NXIO);
    drop(file);
    let _ = links.remove_file(&name);
    knows
}

/// A failure of a call with two files. Only if the source is gone it does not matter.
fn of_either(from: &OwnedFd, op: &'static str, errno: Errno) -> Failure {
    let gone = errno == Errno::STALE && Metadata::of(from, Freshness::Now).is_err_and(|e| e == Errno::STALE);
    if gone { Failure::Vanished } else { system(op)(errno) }
}

struct Copying<'a> {
    run: &'a CopyState<'a>,
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    /// Length when the copy began.
    size: u64,
    /// Whether it has less allocated than its length.
    sparse: bool,
    by_server: bool,
    /// Length of the copy so far.
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
            // A hole up to the end, or the file has become shorter.
            let now = Metadata::of(self.from, Freshness::Now).map_err(of_source("stat"))?;
            self.size.min(now.size)
        } else {
            self.size
        };
        if self.written != length {
            ftruncate(self.to, length).map_err(system("truncate"))?;
        }
        Ok(())
    }

    /// The next stretch of data at or after `at`, if there is one.
    fn extent(&self, at: u64) -> Outcome<Option<(u64, u64)>> {
        if !self.sparse {
            return Ok(Some((at, self.size)));
        }
        let data = match seek(self.from, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => return Ok(None),
            data => data.map_err(of_source("seek"))?,
        };
        let hole = match seek(self.from, SeekFrom::Hole(data)) {
            // It ends before `data` by now.
            Err(Errno::NXIO) => return Ok(None),
            hole => hole.map_err(of_source("seek"))?,
        };
        Ok((data < self.size).then(|| (data, hole.min(self.size))))
    }

    /// CopyJobs from `at` to `end`. Returns where the source ended, if earlier.
    fn range(&mut self, mut at: u64, end: u64) -> Outcome<u64> {
        while self.by_server && at < end {
            self.run.check_cancelled()?;
            let piece = usize::try_from((end - at).min(PIECE)).unwrap_or(usize::MAX);
            let (mut read_at, mut write_at) = (at, at);
            match copy_file_range(self.from, Some(&mut read_at), self.to, Some(&mut write_at), piece) {
                // The end, or a file system that says so instead of no: reading tells.
                Ok(0) => break,
                Ok(length) => {
                    self.run.order.means.copying().works();
                    at = self.wrote(at + length as u64, length);
                }
                Err(Errno::INTR) => {}
                Err(errno) if self.run.order.means.copying().is_unable(errno) => self.by_server = false,
                Err(errno) => return Err(of_either(self.from, "copy", errno)),
            }
        }
        let mut buffer = Vec::new();
        while at < end {
            self.run.check_cancelled()?;
            buffer.clear();
            buffer.reserve_exact(usize::try_from((end - at).min(BUFFER)).unwrap_or(usize::MAX));
            match pread(self.from, rustix::buffer::spare_capacity(&mut buffer), at) {
                Ok(0) => break,
                Ok(length) => {
                    // More may have been reserved than was asked for.
                    buffer.truncate(usize::try_from(end - at).unwrap_or(usize::MAX));
                    self.write(&buffer, at)?;
                    at = (at + length as u64).min(end);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(of_source("read")(errno)),
            }
        }
        Ok(at)
    }

    /// Writes what was read, of a sparse file only what is not zero.
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
            match pwrite(self.to, bytes, at) {
                Ok(length) => {
                    at = self.wrote(at + length as u64, length);
                    bytes = &bytes[length..];
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(system("write")(errno)),
            }
        }
        Ok(())
    }

    fn wrote(&mut self, end: u64, length: usize) -> u64 {
        self.written = self.written.max(end);
        self.run.order.progress.add_bytes(length as u64);
        end
    }
}

/// CopyJobs a file as a sparse one whose holes cannot be asked for.
#[cfg(test)]
pub(super) fn copy_by_zeros(run: &CopyState, from: &std::path::Path, to: &std::path::Path) {
    let from = std::fs::File::open(from).unwrap().into();
    let to = std::fs::File::create(to).unwrap().into();
    let size = Metadata::of(&from, Freshness::Now).unwrap().size;
    let mut copying = Copying { run, from: &from, to: &to, size, sparse: true, by_server: false, written: 0 };
    copying.range(0, size).unwrap();
}
