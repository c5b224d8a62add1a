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
    pub work: Box<dyn FnOnce(Deadline) -> Result<Outcome<T>> + Send>,
}

/// How a piece of work ends.
pub enum Outcome<T> {
    /// With the answer.
    Answer(T),
    /// With more work, which runs in another lane. It keeps the guard of the first piece.
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
