//! An archive as a sequence of members, each with its content.

use std::io::Read;

use tar_core::parse::{Limits, ParseEvent, Parser};

use super::member::Member;
use super::{READ, UnpackError, shown};
use crate::linux::error::SysError;
use crate::linux::tree::copy::Progress;

/// The unit that an archive is made of.
const BLOCK: usize = 512;
/// Bytes that the headers of one member may take up.
const LONGEST_HEADERS: usize = 2 * 1024 * 1024;

pub(super) struct Stream<'a, R> {
    archive: R,
    label: &'a str,
    progress: &'a Progress,
    parser: Parser,
    headers: Vec<u8>,
    /// Bytes of the present member's content that are still to be read, and those that fill its last block.
    content: u64,
    padding: u64,
}

impl<'a, R: Read> Stream<'a, R> {
    pub(super) fn new(archive: R, label: &'a str, progress: &'a Progress) -> Self {
        let mut parser = Parser::new(Limits::default());
        // It takes times before 1970 for errors; what may not be ignored, `Member::parse` looks at.
        parser.set_ignore_pax_errors(true);
        Self { archive, label, progress, parser, headers: Vec::new(), content: 0, padding: 0 }
    }

    /// The next member, after whatever of the present one's content has not been read. `None` after the last, once it
    /// is certain that the archive is whole.
    pub(super) fn next(&mut self) -> Result<Option<Member>, UnpackError> {
        self.pass_over(self.content + self.padding)?;
        (self.content, self.padding) = (0, 0);
        self.headers.clear();
        let mut wanted = BLOCK;
        loop {
            self.read_headers(wanted)?;
            let (member, consumed) = match self.parser.parse(&self.headers) {
                Ok(ParseEvent::NeedData { min_bytes }) => {
                    // Whole blocks, and no more than it needs: after the headers comes the content.
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
                    return Err(
                        self.malformed("there is a header for all members in it, which cannot be restored")
                    );
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

    /// Fills `buffer` with the present member's content: as much as there is in it.
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

    /// Reads to the end of the file. That makes sure of the checksum of a compressed archive; and zeros with something
    /// behind them are no end but a hole, such as two writers of one file leave.
    fn finish(&mut self) -> Result<(), UnpackError> {
        let mut buffer = vec![0; READ];
        loop {
            let length = self.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            if buffer[..length].iter().any(|&byte| byte != 0) {
                return Err(self
                    .malformed("something comes after its end: it was written by two at once, or damaged"));
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
                // What the kernel said; anything else comes from decompressing.
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
