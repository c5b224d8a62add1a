//! What can be wrong with an export, or with a volume on it, and how this is found out.

use std::time::Duration;

use crate::linux::step::Wait;
use crate::linux::{Dir, NfsSource};

use crate::volume::error::{Error, Result};
use crate::volume::name::sub_dir::SubDir;
use crate::volume::share::directory::find_now;
use crate::volume::share::mounts::MountedExport;

/// A file system with fewer free bytes than this is full: the next file of any size does not fit.
const FULL: u64 = 1 << 20;

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The kind of the problem.
    pub trouble: Trouble,
    /// A text for people: which export or directory it is, what happened, and what to do.
    pub message: String,
}

/// The kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// The server does not answer, or was never reached.
    ExportSilent,
    /// The server answers, and the export cannot be mounted.
    ExportNotMountable,
    /// The server does not know the mounted directory any more, for example because the export has another fsid.
    ExportStale,
    /// The driver is not allowed to write on the export any more.
    NotWritable,
    /// The file system or a quota is full.
    Full,
    /// A volume has used nearly all of its size.
    NearlyFull,
    /// A volume is not limited to its size, although its export expects it.
    QuotaNotInForce,
    /// A volume has no directory.
    DirectoryGone,
    /// A directory is mounted for a pod, and the server does not know it any more.
    StaleMount,
    /// A directory is mounted for a pod, and the server did not allow that it gets the group of the pod.
    GroupRefused,
}

/// The severity of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// A pod may still use the volume, or may use it on another node.
    Degraded,
    /// No pod can use the volume.
    Inaccessible,
}

impl Trouble {
    /// The name of the kind, for programs: one word in CamelCase.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::ExportSilent => "ExportSilent",
            Self::ExportNotMountable => "ExportNotMountable",
            Self::ExportStale => "ExportStale",
            Self::NotWritable => "NotWritable",
            Self::Full => "Full",
            Self::NearlyFull => "NearlyFull",
            Self::QuotaNotInForce => "QuotaNotInForce",
            Self::DirectoryGone => "DirectoryGone",
            Self::StaleMount => "StaleMount",
            Self::GroupRefused => "GroupRefused",
        }
    }

    /// The severity if the controller finds the problem. A node may reach what the controller cannot reach.
    #[must_use]
    pub fn for_all_nodes(self) -> Severity {
        if self == Self::DirectoryGone { Severity::Inaccessible } else { Severity::Degraded }
    }

    /// The severity for the node that finds the problem.
    #[must_use]
    pub fn for_this_node(self) -> Severity {
        match self {
            Self::NotWritable
            | Self::Full
            | Self::GroupRefused
            | Self::NearlyFull
            | Self::QuotaNotInForce => Severity::Degraded,
            Self::ExportSilent
            | Self::ExportNotMountable
            | Self::ExportStale
            | Self::DirectoryGone
            | Self::StaleMount => Severity::Inaccessible,
        }
    }
}

impl Finding {
    /// How long the server of an export has not answered a question.
    #[must_use]
    pub fn silent(export: &NfsSource, since: Duration) -> Self {
        let seconds = since.as_secs_f64();
        let message = format!(
            "{export} has answered no call for {seconds:.0} s: does the NFS server run, and can this node reach it?"
        );
        Self { trouble: Trouble::ExportSilent, message }
    }

    /// How long a question to an export has waited for something that is not its server.
    #[must_use]
    pub fn not_asked(export: &NfsSource, since: Duration, wait: &Wait, check: &str) -> Self {
        let (seconds, step) = (since.as_secs_f64(), &wait.step);
        let message = format!(
            "{export} could not be asked for {seconds:.0} s, because this still waits for {step}; {check}"
        );
        Self { trouble: Trouble::ExportSilent, message }
    }

    /// What an error means for the health of an export or a volume. An error that says nothing about health is returned as it is.
    pub fn of(error: Error) -> Result<Self> {
        let trouble = match &error {
            error if error.is_unreachable() => Trouble::ExportSilent,
            Error::Mount(_) | Error::NotExported(_) => Trouble::ExportNotMountable,
            error if error.is_stale() => Trouble::ExportStale,
            Error::Denied(_) => Trouble::NotWritable,
            _ => return Err(error),
        };
        Ok(Self { trouble, message: error.to_string() })
    }
}

/// The problems that an examination found. An error that says something about health is one of them.
pub fn findings(looked: Result<Vec<Finding>>) -> Result<Vec<Finding>> {
    let mut found = looked.or_else(|error| Finding::of(error).map(|finding| vec![finding]))?;
    // Only the first problem of each kind is reported.
    found.sort_by_key(|finding| finding.trouble);
    found.dedup_by_key(|finding| finding.trouble);
    Ok(found)
}

/// Examines an export. NFS requests: GETATTR, FSSTAT, and a SETATTR of the times of a folder in the state directory. Only a
/// change shows whether the driver may write, because the NFS client keeps the access rights that the server has told once.
pub fn look(mounted: &MountedExport) -> Result<Vec<Finding>> {
    mounted.share().fresh()?;
    let full = look_for_room(mounted.share())?;
    let writable = mounted.existing_state().and_then(|state| state.map_or(Ok(()), |state| state.touch()));
    let denied = match writable {
        Ok(()) => None,
        Err(Error::Sys(error)) if error.is_read_only() => {
            let message = format!("{error}: the export is read-only now: export it with `rw`");
            Some(Finding { trouble: Trouble::NotWritable, message })
        }
        Err(error) => Some(Finding::of(error)?),
    };
    Ok(full.into_iter().chain(denied).collect())
}

/// Whether there is room on the file system of a directory, or in its quota. NFS request: FSSTAT.
pub fn look_for_room(dir: &Dir) -> Result<Option<Finding>> {
    let usage = dir.usage()?;
    let what = if usage.available_bytes < FULL {
        format!("{} bytes", usage.available_bytes)
    } else if usage.total_inodes > 0 && usage.available_inodes == 0 {
        "0 inodes".to_owned()
    } else {
        return Ok(None);
    };
    let message = format!("{} has {what} left: remove files, or make it larger", dir.label());
    Ok(Some(Finding { trouble: Trouble::Full, message }))
}

/// Whether the directory of a volume is there. NFS requests: GETATTR and LOOKUP.
pub fn look_for_directory(share: &Dir, sub_dir: &SubDir) -> Result<Option<Finding>> {
    let message = match find_now(share, sub_dir) {
        Ok(Some(_)) => return Ok(None),
        Ok(None) => format!(
            "{}/{sub_dir} does not exist on the server: restore the directory, or delete the volume",
            share.label()
        ),
        // Something else is in its place.
        Err(Error::Precondition(reason)) => reason,
        Err(error) => return Err(error),
    };
    Ok(Some(Finding { trouble: Trouble::DirectoryGone, message }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::{MountError, SysError};
    use nix::errno::Errno;

    fn export() -> NfsSource {
        NfsSource { server: "nas".to_owned(), share: "/srv".to_owned() }
    }

    #[test]
    fn errors_that_tell_about_the_export_are_findings_and_others_are_not() {
        let sys = |errno| Error::from(SysError::new("stat", "nas:/srv/x", errno));
        let unreachable = MountError::Unreachable { export: export(), port: 2049, tried: Vec::new() };
        let trouble = |error| Finding::of(error).map(|finding| finding.trouble);
        assert_eq!(trouble(unreachable.into()).unwrap(), Trouble::ExportSilent);
        assert_eq!(trouble(sys(Errno::ETIMEDOUT)).unwrap(), Trouble::ExportSilent);
        let version = MountError::Version { export: export(), offered: 3..=3, wanted: "4".to_owned() };
        assert_eq!(trouble(version.into()).unwrap(), Trouble::ExportNotMountable);
        assert_eq!(trouble(sys(Errno::ESTALE)).unwrap(), Trouble::ExportStale);
        assert_eq!(trouble(sys(Errno::EACCES)).unwrap(), Trouble::NotWritable);
        assert!(trouble(Error::NotFound(String::new())).is_err());
    }

    #[test]
    fn the_controller_calls_a_volume_inaccessible_only_if_its_directory_is_gone() {
        assert_eq!(Trouble::DirectoryGone.for_all_nodes(), Severity::Inaccessible);
        for trouble in
            [Trouble::ExportSilent, Trouble::ExportStale, Trouble::ExportNotMountable, Trouble::Full]
        {
            assert_eq!(trouble.for_all_nodes(), Severity::Degraded, "{trouble:?}");
        }
        assert_eq!(Trouble::ExportSilent.for_this_node(), Severity::Inaccessible);
        assert_eq!(Trouble::Full.for_this_node(), Severity::Degraded);
    }

    #[test]
    fn one_kind_of_trouble_is_told_once() {
        let silent = |seconds| Finding::silent(&export(), Duration::from_secs(seconds));
        assert_eq!(findings(Ok(vec![silent(12), silent(13)])).unwrap(), [silent(12)]);
        assert!(silent(12).message.starts_with("nas:/srv has answered no call for 12 s"));
    }
}
