//! A caller: random calls for volumes that only it uses, and what it knows of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use nfs_subdir_csi::csi::proto::{self, Volume};
use tonic::Code;

use super::cast::{Cast, NODES, Reached};
use crate::fixture::random::Random;
use crate::overlap::members::on_server;
use crate::support;

/// Directories of a worker. A deleted volume's directory is given to a later volume of another name.
pub(super) const CLAIMS: usize = 5;
const MOST_SNAPSHOTS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    Delete,
    Archive,
    Retain,
}

/// A volume that was acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Owned {
    pub(super) name: String,
    pub(super) reached: Reached,
    pub(super) claim: usize,
    pub(super) policy: Policy,
    pub(super) capacity: i64,
    /// Names of the files in it. A file contains its own name.
    pub(super) files: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) reached: Reached,
    pub(super) files: Vec<String>,
}

pub(super) struct Worker {
    pub(super) number: u64,
    pub(super) random: Random,
    pub(super) cast: Arc<Cast>,
    pub(super) seed: String,
    pub(super) made: u64,
    pub(super) volumes: Vec<Owned>,
    pub(super) snapshots: Vec<Snapshot>,
    /// Volumes that a process may still make, because an answer to CreateVolume did not come: name, export, claim.
    pub(super) late: Vec<(String, Reached, usize)>,
    pub(super) late_snapshots: Vec<(String, String, Reached)>,
    /// The file that each archived volume has for itself.
    pub(super) archives: BTreeSet<String>,
    /// Volumes that were deleted and whose directories stay where they are.
    pub(super) retained: Vec<Owned>,
    /// All files of deleted volumes that lie in archives or in the trash, also those that were copied from other volumes.
    pub(super) lasting: BTreeSet<String>,
    pub(super) kept: Vec<String>,
    pub(super) removed: Vec<String>,
}

impl Worker {
    pub(super) fn new(number: u64, random: Random, cast: Arc<Cast>, seed: String) -> Self {
        Self {
            number,
            random,
            cast,
            seed,
            made: 0,
            volumes: Vec::new(),
            snapshots: Vec::new(),
            late: Vec::new(),
            late_snapshots: Vec::new(),
            archives: BTreeSet::new(),
            retained: Vec::new(),
            lasting: BTreeSet::new(),
            kept: Vec::new(),
            removed: Vec::new(),
        }
    }

    pub(super) async fn work(&mut self, calls: u64) {
        for _ in 0..calls {
            let volumes = self.volumes.len();
            match self.random.below(10) {
                0..=2 if volumes < CLAIMS => self.create(None).await,
                3 if volumes > 0 && volumes < CLAIMS => self.clone_one().await,
                4 if volumes > 0 => self.snapshot().await,
                5 if !self.snapshots.is_empty() && volumes < CLAIMS => self.restore().await,
                6 if volumes > 0 => self.expand().await,
                7 => self.ephemeral().await,
                8 if volumes > 0 => self.check(self.volumes[self.pick(volumes)].clone()).await,
                _ if volumes > 0 => self.delete().await,
                _ => self.create(None).await,
            }
        }
    }

    fn pick(&self, length: usize) -> usize {
        // The choice depends on the seed by the number of volumes made so far.
        usize::try_from(self.made * 7 + self.number).unwrap() % length
    }

    pub(super) fn context(&self, what: &str) -> String {
        format!("{}, worker {}: {what}", self.seed, self.number)
    }

    fn name(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}-{}-{}", self.number, self.made)
    }

    pub(super) fn sub_dir(&self, claim: usize) -> String {
        format!("w{}/claim-{claim}", self.number)
    }

    pub(super) fn directory(&self, claim: usize) -> PathBuf {
        on_server(&self.sub_dir(claim))
    }

    pub(super) async fn create(
        &mut self,
        source: Option<(proto::volume_content_source::Type, Reached, Vec<String>)>,
    ) {
        let name = self.name("pvc");
        let free: Vec<usize> =
            (0..CLAIMS).filter(|claim| self.volumes.iter().all(|volume| volume.claim != *claim)).collect();
        let claim = free[usize::try_from(self.random.below(free.len() as u64)).unwrap()];
        let reached = source.as_ref().map_or_else(
            || if self.random.below(2) == 0 { Reached::Named } else { Reached::Inline },
            |source| source.1,
        );
        let (policy, on_delete) = match self.random.below(8) {
            0 | 1 => (Policy::Archive, "archive"),
            2 => (Policy::Retain, "retain"),
            _ => (Policy::Delete, "delete"),
        };
        // A directory that is retained is used once, because a later volume would take its files over.
        let claim =
            if policy == Policy::Retain { CLAIMS + usize::try_from(self.made).unwrap() } else { claim };
        let sub_dir = self.sub_dir(claim);
        let mut parameters = reached.parameters();
        parameters.extend([("subDir", sub_dir.as_str()), ("onDelete", on_delete)]);
        let mut request = support::create(&name, &parameters);
        let (origin, files) = source.map_or((None, Vec::new()), |(origin, _, files)| (Some(origin), files));
        if origin.is_some() {
            // It gets the capacity of what it is filled from.
            request.capacity_range = None;
        }
        request.volume_content_source =
            origin.map(|r#type| proto::VolumeContentSource { r#type: Some(r#type) });

        let context = self.context(&format!("create {name} at {sub_dir}, {reached:?}"));
        let mut cleared = false;
        let capacity = loop {
            let (answer, unanswered) = self
                .cast
                .ask_controller(reached, |mut client| {
                    let request = request.clone();
                    async move { client.controller.create_volume(request).await }
                })
                .await;
            if unanswered && !self.late.iter().any(|(late, ..)| *late == name) {
                self.late.push((name.clone(), reached, claim));
            }
            match answer {
                Ok(answer) => break answer.volume.unwrap().capacity_bytes,
                // A process that got the call for an earlier volume of this claim may have gone on with it late.
                Err(status) if status.code() == Code::AlreadyExists && !cleared => {
                    cleared = true;
                    assert!(
                        self.late.iter().any(|(late, _, of)| *of == claim && *late != name),
                        "{context}: {status}"
                    );
                    self.delete_late(Some(claim), &name).await;
                }
                Err(status) => panic!("{context}: {status}"),
            }
        };
        let mut owned = Owned { name, reached, claim, policy, capacity, files };
        self.compare_files(&owned, &context);
        let file = format!("data-of-{}", owned.name);
        fs::write(self.directory(claim).join(&file), &file)
            .unwrap_or_else(|error| panic!("{context}: the directory of an acknowledged volume: {error}"));
        owned.files.push(file);
        self.volumes.push(owned);
    }

    async fn clone_one(&mut self) {
        let source = self.volumes[self.pick(self.volumes.len())].clone();
        let volume_id = source.reached.handle(&source.name);
        let origin = proto::volume_content_source::Type::Volume(proto::volume_content_source::VolumeSource {
            volume_id,
        });
        self.create(Some((origin, source.reached, source.files))).await;
    }

    async fn restore(&mut self) {
        let source = self.snapshots[self.pick(self.snapshots.len())].clone();
        let origin =
            proto::volume_content_source::Type::Snapshot(proto::volume_content_source::SnapshotSource {
                snapshot_id: source.id,
            });
        self.create(Some((origin, source.reached, source.files))).await;
    }

    async fn snapshot(&mut self) {
        if self.snapshots.len() >= MOST_SNAPSHOTS {
            return self.delete_snapshot().await;
        }
        let volume = self.volumes[self.pick(self.volumes.len())].clone();
        let name = self.name("snap");
        let source = volume.reached.handle(&volume.name);
        let request = proto::CreateSnapshotRequest {
            source_volume_id: source.clone(),
            name: name.clone(),
            ..Default::default()
        };
        let (answer, unanswered) = self
            .cast
            .ask_controller(volume.reached, |mut client| {
                let request = request.clone();
                async move { client.controller.create_snapshot(request).await }
            })
            .await;
        if unanswered {
            self.late_snapshots.push((name.clone(), source, volume.reached));
        }
        let context = self.context(&format!("snapshot {name} of {}", volume.name));
        let snapshot = answer.unwrap_or_else(|status| panic!("{context}: {status}")).snapshot.unwrap();
        assert!(snapshot.ready_to_use, "{context}");
        self.snapshots.push(Snapshot {
            name,
            id: snapshot.snapshot_id,
            reached: volume.reached,
            files: volume.files,
        });
    }

    async fn delete_snapshot(&mut self) {
        let snapshot = self.snapshots.remove(self.pick(self.snapshots.len()));
        let context = self.context(&format!("delete snapshot {}", snapshot.name));
        self.remove_snapshot(&snapshot.id, snapshot.reached, &context).await;
    }

    pub(super) async fn remove_snapshot(&self, id: &str, reached: Reached, context: &str) {
        let (answer, _) = self
            .cast
            .ask_controller(reached, |mut client| {
                let request =
                    proto::DeleteSnapshotRequest { snapshot_id: id.to_owned(), ..Default::default() };
                async move { client.controller.delete_snapshot(request).await }
            })
            .await;
        answer.unwrap_or_else(|status| panic!("{context}: {status}"));
    }

    async fn expand(&mut self) {
        let place = self.pick(self.volumes.len());
        let volume = self.volumes[place].clone();
        let capacity = volume.capacity + (1 << 20);
        let request = proto::ControllerExpandVolumeRequest {
            volume_id: volume.reached.handle(&volume.name),
            capacity_range: Some(proto::CapacityRange { required_bytes: capacity, limit_bytes: 0 }),
            ..Default::default()
        };
        let (answer, _) = self
            .cast
            .ask_controller(volume.reached, |mut client| {
                let request = request.clone();
                async move { client.controller.controller_expand_volume(request).await }
            })
            .await;
        let context = self.context(&format!("expand {}", volume.name));
        let answer = answer.unwrap_or_else(|status| panic!("{context}: {status}"));
        assert_eq!(answer.capacity_bytes, capacity, "{context}");
        self.volumes[place].capacity = capacity;
    }

    async fn ephemeral(&mut self) {
        let id = self.name("csi");
        self.made += 1;
        let node = usize::try_from(self.random.below(NODES as u64)).unwrap();
        let volume = Volume {
            volume_id: id.clone(),
            volume_context: support::map(&[("csi.storage.k8s.io/ephemeral", "true")]),
            ..Default::default()
        };
        let parent = self.cast.place_targets.join(&id);
        fs::create_dir_all(&parent).unwrap();
        let target = parent.join("mount");
        let context = self.context(&format!("ephemeral {id}"));
        let published = self.cast.ask_node(node, |mut client| {
            let request = support::publish(&volume, &target, &[]);
            async move { client.node.node_publish_volume(request).await }
        });
        published.await.unwrap_or_else(|status| panic!("{context}: publish: {status}"));
        let unpublished = self.cast.ask_node(node, |mut client| {
            let request = support::unpublish(&volume, &target);
            async move { client.node.node_unpublish_volume(request).await }
        });
        unpublished.await.unwrap_or_else(|status| panic!("{context}: unpublish: {status}"));
        assert!(!target.exists(), "{context}: unpublish left the target");
    }

    pub(super) async fn delete(&mut self) {
        let volume = self.volumes.remove(self.pick(self.volumes.len()));
        let context = self.context(&format!("delete {volume:?}"));
        self.remove_volume(&volume.name, volume.reached, &context).await;
        let own = volume.files.last().unwrap().clone();
        let directory = self.directory(volume.claim);
        if volume.policy == Policy::Retain {
            self.compare_files(&volume, &context);
            self.lasting.extend(volume.files.iter().cloned());
            self.retained.push(volume);
            return;
        }
        assert!(!directory.join(&own).exists(), "{context}: its file is still there");
        // A process that got no answer out may go on with its CreateVolume after another one has deleted the volume.
        let made_late = self.late.iter().any(|(_, _, claim)| *claim == volume.claim);
        assert!(!directory.exists() || made_late, "{context}: the directory is still there");
        if (volume.policy, volume.reached) != (Policy::Delete, Reached::Inline) {
            self.lasting.extend(volume.files.iter().cloned());
        }
        match (volume.policy, volume.reached) {
            (Policy::Archive | Policy::Retain, _) => {
                self.archives.insert(own);
            }
            (Policy::Delete, Reached::Named) => self.kept.push(own),
            (Policy::Delete, Reached::Inline) => self.removed.push(own),
        }
    }

    pub(super) async fn remove_volume(&self, name: &str, reached: Reached, context: &str) {
        let (answer, _) = self
            .cast
            .ask_controller(reached, |mut client| {
                let request =
                    proto::DeleteVolumeRequest { volume_id: reached.handle(name), ..Default::default() };
                async move { client.controller.delete_volume(request).await }
            })
            .await;
        answer.unwrap_or_else(|status| panic!("{context}: {status}"));
    }
}
