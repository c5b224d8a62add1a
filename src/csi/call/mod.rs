//! What happens to every call, whatever it does: [`dispatcher`] gives it a [`deadline`], the [`guard`] of what it works on, a
//! place in a [`lane`], a thread, and one line in the log.

pub mod deadline;
pub mod dispatcher;
pub mod guard;
pub mod lane;
mod line;
pub mod look;
pub mod places;
mod queue;
pub mod silence;
mod steps;
pub mod tally;
mod turns;
pub mod work;
