//! The content of all manifest files, with the last good one of those that no longer read.
use super::scan::{Stamp, Stamps};
use crate::manifest::{Located, Manifest, ManifestError, read};
use crate::parse::{Outcome, object_ref};
use sheave_core::{Diagnostic, Event, Kind, Object, ObjectName, ObjectRef, Problem, Service};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A larger file is a mistake (I7): 100,000 Services with their slices are about 150 MB of YAML.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

pub(super) struct Held {
    node: Arc<str>,
    files: BTreeMap<PathBuf, HeldFile>,
}

struct HeldFile {
    stamp: Stamp,
    objects: Vec<Located>,
    errors: Vec<ManifestError>,
    content: Content,
}

/// Which version of a file its objects are from.
#[derive(Clone, Copy)]
enum Content {
    /// This one, as far as it reads.
    Current,
    /// An earlier one, because this one does not read.
    Earlier,
    /// An earlier one, because this one has no document: a writer that empties a file first may have failed since.
    Emptied,
}

impl Held {
    pub(super) fn new(node: &str) -> Self {
        Self { node: node.into(), files: BTreeMap::new() }
    }

    /// Reads the files that changed, and forgets those that are gone. Returns whether one changed while it was read.
    pub(super) fn reread(&mut self, stamps: &Stamps) -> bool {
        self.files.retain(|path, _| stamps.contains_key(path));
        let mut again = false;
        for (path, stamp) in stamps {
            if self.files.get(path).is_some_and(|held| held.stamp == *stamp) {
                continue;
            }
            let manifest = read_file(path);
            let before = self.files.remove(path);
            self.files.insert(path.clone(), HeldFile::new(stamp.clone(), manifest, before));
            again |= Stamp::of(path) != *stamp;
        }
        again
    }

    /// How many objects are held.
    pub(super) fn objects(&self) -> usize {
        self.files.values().map(|file| file.objects.len()).sum()
    }

    /// Every kind, complete: files are read all or kept (W12).
    pub(super) fn listed(&self) -> Vec<Event> {
        let mut objects: HashMap<Kind, Vec<Object>> = HashMap::new();
        let mut kept: HashMap<Kind, Vec<ObjectName>> = HashMap::new();
        for (path, located) in self.serving() {
            let kind = located.parsed.name.kind();
            match &located.parsed.outcome {
                Outcome::Object(object) => {
                    objects.entry(kind).or_default().push(with_origin(object, path, located.line));
                }
                Outcome::Unreadable => kept.entry(kind).or_default().push(located.parsed.name.clone()),
                Outcome::Absent(_) => {}
            }
        }
        let listed = |kind| Event::Listed {
            kind,
            objects: objects.remove(&kind).unwrap_or_default(),
            kept: kept.remove(&kind).unwrap_or_default(),
        };
        Kind::ALL.into_iter().map(listed).collect()
    }

    pub(super) fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut diagnostics = Vec::new();
        for (path, file) in &self.files {
            diagnostics.extend(file.diagnostics(path));
        }
        let mut first: HashMap<&ObjectName, Arc<str>> = HashMap::new();
        for (path, located) in self.all() {
            let origin = origin(path, located.line);
            let said = located.parsed.diagnostics.iter().cloned();
            if let Some(first) = first.get(&located.parsed.name) {
                diagnostics.push(defined_twice(&located.parsed.name, first, origin));
            } else {
                diagnostics.extend(said.map(|said| Diagnostic { origin: Some(origin.clone()), ..said }));
                first.insert(&located.parsed.name, origin);
            }
        }
        diagnostics
    }

    /// What is of interest, in the order of paths.
    fn all(&self) -> impl Iterator<Item = (&Path, &Located)> {
        let all =
            self.files.iter().flat_map(|(path, file)| file.objects.iter().map(|located| (path.as_path(), located)));
        all.filter(|(_, located)| self.is_of_interest(&located.parsed.name))
    }

    /// Of objects defined twice the first.
    fn serving(&self) -> impl Iterator<Item = (&Path, &Located)> {
        let mut seen = HashSet::new();
        self.all().filter(move |(_, located)| seen.insert(&located.parsed.name))
    }

    /// Of the Nodes only this one is watched.
    fn is_of_interest(&self, name: &ObjectName) -> bool {
        match name {
            ObjectName::Node(node) => *node == self.node,
            _ => true,
        }
    }
}

impl HeldFile {
    /// A file that reads only in part keeps its earlier content; one that never did read serves what can be read of it.
    fn new(stamp: Stamp, manifest: Manifest, before: Option<Self>) -> Self {
        let Manifest { documents, objects, errors } = manifest;
        let earlier = before.map(|before| before.objects).filter(|objects| !objects.is_empty());
        let (objects, content) = match earlier {
            Some(earlier) if !errors.is_empty() => (earlier, Content::Earlier),
            Some(earlier) if documents == 0 => (earlier, Content::Emptied),
            _ => (objects, Content::Current),
        };
        Self { stamp, objects, errors, content }
    }

    /// What is wrong with the file itself.
    fn diagnostics(&self, path: &Path) -> Vec<Diagnostic> {
        let consequence = match self.content {
            Content::Emptied => {
                let message = "empty, so its last good content stays in force; delete the file to withdraw it";
                return vec![unreadable(path, 0, message.to_owned())];
            }
            Content::Earlier => "its last good content stays in force",
            Content::Current if self.objects.is_empty() => "nothing of it is served",
            Content::Current => "the rest of the file is served",
        };
        let said = |error: &ManifestError| unreadable(path, error.line, format!("{}; {consequence}", error.message));
        self.errors.iter().map(said).collect()
    }
}

fn read_file(path: &Path) -> Manifest {
    match text_of(path) {
        Ok(text) => read(&text),
        Err(error) => {
            let errors = vec![ManifestError { line: 0, message: error.to_string() }];
            Manifest { errors, ..Manifest::default() }
        }
    }
}

fn text_of(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        // To open a FIFO is to wait for its writer.
        return Err(io::Error::other("not a regular file"));
    }
    let size = metadata.len();
    if size > FILE_BYTES_MAX {
        let message = format!("{size} bytes are more than the {FILE_BYTES_MAX} a manifest may have; split the file");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// What the core says of a Service names its file, too.
fn with_origin(object: &Object, path: &Path, line: u64) -> Object {
    match object.clone() {
        Object::Service(service) => Object::Service(Service { origin: Some(origin(path, line)), ..service }),
        other => other,
    }
}

fn origin(path: &Path, line: u64) -> Arc<str> {
    match line {
        0 => path.to_string_lossy().into(),
        line => format!("{}:{line}", path.display()).into(),
    }
}

fn unreadable(path: &Path, line: u64, message: String) -> Diagnostic {
    Diagnostic {
        object: ObjectRef::new("File", &path.to_string_lossy()),
        field: String::new(),
        problem: Problem::Unreadable,
        message,
        origin: Some(origin(path, line)),
    }
}

fn defined_twice(name: &ObjectName, first: &str, origin: Arc<str>) -> Diagnostic {
    Diagnostic {
        object: object_ref(name),
        field: String::new(),
        problem: Problem::Invalid,
        message: format!("defined a second time; the one at {first} is served"),
        origin: Some(origin),
    }
}
