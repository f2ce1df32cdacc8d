//! The content of all manifest files, with the last good one of those that no longer read.
use super::scan::{Stamp, Stamps, read};
use crate::manifests::Manifests;

/// Manifests, and which version of each file they are from.
#[derive(Default)]
pub(super) struct Held {
    pub(super) manifests: Manifests,
    stamps: Stamps,
}

impl Held {
    /// Reads the files that changed, and forgets those that are gone. Returns whether one changed while it was read.
    pub(super) fn reread(&mut self, stamps: &Stamps) -> bool {
        self.manifests.retain(|path| stamps.contains_key(path));
        let mut again = false;
        for (path, stamp) in stamps {
            if self.stamps.get(path) != Some(stamp) {
                self.manifests.put(path.clone(), read(path));
                again |= Stamp::of(path) != *stamp;
            }
        }
        self.stamps = stamps.clone();
        again
    }
}
