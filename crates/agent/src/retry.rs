//! Pauses between attempts.
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// When to try again after a failure: exponentially later, with jitter.
#[derive(Default)]
pub(crate) struct Retry {
    backoff: Option<ExponentialBackoff>,
    due: Option<Instant>,
}

impl Retry {
    /// It went well; the next failure is a first one.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It failed, perhaps again.
    pub(crate) fn failed(&mut self) {
        let fresh = || {
            let builder = ExponentialBuilder::new().with_min_delay(Duration::from_millis(100));
            builder.with_max_delay(Duration::from_secs(10)).without_max_times().with_jitter().build()
        };
        let delay = self.backoff.get_or_insert_with(fresh).next();
        self.due = Some(Instant::now() + delay.unwrap_or(Duration::from_secs(10)));
    }

    /// Whether it failed and has not gone well since.
    pub(crate) fn failing(&self) -> bool {
        self.backoff.is_some()
    }

    /// Ready when it is time; never, when nothing failed. Dropped before it is ready and called again, it waits on.
    pub(crate) async fn wait(&mut self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
        self.due = None;
    }
}
