//! What the kernel's NFS client keeps of access rights, and how to have it ask again.
//!
//! The client asks the server once for each directory what a user may do there, and keeps the answer until the directory changes. So
//! after a server has denied something, it goes on to be denied when the server would allow it again, such as after root_squash was
//! switched off. A user is, to the client, a number, a group, and the list of further groups. Who has another list is another user, of
//! whom the client knows nothing. The lists here contain nothing but the group of root, several times. To the server they all mean the same.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::thread::{Gid, set_thread_groups};

/// How many lists there are.
const LISTS: u64 = 4096;

thread_local! {
    /// The number of this thread's list.
    static OWN: Cell<usize> = const { Cell::new(0) };
}

/// As whom the client asks a server. Each mounted export has its own, so that a denial on one makes no requests to others.
#[derive(Debug, Default)]
pub struct Asker(AtomicUsize);

impl Asker {
    /// Lets this thread, and those that it starts, ask as this one. Costs a system call if the thread was another one before.
    pub fn assume(&self) {
        let number = self.0.load(Ordering::Relaxed);
        if OWN.replace(number) != number {
            // The C library's setgroups(3) waits until all threads have changed, also those that wait for a dead server.
            if let Err(error) = set_thread_groups(&vec![Gid::ROOT; number]) {
                tracing::debug!(%error, "cannot have the NFS client ask again for access rights");
            }
        }
    }

    /// Has the client ask the server anew for everything that it needs from now on. One ACCESS for each directory that is used.
    ///
    /// The list is a random one, because other processes of the driver on this machine may share what the client keeps, and have used others.
    pub fn change(&self) {
        let random = RandomState::new().hash_one(()) % LISTS;
        self.0.store(usize::try_from(random).unwrap_or_default() + 1, Ordering::Relaxed);
        self.assume();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_who_the_export_that_it_works_on_wants_it_to_be() {
        let (one, other) = (Asker::default(), Asker::default());
        one.change();
        let number = OWN.get();
        assert!(number > 0);
        other.assume();
        assert_eq!(OWN.get(), 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                one.assume();
                assert_eq!(OWN.get(), number, "also a thread that was not there at the change");
            });
        });
    }
}
