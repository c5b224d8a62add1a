//! How much a volume contains.

use crate::linux::usage::{Counted, count};

use crate::volume::error::{Result, refuse_unsafe};
use crate::volume::volumes::Volumes;

impl Volumes {
    /// Counts what a volume contains, at most `rate` entries in a second. `seen` is called now and then with what was counted so far. See [`count`]
    /// for the requests.
    pub fn usage(&self, handle: &str, rate: u32, seen: impl Fn(&Counted) + Sync) -> Result<Counted> {
        self.with_record(handle, None, |mounted, _, record| {
            let dir = mounted.share().open_dir(record.sub_dir.as_str()).map_err(refuse_unsafe)?;
            Ok(count(&dir, rate, &seen)?)
        })
    }
}
