//! What is wrong with an object, said once, with the object, the field and the next step. Nothing fails silently (I7).
use std::fmt;
use std::sync::Arc;

/// The object or file a [`Diagnostic`] is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectRef {
    /// Kubernetes kind (`Service`), or `File`.
    pub kind: Arc<str>,
    /// `namespace/name`, `name`, or a path.
    pub name: Arc<str>,
}

impl ObjectRef {
    /// From kind and name.
    #[must_use]
    pub fn new(kind: &str, name: &str) -> Self {
        Self { kind: kind.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What kind of thing is wrong; the label of the metric `sheave_diagnostics`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Problem {
    /// A file or object that cannot be read at all; its last good content stays in force.
    Unreadable,
    /// One field has a value that cannot be used; the rest of the object is served.
    Invalid,
    /// Another Service holds the frontend (X1).
    Conflict,
    /// A limit is reached (I7).
    Capacity,
    /// A wish this dataplane cannot carry out yet.
    Unsupported,
}

impl Problem {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Unreadable, Self::Invalid, Self::Conflict, Self::Capacity, Self::Unsupported];

    /// Lower-case name, as in logs, JSON and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::Capacity => "capacity",
            Self::Unsupported => "unsupported",
        }
    }
}

/// One thing that is wrong with one object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Diagnostic {
    /// The object.
    pub object: ObjectRef,
    /// Path of the field, `spec.ports[1].port`; empty for the whole object.
    pub field: String,
    /// What kind of thing is wrong.
    pub problem: Problem,
    /// The value, the limit and the next step, as one sentence without a full stop.
    pub message: String,
    /// The file and document the object was read from, if any.
    pub origin: Option<Arc<str>>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        write!(f, "{}: ", self.object)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}
