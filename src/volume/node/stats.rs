//! How full a published volume is.

use std::path::Path;

use crate::linux::dir::Usage;
use crate::linux::{Dir, step};

use crate::volume::error::{Error, Result};
use crate::volume::name::export::Export;
use crate::volume::node::publish::Publisher;
use crate::volume::node::stale;
use crate::volume::policy::settings::ResolvedExport;

impl Publisher {
    /// Bytes and inodes of the file system that limits the volume published at `path`. The mount table says whether a
    /// volume is published there, before the server is asked. Then this needs one FSSTAT, and one GETATTR if the attributes
    /// that the client has cached are old.
    pub fn stats(&self, path: &Path) -> Result<Usage> {
        let target = self.published(path)?;
        step::begin(format!("the statistics of the file system at {}", target.display()));
        Dir::open_mount(&target).and_then(|dir| dir.usage()).map_err(|error| {
            if error.is_stale() { Error::Precondition(stale::explain(&target)) } else { error.into() }
        })
    }

    /// The server of the volume published at `path`, as far as the mount table says it: which part of the path on the server
    /// is the share is not known. Asks no server.
    #[must_use]
    pub fn export_at(&self, path: &Path) -> Option<ResolvedExport> {
        let target = self.published(path).ok()?;
        let table = self.mounter.table().ok()?;
        let source = table.at(&target)?.source.to_str()?.to_owned();
        let server = Export::parse(&source).ok()?.server().to_owned();
        Some(ResolvedExport::mounted(Export::new(&server, "/").ok()?))
    }
}
