//! What is mounted where, from `/proc/self/mountinfo` (proc(5)).
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// Mount point.
    pub path: PathBuf,
    /// The directory of the file system that is mounted there, `/` for its root.
    pub root: String,
    /// File system type.
    pub fs_type: String,
}

/// The mounts this process sees; empty where `/proc` is missing.
#[must_use]
pub fn mounts() -> Vec<Mount> {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().filter_map(parse).collect()
}

/// Where the socket entrance is attached unless the configuration says otherwise: see [`cgroup2`].
#[must_use]
pub fn cgroup2_root() -> Option<PathBuf> {
    cgroup2(&mounts()).map(|mount| mount.path.clone())
}

/// The first mount of the whole cgroup2 hierarchy, which in a container is the one that lies farthest above; where there is none, the
/// first one of a part of it.
#[must_use]
pub fn cgroup2(mounts: &[Mount]) -> Option<&Mount> {
    let all = || mounts.iter().filter(|mount| mount.fs_type == "cgroup2");
    all()
        .rev()
        .max_by_key(|mount| mount.levels_above())
        .filter(|mount| mount.levels_above().is_some())
        .or_else(|| all().next())
}

impl Mount {
    /// How far above the root of this process's cgroup namespace the mounted directory lies, if it is that root or above:
    /// `/../..` is two levels (cgroup_namespaces(7)). A container sees its own cgroup as `/`, and the host's root so.
    #[must_use]
    pub fn levels_above(&self) -> Option<usize> {
        let parts = self.root.split('/').filter(|part| !part.is_empty());
        parts.clone().all(|part| part == "..").then(|| parts.count())
    }
}

/// The mount that a path lies on: the deepest one, and of several at one place the last, which covers the others. The path
/// is absolute and without symbolic links; nothing needs to exist there.
#[must_use]
pub fn mount_of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts.iter().filter(|mount| path.starts_with(&mount.path)).max_by_key(|mount| mount.path.components().count())
}

/// `36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/root rw`: optional fields end at the lone dash.
fn parse(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut fields = left.split(' ').skip(3);
    let (root, path) = (fields.next()?, fields.next()?);
    let fs_type = right.split(' ').next()?;
    Some(Mount { path: PathBuf::from(unescape(path)), root: unescape(root), fs_type: fs_type.to_owned() })
}

/// Space, tab, newline and backslash stand as three octal digits after a backslash.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount((path, root, fs_type): (&str, &str, &str)) -> Mount {
        Mount { path: path.into(), root: root.to_owned(), fs_type: fs_type.to_owned() }
    }

    #[test]
    fn a_path_lies_on_the_deepest_mount_above_it_and_on_the_last_of_several() {
        let mounts =
            [("/", "/", "ext4"), ("/sys", "/", "sysfs"), ("/sys/fs/bpf", "/", "tmpfs"), ("/sys/fs/bpf", "/", "bpf")];
        let mounts = mounts.map(mount);
        for (path, want) in
            [("/sys/fs/bpf", "bpf"), ("/sys/fs/bpf/below", "bpf"), ("/sys/fs/bpf2", "sysfs"), ("/run", "ext4")]
        {
            assert_eq!(mount_of(&mounts, Path::new(path)).map(|mount| mount.fs_type.as_str()), Some(want), "{path}");
        }
        assert_eq!(mount_of(&[], Path::new("/")), None);
    }

    #[test]
    fn the_whole_cgroup2_hierarchy_comes_before_a_part_of_it() {
        let (part, whole) = (("/a", "/pod", "cgroup2"), ("/b", "/", "cgroup2"));
        let (pods, host, beside) =
            (("/c", "/..", "cgroup2"), ("/host", "/../../..", "cgroup2"), ("/d", "/../other", "cgroup2"));
        for (name, given, want) in [
            ("whole second", vec![part, whole], Some("/b")),
            ("part only", vec![part], Some("/a")),
            ("a container's own, and the host's", vec![whole, pods, host], Some("/host")),
            ("one that is beside the container's", vec![beside, whole], Some("/b")),
            ("the same twice", vec![whole, ("/e", "/", "cgroup2")], Some("/b")),
            ("none", vec![("/b", "/", "cgroup")], None),
        ] {
            let mounts: Vec<Mount> = given.into_iter().map(mount).collect();
            assert_eq!(cgroup2(&mounts).map(|mount| mount.path.as_path()), want.map(Path::new), "case: {name}");
        }
    }

    #[test]
    fn a_line_of_mountinfo_is_read_whatever_its_optional_fields() {
        for (line, path, root, fs_type) in [
            ("30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw", "/sys/fs/cgroup", "/", "cgroup2"),
            ("31 25 0:27 /x /a\\040b rw - bpf none rw,mode=700", "/a b", "/x", "bpf"),
        ] {
            assert_eq!(parse(line), Some(mount((path, root, fs_type))));
        }
        assert_eq!(parse("no mount"), None);
    }
}
