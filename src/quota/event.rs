//! What the threads of the agent tell it.

use crate::volume::name::handle::VolumeKey;

use super::tagging::Ended;

/// What the agent is told by its threads.
#[derive(Debug)]
pub(super) enum Event {
    /// The record of a volume has changed.
    Record(usize, VolumeKey),
    /// Changes were lost.
    Lost,
    /// The state directory of a share is not watched any more.
    Gone(usize),
    /// A directory was given to a project.
    Tagged(Ended),
}
