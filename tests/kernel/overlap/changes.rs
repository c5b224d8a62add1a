//! Two controllers that change the record of one volume at the same instant.

use std::fs;

use nfs_subdir_csi::csi::proto;
use tonic::{Code, Status};

use super::members::{Member, new_volume, on_server};
use crate::fixture::{Place, say};
use crate::support;

#[tokio::test]
async fn changes_of_one_volume_by_two_controllers_at_once_are_all_kept() {
    const ROUNDS: i64 = 200;
    let place = Place::take(&[]).await;
    let (one, two) = (Member::controller(&place, 1, &[]).await, Member::controller(&place, 2, &[]).await);
    let volume = one.create(new_volume("v", &[])).await.unwrap();
    let before = volume.capacity_bytes;
    let mut refused = 0;
    for round in 1..=ROUNDS {
        let capacity = before + (round << 20);
        let on_delete = if round % 2 == 0 { "delete" } else { "archive" };
        let (expanded, modified) = tokio::join!(
            repeat(async || expand(&one, &volume.volume_id, capacity).await),
            repeat(async || modify(&two, &volume.volume_id, on_delete).await)
        );
        refused += expanded.unwrap_or_else(|status| panic!("round {round}, expand: {status}"));
        refused += modified.unwrap_or_else(|status| panic!("round {round}, modify: {status}"));
        let record = fs::read_to_string(on_server(".nfs-subdir-csi/volumes/v.json")).unwrap();
        let has = |part: &str| assert!(record.contains(part), "round {round}: {part} is not in {record}");
        has(&format!("\"capacity_bytes\": {capacity}"));
        has(&format!("\"on_delete\": \"{on_delete}\""));
    }
    say(&format!("{ROUNDS} rounds, {refused} calls were refused once because of the other one"));
}

async fn expand(controller: &Member, handle: &str, capacity: i64) -> Result<(), Status> {
    let request = proto::ControllerExpandVolumeRequest {
        volume_id: handle.to_owned(),
        capacity_range: Some(proto::CapacityRange { required_bytes: capacity, limit_bytes: 0 }),
        ..Default::default()
    };
    controller.client().controller.controller_expand_volume(request).await.map(drop)
}

async fn modify(controller: &Member, handle: &str, on_delete: &str) -> Result<(), Status> {
    let request = proto::ControllerModifyVolumeRequest {
        volume_id: handle.to_owned(),
        mutable_parameters: support::map(&[("onDelete", on_delete)]),
        ..Default::default()
    };
    controller.client().controller.controller_modify_volume(request).await.map(drop)
}

/// Repeats a call while its answer is ABORTED. Answers how often it was.
async fn repeat(call: impl AsyncFn() -> Result<(), Status>) -> Result<u32, Status> {
    let mut refused = 0;
    loop {
        match call().await {
            Err(status) if status.code() == Code::Aborted && refused < 100 => refused += 1,
            answer => return answer.map(|()| refused),
        }
    }
}
