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
    pub work: Box<dyn FnOnce(Deadline) -> Result<Outcome<T>> + Send>,
}

/// How a piece of work ends.
pub enum Outcome<T> {
    /// With the answer.
    Answer(T),
    /// With more work, which belongs into another lane. It keeps the guard that the first piece has.
    More(Box<Work<T>>),
}

impl<T> Work<T> {
    /// Work that ends with an answer.
    pub fn new(guard: Guard, lane: Lane, work: impl FnOnce(Deadline) -> Result<T> + Send + 'static) -> Self {
        Self::in_steps(guard, lane, move |deadline| work(deadline).map(Outcome::Answer))
    }

    /// Work that may end with more work.
    pub fn in_steps(
        guard: Guard,
        lane: Lane,
        work: impl FnOnce(Deadline) -> Result<Outcome<T>> + Send + 'static,
    ) -> Self {
        Self { guard, lane, work: Box::new(work) }
    }
}
