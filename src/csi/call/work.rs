//! What a call does after its request has been understood.

use super::deadline::Deadline;
use super::guard::Guard;
use super::lane::Lane;
use crate::volume::error::Result;

/// The work of one call, with what it needs before it may begin.
pub struct Work<T> {
    /// What no other call may work on meanwhile.
    pub guard: Guard,
    /// The lane in which it takes a place and a thread.
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
