//! Whose turn it is to look at an export.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::linux::NfsSource;
use crate::linux::step::Leader;

/// One look at a time for each export. So looks at a dead export keep one place of it, and not all.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<parking_lot::Mutex<HashMap<NfsSource, Arc<Turn>>>>);

/// The turn of an export.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Whoever has locked it looks.
    pub(super) lock: Arc<Mutex<()>>,
    /// The work of whoever looks.
    pub(super) looks: Leader,
}

impl Turns {
    /// The turn of an export.
    pub(super) fn of(&self, export: &NfsSource) -> Arc<Turn> {
        let mut turns = self.0.lock();
        // What nobody uses is not kept.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(export.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_has_one_turn_and_none_is_kept_that_nobody_uses() {
        let turns = Turns::default();
        let export = |server: &str| NfsSource { server: server.to_owned(), share: "/srv".to_owned() };
        let first = turns.of(&export("a"));
        let held = first.lock.try_lock().unwrap();
        assert!(turns.of(&export("a")).lock.try_lock().is_err());
        drop(held);
        drop(first);
        let _other = turns.of(&export("b"));
        assert_eq!(turns.0.lock().len(), 1);
    }
}
