//! One member of an archive after checking: its kind, its path and its attributes.

use tar_core::parse::ParsedEntry;
use tar_core::{EntryType, PaxExtensions, SparseEntry};

use crate::linux::dir::metadata::{Attributes, Time};

/// The deepest nesting of directories in an archive.
const DEEPEST: usize = 512;

/// The kind of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    /// Another name for the member with this path.
    HardLink(MemberPath),
    /// With its target.
    Symlink(Vec<u8>),
    Fifo,
    Device,
}

/// A path below the directory that an archive is unpacked into: components with one slash between them, without `.`,
/// `..` and NUL. Empty for that directory itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemberPath(Vec<u8>);

#[derive(Debug)]
pub(super) struct Member {
    pub(super) path: MemberPath,
    pub(super) kind: Kind,
    pub(super) attributes: Attributes,
    /// Bytes of content after the headers.
    pub(super) size: u64,
    /// Length of the file in bytes, with its holes.
    pub(super) length: u64,
    /// Where the content goes. The extents are in order, do not overlap, lie within `length`, and add up to `size`.
    pub(super) extents: Vec<Extent>,
}

/// A part of a file that is not a hole, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl MemberPath {
    /// Parses a path of an archive, with or without `./` at its begin and `/` at its end. Otherwise says what is wrong.
    pub(super) fn parse(path: &[u8]) -> Result<Self, String> {
        if path.starts_with(b"/") {
            return Err("the path is absolute".to_owned());
        }
        if path.contains(&0) {
            return Err("the path contains a NUL".to_owned());
        }
        let parts: Vec<&[u8]> =
            path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
        if parts.contains(&&b".."[..]) {
            return Err("the path contains `..`".to_owned());
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

    /// The path of the parent directory, and the name in it. `None` for the top itself.
    pub(super) fn split(&self) -> Option<(Self, &[u8])> {
        let slash = self.0.iter().rposition(|&byte| byte == b'/');
        let (parent, name) = slash.map_or((&[][..], &self.0[..]), |at| (&self.0[..at], &self.0[at + 1..]));
        (!name.is_empty()).then(|| (Self(parent.to_vec()), name))
    }
}

impl Member {
    /// Checks `entry`. `sparse` is the map and the length of a file with holes.
    pub(super) fn parse(entry: &ParsedEntry, sparse: Option<(&[SparseEntry], u64)>) -> Result<Self, String> {
        let path = MemberPath::parse(&entry.path)?;
        let target = || match entry.link_target.as_deref() {
            Some(target) if !target.contains(&0) => Ok(target),
            _ => Err("it is a link without a target".to_owned()),
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
            return Err("it is not a directory, but its path is that of one".to_owned());
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
        end = after.ok_or("parts in its map of holes overlap or lie outside the file")?;
        sum += part.length;
    }
    if sum != size {
        return Err("its map of holes does not match its size".to_owned());
    }
    Ok(map.iter().map(|part| Extent { offset: part.offset, length: part.length }).collect())
}

fn attributes(entry: &ParsedEntry) -> Result<Attributes, String> {
    // chown(2) takes 2^32 - 1 as "leave the owner unchanged".
    let id = |id: u64| u32::try_from(id).ok().filter(|&id| id != u32::MAX);
    let owner = id(entry.uid).zip(id(entry.gid));
    let (uid, gid) = owner.ok_or("the number of its owner is not valid")?;
    // The parser returns a negative number of the header field as its two's complement.
    let mut mtime = Time { seconds: entry.mtime.cast_signed(), nanoseconds: 0 };
    for record in PaxExtensions::new(entry.pax.unwrap_or_default()) {
        let record = record.map_err(|error| error.to_string())?;
        let number = || record.value().ok().and_then(|value| value.parse::<u64>().ok());
        match record.key_bytes() {
            b"mtime" => {
                let time = record.value().ok().and_then(parse_time);
                mtime = time.ok_or("its time is not valid")?;
            }
            b"uid" | b"gid" | b"size" if number().is_none() => {
                return Err("a number in its extended header is not valid".to_owned());
            }
            _ => {}
        }
    }
    Ok(Attributes { mode: entry.mode & 0o7777, uid, gid, atime: mtime, mtime })
}

/// Parses a time of an extended header: seconds since 1970 as a decimal fraction.
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
    fn a_path_stays_below_the_top_or_is_refused() {
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
    fn times_before_1970_are_rounded_down() {
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
