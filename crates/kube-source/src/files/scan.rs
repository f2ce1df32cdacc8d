//! Which manifest files there are, whether they changed, and what they say.
use crate::manifest::{self, Manifest, ManifestError, Place};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The manifest files, in the order in which they count.
pub(crate) type Stamps = BTreeMap<PathBuf, Stamp>;

/// What changes when a file's content does: also through a symbolic link, which is how a ConfigMap volume is updated. The
/// time of change rather than of modification: it moves with permissions too, and nobody can set it back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stamp {
    File {
        device: u64,
        inode: u64,
        size: u64,
        changed_s: i64,
        changed_ns: i64,
    },
    /// There is such a name, but nothing can be read at it.
    Unreadable,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Self {
        fs::metadata(path).map_or(Self::Unreadable, |metadata| Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed_s: metadata.ctime(),
            changed_ns: metadata.ctime_nsec(),
        })
    }
}

/// The manifest files at a path: the file itself, or a directory's YAML and JSON files, hidden ones left out.
pub(crate) fn look(path: &Path) -> io::Result<Stamps> {
    if !fs::metadata(path)?.is_dir() {
        return Ok([(path.to_owned(), Stamp::of(path))].into());
    }
    let mut stamps = Stamps::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if is_manifest(&path) && !path.is_dir() {
            let stamp = Stamp::of(&path);
            stamps.insert(path, stamp);
        }
    }
    Ok(stamps)
}

/// Reads one of them; that it cannot be read is what it says then.
pub(crate) fn read(path: &Path) -> Manifest {
    match text(path) {
        Ok(text) => manifest::read(&text),
        Err(error) => {
            let errors = vec![ManifestError { place: Place::default(), message: error.to_string() }];
            Manifest { errors, ..Manifest::default() }
        }
    }
}

fn text(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        // To open a FIFO is to wait for its writer.
        return Err(io::Error::other("not a regular file"));
    }
    manifest::text_of(fs::File::open(path)?)
}

fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(OsStr::to_str);
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}
