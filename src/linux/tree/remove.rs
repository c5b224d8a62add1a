//! Removing a directory tree by directory handles, with several threads.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::queue::Queue;
use crate::linux::dir::{Dir, Entry};
use crate::linux::error::{Result, SysError};
use crate::linux::process::unique;

/// Threads for one large tree. Each of them waits for the server most of the time.
const WORKERS: usize = 4;
/// The number of waiting directories at which more threads than the caller's are started. Most volumes are small.
const WORTH_HELP: usize = 8;
/// Levels that are entered below the top. A deeper directory is first moved up, so that a tree of any depth needs a
/// bounded number of open handles.
const DEPTH: usize = 32;
/// The most directories in the queue. Further ones are found later, when their parent directory is read again.
const LONGEST_QUEUE: usize = 10_000;
/// A directory with at most this many entries is not read twice.
const SMALL: usize = 32;
/// How often one directory is read again because it was not empty.
const PASSES: usize = 1000;

/// A removal that is interrupted reads the list of a large directory again. So for the time that reading takes, it may go on for this many times as
/// long.
const READING: u32 = 4;

/// How fast entries may be removed, and for how long.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
    /// When to stop, if there is a limit.
    end: Option<Mutex<Instant>>,
    /// Whether an entry has been removed.
    has_begun: AtomicBool,
    /// Whether something was left because the time was over.
    has_interrupted: AtomicBool,
}

impl Pace {
    /// At most `per_second` entries in a second; `None` for no limit.
    #[must_use]
    pub fn new(per_second: Option<u32>) -> Self {
        let interval = per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.max(1));
        let (has_begun, has_interrupted) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { interval, next: Mutex::new(Instant::now()), end: None, has_begun, has_interrupted }
    }

    /// Stops after this time; `None` for no limit. At least one entry is removed before, so that a removal comes to an end by being repeated.
    #[must_use]
    pub fn for_at_most(self, time: Option<Duration>) -> Self {
        Self { end: time.map(|time| Mutex::new(Instant::now() + time)), ..self }
    }

    /// Whether something was left because the time was over.
    #[must_use]
    pub fn has_interrupted(&self) -> bool {
        self.has_interrupted.load(Ordering::SeqCst)
    }

    /// Whether to stop now.
    fn interrupts(&self) -> bool {
        let passed = |end: &Mutex<Instant>| Instant::now() > *end.lock();
        let interrupts = self.has_begun.load(Ordering::SeqCst) && self.end.as_ref().is_some_and(passed);
        if interrupts {
            self.has_interrupted.store(true, Ordering::SeqCst);
        }
        interrupts
    }

    /// Allows more time after a list has been read.
    fn has_read(&self, time: Duration) {
        if let Some(end) = &self.end {
            *end.lock() += time * READING;
        }
    }

    /// Waits until the next entry may be removed.
    pub(super) fn wait(&self) {
        self.has_begun.store(true, Ordering::SeqCst);
        if self.interval.is_zero() {
            return;
        }
        let turn = {
            let mut next = self.next.lock();
            let turn = (*next).max(Instant::now());
            *next = turn + self.interval;
            turn
        };
        std::thread::sleep(turn.saturating_duration_since(Instant::now()));
    }
}

/// Removes the entry `name` of `parent` with everything in it. Symbolic links are removed, never followed. If an entry
/// cannot be removed, the others are removed nevertheless; all failures are returned. A directory on another file system is left
/// as it is, which is a failure. If the time of `pace` is over before, the rest stays ([`Pace::has_interrupted`]).
///
/// NFS requests: two READDIR for a few hundred entries, then one REMOVE for each entry. The second READDIR gives the
/// client the attributes of the entries. Without it, each entry would also cost a LOOKUP.
pub fn remove_tree(parent: &Dir, name: &OsStr, pace: &Pace) -> Result<(), Vec<SysError>> {
    let top = parent.open_dir(".").and_then(|dir| Position::new(dir, OsString::new(), None));
    let top = Arc::new(top.map_err(|error| vec![error])?);
    let removal = Removal { parent, name, pace, queue: Queue::new(), failures: Mutex::default() };
    removal.queue(&top, name.to_owned());
    removal.queue.work(WORKERS, WORTH_HELP, |waiting| removal.enter(waiting));
    let failures = removal.failures.into_inner();
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// A directory that is being emptied.
struct Position {
    dir: Dir,
    /// The file system of the directory.
    device: u64,
    name: OsString,
    /// The parent directory; `None` for the directory that contains the tree.
    above: Option<Arc<Position>>,
    depth: usize,
    /// Work that must end before the directory can be removed: reading it, and emptying each directory in it.
    below: AtomicUsize,
    /// How often the directory was read again.
    passes: AtomicUsize,
}

impl Position {
    fn new(dir: Dir, name: OsString, above: Option<Arc<Self>>) -> Result<Self> {
        let device = dir.device()?;
        if above.as_ref().is_some_and(|above| above.device != device) {
            return Err(SysError::other_file_system("remove", dir.label()));
        }
        let depth = above.as_ref().map_or(0, |above| above.depth + 1);
        Ok(Self { dir, device, name, above, depth, below: AtomicUsize::new(1), passes: AtomicUsize::new(0) })
    }
}

/// A directory that waits to be emptied.
struct Waiting {
    above: Arc<Position>,
    name: OsString,
}

struct Removal<'a> {
    parent: &'a Dir,
    name: &'a OsStr,
    pace: &'a Pace,
    queue: Queue<Waiting>,
    failures: Mutex<Vec<SysError>>,
}

impl Removal<'_> {
    fn failures(&self) -> MutexGuard<'_, Vec<SysError>> {
        self.failures.lock()
    }

    fn enter(&self, Waiting { above, name }: Waiting) {
        if self.pace.interrupts() {
            if above.above.is_none() && name != self.name {
                // It was moved up. Beside the tree nobody would know what it belongs to.
                let tree = self.parent.open_dir(self.name);
                self.note(tree.and_then(|tree| self.parent.rename(&name, &tree, &name)));
            }
            return self.done_below(&above);
        }
        let opened = above.dir.open_dir(&name);
        match opened.and_then(|dir| Position::new(dir, name.clone(), Some(Arc::clone(&above)))) {
            Ok(place) => self.empty(&Arc::new(place)),
            Err(error) => {
                // The entry is not a directory, or no longer. Remove the entry itself.
                let removed = if error.is_unsafe_path() { above.dir.remove_file(&name) } else { Err(error) };
                self.note(removed);
                self.done_below(&above);
            }
        }
    }

    /// Removes the entries of the directory, and queues the entries that are directories.
    fn empty(&self, place: &Arc<Position>) {
        let mut first = Vec::new();
        let mut count = 0;
        let begun = Instant::now();
        let read = place.dir.for_each_entry(|entry| {
            count += 1;
            if first.len() < SMALL {
                first.push(entry);
            }
        });
        if count > SMALL {
            self.pace.has_read(begun.elapsed());
        }
        let read = match read {
            Ok(()) if count > SMALL => place.dir.try_each_entry(|entry| self.remove_entry(place, entry)),
            read => {
                for entry in first {
                    self.remove_entry(place, entry);
                }
                read
            }
        };
        self.note(read);
        self.done_below(place);
    }

    /// Removes an entry or queues it. Returns `false` if the time is over.
    fn remove_entry(&self, place: &Arc<Position>, entry: Entry) -> bool {
        if self.pace.interrupts() {
            return false;
        }
        if entry.is_dir == Some(false) {
            self.pace.wait();
            self.note(place.dir.remove_file(&entry.name));
        } else if place.depth >= DEPTH {
            self.move_up(place, &entry.name);
        } else {
            self.queue(place, entry.name);
        }
        true
    }

    fn queue(&self, above: &Arc<Position>, name: OsString) {
        if self.queue.waiting() < LONGEST_QUEUE {
            above.below.fetch_add(1, Ordering::SeqCst);
            self.queue.push([Waiting { above: Arc::clone(above), name }]);
        }
    }

    /// Takes note that one piece of work for `place` has ended. After the last one, removes the directory itself, which
    /// is one ended piece of work of its parent.
    fn done_below(&self, place: &Arc<Position>) {
        if place.below.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        let Some(above) = &place.above else { return };
        if self.pace.interrupts() {
            return self.done_below(above);
        }
        self.pace.wait();
        match above.dir.remove_dir(&place.name) {
            // Entries that were not listed, which can happen on NFS while a directory changes, or new entries.
            Err(error)
                if error.is_not_empty()
                    && self.failures().is_empty()
                    && place.passes.fetch_add(1, Ordering::SeqCst) < PASSES =>
            {
                place.below.store(1, Ordering::SeqCst);
                return self.empty(place);
            }
            removed => self.note(removed),
        }
        self.done_below(above);
    }

    /// Moves a directory that is too deep to the directory that contains the tree, and queues it there.
    fn move_up(&self, place: &Arc<Position>, name: &OsStr) {
        let up = OsString::from(format!("deep.{:x}", unique()));
        match place.dir.rename(name, self.parent, &up) {
            Ok(()) => {
                let mut top = place;
                while let Some(above) = &top.above {
                    top = above;
                }
                self.queue(top, up);
            }
            failed => self.note(failed),
        }
    }

    /// Records a failure. An entry that does not exist any more counts as removed.
    fn note(&self, result: Result<()>) {
        match result {
            Err(error) if !error.is_not_found() => self.failures().push(error),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn remove(parent: &Dir, name: &str) -> Result<(), Vec<SysError>> {
        remove_tree(parent, OsStr::new(name), &Pace::new(None))
    }

    #[test]
    fn a_deep_and_wide_tree_is_removed_and_the_targets_of_links_stay() {
        let temporary = tempfile::tempdir().unwrap();
        let outside = temporary.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("canary"), "alive").unwrap();
        let mut place = temporary.path().join("trash/tree");
        for _ in 0..3 * DEPTH {
            std::fs::create_dir_all(&place).unwrap();
            symlink(&outside, place.join("link")).unwrap();
            std::fs::write(place.join("file"), "x").unwrap();
            place.push("d");
        }
        for number in 0..2000 {
            let name = temporary.path().join("trash/tree").join(number.to_string());
            if number % 3 == 0 {
                std::fs::create_dir(name).unwrap();
            } else {
                std::fs::write(name, "").unwrap();
            }
        }
        let trash = Dir::open(&temporary.path().join("trash")).unwrap();
        remove(&trash, "tree").unwrap();
        assert_eq!(trash.entries(10).unwrap(), []);
        assert_eq!(std::fs::read_to_string(outside.join("canary")).unwrap(), "alive");
    }

    #[test]
    fn a_link_in_place_of_the_tree_is_removed_itself() {
        let temporary = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("canary"), "").unwrap();
        symlink(outside.path(), temporary.path().join("tree")).unwrap();
        remove(&Dir::open(temporary.path()).unwrap(), "tree").unwrap();
        assert!(outside.path().join("canary").exists());
        assert!(!temporary.path().join("tree").is_symlink());
    }

    #[test]
    fn a_tree_that_does_not_exist_is_removed_already() {
        let temporary = tempfile::tempdir().unwrap();
        remove(&Dir::open(temporary.path()).unwrap(), "absent").unwrap();
    }

    #[test]
    fn a_removal_in_many_small_steps_comes_to_an_end_and_leaves_nothing_beside_the_tree() {
        let temporary = tempfile::tempdir().unwrap();
        let mut place = temporary.path().join("tree");
        for _ in 0..8 * DEPTH {
            std::fs::create_dir_all(&place).unwrap();
            (0..3).for_each(|number| std::fs::write(place.join(format!("f{number}")), "x").unwrap());
            place.push("d");
        }
        let parent = Dir::open(temporary.path()).unwrap();
        let mut steps = 1;
        let step = || {
            let instant = Pace::new(None).for_at_most(Some(Duration::ZERO));
            remove_tree(&parent, OsStr::new("tree"), &instant).unwrap();
            instant.has_interrupted()
        };
        while step() {
            assert!(parent.entries(10).unwrap().len() == 1 && steps < 2000);
            steps += 1;
        }
        assert!(parent.entries(10).unwrap().is_empty() && steps > 5, "{steps}");
    }

    #[test]
    fn a_pace_limits_the_entries_removed_in_a_second() {
        let pace = Pace::new(Some(1000));
        let begun = Instant::now();
        (0..50).for_each(|_| pace.wait());
        assert!(begun.elapsed() >= Duration::from_millis(49));
    }
}
