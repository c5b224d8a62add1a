//! Publishes under way, and how an unpublish revokes them.
//!
//! A publish can hang for as long as its server is silent, and an unpublish of its target must not wait for it. So the
//! unpublish marks the publish as revoked and goes on. The publish looks at the mark before anything appears at the target.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::volume::error::{Error, Result};

/// The publishes under way, by the target path as the calls name it.
#[derive(Debug, Clone, Default)]
pub(super) struct Targets(Arc<Mutex<HashMap<PathBuf, Vec<Arc<Revoked>>>>>);

/// Whether an unpublish has revoked the publish. Locked while the volume appears at the target, which needs no server.
type Revoked = Mutex<bool>;

/// One publish, from the arrival of its call until this is dropped.
#[derive(Debug)]
pub struct Attempt {
    targets: Targets,
    target: PathBuf,
    revoked: Arc<Revoked>,
}

impl Targets {
    /// Begins a publish at a target path.
    pub(super) fn begin(&self, target: &Path) -> Attempt {
        let (target, revoked) = (target.to_owned(), Arc::default());
        self.0.lock().entry(target.clone()).or_default().push(Arc::clone(&revoked));
        Attempt { targets: self.clone(), target, revoked }
    }

    /// Revokes all publishes at a target path. When this returns, each of them has either put its volume there already, or
    /// will never do so.
    pub(super) fn revoke(&self, target: &Path) {
        let attempts = self.0.lock().get(target).cloned().unwrap_or_default();
        for revoked in attempts {
            *revoked.lock() = true;
        }
    }
}

impl Attempt {
    /// Does the last step of a publish, which must need no server, unless the publish has been revoked.
    pub(super) fn finish<T>(&self, last_step: impl FnOnce() -> Result<T>) -> Result<T> {
        let revoked = self.revoked.lock();
        if *revoked {
            let target = self.target.display();
            return Err(Error::Busy(format!(
                "the volume was unpublished from {target} while this call was still publishing it; nothing was mounted"
            )));
        }
        last_step()
    }

    /// Whether an unpublish has revoked this publish.
    pub(super) fn is_revoked(&self) -> bool {
        *self.revoked.lock()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut targets = self.targets.0.lock();
        if let Some(attempts) = targets.get_mut(&self.target) {
            attempts.retain(|revoked| !Arc::ptr_eq(revoked, &self.revoked));
            if attempts.is_empty() {
                targets.remove(&self.target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_publish_puts_nothing_there_and_a_later_one_does() {
        let targets = Targets::default();
        let (target, other) = (Path::new("/kubelet/a"), Path::new("/kubelet/b"));
        let (hung, beside) = (targets.begin(target), targets.begin(other));
        targets.revoke(target);
        let error = hung.finish(|| -> Result<()> { panic!("it was revoked") }).unwrap_err();
        assert!(matches!(error, Error::Busy(_)) && error.to_string().contains("/kubelet/a"), "{error}");
        beside.finish(|| Ok(())).unwrap();
        let later = targets.begin(target);
        later.finish(|| Ok(())).unwrap();
        drop((hung, beside, later));
        assert!(targets.0.lock().is_empty(), "nothing is kept");
    }

    #[test]
    fn an_unpublish_waits_only_for_the_last_step() {
        let targets = Targets::default();
        let target = Path::new("/kubelet/a");
        let attempt = targets.begin(target);
        let (begun, wait) = std::sync::mpsc::channel();
        let mounted = Mutex::new(false);
        std::thread::scope(|scope| {
            let publish = scope.spawn(|| {
                attempt.finish(|| {
                    begun.send(()).unwrap();
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    *mounted.lock() = true;
                    Ok(())
                })
            });
            wait.recv().unwrap();
            targets.revoke(target);
            assert!(*mounted.lock(), "an unpublish finds what was put there before it");
            publish.join().unwrap().unwrap();
        });
    }
}
