//! Creating volumes.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::linux::{Dir, NfsOptions};

use crate::volume::controller::make_directory::{Made, is_made_by_mkdir, make_directory};
use crate::volume::error::{Error, Result};
use crate::volume::jobs::Way;
use crate::volume::name::handle::{VolumeHandle, VolumeKey};
use crate::volume::name::source::Source;
use crate::volume::name::source::job_name;
use crate::volume::name::sub_dir::SubDir;
use crate::volume::on_delete::OnDelete;
use crate::volume::policy::parameters::{Change, Ownership, Parameters};
use crate::volume::policy::settings::ResolvedExport;
use crate::volume::share::capacity;
use crate::volume::share::capacity::CapacityRange;
use crate::volume::share::claims::{Added, HeldRecord};
use crate::volume::share::directory::find_now;
use crate::volume::share::directory::require_own_file_system;
use crate::volume::share::mounts::MountedExport;
use crate::volume::share::quota::limit::Limit;
use crate::volume::share::record::Record;
use crate::volume::share::state_dir::StateDir;
use crate::volume::volumes::Volume;
use crate::volume::volumes::Volumes;

/// A directory that exists already is checked so often, at this interval, before the answer is ALREADY_EXISTS.
const LOOKS: usize = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A volume that is to be created.
#[derive(Debug, Clone)]
pub struct NewVolume {
    /// `CreateVolumeRequest.name`. A later request with the same name asks for the same volume.
    pub name: String,
    /// The parameters of the StorageClass.
    pub parameters: Parameters,
    /// The parameters of the VolumeAttributesClass. They override those of the StorageClass.
    pub change: Change,
    /// What the volume is filled with; `None` if it begins empty.
    pub source: Option<Source>,
    /// The smallest and the largest capacity.
    pub capacity: CapacityRange,
    /// The export, as the configuration has it now.
    pub export: ResolvedExport,
    /// The options of the export mount.
    pub options: NfsOptions,
    /// Mount options from the secrets of the call, for the export of the source.
    pub secret: Option<String>,
}

impl NewVolume {
    /// The handle that the volume gets.
    pub fn handle(&self) -> Result<VolumeHandle> {
        VolumeHandle::new(self.parameters.export.clone(), VolumeKey::of_name(&self.name))
    }

    fn on_delete(&self) -> OnDelete {
        self.change.on_delete.unwrap_or(self.parameters.on_delete)
    }

    /// The owner and mode that the parameters ask for.
    pub(in crate::volume) fn owner(&self) -> Change {
        self.change.or(self.parameters.owner)
    }
}

impl Volumes {
    /// Creates a volume, or finds that it exists. If filling it takes longer than `timeout`, this is [`Error::Busy`], and the copy goes on.
    ///
    /// The path is claimed and the record is written before the directory is created. So if a process is killed in between, the retry knows
    /// that the directory belongs to this volume.
    ///
    /// NFS requests of a first call on a mounted export, for a directory at the top of the share (`make bench`, NFS 4.2): GETATTR and LOOKUP to
    /// see that the directory does not exist, STATFS for the free space, OPEN and WRITE for the draft of the record, LINK for its claim and LINK
    /// for its name, CREATE for the directory, and GETATTR to see that the volume was not deleted meanwhile. Afterwards: CLOSE and REMOVE for
    /// the draft.
    pub fn create(self: &Arc<Self>, new: &NewVolume, timeout: Duration) -> Result<Volume> {
        let handle = new.handle()?;
        let needs_claim = new.parameters.needs_claim()?;
        let by_name = (!needs_claim).then(|| new.parameters.sub_dir_of(&new.name, None)).transpose()?;
        let job = job_name(&handle);
        self.copies.check(&job)?;
        let (record, is_there) = self.exports.with(&new.export, &new.options, |mounted| {
            let state = mounted.state()?;
            mounted.reap_once(&state, self.settings.get().strictest_policy());
            state.complete_claims()?;
            let sub_dir = match &by_name {
                Some(sub_dir) => sub_dir.clone(),
                None => self.sub_dir_by_claim(&state, &handle.key, new)?,
            };
            let held = self.hold_or_reserve(mounted, &state, &handle.key, new, &sub_dir)?;
            let is_there = match finish(mounted, &state, &held, new, &sub_dir) {
                Ok(is_there) => is_there,
                Err(reason) => return Err(reason.with_cleanup(state.keep(&held))),
            };
            let record = held.record.clone();
            if held.is_new() {
                mounted.afterwards(move || state.keep(&held).map(|()| None));
            }
            Ok((record, is_there))
        })?;
        if let Some(source) = record.source.as_ref().filter(|_| !is_there) {
            let (volumes, own, key) = (Arc::clone(self), new.clone(), handle.key.clone());
            let way = Way::between(self.export_of(source)?.place(), new.export.place());
            self.copies.run(&job, way, &[source.job_name()], timeout, move |progress| {
                volumes.fill(&own, &key, progress)
            })?;
        }
        self.await_limit(&new.export, &new.options, (&handle.key, &record))?;
        Ok(Volume::new(handle, &record))
    }

    /// Waits until a volume that has its directory is limited to its size, if its export expects that. The record stays if that takes too long, so that
    /// a retry waits for the same. NFS requests: none if the export expects no limits; otherwise GETATTR and LOOKUP for the directory, and those of
    /// [`Limit::wait`].
    pub(in crate::volume) fn await_limit(
        &self,
        export: &ResolvedExport,
        options: &NfsOptions,
        (key, record): (&VolumeKey, &Record),
    ) -> Result<()> {
        let Some(limit) = Limit::of(key, record, export.policy.quota) else { return Ok(()) };
        self.exports.with_any(export, options, |mounted| {
            let found =
                find_now(mounted.share(), &record.sub_dir)?.ok_or_else(|| deleted_meanwhile(&record.name))?;
            limit.wait(mounted.share(), &*mounted.state()?, &found.dir, export.policy.quota)
        })
    }

    /// The record of the volume. If there is none, it is written.
    fn hold_or_reserve(
        &self,
        mounted: &MountedExport,
        state: &StateDir,
        key: &VolumeKey,
        new: &NewVolume,
        sub_dir: &SubDir,
    ) -> Result<HeldRecord> {
        let is_there = find_now(mounted.share(), sub_dir)?.is_some();
        // If the directory does not exist, there is hardly ever a record, except that of a volume that is being filled. So the record is not
        // looked for: that would cost requests in nearly every call and find nothing. If there is one, adding another one fails.
        if (is_there || new.source.is_some())
            && let Some(held) = state.hold(key)?
        {
            return Ok(held);
        }
        match self.reserve(mounted, state, key, new, sub_dir, is_there) {
            Ok(Some(held)) => Ok(held),
            // Another controller was faster, or the volume exists with another directory. Its record counts.
            Ok(None) => state.hold(key)?.ok_or_else(|| deleted_meanwhile(&new.name)),
            // This volume itself may have reserved the bytes already.
            Err(error @ Error::OutOfRange(_)) => state.hold(key)?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// Reserves the capacity of a new volume, claims its path and writes its record. Returns `None` if there is a volume with this key. `found`
    /// tells whether the directory exists.
    fn reserve(
        &self,
        mounted: &MountedExport,
        state: &StateDir,
        key: &VolumeKey,
        new: &NewVolume,
        sub_dir: &SubDir,
        mut found: bool,
    ) -> Result<Option<HeldRecord>> {
        // A directory that exists already contains somebody's data, which would be deleted with the new volume. A volume with
        // `onDelete: retain` may take such a directory over, but may not be filled.
        let takes_over = new.on_delete() == OnDelete::Retain && new.source.is_none();
        // Another controller may have created this volume meanwhile. Or it has created the directory while the volume was deleted, and will
        // remove it again.
        for _ in 0..LOOKS {
            if !found || takes_over {
                break;
            }
            if state.read(key)?.is_some() {
                return Ok(None);
            }
            std::thread::sleep(LOOK_AGAIN);
            found = find_now(mounted.share(), sub_dir)?.is_some();
        }
        if found && !takes_over {
            return Err(exists(mounted.share(), sub_dir));
        }
        require_own_file_system(mounted.share(), sub_dir, found)?;
        let origin =
            new.source.as_ref().map(|source| self.origin(source, new.secret.as_deref())).transpose()?;
        let (capacity_bytes, before) = match &origin {
            None => (new.capacity.required, Ownership::default()),
            Some(origin) => {
                (new.capacity.to_hold(origin.size_bytes, origin.capacity_bytes)?, origin.ownership)
            }
        };
        // From here on no other call gets these bytes. They are free again if the record cannot be written.
        let reservation = capacity::reserve(mounted, state, new.export.policy.capacity, capacity_bytes)?;
        let record = Record {
            name: new.name.clone(),
            sub_dir: sub_dir.clone(),
            capacity_bytes,
            inodes: new.parameters.inodes,
            on_delete: new.on_delete(),
            ownership: new.owner().ownership_after(before),
            direct_mount: new.parameters.direct_mount,
            reach: new.parameters.export.reach(),
            source: new.source.clone(),
            found,
            installation: self.settings.get().installation.clone(),
            pvc: new.parameters.names.pvc(),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            later: serde_json::Map::new(),
        };
        let will_be_made = !found && record.source.is_none() && is_made_by_mkdir(&record.ownership);
        let added = if will_be_made { state.add_for_mkdir(key, &record) } else { state.add(key, &record) };
        match added? {
            Added::Made(held) => {
                reservation.keep();
                Ok(Some(*held))
            }
            Added::Exists => Ok(None),
            Added::Overlaps(owner) => Err(overlap(mounted.share(), sub_dir, &owner)),
        }
    }
}

/// The error for a directory that exists and belongs to no volume.
fn exists(share: &Dir, sub_dir: &SubDir) -> Error {
    Error::AlreadyExists(format!(
        "{}/{sub_dir} exists, and does not belong to this volume: choose another subDir, move the directory away, or take it over \
         with onDelete: retain",
        share.label()
    ))
}

/// The error for a path that belongs to another volume, or is inside or around one that does.
fn overlap(share: &Dir, sub_dir: &SubDir, owner: &str) -> Error {
    Error::AlreadyExists(format!(
        "{}/{sub_dir} cannot belong to this volume: {owner}; choose another subDir",
        share.label()
    ))
}

fn deleted_meanwhile(name: &str) -> Error {
    Error::Busy(format!("volume {name:?} was deleted while it was being created; ask again"))
}

/// Creates the directory of a volume that has a record, if it is missing. Returns whether the directory exists. The directory of a volume that
/// is filled appears only when the copy is complete.
fn finish(
    mounted: &MountedExport,
    state: &StateDir,
    held: &HeldRecord,
    new: &NewVolume,
    sub_dir: &SubDir,
) -> Result<bool> {
    let share = mounted.share();
    let owner = match state.claim(held) {
        // Another controller has just deleted the volume.
        Err(error) if error.is_gone() => return Err(deleted_meanwhile(&new.name)),
        claimed => claimed?,
    };
    if let Some(owner) = owner {
        // A process was killed after it had written the record, and another volume has claimed the path.
        state.release_record(held)?;
        return Err(overlap(share, sub_dir, &owner));
    }
    check_same(&held.record, new, sub_dir)?;
    if held.record.source.is_some() {
        return Ok(find_now(share, &held.record.sub_dir)?.is_some());
    }
    let made = match make_directory(share, state, held)? {
        Made::Now => true,
        Made::Before => false,
        Made::Around(owner) => return Err(overlap(share, sub_dir, &owner)),
        Made::ByOthers(owner) => {
            let change = mounted.reservations().change();
            state.release(held)?;
            change.give_back(held.record.capacity_bytes);
            return Err(owner.map_or_else(|| exists(share, sub_dir), |owner| overlap(share, sub_dir, &owner)));
        }
    };
    if made && !state.has_record(held)? {
        // The volume was deleted meanwhile. The directory belongs to no volume, unless another one has claimed the path.
        let (parent, name) = held.record.sub_dir.split();
        state.with_path(held, || {
            match share.open_place(parent.unwrap_or(".")).and_then(|parent| parent.remove_dir(name)) {
                Err(error) if !error.is_not_found() && !error.is_not_empty() => Err(error.into()),
                _ => Ok(()),
            }
        })?;
        return Err(deleted_meanwhile(&new.name));
    }
    Ok(true)
}

/// Checks that the existing volume with this name is the one that the request asks for. CSI specification, CreateVolume: a name that is in use
/// with other properties is ALREADY_EXISTS.
fn check_same(record: &Record, new: &NewVolume, sub_dir: &SubDir) -> Result<()> {
    let differs = |what: &str, is: &dyn std::fmt::Display, wanted: &dyn std::fmt::Display| {
        let message = format!("volume {:?} exists with {what} {is}, not {wanted}", new.name);
        Err(Error::AlreadyExists(message))
    };
    if record.name != new.name {
        return differs("the name", &record.name, &new.name);
    }
    if !new.capacity.admits(record.capacity_bytes) {
        let CapacityRange { required, limit } = new.capacity;
        let wanted = if limit == 0 { format!("{required}") } else { format!("{required} to {limit}") };
        return differs("a capacity in bytes of", &record.capacity_bytes, &wanted);
    }
    if record.inodes != new.parameters.inodes {
        let name = |inodes: Option<u64>| inodes.map_or("none".to_owned(), |inodes| inodes.to_string());
        return differs("a limit of files of", &name(record.inodes), &name(new.parameters.inodes));
    }
    if &record.sub_dir != sub_dir {
        return differs("the directory", &record.sub_dir, sub_dir);
    }
    if record.source != new.source {
        let name = |source: &Option<Source>| source.as_ref().map_or("nothing".to_owned(), Source::job_name);
        return differs("content from", &name(&record.source), &name(&new.source));
    }
    // A volume that was filled has the owner and mode of its source, unless the parameters say otherwise.
    let before = if record.source.is_some() { record.ownership } else { Ownership::default() };
    if record.on_delete != new.on_delete() || record.ownership != new.owner().ownership_after(before) {
        let message = format!("volume {:?} exists with another onDelete, mode or owner", new.name);
        return Err(Error::AlreadyExists(message));
    }
    Ok(())
}
