//! One member of an archive, checked: what it is, where it belongs, what it is to have.

use tar_core::parse::ParsedEntry;
use tar_core::{EntryType, PaxExtensions, SparseEntry};

use crate::linux::dir::attributes::{Attributes, Time};

/// Directories that may be nested in an archive.
const DEEPEST: usize = 512;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    /// Another name for the member of this path.
    HardLink(MemberPath),
    /// With the text it holds.
    Symlink(Vec<u8>),
    Fifo,
    Device,
}

/// A path below the directory that an archive is unpacked into: plain components with one slash between, no `.` or
/// `..`, no NUL. Empty for that directory itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemberPath(Vec<u8>);

#[derive(Debug)]
pub(super) struct Member {
    pub(super) path: MemberPath,
    pub(super) kind: Kind,
    pub(super) attributes: Attributes,
    /// Bytes of content that follow the headers.
    pub(super) size: u64,
    /// Bytes of the file it makes.
    pub(super) length: u64,
    /// Where the content goes: in order, not overlapping, within the length, of that size together.
    pub(super) extents: Vec<Extent>,
}

/// A part of a file that is not a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl MemberPath {
    /// Takes a path as an archive gives it, `./` before and `/` after it left away, or says why it is none.
    pub(super) fn parse(path: &[u8]) -> Result<Self, String> {
        if path.starts_with(b"/") {
            return Err("the path is absolute".to_owned());
        }
        if path.contains(&0) {
            return Err("there is a NUL in the path".to_owned());
        }
        let parts: Vec<&[u8]> =
            path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
        if parts.contains(&&b".."[..]) {
            return Err("there is a `..` in the path".to_owned());
        }
        if parts.len() > DEEPEST {
            return Err(format!("it is nested more than {DEEPEST} directories deep"));
        }
        Ok(Self(parts.join(&b'/')))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|part| !part.is_empty())
    }

    /// The path of the directory that it lies in, and its name there. `None` for the top itself.
    pub(super) fn split(&self) -> Option<(Self, &[u8])> {
        let slash = self.0.iter().rposition(|&byte| byte == b'/');
        let (parent, name) = slash.map_or((&[][..], &self.0[..]), |at| (&self.0[..at], &self.0[at + 1..]));
        (!name.is_empty()).then(|| (Self(parent.to_vec()), name))
    }
}

impl Member {
    /// What `entry` says. `sparse` is the map of a file with holes, and its length.
    pub(super) fn parse(entry: &ParsedEntry, sparse: Option<(&[SparseEntry], u64)>) -> Result<Self, String> {
        let path = MemberPath::parse(&entry.path)?;
        let target = || match entry.link_target.as_deref() {
            Some(target) if !target.contains(&0) => Ok(target),
            _ => Err("it is a link to nothing".to_owned()),
        };
        let kind = match entry.entry_type {
            EntryType::Directory => Kind::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => Kind::File,
            EntryType::Link => Kind::HardLink(MemberPath::parse(target()?)?),
            EntryType::Symlink => Kind::Symlink(target()?.to_vec()),
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char | EntryType::Block => Kind::Device,
            other => {
                return Err(format!(
                    "it is of type {:?}, which cannot be restored",
                    char::from(other.to_byte())
                ));
            }
        };
        if kind != Kind::Directory && (path.as_bytes().is_empty() || entry.path.ends_with(b"/")) {
            return Err("it is no directory and has the name of one".to_owned());
        }
        let (extents, length) = match sparse {
            Some((map, length)) => (extents(map, entry.size, length)?, length),
            None => (vec![Extent { offset: 0, length: entry.size }], entry.size),
        };
        Ok(Self { path, kind, attributes: attributes(entry)?, size: entry.size, length, extents })
    }
}

fn extents(map: &[SparseEntry], size: u64, length: u64) -> Result<Vec<Extent>, String> {
    let mut end = 0;
    let mut sum = 0;
    for part in map {
        let after =
            part.offset.checked_add(part.length).filter(|&after| part.offset >= end && after <= length);
        end = after.ok_or("its map of holes has parts that overlap or lie outside the file")?;
        sum += part.length;
    }
    if sum != size {
        return Err("its map of holes does not fit its size".to_owned());
    }
    Ok(map.iter().map(|part| Extent { offset: part.offset, length: part.length }).collect())
}

fn attributes(entry: &ParsedEntry) -> Result<Attributes, String> {
    // 2^32 - 1 would mean to chown(2) that the owner is to stay as it is.
    let id = |id: u64| u32::try_from(id).ok().filter(|&id| id != u32::MAX);
    let owner = id(entry.uid).zip(id(entry.gid));
    let (uid, gid) = owner.ok_or("its owner's number is no number of an owner")?;
    // A negative number in the header's field comes as its two's complement.
    let mut mtime = Time { seconds: entry.mtime.cast_signed(), nanoseconds: 0 };
    for record in PaxExtensions::new(entry.pax.unwrap_or_default()) {
        let record = record.map_err(|error| error.to_string())?;
        let number = || record.value().ok().and_then(|value| value.parse::<u64>().ok());
        match record.key_bytes() {
            b"mtime" => {
                let time = record.value().ok().and_then(parse_time);
                mtime = time.ok_or("its time is no time")?;
            }
            b"uid" | b"gid" | b"size" if number().is_none() => {
                return Err("a number in its extended header is none".to_owned());
            }
            _ => {}
        }
    }
    Ok(Attributes { mode: entry.mode & 0o7777, uid, gid, atime: mtime, mtime })
}

/// Seconds since 1970 as a decimal fraction, as extended headers have them.
fn parse_time(text: &str) -> Option<Time> {
    const SECOND: u32 = 1_000_000_000;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}")[..9].parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some(Time { seconds: seconds.checked_sub(1)?, nanoseconds: SECOND - nanoseconds });
    }
    Some(Time { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_kept_below_the_top_or_refused() {
        for (path, plain) in
            [("./a/b", "a/b"), ("a//b/", "a/b"), (".", ""), ("./", ""), ("..a/...", "..a/...")]
        {
            assert_eq!(MemberPath::parse(path.as_bytes()).unwrap().as_bytes(), plain.as_bytes());
        }
        for path in ["/a", "//", "..", "a/..", "./../a", "a/../b", "a\0b"] {
            assert!(MemberPath::parse(path.as_bytes()).is_err(), "{path:?}");
        }
        assert!(MemberPath::parse("d/".repeat(DEEPEST).as_bytes()).is_ok());
        assert!(MemberPath::parse("d/".repeat(DEEPEST + 1).as_bytes()).is_err());
    }

    #[test]
    fn times_before_1970_round_down() {
        let time = |seconds, nanoseconds| Some(Time { seconds, nanoseconds });
        for (text, expected) in [
            ("0", time(0, 0)),
            ("1700000000.123456789", time(1_700_000_000, 123_456_789)),
            ("1.5", time(1, 500_000_000)),
            ("-1", time(-1, 0)),
            ("-0.25", time(-1, 750_000_000)),
            ("-1.5", time(-3 + 1, 500_000_000)),
            ("1.", time(1, 0)),
            ("1.0000000009", time(1, 0)),
            ("", None),
            ("x", None),
            ("1.x", None),
            ("-9223372036854775808.5", None),
        ] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
    }

    #[test]
    fn a_map_of_holes_that_overlaps_or_leaves_the_file_is_refused() {
        let map = |parts: &[(u64, u64)]| -> Vec<SparseEntry> {
            parts.iter().map(|&(offset, length)| SparseEntry { offset, length }).collect()
        };
        assert!(extents(&map(&[(0, 5), (10, 5)]), 10, 15).is_ok());
        for (parts, size, length) in [
            (&[(0, 5), (4, 5)][..], 10, 15),
            (&[(10, 5), (0, 5)], 10, 15),
            (&[(0, 5), (10, 6)], 11, 15),
            (&[(0, 5)], 6, 15),
            (&[(u64::MAX, 2)], 2, u64::MAX),
        ] {
            assert!(extents(&map(parts), size, length).is_err(), "{parts:?}");
        }
    }
}
