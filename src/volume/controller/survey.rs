//! Surveys of the exports, for the metrics. They are made in the background, so that nobody who asks for metrics waits for a server.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::volume::error::Result;
use crate::volume::name::export::ExportRef;
use crate::volume::share::survey::{self, Survey};
use crate::volume::volumes::Volumes;

/// The last survey of each export.
#[derive(Debug, Default)]
pub struct Surveys(Mutex<BTreeMap<ExportRef, Arc<Survey>>>);

impl Surveys {
    /// The last survey of an export.
    #[must_use]
    pub fn of(&self, export: &ExportRef) -> Option<Arc<Survey>> {
        self.0.lock().get(export).cloned()
    }

    /// Forgets the exports that are not among these.
    pub fn keep_only(&self, exports: &[ExportRef]) {
        self.0.lock().retain(|export, _| exports.contains(export));
    }
}

impl Volumes {
    /// Makes a survey of an export with at most `most` single volumes, and keeps it. See [`survey::survey`] for the requests.
    pub fn survey(&self, export: &ExportRef, most: usize, surveys: &Surveys) -> Result<()> {
        let survey = self.on_export(export, None, |_, mounted| survey::survey(mounted, most))?;
        surveys.0.lock().insert(export.clone(), Arc::new(survey));
        Ok(())
    }
}
