//! Measures a scenario: in turns, bounded in time, saved point by point.
mod available;
mod clock;
mod progress;
mod series;
mod turns;

pub use available::Absent;
pub(crate) use available::tools;
pub use progress::Watch;

use crate::environment;
use crate::record::{ConnectOperation, Dataplane, Run, RunError, Shape, Work};
use crate::scenario::{Room, ScenarioFile, available_memory_bytes};
use clock::Clock;
use progress::Progress;
use series::Series;
use sheave_lab::ProcessCgroup;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use turns::Turns;

/// A run that is about to begin.
pub struct Bench<'a> {
    /// What is to be measured.
    pub scenario: &'a ScenarioFile,
    /// Starts a worker: a process that calls [`serve`](crate::worker::serve) on its standard input and output.
    pub worker: &'a dyn Fn() -> Command,
    /// Whom to tell what goes on, and whom to ask whether to go on.
    pub watch: &'a dyn Watch,
}

/// A run could not begin, or its result not be saved.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Nothing of what was asked for can be measured here.
    #[error("none of the dataplanes can be measured here: {0}")]
    NothingAvailable(String),
    /// More memory than there is.
    #[error(
        "{services} Services with {backends} need about {need_mib} MiB with {dataplane} alone, and {available_mib} MiB are \
         available; give a smaller scenario with --scenario"
    )]
    TooLarge {
        /// Services of the size.
        services: u32,
        /// Their backends.
        backends: String,
        /// What would take least.
        dataplane: Dataplane,
        /// How much that is.
        need_mib: u64,
        /// What there is.
        available_mib: u64,
    },
    /// The result.
    #[error(transparent)]
    Save(#[from] RunError),
}

impl Bench<'_> {
    /// Measures everything, and saves the run after each size into `dir`. An interruption ends it early; what was measured by
    /// then is in the result as well. Nothing is left on the machine but that file.
    ///
    /// # Errors
    /// Nothing can be measured, or the result cannot be saved.
    pub fn run(&self, dir: &Path) -> Result<Run, BenchError> {
        let (present, absent) = self.sorted_out()?;
        // Where the kernel says nothing, everything has to be tried.
        let available = available_memory_bytes().unwrap_or(u64::MAX);
        let rooms = self.rooms(&present, available)?;
        let mut run = Run::new(environment::found(), self.scenario.record());
        run.save(dir)?;
        let mut series = Series::default();
        let mut progress = Progress::new(self.watch, self.scenario, &present);
        let clock = Clock::new(self.scenario);
        for (works, shape) in self.stages() {
            let room = &rooms[&shape];
            let crowded_out = room.left_out.iter().map(|(dataplane, need)| (*dataplane, no_room(*need, available)));
            for (dataplane, absent) in absent.clone().into_iter().chain(crowded_out) {
                let of_it = works.iter().filter(|work| self.scenario.asks(**work, dataplane));
                run.points.extend(of_it.map(|work| absent.point(*work, dataplane, shape)));
            }
            let turns = Turns { bench: self, shape, works: &works, dataplanes: &room.fits, clock: &clock };
            run.points.extend(turns.measure(&mut series, &mut progress));
            run.environment.load_after = environment::load();
            run.save(dir)?;
        }
        sweep();
        Ok(run)
    }

    /// Small sizes first, and at each of them what takes least time first.
    fn stages(&self) -> Vec<(Vec<Work>, Shape)> {
        let benches = ["lookup", "connect", "sync"]
            .map(|bench| self.scenario.works().filter(|work| work.bench() == bench).collect::<Vec<Work>>());
        let stages = |shape| benches.iter().filter(|works| !works.is_empty()).map(move |works| (works.clone(), shape));
        self.scenario.shapes().into_iter().flat_map(stages).collect()
    }

    /// What this machine can do, and what it cannot; the latter is said at once.
    fn sorted_out(&self) -> Result<(Vec<Dataplane>, BTreeMap<Dataplane, Absent>), BenchError> {
        let mut absent = BTreeMap::new();
        let mut present = Vec::new();
        for dataplane in self.scenario.dataplanes.iter().copied() {
            if !self.scenario.works().any(|work| self.scenario.asks(work, dataplane)) {
                continue;
            }
            match available::check(dataplane) {
                Ok(()) => present.push(dataplane),
                Err(why) => {
                    self.watch.say(&format!("left out: {dataplane}: {why}"));
                    absent.insert(dataplane, why);
                }
            }
        }
        if present.is_empty() {
            let why: Vec<_> = absent.iter().map(|(dataplane, why)| format!("{dataplane}: {why}")).collect();
            return Err(BenchError::NothingAvailable(why.join("; ")));
        }
        Ok((present, absent))
    }

    /// At which size which dataplanes fit into the memory; what does not is said at once.
    fn rooms(&self, present: &[Dataplane], available: u64) -> Result<BTreeMap<Shape, Room>, BenchError> {
        let mut rooms = BTreeMap::new();
        for shape in self.scenario.shapes() {
            let room = Room::of(shape, present, available);
            if let ([], Some((dataplane, need))) = (&room.fits[..], room.left_out.iter().min_by_key(|(_, need)| need)) {
                return Err(BenchError::TooLarge {
                    services: shape.services,
                    backends: shape.backends.to_string(),
                    dataplane: *dataplane,
                    need_mib: need >> 20,
                    available_mib: available >> 20,
                });
            }
            for (dataplane, need) in &room.left_out {
                let Shape { services, backends, .. } = shape;
                let why = no_room(*need, available);
                self.watch.say(&format!("left out: {dataplane} at {services} Services with {backends}: {why}"));
            }
            rooms.insert(shape, room);
        }
        Ok(rooms)
    }
}

fn no_room(need: u64, available: u64) -> Absent {
    Absent {
        reason: format!("no room: it needs about {} MiB beside the others, of {} MiB", need >> 20, available >> 20),
        remedy: "name fewer with --dataplane".to_owned(),
    }
}

impl ScenarioFile {
    /// Whether a work says anything about a dataplane that the others of the scenario do not.
    fn asks(&self, work: Work, dataplane: Dataplane) -> bool {
        match work {
            // Without a dataplane nothing changes.
            Work::Connect(ConnectOperation::Churn) => dataplane != Dataplane::Direct,
            // Partial syncs leave the same rules behind as full ones, so their clients see the same.
            Work::Connect(_) => dataplane.with_full_syncs().is_none_or(|full| !self.dataplanes.contains(&full)),
            Work::Lookup(_) => dataplane == Dataplane::SheaveEbpf,
            // Where a client is translated has no part in what is written.
            Work::Sync(_) => !matches!(dataplane, Dataplane::Direct | Dataplane::SheaveEbpfDevice),
        }
    }
}

/// Removes the cgroups of workers that were ended: a lab that starts does that.
fn sweep() {
    // Without cgroups there is nothing to remove.
    drop(ProcessCgroup::join("bench"));
}
