//! Snapshots that csi-driver-nfs made: `<share>/<snapshot>/<source>.tar.gz`, or `.tar`.
//!
//! The handle of such a snapshot has five parts, separated by `#`: the server; the share without slashes at its ends; the name of the
//! snapshot, twice; and the source. The source is the name of the volume, or of its directory if that has another name. A directory whose
//! name contains a slash cannot be the source: csi-driver-nfs did not create the directory that the archive would be in, so that taking
//! the snapshot failed.

use crate::linux::Dir;
use crate::linux::unpack::{Archive, Compression};

use crate::volume::error::refuse_unsafe;
use crate::volume::error::{Error, Result};
use crate::volume::name::export::Export;
use crate::volume::name::handle::VolumeKey;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::name::sub_dir::check_component;
use crate::volume::policy::settings::ExportPolicy;
use crate::volume::share::state_dir::StateDir;

/// The parts of such a handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsiDriverNfsSnapshotHandle {
    /// Server and share.
    pub export: Export,
    snapshot: SubDir,
    source: String,
}

impl CsiDriverNfsSnapshotHandle {
    /// Reads a handle. A text that could name the share itself, something outside of the share, or the driver's own directory is not
    /// a handle.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('#').collect();
        let [server, base, snapshot, again, source] = parts[..] else { return None };
        check_component(snapshot).ok().filter(|()| snapshot == again)?;
        check_component(source).ok()?;
        let handle = Self {
            export: Export::new(server, &format!("/{base}")).ok()?,
            snapshot: SubDir::parse(snapshot).ok()?,
            source: source.to_owned(),
        };
        handle.archives().iter().all(|(name, _)| check_component(name).is_ok()).then_some(handle)
    }

    /// The directory of the snapshot. It is a single component.
    #[must_use]
    pub fn snapshot(&self) -> &SubDir {
        &self.snapshot
    }

    /// The handle of the volume, provided that its directory has the name of the volume. If the directory has another name, the handle
    /// of the volume cannot be derived from the handle of the snapshot.
    #[must_use]
    pub fn source_volume(&self) -> String {
        let share = self.export.share().trim_start_matches('/');
        format!("{}#{share}#{}##", self.export.server(), self.source)
    }

    /// The names that the archive may have in this directory, in the order in which csi-driver-nfs looks for them.
    fn archives(&self) -> [(String, Compression); 2] {
        [
            (format!("{}.tar.gz", self.source), Compression::Gzip),
            (format!("{}.tar", self.source), Compression::None),
        ]
    }

    /// Opens the archive of the snapshot. Returns `None` if there is no such snapshot. Symbolic links are not followed. NFS requests:
    /// a LOOKUP and an OPEN, and one more OPEN for an archive that is not compressed.
    pub fn open(&self, share: &Dir) -> Result<Option<Archive>> {
        let dir = match share.open_place(&self.snapshot) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened.map_err(refuse_unsafe)?,
        };
        for (name, compression) in self.archives() {
            if let Some(archive) = Archive::open(&dir, &name, compression).map_err(refuse_unsafe)? {
                return Ok(Some(archive));
            }
        }
        Ok(None)
    }

    /// Deletes the archives of the snapshot, and removes the snapshot's directory if nothing else is in it. If the snapshot does
    /// not exist, nothing is done. Returns whether something was deleted.
    ///
    /// Whatever the handle says, this moves only entries with the names of archives, and only out of a directory whose name has the form
    /// that csi-snapshotter gives to snapshots. It removes that directory with rmdir(2), which fails if the directory is not empty.
    /// So neither a forged handle nor a race can remove a volume.
    pub fn discard(&self, share: &Dir, state: &StateDir, policy: ExportPolicy) -> Result<bool> {
        let name = self.snapshot.as_str();
        let dir = match share.open_place(name) {
            Err(error) if error.is_not_found() => return Ok(false),
            opened => opened.map_err(refuse_unsafe)?,
        };
        if !is_snapshot_name(name) {
            return Err(Error::Precondition(format!(
                "{}: not the name of a snapshot (snapshot-<uuid>), so it may be something else and was left as it is; \
                 if it is a snapshot, remove it by hand",
                dir.label()
            )));
        }
        let mut discarded = false;
        for (archive, _) in self.archives() {
            if dir.is_dir(&archive)? == Some(false) {
                discarded |= state.discard(&dir, &archive, &VolumeKey::of_name(name), policy)?;
            }
        }
        match share.remove_dir(name) {
            Err(error) if error.is_not_empty() => {
                tracing::warn!(directory = %dir.label(), "the snapshot's directory has something else in it and was left");
            }
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
        Ok(discarded)
    }
}

/// Whether `name` has the form that csi-snapshotter gives to snapshots: `snapshot-` and a UUID.
fn is_snapshot_name(name: &str) -> bool {
    let Some(uuid) = name.strip_prefix("snapshot-") else { return false };
    let groups: Vec<&str> = uuid.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::copy::Progress;
    use crate::volume::share::state_dir::TestShare;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    const NAME: &str = "snapshot-016f784f-56f4-44d1-9041-5f59e82dbce1";

    /// A share with a snapshot, and beside it a volume that looks like a snapshot.
    fn share() -> TestShare {
        let temporary = tempfile::tempdir().unwrap();
        for dir in [NAME, "ns-claim-pvc-1"] {
            std::fs::create_dir_all(temporary.path().join(dir)).unwrap();
        }
        let dir = Dir::open(temporary.path()).unwrap().with_label("nas:/share");
        let state = StateDir::create(&dir).unwrap();
        std::fs::write(temporary.path().join("ns-claim-pvc-1/pvc-1.tar"), "canary").unwrap();
        TestShare { temporary, dir, state }
    }

    impl TestShare {
        fn put(&self, path: &str, content: &[u8]) {
            std::fs::write(self.temporary.path().join(path), content).unwrap();
        }

        fn has(&self, path: &str) -> bool {
            self.temporary.path().join(path).symlink_metadata().is_ok()
        }

        fn discard(&self, snapshot: &str, source: &str) -> Result<bool> {
            handle(snapshot, source).discard(&self.dir, &self.state, ExportPolicy::default())
        }

        fn deleted(&self) -> usize {
            self.state.existing_deleted().unwrap().map_or(0, |deleted| deleted.entries(10).unwrap().len())
        }
    }

    fn handle(snapshot: &str, source: &str) -> CsiDriverNfsSnapshotHandle {
        CsiDriverNfsSnapshotHandle::parse(&format!("nas#share#{snapshot}#{snapshot}#{source}")).unwrap()
    }

    #[test]
    fn what_csi_driver_nfs_wrote_is_read() {
        for (text, export, source) in [
            (format!("10.0.0.1#export/k8s#{NAME}#{NAME}#pvc-1"), "10.0.0.1:/export/k8s", "pvc-1"),
            (format!("nas.example##{NAME}#{NAME}#a sub.dir"), "nas.example:/", "a sub.dir"),
        ] {
            let handle = CsiDriverNfsSnapshotHandle::parse(&text).unwrap();
            assert_eq!(handle.export.to_string(), export);
            assert_eq!((handle.snapshot().as_str(), handle.source.as_str()), (NAME, source));
        }
    }

    #[test]
    fn what_could_name_the_share_or_leave_it_is_no_handle() {
        for text in [
            "",
            "fake-snapshot-id",
            "nas#share#s#s",
            "nas#share#s#s#v#",
            "nas#share#s#other#v",
            "nas#share###v",
            "nas#share#.#.#v",
            "nas#share#..#..#v",
            "nas#share# # #v",
            "nas#share#a/b#a/b#v",
            "nas#share#../x#../x#v",
            "nas#share#s#s#",
            "nas#share#s#s#.",
            "nas#share#s#s#..",
            "nas#share#s#s#ns/claim",
            "nas#share#s#s#../v",
            "nas#share#s#s#/v",
            "nas#share#s#s#v\0",
            "nas#share#s\n#s\n#v",
            "nas#../etc#s#s#v",
            "#share#s#s#v",
            "nas#share#.nfs-subdir-csi#.nfs-subdir-csi#v",
        ] {
            assert_eq!(CsiDriverNfsSnapshotHandle::parse(text), None, "{text:?}");
        }
        let longest = "x".repeat(255 - ".tar.gz".len());
        assert!(CsiDriverNfsSnapshotHandle::parse(&format!("nas#share#s#s#{longest}")).is_some());
        assert!(CsiDriverNfsSnapshotHandle::parse(&format!("nas#share#s#s#{longest}x")).is_none());
    }

    proptest! {
        #[test]
        fn any_text_parses_without_panic_and_what_it_names_is_strictly_inside(
            text in "\\PC*|([a-z./ \\x00-\\x1f]{0,4}#){4}[a-z./]{0,4}|n#s#([a-z./]{0,3})#s#v",
            snapshot in "[a-z./]{0,4}",
            source in "\\PC{0,6}",
        ) {
            let twice = format!("n#s#{snapshot}#{snapshot}#{source}");
            for handle in [&text, &twice].into_iter().filter_map(|text| CsiDriverNfsSnapshotHandle::parse(text)) {
                for (name, _) in handle.archives() {
                    let path = Path::new(handle.snapshot().as_str()).join(name);
                    let components: Vec<_> = path.components().collect();
                    prop_assert_eq!(components.len(), 2);
                    prop_assert!(components.iter().all(|c| matches!(c, Component::Normal(_))));
                    prop_assert_ne!(components[0], Component::Normal(".nfs-subdir-csi".as_ref()));
                }
            }
        }
    }

    #[test]
    fn the_compressed_archive_is_looked_for_first() {
        let share = share();
        assert!(handle(NAME, "v").open(&share.dir).unwrap().is_none());
        assert!(handle("absent", "v").open(&share.dir).unwrap().is_none());
        share.put(&format!("{NAME}/v.tar"), &[0; 1024]);
        let archive = handle(NAME, "v").open(&share.dir).unwrap().unwrap();
        assert_eq!(archive.size(), 1024);
        let into = tempfile::tempdir().unwrap();
        let into = Dir::open(into.path()).unwrap();
        assert_eq!(archive.unpack(&into, None, &Progress::default()).unwrap().files, 0);
        share.put(&format!("{NAME}/v.tar.gz"), b"not gzip");
        let archive = handle(NAME, "v").open(&share.dir).unwrap().unwrap();
        let error = archive.unpack(&into, None, &Progress::default()).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("archive nas:/share/{NAME}/v.tar.gz: cannot be decompressed")),
            "{error}"
        );
    }

    #[test]
    fn no_link_leads_to_an_archive() {
        let share = share();
        let at = |path: &str| share.temporary.path().join(path);
        std::os::unix::fs::symlink("../ns-claim-pvc-1/pvc-1.tar", at(&format!("{NAME}/pvc-1.tar"))).unwrap();
        std::os::unix::fs::symlink("ns-claim-pvc-1", at("snapshot-link")).unwrap();
        for name in [NAME, "snapshot-link"] {
            assert!(matches!(handle(name, "pvc-1").open(&share.dir), Err(Error::Precondition(_))), "{name}");
        }
        assert!(matches!(share.discard("snapshot-link", "pvc-1"), Err(Error::Precondition(_))));
        // The link itself may be removed.
        assert!(share.discard(NAME, "pvc-1").unwrap());
        assert!(share.has("ns-claim-pvc-1/pvc-1.tar"));
    }

    #[test]
    fn a_snapshot_is_deleted_and_is_gone_the_second_time() {
        let share = share();
        share.put(&format!("{NAME}/pvc-1.tar.gz"), b"x");
        share.put(&format!("{NAME}/pvc-1.tar"), b"x");
        assert!(share.discard(NAME, "pvc-1").unwrap());
        assert!(!share.has(NAME));
        assert_eq!(share.deleted(), 2);
        assert!(!share.discard(NAME, "pvc-1").unwrap());
        assert!(!share.discard("never-there", "pvc-1").unwrap());
        assert_eq!(share.deleted(), 2);
    }

    #[test]
    fn a_snapshot_half_discarded_is_finished_by_the_retry() {
        let share = share();
        assert!(!share.discard(NAME, "pvc-1").unwrap());
        assert!(!share.has(NAME));
    }

    #[test]
    fn a_forged_handle_takes_no_volume_away() {
        let share = share();
        for source in ["x", "pvc-1"] {
            let error = share.discard("ns-claim-pvc-1", source).unwrap_err();
            assert!(error.to_string().contains("not the name of a snapshot"), "{error}");
        }
        assert!(share.has("ns-claim-pvc-1/pvc-1.tar"));
        // A volume that somebody has given a snapshot's name.
        share.put(&format!("{NAME}/data"), b"x");
        std::fs::create_dir(share.temporary.path().join(format!("{NAME}/pvc-1.tar"))).unwrap();
        assert!(!share.discard(NAME, "pvc-1").unwrap());
        assert!(share.has(&format!("{NAME}/data")) && share.has(&format!("{NAME}/pvc-1.tar")));
        assert_eq!(share.deleted(), 0);
    }

    #[test]
    fn only_the_snapshotters_names_are_a_snapshots() {
        assert!(is_snapshot_name(NAME));
        for name in [
            "snapshot-",
            "snapshot-016f784f",
            "snapshot-016f784f-56f4-44d1-9041-5f59e82dbce",
            "snapshot-016f784f-56f4-44d1-9041-5f59e82dbcex",
            "snapshot-claim-pvc-016f784f-56f4-44d1-9041-5f59e82dbce1",
            "pvc-016f784f-56f4-44d1-9041-5f59e82dbce1",
        ] {
            assert!(!is_snapshot_name(name), "{name}");
        }
    }
}
