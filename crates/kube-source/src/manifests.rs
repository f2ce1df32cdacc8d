//! Manifests read at once: what `sheave explain` answers from, what a scenario's steps are, and what the files source holds.
//!
//! Nothing here knows a node until it is asked for events, so that a caller may choose one of those the manifests name.
mod part;

use crate::files::scan;
use crate::manifest::{self, Located, Manifest, Place};
use crate::parse::{Absent, Outcome, object_ref};
use crate::said::Said;
use part::Part;
use sheave_core::{Diagnostic, Event, Kind, Object, ObjectName, Problem, Service};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The objects of one text, one file or one directory. Of an object that is defined twice the first counts, in the order of
/// paths and lines.
#[derive(Clone, Default, Debug)]
pub struct Manifests {
    parts: BTreeMap<PathBuf, Part>,
}

/// Nothing at all could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is nothing to read, or it is no text, or too long.
    #[error("{name} cannot be read")]
    Unreadable {
        /// The path, or the name that was given to a reader.
        name: String,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// A directory in which no file has the name of a manifest.
    #[error("{0} holds no manifest: the name of a manifest ends in .yaml, .yml or .json and begins with no dot")]
    NoManifest(PathBuf),
}

impl Manifests {
    /// Reads a file, which may be a pipe, or the manifest files of a directory. A file of a directory that cannot be read
    /// is a diagnostic and does not hide the others.
    ///
    /// # Errors
    /// [`ReadError`]: there is no such path, it is no UTF-8, it is longer than 512 MiB, or the directory holds no manifest.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let unreadable = |error| ReadError::Unreadable { name: path.display().to_string(), error };
        if !path.is_dir() {
            let file = File::open(path).map_err(unreadable)?;
            return Self::read_from(&path.to_string_lossy(), file);
        }
        let mut manifests = Self::default();
        for file in scan::look(path).map_err(unreadable)?.into_keys() {
            let manifest = scan::read(&file);
            manifests.put(file, manifest);
        }
        if manifests.parts.is_empty() { Err(ReadError::NoManifest(path.to_owned())) } else { Ok(manifests) }
    }

    /// Reads to the end of a stream; diagnostics call it by this name, such as `<stdin>`.
    ///
    /// # Errors
    /// [`ReadError::Unreadable`]: the reader failed, or gave no UTF-8, or more than 512 MiB.
    pub fn read_from(name: &str, reader: impl Read) -> Result<Self, ReadError> {
        let text = manifest::text_of(reader).map_err(|error| ReadError::Unreadable { name: name.to_owned(), error })?;
        Ok(Self::parse(name, &text))
    }

    /// Reads a text; diagnostics call it by this name. What of it cannot be read is a diagnostic.
    #[must_use]
    pub fn parse(name: &str, text: &str) -> Self {
        let mut manifests = Self::default();
        manifests.put(name.into(), manifest::read(text));
        manifests
    }

    /// Whether no object of the kinds that are read can be used: what follows from nothing is no answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all().all(|(_, located)| located.parsed.outcome == Outcome::Unreadable)
    }

    /// The names of the Nodes.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<Arc<str>> {
        let names = self.serving().map(|(_, located)| &located.parsed.name);
        names.filter_map(|name| if let ObjectName::Node(node) = name { Some(node.clone()) } else { None }).collect()
    }

    /// The Node that has this address.
    #[must_use]
    pub fn node_at(&self, addr: IpAddr) -> Option<&Arc<str>> {
        self.serving().find_map(|(_, located)| match &located.parsed.outcome {
            Outcome::Object(Object::Node(node)) if node.addresses.contains(&addr) => Some(&node.name),
            _ => None,
        })
    }

    /// The objects that give no rules although there is nothing wrong with them, and why.
    pub fn absent(&self) -> impl Iterator<Item = (&ObjectName, Absent)> {
        self.serving().filter_map(|(_, located)| match &located.parsed.outcome {
            Outcome::Absent(absent) => Some((&located.parsed.name, absent.clone())),
            _ => None,
        })
    }

    /// Everything, as a source reports it to this node at start: each kind listed once, complete (W12), and what is wrong.
    #[must_use]
    pub fn listed(&self, node: &str) -> Vec<Event> {
        let mut events = self.lists(node);
        events.extend(Said::default().say_all(self.diagnostics(node)));
        events
    }

    /// The same as a change, as a watch reports it to this node: each object applied, or deleted where it is
    /// [`Absent`], and what is wrong with it.
    #[must_use]
    pub fn applied(&self, node: &str) -> Vec<Event> {
        let mut said: BTreeMap<_, Vec<Diagnostic>> = BTreeMap::new();
        for diagnostic in self.diagnostics(node) {
            said.entry(diagnostic.object.clone()).or_default().push(diagnostic);
        }
        let mut events = Vec::new();
        for (path, located) in self.serving() {
            let name = &located.parsed.name;
            match &located.parsed.outcome {
                Outcome::Object(object) => events.push(Event::Applied(with_origin(object, path, located.place))),
                Outcome::Absent(_) => events.push(Event::Deleted(name.clone())),
                Outcome::Unreadable => {}
            }
            said.entry(object_ref(name)).or_default();
        }
        events.extend(said.into_iter().map(|(object, diagnostics)| Event::Diagnosed { object, diagnostics }));
        events
    }

    /// The objects as a watch reports that they are gone; only their names count.
    #[must_use]
    pub fn deleted(&self) -> Vec<Event> {
        let gone = |name: &ObjectName| {
            let taken_back = Event::Diagnosed { object: object_ref(name), diagnostics: Vec::new() };
            [Event::Deleted(name.clone()), taken_back]
        };
        self.serving().flat_map(|(_, located)| gone(&located.parsed.name)).collect()
    }

    /// What is wrong, in the order of paths and lines. Of the Nodes only this one is looked at.
    #[must_use]
    pub fn diagnostics(&self, node: &str) -> Vec<Diagnostic> {
        let mut diagnostics = Vec::new();
        for (path, part) in &self.parts {
            diagnostics.extend(part.diagnostics(path));
        }
        let mut first: HashMap<&ObjectName, Arc<str>> = HashMap::new();
        let of_interest = self.all().filter(|(_, located)| is_of_interest(&located.parsed.name, node));
        for (path, located) in of_interest {
            let origin = origin(path, located.place);
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

    /// Every kind, complete: files are read all or kept (W12).
    pub(crate) fn lists(&self, node: &str) -> Vec<Event> {
        let mut objects: HashMap<Kind, Vec<Object>> = HashMap::new();
        let mut kept: HashMap<Kind, Vec<ObjectName>> = HashMap::new();
        let of_interest = self.serving().filter(|(_, located)| is_of_interest(&located.parsed.name, node));
        for (path, located) in of_interest {
            let kind = located.parsed.name.kind();
            match &located.parsed.outcome {
                Outcome::Object(object) => {
                    objects.entry(kind).or_default().push(with_origin(object, path, located.place));
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

    /// How many objects there are.
    pub(crate) fn objects(&self) -> usize {
        self.parts.values().map(|part| part.objects().len()).sum()
    }

    /// Takes the content of a file in, beside what was read of it before.
    pub(crate) fn put(&mut self, path: PathBuf, manifest: Manifest) {
        let before = self.parts.remove(&path);
        self.parts.insert(path, Part::new(manifest, before));
    }

    /// Forgets the files that are gone.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Path) -> bool) {
        self.parts.retain(|path, _| stays(path));
    }

    /// In the order of paths and lines.
    fn all(&self) -> impl Iterator<Item = (&Path, &Located)> {
        self.parts.iter().flat_map(|(path, part)| part.objects().iter().map(|located| (path.as_path(), located)))
    }

    /// Of objects defined twice the first.
    fn serving(&self) -> impl Iterator<Item = (&Path, &Located)> {
        let mut seen = HashSet::new();
        self.all().filter(move |(_, located)| seen.insert(&located.parsed.name))
    }
}

/// Of the Nodes only this one is watched.
fn is_of_interest(name: &ObjectName, node: &str) -> bool {
    match name {
        ObjectName::Node(name) => **name == *node,
        _ => true,
    }
}

/// What the core says of a Service names its file, too.
fn with_origin(object: &Object, path: &Path, place: Place) -> Object {
    match object.clone() {
        Object::Service(service) => Object::Service(Service { origin: Some(origin(path, place)), ..service }),
        other => other,
    }
}

fn origin(path: &Path, place: Place) -> Arc<str> {
    match place.line {
        0 => path.to_string_lossy().into(),
        _ => format!("{}:{place}", path.display()).into(),
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
