//! Loads manifest files into an [`Api`].
use crate::api::Api;
use crate::refusal::Refusal;
use crate::resource::Resource;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A manifest cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no YAML.
    #[error("{path} is not YAML")]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<serde_saphyr::Error>,
    },
    /// An object is refused.
    #[error("{path}: an object is refused")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<Refusal>,
    },
}

impl Api {
    /// Applies the manifests of a file, or of every YAML and JSON file of a directory. Kinds that are not served are left
    /// out. Returns how many objects were applied.
    ///
    /// # Errors
    /// [`LoadError`] names the file; what came before it stays applied.
    pub fn load(&self, path: &Path) -> Result<usize, LoadError> {
        let mut applied = 0;
        for file in files(path)? {
            let text = fs::read_to_string(&file).map_err(|source| LoadError::Read { path: file.clone(), source })?;
            // Our own files, of any size; aliases keep the library's bounds.
            let options = serde_saphyr::options! {
                budget: serde_saphyr::budget! {
                    max_documents: usize::MAX,
                    max_events: usize::MAX,
                    max_nodes: usize::MAX,
                    max_total_scalar_bytes: usize::MAX,
                },
            };
            let documents = serde_saphyr::from_multiple_with_options::<Value>(&text, options)
                .map_err(|source| LoadError::Yaml { path: file.clone(), source: Box::new(source) })?;
            for object in documents.into_iter().flat_map(flattened) {
                if Resource::of_kind(object["kind"].as_str().unwrap_or_default()).is_some() {
                    self.apply(object)
                        .map_err(|source| LoadError::Refused { path: file.clone(), source: Box::new(source) })?;
                    applied += 1;
                }
            }
        }
        Ok(applied)
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    let entries = fs::read_dir(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let manifest = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json");
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).filter(manifest).collect();
    files.sort();
    Ok(files)
}

fn flattened(mut document: Value) -> Vec<Value> {
    match document["items"].take() {
        Value::Array(items) => items,
        _ => vec![document],
    }
}
