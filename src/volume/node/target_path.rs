//! The target path of a publish.

use std::path::{Component, Path, PathBuf};

use crate::linux::SysError;

use crate::volume::error::{Error, Result};

/// A target path below the kubelet directory, as the mount table writes it: without symbolic links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPath(PathBuf);

impl TargetPath {
    /// Resolves a target path. The parent directory belongs to kubelet, is on a local disk, and is looked up. The target
    /// itself, which may be a mount of a dead server, is never looked up. `None` if the parent does not exist.
    ///
    /// A target outside of the kubelet directory is refused, because what is mounted there would not appear on the host.
    pub fn resolve(kubelet_dir: &Path, target: &Path) -> Result<Option<Self>> {
        let invalid =
            |reason: String| Error::invalid("target_path", format!("{}: {reason}", target.display()));
        let (Some(parent), Some(Component::Normal(name))) =
            (target.parent(), target.components().next_back())
        else {
            return Err(invalid("it is not the path of a directory".to_owned()));
        };
        if !target.is_absolute() {
            return Err(invalid("it is not absolute".to_owned()));
        }
        let parent = match parent.canonicalize() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(|e| SysError::new("resolve", parent.display().to_string(), e))?,
        };
        if !parent.starts_with(kubelet_dir) {
            let kubelet_dir = kubelet_dir.display();
            return Err(invalid(format!(
                "it is not below the kubelet directory {kubelet_dir}, so what is mounted there would not reach a pod; if \
                 kubelet runs with another --root-dir, give the same directory to the driver as --kubelet-dir"
            )));
        }
        Ok(Some(Self(parent.join(name))))
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_above_the_target_is_resolved_and_the_target_is_not() {
        let temporary = tempfile::tempdir().unwrap();
        let top = temporary.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("real/pods")).unwrap();
        std::os::unix::fs::symlink("real", top.join("link")).unwrap();
        std::os::unix::fs::symlink("/etc", top.join("real/pods/mount")).unwrap();
        let resolve = |path: &str| TargetPath::resolve(&top.join("real"), &top.join(path));
        assert_eq!(resolve("link/pods/mount").unwrap().unwrap().as_path(), top.join("real/pods/mount"));
        assert_eq!(resolve("real/pods/other/").unwrap().unwrap().as_path(), top.join("real/pods/other"));
        assert!(resolve("real/absent/mount").unwrap().is_none());
        assert!(resolve("mount").is_err(), "outside");
        assert!(resolve("real/pods/..").is_err());
        assert!(TargetPath::resolve(&top, Path::new("some/path")).is_err());
        assert!(TargetPath::resolve(&top, Path::new("/")).is_err());
    }
}
