//! Writing the content of a file without its holes, and completing the file.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use super::error::UnpackError;
use super::member::Member;
use super::stream::Stream;
use crate::linux::error::{Result as SysResult, SysError};
use crate::linux::tree::copy::Progress;

/// Bytes that are written at once. A part that has only zeros becomes a hole.
const PART: usize = 128 * 1024;
/// A page of zeros to compare with.
static ZEROS: [u8; 4096] = [0; 4096];

/// The limit of content, and how much of it is used.
pub(super) struct Room<'a> {
    limit: Option<u64>,
    used: u64,
    label: &'a str,
    progress: &'a Progress,
    buffer: Vec<u8>,
}

impl<'a> Room<'a> {
    pub(super) fn new(limit: Option<u64>, label: &'a str, progress: &'a Progress) -> Self {
        Self { limit, used: 0, label, progress, buffer: vec![0; PART] }
    }

    /// Bytes written so far.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    fn take(&mut self, bytes: u64) -> Result<(), UnpackError> {
        self.used += bytes;
        if let Some(limit) = self.limit.filter(|&limit| self.used > limit) {
            return Err(UnpackError::TooLarge { archive: self.label.to_owned(), limit });
        }
        self.progress.add_bytes(bytes);
        Ok(())
    }
}

/// Writes the member's content into the empty file `file`. `failed` translates the error of a system call.
pub(super) fn write<R: Read>(
    member: &Member,
    stream: &mut Stream<R>,
    file: &File,
    room: &mut Room,
    failed: impl Fn(SysError) -> UnpackError,
) -> Result<(), UnpackError> {
    let mut buffer = std::mem::take(&mut room.buffer);
    for extent in &member.extents {
        let mut at = extent.offset;
        let end = extent.offset + extent.length;
        while at < end {
            let part = usize::try_from(end - at).map_or(PART, |left| left.min(PART));
            let length = stream.read_content(&mut buffer[..part])?;
            let content = &buffer[..length];
            if !content.chunks(ZEROS.len()).all(|page| *page == ZEROS[..page.len()]) {
                room.take(length as u64)?;
                file.write_all_at(content, at).map_err(|error| failed(SysError::new("write", "", error)))?;
            }
            at += length as u64;
        }
    }
    room.buffer = buffer;
    Ok(())
}

/// Sets the file's length, if it ends with a hole, and its attributes. Waits until the server has written everything to
/// stable storage.
pub(super) fn finish(member: &Member, file: File) -> SysResult<()> {
    let name = std::ffi::OsStr::from_bytes(member.path.as_bytes());
    let error = |op| move |error: std::io::Error| SysError::new(op, "", error);
    if file.metadata().map_err(error("stat"))?.len() != member.length {
        file.set_len(member.length).map_err(error("truncate"))?;
    }
    member.attributes.apply(&file, name)?;
    // NFS may report a full disk only here.
    file.sync_all().map_err(error("sync"))?;
    nix::unistd::close(file).map_err(|errno| error("close")(errno.into()))
}
