//! One measurement.
use super::samples::{ConnectRound, LookupRound, Samples, SyncRound};
use super::{ConnectOperation, Dataplane, LookupOperation, Quantity, Shape, SyncOperation, Work};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One work on one dataplane at one size: its samples, or why there are none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    work: Work,
    dataplane: Dataplane,
    shape: Shape,
    outcome: Outcome,
    #[serde(default, skip_serializing_if = "Samples::is_empty")]
    samples: Samples,
}

/// A part of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Bringing the cluster to its size, before anything is measured. Says nothing about the cost.
    Setup,
    /// A single operation of `sync`: its cost is at least the time that it had run.
    Operation,
    /// A round of many decisions or connections. Says nothing about the cost of one.
    Round,
}

/// How a measurement ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Outcome {
    /// Every round was made.
    Measured,
    /// It took longer than a point may take, and no round was complete.
    CutOff {
        /// How long it had run, in seconds.
        after_s: f64,
        /// What it was doing.
        during: Phase,
        /// What set the limit.
        reason: String,
    },
    /// This machine cannot do it.
    Unavailable {
        /// What is missing.
        reason: String,
        /// What the reader can do about it.
        remedy: String,
    },
    /// It went wrong.
    Failed {
        /// What the tool or the kernel said.
        error: String,
    },
}

impl Point {
    /// Rounds of a change. No rounds at all give a failed point.
    pub fn sync(operation: SyncOperation, dataplane: Dataplane, shape: Shape, rounds: &[SyncRound]) -> Self {
        Self::measured(Work::Sync(operation), dataplane, shape, Samples::of_sync(rounds))
    }

    /// Rounds of decisions or packets. No rounds at all give a failed point.
    pub fn lookup(operation: LookupOperation, dataplane: Dataplane, shape: Shape, rounds: &[LookupRound]) -> Self {
        Self::measured(Work::Lookup(operation), dataplane, shape, Samples::of_lookup(rounds))
    }

    /// Rounds of connections. No rounds at all, or none that succeeded, give a failed point.
    pub fn connect(operation: ConnectOperation, dataplane: Dataplane, shape: Shape, rounds: &[ConnectRound]) -> Self {
        Self::measured(Work::Connect(operation), dataplane, shape, Samples::of_connect(rounds))
    }

    fn measured(work: Work, dataplane: Dataplane, shape: Shape, samples: Samples) -> Self {
        if samples.get(work.principal()).is_none_or(|series| series.values.is_empty()) {
            return Self::failed(work, dataplane, shape, "no round gave a result");
        }
        Self { work, dataplane, shape, outcome: Outcome::Measured, samples }
    }

    /// It took longer than a point may take: what it was doing, and for how long. Rounds that were complete by then make a
    /// measured point instead.
    pub fn cut_off(
        work: Work,
        dataplane: Dataplane,
        shape: Shape,
        during: Phase,
        after: Duration,
        reason: impl Into<String>,
    ) -> Self {
        let outcome = Outcome::CutOff { after_s: after.as_secs_f64(), during, reason: reason.into() };
        Self::without(work, dataplane, shape, outcome)
    }

    /// This machine cannot do it; the remedy is what the reader can do about that.
    pub fn unavailable(
        work: Work,
        dataplane: Dataplane,
        shape: Shape,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::without(work, dataplane, shape, Outcome::Unavailable { reason: reason.into(), remedy: remedy.into() })
    }

    /// It went wrong.
    pub fn failed(work: Work, dataplane: Dataplane, shape: Shape, error: impl Into<String>) -> Self {
        Self::without(work, dataplane, shape, Outcome::Failed { error: error.into() })
    }

    fn without(work: Work, dataplane: Dataplane, shape: Shape, outcome: Outcome) -> Self {
        Self { work, dataplane, shape, outcome, samples: Samples::default() }
    }

    /// What was measured.
    pub fn work(&self) -> Work {
        self.work
    }

    /// On what.
    pub fn dataplane(&self) -> Dataplane {
        self.dataplane
    }

    /// At which size.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How it ended.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The raw values; empty unless it was measured.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// How many rounds gave a result.
    pub fn rounds(&self) -> usize {
        self.samples.get(self.work.principal()).map_or(0, |series| series.rounds().len())
    }

    /// Puts the rounds of the same point of another run behind these. A measurement outweighs the absence of one.
    pub(crate) fn merge(&mut self, other: &Self) {
        match (&self.outcome, &other.outcome) {
            (Outcome::Measured, Outcome::Measured) => self.samples.append(&other.samples),
            (_, Outcome::Measured) => self.clone_from(other),
            _ => {}
        }
    }

    /// What contradicts itself in a point that was read from a file: the field within the point, and what is wrong.
    pub(super) fn fault(&self) -> Option<(String, String)> {
        if self.shape.services == 0 {
            return Some(("shape.services".into(), "0, but a point has at least one Service".into()));
        }
        if let Outcome::CutOff { after_s, .. } = &self.outcome
            && !(after_s.is_finite() && *after_s > 0.0)
        {
            return Some(("outcome.after_s".into(), format!("{after_s}, but it must be more than 0")));
        }
        let principal = self.work.principal();
        let has_values = self.samples.get(principal).is_some_and(|series| !series.values.is_empty());
        if has_values != (self.outcome == Outcome::Measured) {
            let wrong = format!("{} must have values if, and only if, the point was measured", principal.name());
            return Some(("samples".into(), wrong));
        }
        self.samples.iter().find_map(|(quantity, series)| {
            let (field, wrong) = series.fault(quantity)?;
            Some((format!("samples.{}.{field}", quantity.name()), wrong))
        })
    }
}

impl Work {
    /// The quantity that this work is about: what its first chart shows.
    pub fn principal(self) -> Quantity {
        match self {
            Self::Sync(_) => Quantity::Wall,
            Self::Connect(ConnectOperation::Rate) => Quantity::Rate,
            Self::Lookup(_) | Self::Connect(_) => Quantity::Latency,
        }
    }
}
