//! Guards: what only one call at a time may work on. Two calls with the same guard do not run at the same time; the second one is
//! refused.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What only one call at a time may work on. All guards of the driver are in this list, so that a reader sees which calls exclude each
/// other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Guard {
    /// The call only reads, so any number of them may run.
    None,
    /// A volume, by its handle: `CreateVolume`, `DeleteVolume`, `ControllerExpandVolume`, `ControllerModifyVolume`.
    Volume(String),
    /// `NodePublishVolume` of a volume that may be at one target only. It is guarded as a whole, so that of two publishes
    /// the second one sees the first.
    PublishOnce(String),
    /// `NodePublishVolume` at one target. One volume may be published at several targets at the same time.
    Publish(PathBuf),
    /// `NodeUnpublishVolume`. It does not exclude a publish: a publish that hangs must not keep a pod from going away.
    Unpublish(PathBuf),
    /// `NodeGetVolumeStats` at a path. A second call would only wait for the same server.
    Look(PathBuf),
    /// `CreateSnapshot`, by the name of the snapshot.
    TakeSnapshot(String),
    /// `DeleteSnapshot`, by its handle. It does not exclude `CreateSnapshot`: it ends a copy that is under way.
    DeleteSnapshot(String),
    /// `CreateVolumeGroupSnapshot`, by the name of the group.
    TakeGroup(String),
    /// `DeleteVolumeGroupSnapshot`, by its handle.
    DeleteGroup(String),
}

/// The guards that are held, and since when.
#[derive(Debug, Clone, Default)]
pub struct Guards(Arc<Mutex<HashMap<Guard, Instant>>>);

/// A guard that is held until this is dropped. It moves into the work, so that a caller that gives up does not make
/// room for the next one while the work still runs.
#[derive(Debug)]
pub struct Held {
    guards: Guards,
    guard: Guard,
}

impl Guards {
    /// Takes a guard. If another call holds it, the error says for how long.
    pub fn take(&self, guard: Guard) -> Result<Held, Duration> {
        if guard != Guard::None {
            let mut held = self.0.lock();
            if let Some(since) = held.get(&guard) {
                return Err(since.elapsed());
            }
            held.insert(guard.clone(), Instant::now());
        }
        Ok(Held { guards: self.clone(), guard })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.guards.0.lock().remove(&self.guard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_can_be_taken_again_when_it_was_dropped() {
        let guards = Guards::default();
        let of = |name: &str| Guard::Volume(name.to_owned());
        let held = guards.take(of("v")).unwrap();
        assert!(guards.take(of("v")).is_err());
        let _other = guards.take(of("w")).unwrap();
        let _other_kind = guards.take(Guard::TakeSnapshot("v".to_owned())).unwrap();
        drop(held);
        let _again = guards.take(of("v")).unwrap();
    }

    #[test]
    fn calls_that_only_read_do_not_exclude_each_other_and_leave_nothing() {
        let guards = Guards::default();
        let first = guards.take(Guard::None).unwrap();
        let second = guards.take(Guard::None).unwrap();
        drop((first, second));
        assert!(guards.0.lock().is_empty());
    }

    #[test]
    fn an_unpublish_is_not_excluded_by_a_publish_of_its_target() {
        let guards = Guards::default();
        let target = PathBuf::from("/kubelet/a");
        let _publish = guards.take(Guard::Publish(target.clone())).unwrap();
        let _single = guards.take(Guard::PublishOnce("v".to_owned())).unwrap();
        let _unpublish = guards.take(Guard::Unpublish(target)).unwrap();
    }
}
