//! Removing the ephemeral volumes of nodes that are gone.
//!
//! A node that gives no sign of life may still run its pods: its node service may be stopped or broken, or the node may be cut
//! off from the server. So a directory counts as abandoned only if all of this is true:
//!
//! - the sign of life is a day old by the clock of the server, which has written it;
//! - this process has looked at the sign for a while, by its own clock, and it has not changed: the clock of the server may
//!   have jumped;
//! - nothing in the directory has changed for a day: a pod that writes is alive, whatever its node service does;
//! - after the directory was taken away, and each time before it is removed, the sign is still the same. If not, the directory
//!   gets its place back. A pod that uses it meanwhile does not notice, since its mount follows the directory.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use crate::linux::dir::Entry;
use crate::linux::{Dir, Time};

use super::{FOLDER, remove_empty};
use crate::volume::error::{Error, Result};
use crate::volume::share::abandoned::{Findings, longest_silence};
use crate::volume::share::legacy::{DEEPEST, changed_since};
use crate::volume::share::process_dir::{ALIVE, Draft, sign_of};
use crate::volume::share::state_dir::StateDir;

/// For how many seconds a node gives no sign of life, and nothing in a volume of it changes, before the volume is removed.
const SILENT_FOR: i64 = 24 * 60 * 60;
/// How often the nodes are looked at, at most, while none of them is silent. The services ask for it once an hour.
const ROUND: Duration = Duration::from_mins(50);
/// What the names of directories begin with that were taken away from a silent node:
/// `~silent~<seconds>~<nanoseconds>~<node>~<key>`, with the time of the last sign. No key of a volume and no name of a node has
/// this character.
const SILENT: &str = "~silent~";

/// What this process has seen of silent nodes.
#[derive(Debug, Default)]
pub(in crate::volume::share) struct SilentNodes {
    sightings: HashMap<OsString, (Option<Time>, Instant)>,
    next: Option<Instant>,
}

impl SilentNodes {
    /// Looks at all nodes, unless that was done a short time ago and no node was silent. Takes over what silent ones have left.
    /// NFS requests, once an hour: GETATTR and READDIR for the folder, three requests for the time of the server, and for each
    /// node LOOKUP, and GETATTR of its sign.
    pub(in crate::volume::share) fn look(&mut self, state: &StateDir) -> Result<Findings> {
        let mut findings = Findings::default();
        if self.next.is_some_and(|next| Instant::now() < next) {
            return Ok(findings);
        }
        if let Some(nodes) = state.existing_part(FOLDER)? {
            nodes.fresh()?;
            let entries = nodes.entries(usize::MAX)?;
            if !entries.is_empty() {
                let now = state.process()?.server_time()?;
                let mut seen = HashMap::new();
                for node in entries {
                    match self.look_at(state, &nodes, &node.name, now, &mut seen, &mut findings) {
                        Err(error) if !error.is_gone() => findings.failures.push(error),
                        _ => {}
                    }
                }
                self.sightings = seen;
            }
        }
        findings.more = !self.sightings.is_empty();
        self.next = (!findings.more).then(|| Instant::now() + ROUND);
        Ok(findings)
    }

    fn look_at(
        &self,
        state: &StateDir,
        nodes: &Dir,
        node: &OsStr,
        now: i64,
        seen: &mut HashMap<OsString, (Option<Time>, Instant)>,
        findings: &mut Findings,
    ) -> Result<()> {
        let dir = nodes.open_dir(node)?;
        let sign = sign_of(&dir)?;
        // A node that was killed before its first sign is as old as its directory.
        let last = sign.map_or_else(|| dir.fresh().map(|own| own.attributes.mtime), Ok)?;
        let oldest_kept = now.saturating_sub(SILENT_FOR);
        if last.seconds > oldest_kept {
            return Ok(());
        }
        let before = self.sightings.get(node).filter(|(before, _)| *before == sign);
        let since = before.map_or_else(Instant::now, |(_, since)| *since);
        if since.elapsed() < longest_silence(&dir, state) {
            seen.insert(node.to_owned(), (sign, since));
            return Ok(());
        }
        let (mut kept, mut entries) = (false, dir.entries(usize::MAX)?);
        entries.retain(|entry| entry.name != ALIVE && !entry.name.as_encoded_bytes().starts_with(b".nfs"));
        for entry in &entries {
            if changed_since(&dir, entry, oldest_kept, DEEPEST)? {
                kept = true;
            } else {
                findings.taken.push(take(state, &dir, node, entry, sign)?);
            }
        }
        if kept { Ok(()) } else { remove_empty(nodes, node, &dir) }
    }
}

fn take(state: &StateDir, dir: &Dir, node: &OsStr, entry: &Entry, sign: Option<Time>) -> Result<Draft> {
    let (Some(node), Some(key)) = (node.to_str(), entry.name.to_str()) else {
        return Err(Error::Precondition(format!(
            "{}/{}: no name of a volume",
            dir.label(),
            entry.name.display()
        )));
    };
    let (seconds, nanoseconds) = sign.map_or((0, 0), |sign| (sign.seconds, sign.nanoseconds));
    let draft = state.process()?.hold(format!("{SILENT}{seconds:x}~{nanoseconds:x}~{node}~{key}"));
    dir.rename(key, draft.dir(), draft.name())?;
    tracing::info!(node, volume = key, "the node is silent for a day; its ephemeral volume is removed");
    Ok(draft)
}

impl StateDir {
    /// Gives a directory back its place that was taken away from a silent node, if the node has given a sign of life since. `true`
    /// if that is so. `false` as well for everything else.
    pub(in crate::volume::share) fn give_back(&self, draft: &Draft) -> Result<bool> {
        let Some(taken) = Taken::parse(draft.name()) else { return Ok(false) };
        let Some(nodes) = self.existing_part(FOLDER)? else { return Ok(false) };
        nodes.fresh()?;
        let dir = match nodes.open_dir(taken.node) {
            Err(error) if error.is_not_found() => return Ok(false),
            dir => dir?,
        };
        match sign_of(&dir)? {
            Some(sign) if (sign.seconds, sign.nanoseconds) != taken.sign => {}
            _ => return Ok(false),
        }
        match draft.dir().rename(draft.name(), &dir, taken.key) {
            // The node has made another volume of this key meanwhile, and nobody uses this one.
            Err(error) if error.is_not_empty() => Ok(false),
            Err(error) => Err(error.into()),
            Ok(()) => {
                tracing::warn!(
                    node = taken.node,
                    volume = taken.key,
                    "the node is back and keeps its ephemeral volume"
                );
                Ok(true)
            }
        }
    }
}

/// What the name of a directory says that was taken away from a silent node.
#[derive(Debug, PartialEq, Eq)]
struct Taken<'a> {
    sign: (i64, u32),
    node: &'a str,
    key: &'a str,
}

impl<'a> Taken<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let mut parts = name.strip_prefix(SILENT)?.splitn(4, '~');
        let (seconds, nanoseconds, node, key) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let sign = (i64::from_str_radix(seconds, 16).ok()?, u32::from_str_radix(nanoseconds, 16).ok()?);
        Some(Self { sign, node, key })
    }
}

#[cfg(test)]
mod tests {
    use super::super::NodeFolder;
    use super::*;
    use crate::volume::name::handle::VolumeKey;

    struct Share {
        temporary: tempfile::TempDir,
        state: StateDir,
        folder: NodeFolder,
    }

    const SOON: Duration = Duration::from_millis(10);

    /// A share with an ephemeral volume that has the file `deep/file`.
    fn share() -> Share {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        let state = StateDir::create(&dir).unwrap().with_abandoned_after(SOON);
        let folder = NodeFolder::of_new_node("n");
        let own = state.open_ephemeral(&folder, &key(), 0o777).unwrap();
        own.make_dir("deep", 0o777).unwrap();
        own.open_dir("deep").unwrap().create_file("file", b"").unwrap();
        state.sign_for_node(&folder, SOON / 10).unwrap();
        Share { temporary, state, folder }
    }

    fn key() -> VolumeKey {
        VolumeKey::of_name("csi-1")
    }

    impl Share {
        fn volume(&self) -> std::path::PathBuf {
            self.temporary.path().join(self.folder.path_of(&key()))
        }

        /// Sets the time of the last sign, in seconds since 1970.
        fn set_sign(&self, seconds: u64) {
            let alive = self.volume().parent().unwrap().join(ALIVE);
            let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
            std::fs::File::options().write(true).open(alive).unwrap().set_modified(time).unwrap();
        }

        /// Takes the volume as if it had not changed for long, whatever its ctime is, which nobody can set.
        fn taken(&self) -> Draft {
            let dir = self.state.existing_part(&self.folder.0).unwrap().unwrap();
            let name = self.folder.0.strip_prefix("nodes/").unwrap();
            let entry = Entry { name: key().as_str().into(), is_dir: Some(true), inode: 0 };
            take(&self.state, &dir, OsStr::new(name), &entry, sign_of(&dir).unwrap()).unwrap()
        }
    }

    #[test]
    fn a_volume_that_has_changed_stays_although_its_node_is_silent() {
        let share = share();
        let mut nodes = SilentNodes::default();
        assert!(!nodes.look(&share.state).unwrap().more, "the node is alive");
        share.set_sign(1000);
        assert!(!nodes.look(&share.state).unwrap().more, "the next look is in an hour");
        nodes.next = None;
        assert!(nodes.look(&share.state).unwrap().more, "the sign is old");
        std::thread::sleep(2 * SOON);
        let findings = nodes.look(&share.state).unwrap();
        assert!(findings.taken.is_empty() && findings.failures.is_empty() && !findings.more, "{findings:?}");
        assert!(share.volume().join("deep/file").exists());
    }

    #[test]
    fn a_volume_gets_its_place_back_when_its_node_gives_a_sign() {
        let share = share();
        share.set_sign(1000);
        let taken = share.taken();
        assert!(!share.volume().exists());
        assert!(!share.state.give_back(&taken).unwrap(), "still silent");
        share.state.sign_for_node(&share.folder, SOON).unwrap();
        assert!(share.state.give_back(&taken).unwrap());
        assert!(share.volume().join("deep/file").exists());

        let again = share.taken();
        share.state.open_ephemeral(&share.folder, &key(), 0o777).unwrap().create_file("new", b"").unwrap();
        share.state.sign_for_node(&share.folder, SOON).unwrap();
        assert!(!share.state.give_back(&again).unwrap(), "its place is taken");
        assert!(share.volume().join("new").exists());
    }

    #[test]
    fn a_node_directory_goes_when_it_is_empty_and_comes_again() {
        let share = share();
        share.state.remove_node_dir(&share.folder).unwrap();
        assert!(share.volume().exists(), "it is not empty");
        assert!(share.state.discard_ephemeral(&share.folder, &key()).unwrap());
        assert!(!share.state.discard_ephemeral(&share.folder, &key()).unwrap());
        share.state.remove_node_dir(&share.folder).unwrap();
        assert!(!share.volume().parent().unwrap().exists());
        share.state.sign_for_node(&share.folder, SOON).unwrap();
        assert!(!share.volume().parent().unwrap().exists(), "no volume, no sign");
        share.state.open_ephemeral(&share.folder, &key(), 0o777).unwrap();
    }

    #[test]
    fn names_of_what_was_taken_are_read() {
        let name = "~silent~-5~3b9ac9ff~n.1-2~a.b_c";
        let taken = Taken { sign: (-5, 999_999_999), node: "n.1-2", key: "a.b_c" };
        assert_eq!(Taken::parse(name), Some(taken));
        for name in ["", "~silent~", "~silent~x~0~n~k", "~silent~0~0~n", "csi-1", "~name~0~0~n~k"] {
            assert_eq!(Taken::parse(name), None, "{name}");
        }
    }
}
