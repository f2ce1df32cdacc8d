//! What performs a [`MapOp`]: the kernel's maps (`exec`), or maps modelled in memory (`memory`).
use crate::ops::MapOp;
use std::io;

/// Maps that operations can be performed on.
pub trait Maps {
    /// Performs one operation. After an error with several entries, any of them may have been written; an operation of one
    /// entry was performed or was not.
    fn exec(&mut self, op: &MapOp) -> Result<(), MapError>;
}

/// The kernel said no.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{operation} on map {map} failed: {}", io::Error::from_raw_os_error(*errno))]
pub struct MapError {
    /// The map, by its name in the object file.
    pub map: &'static str,
    /// What was tried: `update`, `delete`, `create` …
    pub operation: &'static str,
    /// Why, as in errno(3).
    pub errno: i32,
}

impl MapError {
    /// What the kernel said. Errors without an errno are this crate's own: a map of another shape.
    pub(crate) fn new(map: &'static str, operation: &'static str, error: &io::Error) -> Self {
        Self { map, operation, errno: error.raw_os_error().unwrap_or(libc::EINVAL) }
    }
}

/// What came of an operation on a map, with its name.
pub(crate) fn said<T>(map: &'static str, operation: &'static str, result: io::Result<T>) -> Result<T, MapError> {
    result.map_err(|error| MapError::new(map, operation, &error))
}
