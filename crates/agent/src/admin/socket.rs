//! The socket's place in the file system: private, and taken over from a dead agent only.
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// The admin socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("another agent is served at {0}; stop it, or give this one another `adminSocket`")]
    Living(PathBuf),
    /// Something that is no socket stands there; it is not ours to remove.
    #[error("{0} is no socket; remove it, or set `adminSocket` to another path")]
    Foreign(PathBuf),
    /// The directory cannot be made.
    #[error("cannot make the directory {path} of the admin socket: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen at the admin socket {path}: {source}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A socket that was made; removed when dropped, unless another one stands there by then.
#[derive(Debug)]
pub(super) struct Bound {
    path: PathBuf,
    /// A later agent may have put its own there.
    file: Identity,
}

/// Device, inode, and when it got its name: inodes are used again at once.
type Identity = (u64, u64, i64, i64);

/// Makes the socket, and its directory if that is missing.
pub(super) fn bind(path: &Path) -> Result<(Bound, UnixListener), SocketError> {
    let failed = |source| SocketError::Listen { path: path.to_owned(), source };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|source| SocketError::Directory { path: directory.to_owned(), source })?;
    }
    clear(path)?;
    // Under another name until it is private: nobody can connect in between.
    let made = path.with_extension("new");
    match std::fs::remove_file(&made) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Err(_) | Ok(()) => {}
    }
    let listener = UnixListener::bind(&made).map_err(failed)?;
    std::fs::set_permissions(&made, Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&made, path).map_err(failed)?;
    let file = identity(path).map_err(failed)?;
    Ok((Bound { path: path.to_owned(), file }, listener))
}

/// Removes what a dead agent has left.
fn clear(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Listen { path: path.to_owned(), source };
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::Foreign(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::Living(path.to_owned())),
        // Nobody listens any more: the kernel keeps the name of a socket when its process dies (unix(7)).
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let found = path.symlink_metadata()?;
    Ok((found.dev(), found.ino(), found.ctime(), found.ctime_nsec()))
}

impl Drop for Bound {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // Left behind it does no harm: the next agent finds nobody listening.
            let _unused = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_roots_alone_and_gone_with_its_agent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/sheave/admin.sock");
        let (bound, _listener) = bind(&path).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_place_is_taken_from_the_dead_and_from_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let (living, listener) = bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert!(matches!(&error, SocketError::Living(at) if *at == path), "{error}");
        // SIGKILL closes the listener and leaves the name.
        drop(listener);
        let (next, _listener) = bind(&path).unwrap();
        drop(living);
        assert!(path.exists(), "the dead one's end does not remove the next one's socket");
        drop(next);
        std::fs::write(&path, "mine").unwrap();
        let error = bind(&path).unwrap_err();
        assert!(matches!(error, SocketError::Foreign(_)), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }
}
