//! Reads runs back: whole, or not at all.
use super::{FORMAT, Run};
use serde::Deserialize;
use serde_json::error::Category;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The name of a run's file.
pub const RUN_FILE: &str = "run.json";
/// A run's file may not be longer. A full run with every latency of every connection is some tens of megabytes.
pub const BYTES_MAX: u64 = 512 << 20;

/// Why a run cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Writing failed.
    #[error("{path}: cannot be written ({source}); choose another directory with --report", path = path.display())]
    Save {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Reading failed.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Open {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory without runs.
    #[error(
        "{path}: there is no {RUN_FILE} in it, nor in a directory of it; give the DIR of `sheave bench --report DIR`",
        path = path.display()
    )]
    NoRun {
        /// The directory.
        path: PathBuf,
    },
    /// Longer than any run.
    #[error("{path}: is longer than {BYTES_MAX} bytes, which no run is; give a {RUN_FILE}", path = path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file ends in the middle.
    #[error(
        "{path}: ends in the middle, at line {line}; it was copied in part: copy it again, or repeat the run",
        path = path.display()
    )]
    Partial {
        /// The file.
        path: PathBuf,
        /// Where it ends.
        line: usize,
    },
    /// Not JSON.
    #[error("{path}: is not JSON at line {line}, column {column}; give a {RUN_FILE} as `sheave bench` wrote it", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line of the fault.
        line: usize,
        /// Column of the fault.
        column: usize,
    },
    /// JSON of another layout.
    #[error(
        "{path}: has format {found}, and this program reads format {FORMAT}; use the sheave that wrote it, or repeat the run",
        path = path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// A field is missing, unknown or contradicts another one.
    #[error("{path}: {field}: {wrong}; correct the field or repeat the run", path = path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        field: String,
        /// What is wrong.
        wrong: String,
    },
}

/// Reads each path: a run's file, a directory that holds one, or a directory of such directories. In the order given; what a
/// directory holds, by name.
///
/// # Errors
/// The first file that cannot be read. A report over part of the data would look like one over all of it.
pub fn read_all<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<Run>, RunError> {
    let mut runs = Vec::new();
    for path in paths {
        for file in files_of(path.as_ref())? {
            runs.push(parse(&bytes_of(&file)?, &file)?);
        }
    }
    Ok(runs)
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>, RunError> {
    let open = |source| RunError::Open { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(open)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let own = path.join(RUN_FILE);
    if own.is_file() {
        return Ok(vec![own]);
    }
    let entries: Result<Vec<_>, _> = std::fs::read_dir(path).map_err(open)?.collect();
    let mut files: Vec<_> = entries.map_err(open)?.iter().map(|entry| entry.path().join(RUN_FILE)).collect();
    files.retain(|file| file.is_file());
    files.sort();
    if files.is_empty() { Err(RunError::NoRun { path: path.to_owned() }) } else { Ok(files) }
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, RunError> {
    let open = |source| RunError::Open { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(open)?;
    let read = file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(open)?;
    if read as u64 > BYTES_MAX { Err(RunError::TooLong { path: path.to_owned() }) } else { Ok(bytes) }
}

/// Reads one run. The path is for messages only. Any bytes give a run or an error.
///
/// # Errors
/// The first thing in the bytes that is no run of this format.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Run, RunError> {
    check_format(bytes, path)?;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let run: Run = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        of_json(error.inner(), path, field)
    })?;
    let fault = run.points.iter().enumerate().find_map(|(index, point)| Some((index, point.fault()?)));
    match fault {
        None => Ok(run),
        Some((index, (field, wrong))) => {
            Err(RunError::Field { path: path.to_owned(), field: format!("points[{index}].{field}"), wrong })
        }
    }
}

/// The format first: a file of another one would only give an error about some field that it has moved.
fn check_format(bytes: &[u8], path: &Path) -> Result<(), RunError> {
    #[derive(Deserialize)]
    struct Head {
        format: u64,
    }
    let head: Head = serde_json::from_slice(bytes).map_err(|error| of_json(&error, path, "format".into()))?;
    let found = head.format;
    if found == u64::from(FORMAT) { Ok(()) } else { Err(RunError::Format { path: path.to_owned(), found }) }
}

fn of_json(error: &serde_json::Error, path: &Path, field: String) -> RunError {
    let path = path.to_owned();
    match error.classify() {
        Category::Eof => RunError::Partial { path, line: error.line() },
        Category::Syntax | Category::Io => RunError::Syntax { path, line: error.line(), column: error.column() },
        Category::Data => RunError::Field { path, field, wrong: error.to_string() },
    }
}
