//! Scratch cgroups: one for the process, one below it for each node.
//!
//! Socket hooks are attached to a cgroup, not to a namespace. Nodes of one lab are threads of one process, so each node gets a
//! *threaded* cgroup (Documentation/admin-guide/cgroup-v2.rst, "Threads"): the kernel takes a socket's cgroup from the thread
//! that makes it, and the agent of one node does not touch the sockets of another.
use nix::unistd::{Pid, gettid};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a cgroup may stay busy while its last threads go away.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(2);
const REMOVAL_POLL: Duration = Duration::from_millis(1);

/// A cgroup could not be made or joined.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// cgroup v2 is not mounted.
    #[error("no cgroup2 file system in /proc/self/mountinfo; mount one: mount -t cgroup2 none /sys/fs/cgroup/unified")]
    NotMounted,
    /// A file of the cgroup file system refused.
    #[error("cannot {action} {path}: {source}; run as root with a writable cgroup2 file system")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The membership of the whole process, which all labs of the process share.
struct Membership {
    path: PathBuf,
    home: PathBuf,
    users: usize,
    children: usize,
}

static MEMBERSHIP: Mutex<Option<Membership>> = Mutex::new(None);

fn membership() -> MutexGuard<'static, Option<Membership>> {
    MEMBERSHIP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A scratch cgroup `sheave-<purpose>-<pid>` that holds this process. The last handle moves the process back to where it
/// was and removes the cgroup.
#[derive(Debug)]
pub struct ProcessCgroup {
    path: PathBuf,
}

impl ProcessCgroup {
    /// Moves the process into a scratch cgroup, unless it is in one already, and removes those that dead processes left.
    ///
    /// # Errors
    /// cgroup v2 is not mounted or not writable.
    pub fn join(purpose: &str) -> Result<Self, CgroupError> {
        let mut current = membership();
        if let Some(membership) = current.as_mut() {
            membership.users += 1;
            return Ok(Self { path: membership.path.clone() });
        }
        let root = mount_point()?;
        sweep(&root);
        let home = root.join(own_cgroup()?);
        let path = root.join(format!("sheave-{purpose}-{}", Pid::this()));
        create(&path)?;
        write(&path.join("cgroup.procs"), &Pid::this().to_string())?;
        *current = Some(Membership { path: path.clone(), home, users: 1, children: 0 });
        Ok(Self { path })
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A cgroup below it, for threads.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn for_threads(&self, name: &str) -> Result<ThreadCgroup, CgroupError> {
        let serial = membership().as_mut().map_or(0, |membership| {
            membership.children += 1;
            membership.children
        });
        let cgroup = ThreadCgroup { path: self.path.join(format!("{name}-{serial}")) };
        create(&cgroup.path)?;
        write(&cgroup.path.join("cgroup.type"), "threaded")?;
        Ok(cgroup)
    }
}

impl Drop for ProcessCgroup {
    fn drop(&mut self) {
        let mut current = membership();
        let Some(membership) = current.as_mut() else { return };
        membership.users -= 1;
        if membership.users > 0 {
            return;
        }
        remove(&membership.path, "cgroup.procs", &membership.home);
        *current = None;
    }
}

/// A cgroup for threads of this process; removed on drop. Threads that are still in it move up to the process's cgroup.
#[derive(Debug)]
pub struct ThreadCgroup {
    path: PathBuf,
}

impl ThreadCgroup {
    /// Its directory, for attaching programs.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the calling thread into it; threads and processes that it starts from now on are in it too.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn enter(&self) -> Result<(), CgroupError> {
        write(&self.path.join("cgroup.threads"), &gettid().to_string())
    }
}

impl Drop for ThreadCgroup {
    fn drop(&mut self) {
        let parent = self.path.parent().expect("invariant: made below the process's cgroup");
        remove(&self.path, "cgroup.threads", parent);
    }
}

fn create(path: &Path) -> Result<(), CgroupError> {
    fs::create_dir(path).map_err(|source| CgroupError::Io { action: "create", path: path.to_owned(), source })
}

fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    fs::write(path, value).map_err(|source| CgroupError::Io { action: "write", path: path.to_owned(), source })
}

/// Removes a cgroup; what `members` lists goes to the cgroup `heir`. A thread that was joined may still be on its way out:
/// pthread_join returns before the kernel takes it off its cgroup.
fn remove(path: &Path, members: &str, heir: &Path) {
    let deadline = Instant::now() + REMOVAL_DEADLINE;
    loop {
        match fs::remove_dir(path) {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                evict(&path.join(members), &heir.join(members));
                thread::sleep(REMOVAL_POLL);
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "scratch cgroup left behind");
                return;
            }
        }
    }
}

/// Moves members one by one, as the kernel wants it. One that ends meanwhile needs no move.
fn evict(from: &Path, to: &Path) {
    for member in fs::read_to_string(from).unwrap_or_default().lines() {
        let _ = fs::write(to, member);
    }
}

/// Removes scratch cgroups of processes that are gone. What is not ours or still in use stays.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(owner);
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let children = fs::read_dir(entry.path()).into_iter().flatten().flatten();
            for child in children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())) {
                let _ = fs::remove_dir(child.path());
            }
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The process a scratch cgroup belongs to: `sheave-demo-4711` is 4711's.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix("sheave-")?.rsplit_once('-')?.1.parse().ok()
}

fn mount_point() -> Result<PathBuf, CgroupError> {
    let path = Path::new("/proc/self/mountinfo");
    let mountinfo =
        fs::read_to_string(path).map_err(|source| CgroupError::Io { action: "read", path: path.to_owned(), source })?;
    mountinfo.lines().find_map(cgroup2_mount).ok_or(CgroupError::NotMounted)
}

/// The mount point, if a line of mountinfo is about cgroup2. The kernel writes a blank as `\040` (proc_pid_mountinfo(5)).
fn cgroup2_mount(line: &str) -> Option<PathBuf> {
    let (mount, filesystem) = line.split_once(" - ")?;
    filesystem.starts_with("cgroup2 ").then_some(())?;
    Some(PathBuf::from(mount.split(' ').nth(4)?.replace("\\040", " ")))
}

/// This process's cgroup v2, relative to the mount point.
fn own_cgroup() -> Result<PathBuf, CgroupError> {
    let path = Path::new("/proc/self/cgroup");
    let text =
        fs::read_to_string(path).map_err(|source| CgroupError::Io { action: "read", path: path.to_owned(), source })?;
    let line = text.lines().find_map(|line| line.strip_prefix("0::/"));
    line.map(PathBuf::from).ok_or(CgroupError::NotMounted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup2_mount_is_found_in_unified_and_hybrid_layouts() {
        for (line, want) in [
            ("38 31 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw", Some("/sys/fs/cgroup/unified")),
            ("30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate", Some("/sys/fs/cgroup")),
            ("30 24 0:26 / /mnt/with\\040blank rw - cgroup2 none rw", Some("/mnt/with blank")),
            ("32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu", None),
            ("not a mount", None),
        ] {
            assert_eq!(cgroup2_mount(line), want.map(PathBuf::from), "line: {line}");
        }
    }

    #[test]
    fn only_scratch_cgroups_name_their_owner() {
        for (name, want) in [
            ("sheave-demo-4711", Some(4711)),
            ("sheave-net-test-12", Some(12)),
            ("sheave-demo", None),
            ("sheave.slice", None),
            ("system.slice", None),
        ] {
            assert_eq!(owner(name), want, "name: {name}");
        }
    }
}
