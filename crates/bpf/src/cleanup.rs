//! Removing everything sheave has put on a node: pinned links and maps, and clsact filters (H10).
use crate::attach::detach_clsact;
use crate::interfaces::device_names;
use crate::link::Link;
use crate::pins::Pins;
use std::io;
use std::path::{Path, PathBuf};

/// What [`cleanup`] has removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Removed {
    /// Pinned links: programs at sockets and devices.
    pub links: usize,
    /// Pinned maps.
    pub maps: usize,
    /// clsact filters.
    pub filters: usize,
}

/// Not everything was removed.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// An agent runs.
    #[error("cannot claim {path}: {source}; another agent of this node is running: stop it first")]
    Locked {
        /// The directory of the pins.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The frontends could not be taken away, or the flow tables not be opened.
    #[error("cannot drain the maps below {path}: {source}; `sheave cleanup` without --drain removes them at once")]
    Drain {
        /// The directory of the maps.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something could not be removed; the rest has been.
    #[error("cannot remove {path}: {source}; remove it by hand, then run cleanup again")]
    Remove {
        /// The first thing that could not be removed.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Removes links first, so that no program runs without its maps, then maps of every layout version. Nothing there is
/// fine. Established flows that are translated at a device end ([`crate::drain`] waits for them); those translated at the socket go on.
///
/// # Errors
/// Nothing is removed beside a running agent. Otherwise everything is that can be, and the first error is returned.
pub fn cleanup(bpffs: &Path) -> Result<Removed, CleanupError> {
    let pins = Pins::new(bpffs);
    let _lock = match pins.lock() {
        Err(source) if source.kind() == io::ErrorKind::WouldBlock => {
            return Err(CleanupError::Locked { path: pins.root().to_owned(), source });
        }
        // Nothing to claim, or nothing that can be claimed: the work below says which.
        lock => lock,
    };
    let filters = device_names().iter().map(|name| detach_clsact(name)).sum();
    remove_pins(&pins, Removed { filters, ..Removed::default() })
}

fn remove_pins(pins: &Pins, removed: Removed) -> Result<Removed, CleanupError> {
    let mut work = Work { removed, error: None };
    for version in work.entries(pins.root()) {
        work.removed.links += work.links(&version.join("links"));
        work.removed.maps += work.files(&version.join("maps"));
        work.directory(&version);
    }
    work.directory(pins.root());
    work.error.map_or(Ok(work.removed), Err)
}

/// What has been done, and what failed first.
struct Work {
    removed: Removed,
    error: Option<CleanupError>,
}

impl Work {
    /// What a directory holds. None of it there is fine, here and below.
    fn entries(&mut self, directory: &Path) -> Vec<PathBuf> {
        match std::fs::read_dir(directory) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(error) => {
                self.failed(directory, error);
                Vec::new()
            }
        }
    }

    /// Detaches the links first, so that nothing runs any more when cleanup returns. Where the kernel cannot (before 5.9),
    /// removing the pin does it.
    fn links(&mut self, directory: &Path) -> usize {
        for link in self.entries(directory) {
            let _unused = Link::open(&link).and_then(|link| link.detach());
        }
        self.files(directory)
    }

    fn files(&mut self, directory: &Path) -> usize {
        let files = self.entries(directory);
        let removed = files.iter().filter(|file| self.done(file, std::fs::remove_file(file))).count();
        self.directory(directory);
        removed
    }

    fn directory(&mut self, directory: &Path) {
        self.done(directory, std::fs::remove_dir(directory));
    }

    fn done(&mut self, path: &Path, result: io::Result<()>) -> bool {
        result.map_err(|error| self.failed(path, error)).is_ok()
    }

    fn failed(&mut self, path: &Path, source: io::Error) {
        if source.kind() != io::ErrorKind::NotFound && self.error.is_none() {
            self.error = Some(CleanupError::Remove { path: path.to_owned(), source });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_removed_is_named_and_the_rest_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let pins = Pins::new(place.path());
        let stuck = pins.links().join("connect4");
        // A directory that is not empty, where a pin should be: no unlink() takes it, whoever calls.
        std::fs::create_dir_all(stuck.join("inside")).unwrap();
        std::fs::create_dir_all(pins.maps()).unwrap();
        for pin in [pins.links().join("connect6"), pins.maps().join("names")] {
            std::fs::write(pin, "").unwrap();
        }
        let error = remove_pins(&pins, Removed::default()).unwrap_err();
        assert!(matches!(&error, CleanupError::Remove { path, .. } if *path == stuck), "{error}");
        assert!(!pins.links().join("connect6").exists());
        assert!(!pins.maps().exists());

        std::fs::remove_dir_all(&stuck).unwrap();
        assert_eq!(remove_pins(&pins, Removed::default()).unwrap(), Removed::default());
        assert_eq!(remove_pins(&pins, Removed::default()).unwrap(), Removed::default(), "cleanup twice");
        assert!(!pins.root().exists());
    }
}
