//! Creating snapshots.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::linux::copy::Progress;

use crate::volume::controller::snapshot::{Group, Snapshot, snapshots_of};
use crate::volume::copy::source::Origin;
use crate::volume::copy::tree::Destination;
use crate::volume::error::{Error, Result};
use crate::volume::jobs::Way;
use crate::volume::name::export::ExportRef;
use crate::volume::name::handle::{VolumeHandle, VolumeKey};
use crate::volume::name::snapshot_handle::Kind;
use crate::volume::name::snapshot_handle::{GroupHandle, LARGEST_GROUP, SnapshotHandle, check_length};
use crate::volume::name::source::Source;
use crate::volume::name::source::job_name_of_group;
use crate::volume::share::mounts::MountedExport;
use crate::volume::share::snapshots::record::{Member, SnapshotRecord};
use crate::volume::share::snapshots::store::{SetDraft, SnapshotSets};
use crate::volume::volumes::Volumes;
use crate::volume::volumes::not_found;

/// A request for one snapshot, or for a group of snapshots.
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    /// Whether it is for a single snapshot or for a group.
    pub kind: Kind,
    /// The name in the request. A later request with the same name asks for the same set.
    pub name: String,
    /// The handles of the volumes.
    pub sources: Vec<String>,
    /// The export that the class names, if it names one. It must be the export of the volumes.
    pub export: Option<ExportRef>,
    /// Mount options from the secrets of the call and from the class.
    pub mount_options: Option<String>,
}

impl SnapshotRequest {
    fn key(&self) -> VolumeKey {
        VolumeKey::of_name(&self.name)
    }

    /// The export of the first volume, as its handle names it.
    pub fn export_id(&self) -> Result<ExportRef> {
        let first = self.sources.first().ok_or(Error::Missing("source_volume_ids"))?;
        Ok(VolumeHandle::parse(first).ok_or_else(|| not_found(first))?.export)
    }

    /// The name of the copy job that creates the set.
    fn job_name(&self, export: &ExportRef) -> String {
        match self.kind {
            Kind::Single => Source::Snapshot(format!("{export}#{}", self.key())).job_name(),
            Kind::Group => job_name_of_group(&GroupHandle { export: export.clone(), key: self.key() }),
        }
    }
}

impl Volumes {
    /// Creates a snapshot, or finds that it exists. If the copy takes longer than `timeout`, this is [`Error::Busy`], and the copy goes on.
    pub fn take_snapshot(self: &Arc<Self>, new: &SnapshotRequest, timeout: Duration) -> Result<Snapshot> {
        let (export, record) = self.take(new, timeout)?;
        let mut snapshots = snapshots_of(Kind::Single, &export, &new.key(), &record);
        Ok(snapshots.swap_remove(0))
    }

    /// As [`Self::take_snapshot`], for several volumes on one export.
    ///
    /// The copy of each file is its state at one moment, but two files may be copied at different moments. If the files must belong
    /// together, nothing may write to the volumes meanwhile.
    pub fn take_group(self: &Arc<Self>, new: &SnapshotRequest, timeout: Duration) -> Result<Group> {
        let (export, record) = self.take(new, timeout)?;
        let snapshots = snapshots_of(Kind::Group, &export, &new.key(), &record);
        let handle = GroupHandle { export, key: new.key() };
        Ok(Group { handle, snapshots, created_ns: record.created_ns })
    }

    /// NFS requests on a mounted export, besides those of the trees: 3 to see that the set does not exist, and 4 to read the record of each
    /// volume. Then 2 for the draft, 2 for each tree, 5 to write the record, and 1 RENAME.
    fn take(
        self: &Arc<Self>,
        new: &SnapshotRequest,
        timeout: Duration,
    ) -> Result<(ExportRef, SnapshotRecord)> {
        let export = new.export_id()?;
        match new.kind {
            Kind::Single => check_length(&SnapshotHandle::single(export.clone(), new.key()))?,
            Kind::Group => {
                check_length(&SnapshotHandle::member(export.clone(), new.key(), LARGEST_GROUP - 1))?;
            }
        }
        let job = new.job_name(&export);
        self.copies.check(&job)?;
        let taken =
            |volumes: &Self| volumes.read_set_of(new.kind, &export, &new.key(), new.mount_options.as_deref());
        if let Some(record) = taken(self)? {
            return check_same(new, record).map(|record| (export, record));
        }
        let origins = self.origins(new)?;
        let sources: Vec<String> =
            new.sources.iter().map(|handle| Source::Volume(handle.clone()).job_name()).collect();
        let way = Way::between(origins[0].export.place(), origins[0].export.place());
        let (volumes, own) = (Arc::clone(self), new.clone());
        self.copies
            .run(&job, way, &sources, timeout, move |progress| volumes.copy_set(&own, &origins, progress))?;
        let gone = || Error::NotFound(format!("snapshot {:?} was deleted while it was taken", new.name));
        let record = taken(self)?.ok_or_else(gone)?;
        check_same(new, record).map(|record| (export, record))
    }

    /// Finds the volumes, which must all be on one export.
    fn origins(&self, new: &SnapshotRequest) -> Result<Vec<Origin>> {
        let origin = |handle: &String| self.origin_of_volume(handle, new.mount_options.as_deref());
        let origins = new.sources.iter().map(origin).collect::<Result<Vec<_>>>()?;
        if let Some(other) = origins.iter().find(|origin| origin.export.sources != origins[0].export.sources)
        {
            return Err(Error::Precondition(format!(
                "the volumes are on two exports, {} and {}, but a group of snapshots must be on one",
                origins[0].export.id, other.export.id
            )));
        }
        if let Some(id) = &new.export
            && self.settings.get().resolve(id)?.sources != origins[0].export.sources
        {
            let reason = format!(
                "a snapshot is on the export of its volume, which is {}, not {id}: remove export, server and share from the \
                 VolumeSnapshotClass",
                origins[0].export.id
            );
            return Err(Error::invalid("parameters", reason));
        }
        Ok(origins)
    }

    fn copy_set(&self, new: &SnapshotRequest, origins: &[Origin], progress: &Progress) -> Result<()> {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos());
        let created_ns = u64::try_from(created).unwrap_or(u64::MAX);
        let (export, options) = (&origins[0].export, &origins[0].options);
        self.exports.with_any(export, options, |mounted| {
            let state = mounted.state()?;
            mounted.reap_once(&state, self.settings.get().strictest_policy());
            let draft = SetDraft::begin(&state, &new.key())?;
            let members = match self.copy_members(new, origins, mounted, &draft, progress) {
                Ok(members) => members,
                Err(error) => return Err(draft.discard(error)),
            };
            let record = SnapshotRecord { name: new.name.clone(), created_ns, members };
            // If another controller has created a set with this name meanwhile, that set stays. The caller compares it with the request.
            draft.commit(&SnapshotSets::create(&state, new.kind)?, &new.key(), &record)?;
            Ok(())
        })
    }

    fn copy_members(
        &self,
        new: &SnapshotRequest,
        origins: &[Origin],
        mounted: &MountedExport,
        draft: &SetDraft,
        progress: &Progress,
    ) -> Result<Vec<Member>> {
        let copy = |(number, origin): (usize, &Origin)| {
            let into = draft.tree(number)?;
            let to = Destination { export: mounted, key: &new.key(), dir: &into };
            let size_bytes = self.copy(origin, &to, progress)?;
            Ok(Member {
                source: new.sources[number].clone(),
                size_bytes,
                capacity_bytes: origin.capacity_bytes,
                ownership: origin.ownership,
            })
        };
        origins.iter().enumerate().map(copy).collect()
    }
}

/// Checks that the existing set with this name has the volumes of the request. CSI specification, CreateSnapshot: a name that is in use for
/// another source is ALREADY_EXISTS.
fn check_same(new: &SnapshotRequest, record: SnapshotRecord) -> Result<SnapshotRecord> {
    let wanted: BTreeSet<&str> = new.sources.iter().map(String::as_str).collect();
    let has: BTreeSet<&str> = record.sources().collect();
    if record.name == new.name && wanted == has {
        return Ok(record);
    }
    let message = format!(
        "snapshot {:?} exists already and is of {}, not of {}; choose another name",
        record.name,
        has.into_iter().collect::<Vec<_>>().join(", "),
        new.sources.join(", ")
    );
    Err(Error::AlreadyExists(message))
}
