//! A FAT file system, which has neither links nor owners. No program of the machine makes one.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

const SECTOR: u16 = 512;
const SECTORS: u16 = 32_768;
const SECTORS_OF_TABLE: u16 = 32;

/// Writes an empty FAT16 file system of 16 MiB to a new file.
pub(super) fn make(path: &Path) {
    let mut sector = vec![0u8; SECTOR.into()];
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0xeb, 0x3c, 0x90]);
    put(3, b"MSDOS5.0");
    put(11, &SECTOR.to_le_bytes());
    // Sectors in a cluster, and before the first table.
    put(13, &[4, 1, 0]);
    // Two tables, 512 entries at the top.
    put(16, &[2, 0, 2]);
    put(19, &SECTORS.to_le_bytes());
    put(21, &[0xf8]);
    put(22, &SECTORS_OF_TABLE.to_le_bytes());
    put(24, &[32, 0, 64, 0]);
    put(38, &[0x29, 1, 2, 3, 4]);
    put(43, b"NO NAME    FAT16   ");
    put(510, &[0x55, 0xaa]);
    let mut file = File::create(path).unwrap();
    file.write_all(&sector).unwrap();
    for table in 0..2u64 {
        file.seek(SeekFrom::Start(512 * (1 + table * u64::from(SECTORS_OF_TABLE)))).unwrap();
        file.write_all(&[0xf8, 0xff, 0xff, 0xff]).unwrap();
    }
    file.set_len(u64::from(SECTOR) * u64::from(SECTORS)).unwrap();
}
