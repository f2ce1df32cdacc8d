//! Diagnostics in the log: each once when it appears and once when it is gone, never again in between.
use sheave_core::Diagnostic;
use std::collections::BTreeSet;
use std::sync::Arc;
use tracing::{info, warn};

/// What has been said so far.
#[derive(Default)]
pub(crate) struct Said(Arc<BTreeSet<Diagnostic>>);

impl Said {
    /// Logs the difference to last time.
    pub(crate) fn update(&mut self, now: Arc<BTreeSet<Diagnostic>>) {
        for new in now.difference(&self.0) {
            warn!(
                object = %new.object,
                field = new.field,
                problem = new.problem.as_str(),
                origin = new.origin.as_deref(),
                reason = new.message,
                "diagnostic"
            );
        }
        for gone in self.0.difference(&now) {
            info!(object = %gone.object, field = gone.field, problem = gone.problem.as_str(), "diagnostic is gone");
        }
        self.0 = now;
    }
}
