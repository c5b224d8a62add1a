//! What a call does after its request has been understood.

use super::deadline::Deadline;
use super::guard::Guard;
use super::lane::Lane;
use crate::volume::error::Result;

/// The work of one call, with what it needs before it may begin.
pub struct Work<T> {
    /// What it works on alone.
    pub guard: Guard,
    /// Whose places and threads it takes.
    pub lane: Lane,
    /// The work itself, which may block. It gets the deadline of its call.
    pub work: Box<dyn FnOnce(Deadline) -> Result<T> + Send>,
}

impl<T> Work<T> {
    /// Work that needs this guard and a place in this lane.
    pub fn new(guard: Guard, lane: Lane, work: impl FnOnce(Deadline) -> Result<T> + Send + 'static) -> Self {
        Self { guard, lane, work: Box::new(work) }
    }
}
