//! Reading records on the server itself, where the share is a local directory that others can change over NFS.

use std::ffi::OsStr;

use std::sync::OnceLock;

use crate::linux::{Dir, Metadata, Time};

use crate::volume::error::Result;
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::STATE_DIR;
use crate::volume::share::claims::{CLAIMS, claim_file};
use crate::volume::share::deleted;
use crate::volume::share::record::{LONGEST_RECORD, Record};
use crate::volume::share::records::{SUFFIX, file_of, first_keys, key_of};
use crate::volume::share::state_dir::VOLUMES;

/// The records of a share and their claims. Nothing is ever changed.
#[derive(Debug)]
pub struct LocalRecords {
    state: Dir,
    volumes: Dir,
    /// Opened when it is first needed: the folder exists as soon as a controller of this version has made a volume.
    claims: OnceLock<Dir>,
}

/// What changes with every change of a record or of its claim, which is a second name of the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    size: u64,
    ctime: Time,
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self { inode: metadata.inode, size: metadata.size, ctime: metadata.ctime }
    }
}

/// A record, and what it is worth.
#[derive(Debug)]
pub struct LocalRecord {
    /// The content.
    pub record: Record,
    /// Which state of the file was read.
    pub stamp: Stamp,
    /// Whether the claim of its directory is the same file. Otherwise the directory belongs to another volume, or the record was not
    /// written by this driver.
    pub is_claimed: bool,
}

impl LocalRecords {
    /// Opens the records of a share. `None` if no volume was ever made on it.
    pub fn open(share: &Dir) -> Result<Option<Self>> {
        match share.open_dir(STATE_DIR).and_then(|state| Ok((state.open_dir(VOLUMES)?, state))) {
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
            Ok((volumes, state)) => Ok(Some(Self { state, volumes, claims: OnceLock::new() })),
        }
    }

    /// The state directory.
    #[must_use]
    pub fn state(&self) -> &Dir {
        &self.state
    }

    /// The folder of what was deleted and waits to be removed.
    pub fn deleted(&self) -> Result<Dir> {
        Ok(self.state.open_dir(deleted::FOLDER)?)
    }

    /// The folder of the records, to watch it.
    #[must_use]
    pub fn folder(&self) -> &Dir {
        &self.volumes
    }

    /// The volume whose record has this name in the folder.
    #[must_use]
    pub fn key_of(name: &OsStr) -> Option<VolumeKey> {
        key_of(name)
    }

    /// The keys after `after`, in order, and at most `limit` of them.
    pub fn keys(&self, after: Option<&VolumeKey>, limit: usize) -> Result<Vec<VolumeKey>> {
        first_keys(&self.volumes, SUFFIX, after, limit)
    }

    /// The stamp of the record of a volume, if it exists. One statx(2).
    pub fn stamp(&self, key: &VolumeKey) -> Result<Option<Stamp>> {
        Ok(self.volumes.entry(file_of(key))?.as_ref().map(Stamp::from))
    }

    /// The record of a volume, if it exists. System calls: openat2(2), statx(2), open(2), two read(2) and two close(2), and statx(2) for the claim.
    pub fn read(&self, key: &VolumeKey) -> Result<Option<LocalRecord>> {
        let file = file_of(key);
        let Some((metadata, json)) = self.volumes.read_regular(&file, LONGEST_RECORD)? else {
            return Ok(None);
        };
        let record = Record::from_json(&json, &format!("{}/{file}", self.volumes.label()))?;
        let claim =
            self.claims()?.map(|claims| claims.entry(claim_file(record.sub_dir.as_str()))).transpose()?;
        let is_same = |claim: Metadata| (claim.device, claim.inode) == (metadata.device, metadata.inode);
        let is_claimed = claim.flatten().is_some_and(is_same);
        Ok(Some(LocalRecord { record, stamp: Stamp::from(&metadata), is_claimed }))
    }

    fn claims(&self) -> Result<Option<&Dir>> {
        if self.claims.get().is_none() {
            match self.state.open_place(CLAIMS) {
                Err(error) if error.is_not_found() => return Ok(None),
                opened => drop(self.claims.set(opened?)),
            }
        }
        Ok(self.claims.get())
    }
}
