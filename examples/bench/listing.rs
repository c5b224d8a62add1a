//! Lists an export with many volumes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nfs_subdir_csi::csi::proto;
use nfs_subdir_csi::volume::name::reach::Reach;
use nfs_subdir_csi::volume::name::sub_dir::SubDir;
use nfs_subdir_csi::volume::on_delete::OnDelete;
use nfs_subdir_csi::volume::policy::parameters::Ownership;
use nfs_subdir_csi::volume::share::record::Record;

use crate::common::{STATE_DIR, Stage, timed};
use crate::driver::Running;
use crate::gauges::{Cost, Memory, forget_names, per_call};
use crate::{row, table};

const VOLUMES: usize = 10_000;

pub(crate) async fn run(stage: &Stage) -> Result<()> {
    println!("Listing {VOLUMES} volumes of one export\n");
    let mut controller = Running::controller(stage).await?;
    controller.create("first").await?;
    write_records()?;
    forget_names()?;
    let before = Memory::of(controller.pid())?;
    let mut rows = Vec::new();
    for page in [100, 0] {
        Memory::forget_peak(controller.pid())?;
        let mut listed = 0;
        let mut slowest = Duration::ZERO;
        let mut cost = Cost::new();
        let begun = Instant::now();
        cost.add(async {
            let mut token = String::new();
            loop {
                let request = proto::ListVolumesRequest { starting_token: token, max_entries: page };
                let (answer, time) = timed(controller.client.controller.list_volumes(request)).await?;
                listed += answer.entries.len();
                slowest = slowest.max(time);
                token = answer.next_token;
                if token.is_empty() {
                    return Ok(());
                }
            }
        })
        .await?;
        let all = begun.elapsed();
        ensure!(listed == VOLUMES + 1, "{listed} volumes are listed, not {}", VOLUMES + 1);
        rows.push(row!(
            if page == 0 {
                "as many entries as fit into one answer".to_owned()
            } else {
                format!("{page} entries in an answer")
            },
            format!("{:.1} s", all.as_secs_f64()),
            format!("{:.0} ms", slowest.as_secs_f64() * 1e3),
            per_call(cost.requests(), listed as u64),
            Memory::megabytes(Memory::of(controller.pid())?.peak),
        ));
    }
    let after = Memory::of(controller.pid())?;
    table::print(&["", "all", "slowest answer", "NFS requests a volume", "most resident"], &rows);
    println!(
        "\n  the controller: {} resident and {} anonymous before, {} and {} after\n",
        Memory::megabytes(before.resident),
        Memory::megabytes(before.anonymous),
        Memory::megabytes(after.resident),
        Memory::megabytes(after.anonymous)
    );
    for number in 0..VOLUMES {
        std::fs::remove_file(Path::new(STATE_DIR).join(format!("volumes/many-{number}.json")))?;
    }
    controller.stop().await
}

/// Writes records like those of the driver, on the server's own file system.
fn write_records() -> Result<()> {
    for number in 0..VOLUMES {
        let name = format!("many-{number}");
        let record = Record {
            sub_dir: SubDir::parse(&name)?,
            capacity_bytes: 1 << 30,
            inodes: None,
            on_delete: OnDelete::Delete,
            ownership: Ownership::default(),
            direct_mount: false,
            reach: Reach::default(),
            created: 0,
            later: serde_json::Map::new(),
            source: None,
            found: false,
            installation: None,
            pvc: None,
            name,
        };
        let file = Path::new(STATE_DIR).join(format!("volumes/{}.json", record.name));
        std::fs::write(file, record.to_json())?;
    }
    Ok(())
}
