//! How soon the kernel may end this process when memory is short (proc(5), `oom_score_adj`).
use std::io;

/// The kernel did not take the value.
#[derive(Debug, thiserror::Error)]
#[error("cannot set oom_score_adj to {wanted}: {source}; lowering it needs CAP_SYS_RESOURCE")]
pub struct OomScoreError {
    /// The value.
    pub wanted: i16,
    /// Why.
    pub source: io::Error,
}

/// Sets it for this process.
///
/// # Errors
/// A lower value than the process has needs CAP_SYS_RESOURCE.
pub fn set_score_adj(wanted: i16) -> Result<(), OomScoreError> {
    std::fs::write("/proc/self/oom_score_adj", wanted.to_string()).map_err(|source| OomScoreError { wanted, source })
}
