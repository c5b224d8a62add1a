//! The Unix socket of a service.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The path in `unix:///path`, `unix:/path` or `/path`.
pub fn parse(endpoint: &str) -> anyhow::Result<PathBuf> {
    let path =
        endpoint.strip_prefix("unix://").or_else(|| endpoint.strip_prefix("unix:")).unwrap_or(endpoint);
    if !path.starts_with('/') || path.ends_with('/') {
        bail!("endpoint {endpoint:?} is not of the form unix:///path/to/csi.sock");
    }
    Ok(PathBuf::from(path))
}

/// Binds the socket. Its owner and its group may use it. The group is root's, or that of the directory if the directory has
/// the setgid bit, which a pod's `fsGroup` sets: so sidecars can use the socket without being root. A socket that a dead
/// driver has left is removed. A socket at which a process serves, or another file, is not touched.
pub fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    remove_stale(path)?;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    let listener = UnixListener::bind(path).with_context(|| format!("bind {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("chmod {}", path.display()))?;
    listener.set_nonblocking(true).with_context(|| format!("set up {}", path.display()))?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> anyhow::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("inspect {}", path.display())),
        Ok(found) if !found.file_type().is_socket() => bail!("{} exists and is not a socket", path.display()),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("{} is in use: another driver serves there", path.display()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).with_context(|| format!("remove the stale {}", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("connect to {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_spellings_are_read() {
        for endpoint in ["unix:///csi/csi.sock", "unix:/csi/csi.sock", "/csi/csi.sock"] {
            assert_eq!(parse(endpoint).unwrap(), Path::new("/csi/csi.sock"));
        }
        for endpoint in ["", "tcp://1.2.3.4:5", "unix://", "unix://relative", "unix:///dir/"] {
            assert!(parse(endpoint).is_err(), "{endpoint}");
        }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("sub/csi.sock");
        let listener = bind(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o660);
        assert!(bind(&path).unwrap_err().to_string().contains("in use"));
        drop(listener);
        bind(&path).unwrap();
        let file = temporary.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        assert!(bind(&file).unwrap_err().to_string().contains("not a socket"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    }
}
