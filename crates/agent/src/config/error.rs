//! Why a configuration cannot be used.
use super::fields::BadValue;
use super::own;
use super::value::Place;
use crate::config::kube_proxy;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Where something stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Where {
    /// In a file.
    Line {
        /// The file.
        path: PathBuf,
        /// The line in it, counted from 1.
        line: u64,
    },
    /// On the command line.
    Flag(&'static str),
}

impl Where {
    pub(super) fn of(path: Option<&Path>, place: Place) -> Self {
        match place {
            Place::Flag(flag) => Self::Flag(flag),
            Place::Line(line) => Self::Line { path: path.map(Path::to_owned).unwrap_or_default(), line },
        }
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The text is no YAML.
    #[error("configuration {path}: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line and what was expected.
        reason: String,
    },
    /// A value that its field cannot have, or a field that there is not.
    #[error("configuration {place}: {field}: {reason}")]
    Value {
        /// The line or the option.
        place: Where,
        /// The field.
        field: String,
        /// The value and what is allowed.
        reason: String,
    },
    /// Another kind of document.
    #[error("configuration {path}:{line}: found {found}, expected {} or {}", own::DOCUMENT, kube_proxy::DOCUMENT)]
    Document {
        /// The file.
        path: PathBuf,
        /// The line the document begins at.
        line: u64,
        /// apiVersion and kind that stand there.
        found: String,
    },
    /// The same kind of document again.
    #[error("configuration {path}:{line}: a second {what}; leave one of them")]
    Twice {
        /// The file.
        path: PathBuf,
        /// The line the second one begins at.
        line: u64,
        /// apiVersion and kind.
        what: String,
    },
    /// The node's name is neither configured nor to be had from the host.
    #[error("this node has no host name; pass --hostname-override, or set `hostnameOverride` in the configuration")]
    NodeName,
    /// No cgroup2 file system.
    #[error("no cgroup2 file system is mounted; mount one (mount -t cgroup2 none /sys/fs/cgroup) or set `cgroup`")]
    Cgroup,
}

impl ConfigError {
    pub(super) fn value(path: Option<&Path>, BadValue { place, field, reason }: BadValue) -> Self {
        Self::Value { place: Where::of(path, place), field, reason }
    }
}
