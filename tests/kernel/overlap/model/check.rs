//! What a caller compares with the share: the volumes that it was told of, and what is left in the end.

use std::collections::BTreeSet;
use std::fs;

use nfs_subdir_csi::csi::proto;
use tonic::Status;

use super::worker::{CLAIMS, Owned, Worker};
use crate::overlap::members::on_server;

impl Worker {
    /// Deletes volumes that processes may have made after another one had answered and the volume was deleted.
    pub(super) async fn delete_late(&mut self, claim: Option<usize>, but: &str) {
        let live: BTreeSet<_> = self.volumes.iter().map(|volume| volume.name.clone()).collect();
        for (name, reached, of) in self.late.clone() {
            if claim.is_none_or(|claim| claim == of) && name != but && !live.contains(&name) {
                self.remove_volume(&name, reached, &self.context(&format!("delete the late {name}"))).await;
            }
        }
    }

    /// Deletes whatever a process may have made on its own after the call had been answered by another one.
    pub(super) async fn remove_what_late_calls_made(&mut self) {
        self.delete_late(None, "").await;
        let live: BTreeSet<_> = self.snapshots.iter().map(|snapshot| snapshot.name.clone()).collect();
        for (name, source, reached) in self.late_snapshots.clone() {
            if live.contains(&name) {
                continue;
            }
            let (answer, _) = self
                .cast
                .ask_controller(reached, |mut client| {
                    let request = proto::ListSnapshotsRequest {
                        source_volume_id: source.clone(),
                        ..Default::default()
                    };
                    async move { client.controller.list_snapshots(request).await }
                })
                .await;
            let context = self.context(&format!("list the snapshots of {source}"));
            for entry in answer.unwrap_or_else(|status| panic!("{context}: {status}")).entries {
                let id = entry.snapshot.unwrap().snapshot_id;
                if self.snapshots.iter().all(|snapshot| snapshot.id != id) {
                    self.remove_snapshot(&id, reached, &context).await;
                }
            }
        }
    }

    /// Asks for one volume and compares its files.
    pub(super) async fn check(&self, volume: Owned) {
        let context = self.context(&format!("check {volume:?}"));
        let (answer, _) = self
            .cast
            .ask_controller(volume.reached, |mut client| {
                let request =
                    proto::ControllerGetVolumeRequest { volume_id: volume.reached.handle(&volume.name) };
                async move { client.controller.controller_get_volume(request).await }
            })
            .await;
        let answer = answer.unwrap_or_else(|status: Status| panic!("{context}: {status}"));
        assert_eq!(answer.volume.unwrap().capacity_bytes, volume.capacity, "{context}");
        self.compare_files(&volume, &context);
    }

    /// Compares all that is acknowledged with what there is.
    pub(super) async fn check_all(&mut self) {
        for volume in self.volumes.clone() {
            self.check(volume).await;
        }
        for volume in &self.retained {
            self.compare_files(volume, &self.context("a retained directory"));
        }
        // A snapshot is compared by what a volume made from it holds.
        while self.volumes.len() >= CLAIMS {
            self.delete().await;
        }
        for snapshot in self.snapshots.clone() {
            let origin =
                proto::volume_content_source::Type::Snapshot(proto::volume_content_source::SnapshotSource {
                    snapshot_id: snapshot.id,
                });
            self.create(Some((origin, snapshot.reached, snapshot.files))).await;
            let restored = self.volumes.pop().unwrap();
            self.volumes.insert(0, restored);
            while self.volumes.len() >= CLAIMS {
                self.delete().await;
            }
        }
    }

    pub(super) fn compare_files(&self, volume: &Owned, context: &str) {
        let directory = self.directory(volume.claim);
        let entries = directory.read_dir().unwrap_or_else(|error| panic!("{context}: {error}"));
        let mut found: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut expected = volume.files.clone();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{context}: the files of the volume");
        for file in &expected {
            let text = fs::read_to_string(directory.join(file)).unwrap();
            assert_eq!(&text, file, "{context}: the content of {file}");
        }
    }

    /// The directories that the share holds for this worker: those of its volumes, and archives.
    pub(super) fn directories(&self) -> Vec<String> {
        let present = self.volumes.iter().chain(&self.retained);
        let mut all: Vec<String> = present.map(|volume| self.sub_dir(volume.claim)).collect();
        let archives = on_server(&format!("archived-w{}", self.number));
        for archive in archives.read_dir().into_iter().flatten().map(Result::unwrap) {
            let files = archive.path().read_dir().unwrap().map(|file| file.unwrap().file_name());
            if files.into_iter().any(|file| self.archives.contains(file.to_str().unwrap())) {
                all.push(format!("archived-w{}/{}", self.number, archive.file_name().to_str().unwrap()));
            }
        }
        assert_eq!(
            all.len(),
            self.volumes.len() + self.retained.len() + self.archives.len(),
            "{}",
            self.context("archives are lost")
        );
        all
    }

    /// Names of files of deleted volumes that the export keeps for a day.
    pub(super) fn kept_in_trash(&self) -> impl Iterator<Item = &str> {
        self.kept.iter().map(String::as_str)
    }

    /// Names of files of deleted volumes that have to be gone, unless another volume was made from the volume.
    pub(super) fn removed(&self) -> impl Iterator<Item = &str> {
        let copied: BTreeSet<&String> = self.volumes.iter().flat_map(|volume| &volume.files).collect();
        let snapshots: BTreeSet<&String> =
            self.snapshots.iter().flat_map(|snapshot| &snapshot.files).collect();
        self.removed
            .iter()
            .filter(move |file| {
                !copied.contains(file) && !snapshots.contains(file) && !self.lasting.contains(*file)
            })
            .map(String::as_str)
    }
}
