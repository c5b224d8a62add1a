//! The plans of the calls that look at one or all exports as a whole: lists, and the capacity.

#![expect(clippy::needless_pass_by_value, reason = "every plan takes its request, so that all have one form")]

use std::sync::Arc;

use crate::csi::call::guard::Guard;
use crate::csi::call::lane::Lane;
use crate::csi::call::work::Work;
use crate::csi::decode;
use crate::csi::encode::{encode_snapshot, encode_volume, signed};
use crate::csi::proto;
use crate::csi::proto::{list_snapshots_response, list_volumes_response};
use crate::volume::controller::snapshot::Snapshot;
use crate::volume::error::{Error, Result};
use crate::volume::policy::parameters::Parameters;
use crate::volume::volumes::{Volume, Volumes};

pub(super) fn volumes(
    request: proto::ListVolumesRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::ListVolumesResponse>> {
    let limit = decode::page_size(request.max_entries)?;
    Ok(Work::new(Guard::None, Lane::Lists, move |_| {
        let page = volumes.list(&request.starting_token, limit)?;
        let entry = |volume: &Volume| list_volumes_response::Entry {
            volume: Some(encode_volume(volume)),
            status: Some(list_volumes_response::VolumeStatus::default()),
        };
        Ok(proto::ListVolumesResponse {
            entries: page.volumes.iter().map(entry).collect(),
            next_token: page.next.unwrap_or_default(),
        })
    }))
}

pub(super) fn capacity(
    request: proto::GetCapacityRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::GetCapacityResponse>> {
    let settings = volumes.settings.get();
    // A question that names no export is about the default one. If there is no default export, the answer is 0.
    let none = request.parameters.is_empty() && settings.default_export.is_none();
    let export = if none { None } else { Some(Parameters::parse(&request.parameters, &settings)?.export) };
    let lane = Lane::of_export(&settings, export.as_ref());
    Ok(Work::new(Guard::None, lane, move |_| {
        let available = export.map_or(Ok(0), |export| volumes.capacity_of(&export))?;
        Ok(proto::GetCapacityResponse { available_capacity: signed(available), ..Default::default() })
    }))
}

pub(super) fn snapshots(
    request: proto::ListSnapshotsRequest,
    volumes: Arc<Volumes>,
) -> Result<Work<proto::ListSnapshotsResponse>> {
    let limit = decode::page_size(request.max_entries)?;
    let secret = decode::secret_options(&request.secrets);
    Ok(Work::new(Guard::None, Lane::Lists, move |_| {
        let (secret, source) = (secret.as_deref(), request.source_volume_id.as_str());
        let (snapshots, next) = if request.snapshot_id.is_empty() {
            let page = volumes.list_snapshots(&request.starting_token, limit, source, secret)?;
            (page.snapshots, page.next)
        } else {
            // A snapshot that does not exist is not an error here (CSI specification, ListSnapshots).
            match volumes.find_snapshot(&request.snapshot_id, secret) {
                Err(Error::NotFound(_)) => (Vec::new(), None),
                found => (vec![found?], None),
            }
        };
        let fits = |snapshot: &&Snapshot| source.is_empty() || snapshot.source == source;
        let entry = |snapshot: &Snapshot| list_snapshots_response::Entry {
            snapshot: Some(encode_snapshot(snapshot)),
        };
        Ok(proto::ListSnapshotsResponse {
            entries: snapshots.iter().filter(fits).map(entry).collect(),
            next_token: next.unwrap_or_default(),
        })
    }))
}
