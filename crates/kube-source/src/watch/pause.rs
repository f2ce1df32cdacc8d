//! How long to wait after a failure: longer each time, and never in step with other nodes.
use crate::Pace;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// What a server may ask for at most; a larger `Retry-After` is not believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct Pause {
    builder: ExponentialBuilder,
    waits: ExponentialBackoff,
    max: Duration,
}

impl Pause {
    pub(super) fn new(pace: &Pace) -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(pace.retry_min)
            .with_max_delay(pace.retry_max)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times();
        Self { builder, waits: builder.build(), max: pace.retry_max }
    }

    /// The wait after one more failure: at least what the server asked for.
    pub(super) fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let wait = self.waits.next().unwrap_or(self.max);
        match retry_after {
            Some(asked) => asked.min(RETRY_AFTER_MAX) + wait,
            None => wait,
        }
    }

    /// The failure is over.
    pub(super) fn reset(&mut self) {
        self.waits = self.builder.build();
    }
}

/// A random time from a duration to twice it.
pub(super) fn spread(min: Duration) -> Duration {
    min + random_up_to(min)
}

/// A random time below a duration.
pub(super) fn random_up_to(max: Duration) -> Duration {
    max.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_with_jitter_and_begin_anew_after_success() {
        let pace = Pace { retry_min: Duration::from_secs(1), retry_max: Duration::from_secs(8), ..Pace::default() };
        let mut pause = Pause::new(&pace);
        for round in 0..2 {
            for base in [1, 2, 4, 8, 8, 8] {
                let wait = pause.next(None);
                let (low, high) = (Duration::from_secs(base), Duration::from_secs(2 * base));
                assert!(wait >= low && wait <= high, "round {round}: {wait:?} is not in {low:?}..{high:?}");
            }
            pause.reset();
        }
    }

    #[test]
    fn a_server_may_ask_for_a_longer_wait_but_not_for_ever() {
        let mut pause = Pause::new(&Pace::default());
        let asked = Duration::from_secs(7);
        assert!(pause.next(Some(asked)) >= asked);
        assert!(pause.next(Some(Duration::from_secs(1_000_000))) < RETRY_AFTER_MAX * 2);
    }
}
