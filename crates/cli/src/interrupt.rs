//! Ctrl-C as a flag, for commands that clean up before they leave.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that the first interrupt sets. Once for each process.
///
/// # Errors
/// The process has one already, or the system refuses the handler.
pub(crate) fn flag() -> Result<Arc<AtomicBool>, ctrlc::Error> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&interrupted);
    ctrlc::set_handler(move || set.store(true, Ordering::Relaxed))?;
    Ok(interrupted)
}
