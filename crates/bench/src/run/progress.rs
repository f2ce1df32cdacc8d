//! How far a run is, and how long the rest will take.
use crate::cluster::endpoints;
use crate::record::{Dataplane, Shape, Work};
use crate::scenario::ScenarioFile;
use std::time::{Duration, Instant};

/// Someone who watches a run.
pub trait Watch {
    /// Something that the reader should keep.
    fn say(&self, line: &str);

    /// What goes on now, how much of the run is done (0 to 1), and how long the rest will take, once that can be told.
    fn progress(&self, now: &str, done: f64, left: Option<Duration>);

    /// Whether the run is to end as soon as it can.
    fn interrupted(&self) -> bool;
}

/// Before that much is done, an estimate would be a guess.
const TELLING: f64 = 0.05;

/// Counts points by their weight.
pub(super) struct Progress<'a> {
    watch: &'a dyn Watch,
    start: Instant,
    done: u64,
    total: u64,
}

impl<'a> Progress<'a> {
    pub(super) fn new(watch: &'a dyn Watch, scenario: &ScenarioFile, dataplanes: &[Dataplane]) -> Self {
        let points = |work: Work| dataplanes.iter().filter(|dataplane| scenario.asks(work, **dataplane)).count() as u64;
        let works: u64 = scenario.works().map(points).sum();
        let total = scenario.shapes().into_iter().map(|shape| weight(shape) * works).sum();
        Self { watch, start: Instant::now(), done: 0, total }
    }

    /// Says what goes on.
    pub(super) fn now(&self, now: &str) {
        let done = if self.total == 0 { 1.0 } else { self.done as f64 / self.total as f64 };
        let left = (done >= TELLING).then(|| self.start.elapsed().mul_f64((1.0 - done).max(0.0) / done));
        self.watch.progress(now, done, left);
    }

    /// A point is done, in whatever way.
    pub(super) fn point(&mut self, shape: Shape) {
        self.done = (self.done + weight(shape)).min(self.total);
    }
}

/// What a point may take is bounded, and what it costs besides is the same at every size: so a cluster of ten times the endpoints
/// takes somewhat longer, and not ten times as long.
fn weight(shape: Shape) -> u64 {
    u64::from(endpoints(shape).max(1).ilog10()) + 2
}
