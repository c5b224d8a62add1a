//! Reading an archive as a sequence of members, each with its content.

use std::io::Read;

use tar_core::parse::{Limits, ParseEvent, Parser};

use super::error::{UnpackError, shown};
use super::member::Member;
use crate::linux::error::SysError;
use crate::linux::tree::copy::Progress;

/// Bytes that are read from an archive at once.
pub(super) const READ: usize = 256 * 1024;
/// Bytes in one block of an archive.
const BLOCK: usize = 512;
/// The most bytes that the headers of one member may have.
const LONGEST_HEADERS: usize = 2 * 1024 * 1024;

pub(super) struct Stream<'a, R> {
    archive: R,
    label: &'a str,
    progress: &'a Progress,
    parser: Parser,
    headers: Vec<u8>,
    /// Bytes of the present member's content that have not been read yet, and bytes that fill its last block.
    content: u64,
    padding: u64,
}

impl<'a, R: Read> Stream<'a, R> {
    pub(super) fn new(archive: R, label: &'a str, progress: &'a Progress) -> Self {
        let mut parser = Parser::new(Limits::default());
        // The parser treats times before 1970 as errors. `Member::parse` checks the extended headers itself.
        parser.set_ignore_pax_errors(true);
        Self { archive, label, progress, parser, headers: Vec::new(), content: 0, padding: 0 }
    }

    /// The next member. Skips content of the present member that has not been read. `None` after the last member, when
    /// the archive has been checked to its end.
    pub(super) fn next(&mut self) -> Result<Option<Member>, UnpackError> {
        self.pass_over(self.content + self.padding)?;
        (self.content, self.padding) = (0, 0);
        self.headers.clear();
        let mut wanted = BLOCK;
        loop {
            self.read_headers(wanted)?;
            let (member, consumed) = match self.parser.parse(&self.headers) {
                Ok(ParseEvent::NeedData { min_bytes }) => {
                    // Read only whole blocks that the parser needs, because the content follows the headers.
                    wanted = (min_bytes / BLOCK * BLOCK).max(self.headers.len() + BLOCK);
                    continue;
                }
                Ok(ParseEvent::Entry { consumed, entry }) => {
                    (Member::parse(&entry, None).map_err(|reason| (shown(&entry.path), reason)), consumed)
                }
                Ok(ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size }) => {
                    let member = Member::parse(&entry, Some((&sparse_map, real_size)));
                    (member.map_err(|reason| (shown(&entry.path), reason)), consumed)
                }
                Ok(ParseEvent::GlobalExtensions { .. }) => {
                    return Err(self.malformed("it has a header for all members, which cannot be restored"));
                }
                Ok(ParseEvent::End { .. }) => return self.finish().map(|()| None),
                Err(error) => return Err(self.malformed(error.to_string())),
            };
            let member = member.map_err(|(path, reason)| UnpackError::Malformed {
                archive: self.label.to_owned(),
                member: Some(path),
                reason,
            })?;
            if consumed != self.headers.len() {
                return Err(self.malformed("its headers are out of step"));
            }
            self.content = member.size;
            self.padding = member.size.wrapping_neg() % BLOCK as u64;
            return Ok(Some(member));
        }
    }

    /// Reads content of the present member into `buffer`. Returns how many bytes; fewer than asked only at its end.
    pub(super) fn read_content(&mut self, buffer: &mut [u8]) -> Result<usize, UnpackError> {
        let length = usize::try_from(self.content).map_or(buffer.len(), |left| left.min(buffer.len()));
        self.read_exact(&mut buffer[..length])?;
        self.content -= length as u64;
        Ok(length)
    }

    fn read_headers(&mut self, length: usize) -> Result<(), UnpackError> {
        if length > LONGEST_HEADERS {
            return Err(
                self.malformed(format!("the headers of one member take more than {LONGEST_HEADERS} bytes"))
            );
        }
        let mut headers = std::mem::take(&mut self.headers);
        let have = headers.len();
        headers.resize(length, 0);
        let read = self.read_exact(&mut headers[have..]);
        self.headers = headers;
        read
    }

    fn pass_over(&mut self, mut length: u64) -> Result<(), UnpackError> {
        let mut buffer = [0; 8 * 1024];
        while length > 0 {
            let part = buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            self.read_exact(&mut buffer[..part])?;
            length -= part as u64;
        }
        Ok(())
    }

    /// Reads to the end of the file. This checks the checksum of a compressed archive. It also finds data after the end
    /// marker, which is made of zeros: two programs that write the same file can leave such a gap in the middle.
    fn finish(&mut self) -> Result<(), UnpackError> {
        let mut buffer = vec![0; READ];
        loop {
            let length = self.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            if buffer[..length].iter().any(|&byte| byte != 0) {
                return Err(self.malformed(
                    "data follows its end marker: it is damaged, or two programs wrote it at the same time",
                ));
            }
        }
    }

    fn read_exact(&mut self, mut buffer: &mut [u8]) -> Result<(), UnpackError> {
        while !buffer.is_empty() {
            match self.read(buffer)? {
                0 => return Err(self.malformed("it is cut off: its end is missing")),
                length => buffer = &mut buffer[length..],
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, UnpackError> {
        loop {
            if self.progress.is_cancelled() {
                return Err(UnpackError::Cancelled);
            }
            match self.archive.read(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // An error of the kernel. All other errors come from decompressing.
                Err(error) if error.raw_os_error().is_some() => {
                    return Err(UnpackError::Sys(SysError::new("read", self.label, error)));
                }
                result => {
                    return result
                        .map_err(|error| self.malformed(format!("cannot be decompressed: {error}")));
                }
            }
        }
    }

    fn malformed(&self, reason: impl Into<String>) -> UnpackError {
        UnpackError::Malformed { archive: self.label.to_owned(), member: None, reason: reason.into() }
    }
}
