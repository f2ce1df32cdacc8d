//! A handle on a network namespace.
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where `ip netns` looks for names.
const NAMES: &str = "/run/netns";

/// A network namespace, held by a file descriptor and nothing else: it has no name and no mount, so it disappears with the
/// process, also after SIGKILL.
#[derive(Debug)]
pub struct NetNs {
    file: File,
}

/// A namespace could not get a name.
#[derive(Debug, thiserror::Error)]
#[error("cannot name the namespace {path}: {source}; run as root, and remove the file if an old lab left it behind")]
pub struct NameError {
    /// The name's file.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

/// A name below `/run/netns`, as `ip netns exec` and `nsenter --net=` want it; removed on drop.
#[derive(Debug)]
pub struct NetNsName {
    path: PathBuf,
}

impl NetNs {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn current() -> io::Result<Self> {
        Ok(Self { file: File::open("/proc/thread-self/ns/net")? })
    }

    /// Its inode: two handles with one id are one namespace.
    ///
    /// # Errors
    /// Never seen; the kernel may refuse any fstat.
    pub fn id(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.ino())
    }

    /// Gives the namespace a name until the result is dropped. The name is visible in the mount namespace of the calling
    /// thread.
    ///
    /// # Errors
    /// The name is taken, or the process may not mount.
    pub fn publish(&self, name: &str) -> Result<NetNsName, NameError> {
        let path = Path::new(NAMES).join(name);
        let failed = |source| NameError { path: path.clone(), source };
        fs::create_dir_all(NAMES).map_err(failed)?;
        File::options().write(true).create_new(true).open(&path).map_err(failed)?;
        let named = NetNsName { path: path.clone() };
        let source = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        mount(Some(source.as_str()), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|errno| failed(errno.into()))?;
        Ok(named)
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl NetNsName {
    /// The file to hand to `nsenter --net=`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for NetNsName {
    fn drop(&mut self) {
        // EINVAL: the bind mount failed, only the file is there.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "namespace name left behind");
        }
    }
}
