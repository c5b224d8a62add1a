//! How full a published volume is.

use std::path::Path;

use crate::linux::Dir;
use crate::linux::dir::Usage;

use crate::volume::error::Result;
use crate::volume::node::publish::Publisher;

impl Publisher {
    /// Bytes and inodes of the file system that bounds the volume published at `path`. The mount table says
    /// whether there is one, before anything is asked of the server: one FSSTAT, and a GETATTR if the client's
    /// attributes are old.
    pub fn stats(&self, path: &Path) -> Result<Usage> {
        let target = self.published(path)?;
        Ok(Dir::open_mount(&target)?.usage()?)
    }
}
