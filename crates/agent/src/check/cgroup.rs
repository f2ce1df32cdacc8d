//! Whether the socket entrance would see every process of the node: the cgroup it is attached to must be above all of them.
//!
//! Inside a container's cgroup namespace the container's own cgroup looks like the root, mount and all (cgroup_namespaces(7)), so
//! two things are asked that no namespace changes: what a connect() meets, and the cgroup's id.
use super::{Finding, Level};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The id of the root of the hierarchy: the first one that kernfs gives (fs/kernfs/dir.c, `kernfs_create_root`).
const ROOT_ID: u64 = 1;

/// A cgroup to attach programs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cgroup {
    /// Its directory.
    pub path: PathBuf,
    /// Its id, which is the inode number of the directory; `None` if that cannot be read.
    pub id: Option<u64>,
    /// Whether the kubelet keeps its pods below: then it is the root of a node, if not of the machine (kind, say).
    pub pods: bool,
}

impl Cgroup {
    pub(super) fn read(path: &Path) -> Self {
        let below = std::fs::read_dir(path).into_iter().flatten().flatten();
        let pods =
            below.filter_map(|entry| entry.file_name().into_string().ok()).any(|name| name.starts_with("kubepods"));
        // With kind the kubelet's cgroup is one deeper.
        let pods = pods || path.join("kubelet.slice").is_dir() || path.join("kubelet").is_dir();
        Self { path: path.to_owned(), id: path.metadata().ok().map(|metadata| metadata.ino()), pods }
    }

    pub(super) fn finding(&self, privileged: bool, reach: impl FnOnce(&Path) -> Result<bool, String>) -> Finding {
        const NAME: &str = "cgroup-attachment";
        let shown = self.path.display();
        let mount = "mount the host's cgroup2 root into the container (hostPath /sys/fs/cgroup) and set `cgroup` to it";
        if !privileged {
            return Finding::bad(Level::Warning, NAME, "not tried: no privileges", "run `sudo sheave check`");
        }
        match reach(&self.path) {
            Err(reason) => {
                let found = format!("cannot tell whether a program at {shown} sees connect(): {reason}");
                Finding::bad(Level::Warning, NAME, found, "see docs/operating.md, \"The programs do not load\"")
            }
            Ok(false) => {
                let found = format!("a program at {shown} does not see a connect() of this process: it is outside");
                Finding::bad(Level::Warning, NAME, found, mount)
            }
            Ok(true) if self.id == Some(ROOT_ID) => {
                Finding::ok(NAME, format!("a program at {shown}, the root of all cgroups, sees connect()"))
            }
            Ok(true) if self.pods => Finding::ok(
                NAME,
                format!("a program at {shown}, which has the kubelet's pods below it, sees connect()"),
            ),
            Ok(true) => {
                let found = format!(
                    "{shown} is not the root of all cgroups and no pods are below it: other processes are not served \
                     at the socket"
                );
                Finding::bad(Level::Warning, NAME, found, mount)
            }
        }
    }
}
