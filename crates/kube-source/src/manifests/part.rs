//! One file's share: its last good content when it no longer reads.
use super::origin;
use crate::manifest::{Located, Manifest, ManifestError, Place};
use sheave_core::{Diagnostic, ObjectRef, Problem};
use std::path::Path;

#[derive(Clone, Debug)]
pub(super) struct Part {
    objects: Vec<Located>,
    errors: Vec<ManifestError>,
    content: Content,
}

/// Which version of a file its objects are from.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// This one, as far as it reads.
    Current,
    /// An earlier one, because this one does not read.
    Earlier,
    /// An earlier one, because this one has no document: a writer that empties a file first may have failed since.
    Emptied,
}

impl Part {
    /// A file that reads only in part keeps its earlier content; one that never did read serves what can be read of it.
    pub(super) fn new(manifest: Manifest, before: Option<Self>) -> Self {
        let Manifest { documents, objects, errors } = manifest;
        let earlier = before.map(|before| before.objects).filter(|objects| !objects.is_empty());
        let (objects, content) = match earlier {
            Some(earlier) if !errors.is_empty() => (earlier, Content::Earlier),
            Some(earlier) if documents == 0 => (earlier, Content::Emptied),
            _ => (objects, Content::Current),
        };
        Self { objects, errors, content }
    }

    /// In the file's order.
    pub(super) fn objects(&self) -> &[Located] {
        &self.objects
    }

    /// What is wrong with the file itself.
    pub(super) fn diagnostics(&self, path: &Path) -> Vec<Diagnostic> {
        let consequence = match self.content {
            Content::Emptied => {
                let message = "empty, so its last good content stays in force; delete the file to withdraw it";
                return vec![unreadable(path, Place::default(), message.to_owned())];
            }
            Content::Earlier => "its last good content stays in force",
            Content::Current if self.objects.is_empty() => "nothing of it is served",
            Content::Current => "the rest of the file is served",
        };
        let said = |error: &ManifestError| unreadable(path, error.place, format!("{}; {consequence}", error.message));
        self.errors.iter().map(said).collect()
    }
}

fn unreadable(path: &Path, place: Place, message: String) -> Diagnostic {
    Diagnostic {
        object: ObjectRef::new("File", &path.to_string_lossy()),
        field: String::new(),
        problem: Problem::Unreadable,
        message,
        origin: Some(origin(path, place)),
    }
}
