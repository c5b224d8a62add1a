//! What happens at each call of the controller, one file a call.

mod claim;
pub mod create;
pub mod delete;
pub mod fill;
pub mod health;
pub mod list;
mod make_directory;
pub mod modify;
pub mod snapshot;
pub mod snapshot_delete;
pub mod snapshot_list;
pub mod snapshot_take;
pub mod survey;
pub mod validate;
