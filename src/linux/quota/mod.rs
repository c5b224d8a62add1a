//! Project quotas of XFS and ext4: which directory belongs to which project, what projects use, and what limits they have.
//!
//! They belong to local file systems. An NFS client cannot see or change project ids; all that it sees of a quota is that
//! statfs(2) of a directory shows the limit of its project.

mod file_system;
mod project;
mod sys;
mod tag_tree;

pub use file_system::{FileSystem, Kind, Limits, ProjectQuotas, Quota, try_lock};
pub use project::Project;
pub use tag_tree::{Tagged, tag_tree};
