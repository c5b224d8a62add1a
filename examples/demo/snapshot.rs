//! The chapter about a snapshot: it is taken, the volume changes, and a new volume is restored from it.

use anyhow::{Context, Result, ensure};
use nfs_subdir_csi::csi::proto;
use proto::volume_content_source::{SnapshotSource, Type};

use super::common::{self, PARAMETERS, human, timed};
use super::{Play, support};

/// Size of the file in the snapshot, in bytes.
const LARGE: usize = 64 << 20;

impl Play<'_> {
    pub(crate) async fn a_snapshot(&mut self) -> Result<()> {
        self.page.chapter("A snapshot, and a volume made from it");
        let mut controller = self.controller.client().await.controller;
        let dir = common::on_server(&self.volume);
        self.page.begin("web-1 writes a large file");
        std::fs::write(self.targets[0].join("large"), vec![1; LARGE])?;
        self.page.done(None, human(LARGE as u64));

        self.page.begin("CreateSnapshot");
        let request = proto::CreateSnapshotRequest {
            source_volume_id: self.volume.volume_id.clone(),
            name: "snapshot-1".to_owned(),
            ..Default::default()
        };
        let (answer, time) = timed(controller.create_snapshot(request)).await?;
        let snapshot = answer.snapshot.context("the answer has no snapshot")?;
        ensure!(snapshot.ready_to_use, "it is not ready to use");
        let size = human(u64::try_from(snapshot.size_bytes)?);
        self.page.done(Some(time), format!("{size}, cloned by the server"));

        self.page.begin("web-1 overwrites the large file");
        std::fs::write(self.targets[0].join("large"), "spoiled")?;
        self.page.done(None, "");

        self.page.begin("CreateVolume from the snapshot");
        let source = SnapshotSource { snapshot_id: snapshot.snapshot_id.clone() };
        let request = proto::CreateVolumeRequest {
            volume_content_source: Some(proto::VolumeContentSource { r#type: Some(Type::Snapshot(source)) }),
            ..support::create("restored", &PARAMETERS)
        };
        let (answer, time) = timed(controller.create_volume(request)).await?;
        let restored = answer.volume.context("the answer has no volume")?;
        let large = std::fs::read(common::on_server(&restored).join("large"))?;
        ensure!(
            large.len() == LARGE && large.iter().all(|byte| *byte == 1),
            "the restored file has another content"
        );
        ensure!(std::fs::read(dir.join("large"))? == b"spoiled", "the volume itself was changed");
        self.page.done(Some(time), "it has the large file as it was");

        self.page.begin("DeleteSnapshot, DeleteVolume");
        let request =
            proto::DeleteSnapshotRequest { snapshot_id: snapshot.snapshot_id, ..Default::default() };
        let (_, of_snapshot) = timed(controller.delete_snapshot(request)).await?;
        let (_, of_volume) = timed(controller.delete_volume(support::delete(&restored))).await?;
        self.page.done(Some(of_snapshot + of_volume), "two renames into the trash");
        Ok(())
    }
}
