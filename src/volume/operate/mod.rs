//! What operators do with volumes by commands, and no orchestrator asks for.

pub mod orphans;
pub mod trash;
pub mod usage;
