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

/// The first mount of the whole cgroup2 hierarchy.
#[must_use]
pub fn cgroup2_root() -> Option<PathBuf> {
    mounts().into_iter().find(|mount| mount.fs_type == "cgroup2").map(|mount| mount.path)
}

/// Whether a BPF file system is mounted at `path`.
#[must_use]
pub fn is_bpffs(path: &Path) -> bool {
    mounts().iter().any(|mount| mount.fs_type == "bpf" && mount.path == path)
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

    #[test]
    fn a_line_of_mountinfo_is_read_whatever_its_optional_fields() {
        for (line, path, root, fs_type) in [
            ("30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw", "/sys/fs/cgroup", "/", "cgroup2"),
            ("31 25 0:27 /x /a\\040b rw - bpf none rw,mode=700", "/a b", "/x", "bpf"),
        ] {
            let want = Mount { path: path.into(), root: root.to_owned(), fs_type: fs_type.to_owned() };
            assert_eq!(parse(line), Some(want));
        }
        assert_eq!(parse("no mount"), None);
    }
}
