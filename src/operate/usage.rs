//! `nfs-subdir-csi usage`.

use serde_json::json;

use super::output::{Output, spinner};
use super::{Outcome, Session};
use crate::config::operate::UsageArgs;
use crate::terminal::bytes;

pub(super) fn run(session: &Session, args: &UsageArgs) -> anyhow::Result<Outcome> {
    let progress = spinner("{pos} entries");
    let counted = session.volumes.usage(&args.handle, args.rate, |so_far| {
        progress.set_position(so_far.files + so_far.directories);
    })?;
    progress.finish_and_clear();
    let object = json!({
        "handle": args.handle,
        "directories": counted.directories,
        "files": counted.files,
        "allocatedBytes": counted.allocated_bytes,
        "contentBytes": counted.content_bytes,
        "leftOut": counted.left_out,
    });
    let mut output = Output::new(["VOLUME", "DIRECTORIES", "FILES", "ALLOCATED", "CONTENT"], session.json);
    let cells = [
        args.handle.clone(),
        counted.directories.to_string(),
        counted.files.to_string(),
        bytes(counted.allocated_bytes),
        bytes(counted.content_bytes),
    ];
    output.row(cells, &object)?;
    output.end()?;
    if counted.left_out > 0 {
        eprintln!(
            "nfs-subdir-csi: {} entries are left out, because they are on another file system",
            counted.left_out
        );
    }
    Ok(Outcome::Done)
}
