//! Archives that are made byte by byte. Around the directory that they are unpacked into, nothing may change.

mod faithful;
mod hostile;
mod property;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Summary, UnpackError, unpack};
use crate::linux::dir::Dir;
use crate::linux::tree::copy::Progress;

/// The directory to unpack into, and directories beside it that must not change.
struct Setup {
    temporary: tempfile::TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Setup {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        for dir in ["out", "out2", "out2/inner"] {
            std::fs::create_dir(temporary.path().join(dir)).unwrap();
        }
        for file in ["canary", "out2/canary", "out2/inner/canary"] {
            std::fs::write(temporary.path().join(file), "alive").unwrap();
        }
        let before = neighbours(temporary.path());
        Self { temporary, before }
    }

    fn out(&self) -> PathBuf {
        self.temporary.path().join("out")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.out().join(path)
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    /// Unpacks, and checks that the directories beside are unchanged.
    fn unpack(&self, archive: &[u8]) -> Result<Summary, UnpackError> {
        self.unpack_with(archive, None, &Progress::default())
    }

    fn unpack_with(
        &self,
        archive: &[u8],
        limit: Option<u64>,
        progress: &Progress,
    ) -> Result<Summary, UnpackError> {
        let result = unpack(archive, "nas:/share/x.tar", &Dir::open(&self.out()).unwrap(), limit, progress);
        assert_eq!(neighbours(self.temporary.path()), self.before);
        result
    }

    /// The reason why the archive is refused.
    fn refused(&self, archive: &[u8]) -> String {
        match self.unpack(archive) {
            Err(error @ UnpackError::Malformed { .. }) => error.to_string(),
            other => panic!("not refused as malformed: {other:?}"),
        }
    }
}

fn neighbours(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut dirs = vec![top.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if path == top.join("out") {
                continue;
            }
            let content =
                if metadata.is_file() { std::fs::read_to_string(&path).unwrap() } else { String::new() };
            let times = (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec());
            let facts = (metadata.mode(), metadata.uid(), metadata.gid(), metadata.nlink(), times);
            all.insert(path.clone(), format!("{facts:?} {content}"));
            if metadata.is_dir() {
                dirs.push(path);
            }
        }
    }
    all
}

/// A header in ustar form for a member with `size` bytes of content.
fn header(kind: u8, name: &[u8], link: &[u8], size: u64) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name);
    put(100, if kind == b'5' { b"0000750\0" } else { b"0000640\0" });
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size < 1 << 33 {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000001750\0");
    put(156, &[kind]);
    put(157, link);
    put(257, b"ustar\x0000");
    seal(&mut block);
    block
}

/// Writes the correct checksum.
fn seal(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block[..512].iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn padded(content: &[u8]) -> Vec<u8> {
    let mut content = content.to_vec();
    content.resize(content.len().next_multiple_of(512), 0);
    content
}

fn file(name: &str, content: &str) -> Vec<u8> {
    [header(b'0', name.as_bytes(), b"", content.len() as u64), padded(content.as_bytes())].concat()
}

fn dir(name: &str) -> Vec<u8> {
    header(b'5', name.as_bytes(), b"", 0)
}

fn symlink(name: &str, target: &str) -> Vec<u8> {
    header(b'2', name.as_bytes(), target.as_bytes(), 0)
}

fn hard_link(name: &str, target: &str) -> Vec<u8> {
    header(b'1', name.as_bytes(), target.as_bytes(), 0)
}

/// An extended header with one record.
fn pax(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..1 << 20).find(|length| rest + length.to_string().len() == *length).unwrap();
    let record = [format!("{length} {key}=").as_bytes(), value, b"\n"].concat();
    [header(b'x', b"pax", b"", record.len() as u64), padded(&record)].concat()
}

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}
