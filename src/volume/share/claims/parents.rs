//! The directories above those of volumes, which a template asks for: `ns` of `ns/claim`.
//!
//! One that this driver has made is removed when the last volume in it is deleted. One that was there before, or that somebody
//! has made anew, stays. So an empty file in the state directory says which ones the driver has made: `.made.<inode>` in the
//! folder that has the claims of the volumes inside ([`super`]).

use super::{INSIDE, hash_of};
use crate::linux::Dir;

use crate::volume::error::{Result, refuse_unsafe};
use crate::volume::name::sub_dir::SubDir;
use crate::volume::share::state_dir::StateDir;

/// Mode of the directories. Pods never walk them: a volume is bound by its own handle.
const MODE: u32 = 0o755;

impl StateDir {
    /// Opens the directory `path`, and makes what is missing of it. NFS requests: a LOOKUP for each that exists; for each that is
    /// made MKDIR, ACCESS, LOOKUP, and 4 to note it.
    pub(in crate::volume) fn make_parents(&self, path: &str) -> Result<Dir> {
        let mut dir = self.share.open_place(".").map_err(refuse_unsafe)?.with_label(self.share.label());
        let mut begun = 0;
        for name in path.split('/') {
            let made = match dir.open_dir(name) {
                Err(error) if error.is_not_found() => match dir.make_dir(name, MODE) {
                    Err(error) if !error.is_taken() => return Err(error.into()),
                    made => made.is_ok(),
                },
                opened => {
                    dir = opened.map_err(refuse_unsafe)?;
                    begun += name.len() + 1;
                    continue;
                }
            };
            dir = dir.open_dir(name).map_err(refuse_unsafe)?;
            let path = &path[..begun + name.len()];
            begun += name.len() + 1;
            if made {
                let inside = self.kept_part(INSIDE)?.open_or_make_dir(hash_of(path), 0o700)?;
                match inside.create_file(mark_of(&dir)?, b"") {
                    Err(error) if !error.is_taken() => return Err(error.into()),
                    _ => {}
                }
            }
        }
        Ok(dir)
    }

    /// Whether the directory `path` is one that the driver has made because it is above those of volumes. NFS requests: LOOKUP of the
    /// directory, of the folder, and of its mark.
    pub(in crate::volume) fn has_made_above(&self, path: &SubDir) -> Result<bool> {
        let mark = mark_of(&self.share.open_place(path.as_str())?)?;
        let inside = self.kept_part(INSIDE)?.open_dir(hash_of(path.as_str()))?;
        Ok(inside.fresh_entry(&mark)?.is_some())
    }

    /// Removes the directories above a volume that the driver has made and that are empty now: with rmdir(2), which refuses one
    /// that is not. What cannot be removed stays, as an empty directory does no harm. NFS requests for each: LOOKUP of it, LOOKUP
    /// twice of its mark, RMDIR; and REMOVE of the mark if it was empty.
    pub(in crate::volume) fn remove_empty_parents(&self, sub_dir: &SubDir) {
        let mut path = sub_dir.split().0;
        while let Some(dir) = path {
            match self.remove_made(dir) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(%error, "a directory above a deleted volume stays");
                    return;
                }
            }
            path = dir.rsplit_once('/').map(|(parent, _)| parent);
        }
    }

    /// `false`: the driver has not made it.
    fn remove_made(&self, path: &str) -> Result<bool> {
        let (above, name) = path.rsplit_once('/').unwrap_or((".", path));
        let above = self.share.open_place(above)?;
        let mark = mark_of(&above.open_place(name)?)?;
        let inside = self.kept_part(INSIDE)?.open_dir(hash_of(path))?;
        if inside.fresh_entry(&mark)?.is_none() {
            return Ok(false);
        }
        above.remove_dir(name)?;
        inside.remove_file(&mark)?;
        Ok(true)
    }
}

/// The name of the file that says that the driver has made this directory.
fn mark_of(dir: &Dir) -> Result<String> {
    Ok(format!(".made.{:x}", dir.inode()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_driver_has_made_is_removed() {
        let temporary = tempfile::tempdir().unwrap();
        let share = Dir::open(temporary.path()).unwrap();
        let state = StateDir::create(&share).unwrap();
        let at = |path: &str| temporary.path().join(path);
        let remove = |path: &str| state.remove_empty_parents(&SubDir::parse(path).unwrap());
        std::fs::create_dir(at("theirs")).unwrap();
        state.make_parents("theirs/ours/too").unwrap();
        state.make_parents("theirs/ours/too").unwrap();
        std::fs::create_dir(at("theirs/ours/volume")).unwrap();
        remove("theirs/ours/too/volume");
        assert!(!at("theirs/ours/too").exists() && at("theirs/ours").exists(), "one level was empty");
        std::fs::remove_dir(at("theirs/ours/volume")).unwrap();
        remove("theirs/ours/volume");
        assert!(!at("theirs/ours").exists() && at("theirs").exists(), "it was there before");
        // Somebody has removed the directory and made it anew.
        state.make_parents("ns").unwrap();
        std::fs::rename(at("ns"), at("old")).unwrap();
        std::fs::create_dir(at("ns")).unwrap();
        remove("ns/volume");
        assert!(at("ns").exists());
    }
}
