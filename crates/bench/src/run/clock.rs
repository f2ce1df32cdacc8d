//! How long things may take.
use crate::scenario::ScenarioFile;
use std::time::{Duration, Instant};

/// The limits of a run that has begun.
pub(super) struct Clock {
    start: Instant,
    point: Duration,
    run: Option<Duration>,
}

/// Which limit was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Limit {
    Point,
    Run,
}

impl Clock {
    pub(super) fn new(scenario: &ScenarioFile) -> Self {
        let seconds = |count: u32| Duration::from_secs(count.into());
        let point = seconds(scenario.point_limit_seconds);
        Self { start: Instant::now(), point, run: scenario.run_limit_seconds.map(seconds) }
    }

    /// What one point may take.
    pub(super) fn point(&self) -> Duration {
        self.point
    }

    /// What a step that begins now may take, and which limit that is.
    pub(super) fn step(&self) -> (Duration, Limit) {
        match self.run.map(|run| run.saturating_sub(self.start.elapsed())) {
            Some(left) if left < self.point => (left, Limit::Run),
            _ => (self.point, Limit::Point),
        }
    }

    /// Whether nothing more is to begin.
    pub(super) fn is_over(&self) -> bool {
        self.step().0.is_zero()
    }

    /// How long the run has gone on.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Limit {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Point => "the limit for one point",
            Self::Run => "the limit for the whole run",
        }
    }
}
