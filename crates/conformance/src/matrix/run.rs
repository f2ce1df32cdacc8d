//! Carries the matrix out: one world after the other, the cells of a world side by side.
use super::behaviour::{BEHAVIOURS, Behaviour};
use super::cell::{Cell, Source, cells};
use super::expect::{Expected, judge};
use super::pace::Pace;
use super::services::protocol;
use super::setting::{Setting, settings};
use super::world::World;
use crate::CaseOutcome;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Cells that are under way at a time. Most of their time they wait: for silence.
const WORKERS: usize = 16;
/// For what is answered: long, because a busy machine is no failure.
const TIMEOUT: Duration = Duration::from_secs(3);
/// For what nobody answers.
const SILENCE: Duration = Duration::from_millis(300);

/// One case and what came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// What came of it.
    pub outcome: CaseOutcome,
}

/// Who is told how far it is, and may end it.
pub trait Watch: Sync {
    /// So many cases of so many are done; `now` is the surroundings of those that follow.
    fn progress(&self, now: &str, done: usize, of: usize);
    /// Whether to stop.
    fn interrupted(&self) -> bool;
}

/// The names of all cases.
pub fn names() -> impl Iterator<Item = String> {
    settings().iter().flat_map(|setting| {
        let cells = cells(*setting).into_iter().map(|cell| cell.to_string());
        cells.chain(behaviours(*setting).map(move |behaviour| behaviour.name(*setting)))
    })
}

/// Carries out the cases whose names are selected, in the order of [`names`].
#[must_use]
pub fn run(selected: &dyn Fn(&str) -> bool, pace: Pace, watch: &dyn Watch) -> Vec<Report> {
    let of = names().filter(|name| selected(name)).count();
    let mut reports = Vec::new();
    for &setting in settings() {
        let cells: Vec<Cell> = cells(setting).into_iter().filter(|cell| selected(&cell.to_string())).collect();
        let behaviours: Vec<_> = behaviours(setting).filter(|behaviour| selected(&behaviour.name(setting))).collect();
        if watch.interrupted() || (cells.is_empty() && behaviours.is_empty()) {
            continue;
        }
        watch.progress(&setting.to_string(), reports.len(), of);
        let progress = |done| watch.progress(&setting.to_string(), reports.len() + done, of);
        let found = in_world((setting, pace), &cells, &behaviours, &progress, &|| watch.interrupted());
        reports.extend(found);
    }
    reports
}

fn behaviours(setting: Setting) -> impl Iterator<Item = &'static Behaviour> {
    BEHAVIOURS.iter().filter(move |behaviour| (behaviour.applies)(setting))
}

fn in_world(
    (setting, pace): (Setting, Pace),
    cells: &[Cell],
    behaviours: &[&Behaviour],
    progress: &(dyn Fn(usize) + Sync),
    interrupted: &(dyn Fn() -> bool + Sync),
) -> Vec<Report> {
    let mut world = match World::build(setting, pace) {
        Ok(world) => world,
        Err(error) => {
            let why = format!("this world cannot be built: {error}");
            let outcome = if error.is_lack() { CaseOutcome::Skipped(why) } else { CaseOutcome::Failed(why) };
            let names = cells.iter().map(ToString::to_string).chain(behaviours.iter().map(|b| b.name(setting)));
            return names.map(|name| Report { name, outcome: outcome.clone() }).collect();
        }
    };
    let mut reports = side_by_side(&world, cells, progress, interrupted);
    for behaviour in behaviours.iter().take_while(|_| !interrupted()) {
        let outcome = match (behaviour.run)(&mut world) {
            Ok(()) => CaseOutcome::Passed,
            Err(why) => CaseOutcome::Failed(why),
        };
        reports.push(Report { name: behaviour.name(setting), outcome });
        progress(reports.len());
    }
    reports
}

/// Carries out cells with several workers; their reports come in the order of the cells.
fn side_by_side(
    world: &World,
    cells: &[Cell],
    progress: &(dyn Fn(usize) + Sync),
    interrupted: &(dyn Fn() -> bool + Sync),
) -> Vec<Report> {
    let units = units(cells);
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            for &(place, cell) in unit {
                if interrupted() {
                    return;
                }
                let report = Report { name: cell.to_string(), outcome: carry_out(world, cell) };
                let mut done = done.lock().expect("invariant: no worker panics while it holds this");
                done.insert(place, report);
                progress(done.len());
            }
        }
    };
    thread::scope(|scope| (0..WORKERS).for_each(|_| drop(scope.spawn(work))));
    done.into_inner().expect("invariant: no worker panics while it holds this").into_values().collect()
}

/// What one worker does after the other: each cell by itself, but those of one client that share an affinity in their order,
/// because two first flows at the same moment may go to different backends.
fn units(cells: &[Cell]) -> Vec<Vec<(usize, &Cell)>> {
    let mut units: Vec<Vec<(usize, &Cell)>> = Vec::new();
    let mut sticky: BTreeMap<_, Vec<(usize, &Cell)>> = BTreeMap::new();
    for (place, cell) in cells.iter().enumerate() {
        if cell.service.has_affinity() {
            sticky.entry((cell.source_addr(), cell.transport)).or_default().push((place, cell));
        } else {
            units.push(vec![(place, cell)]);
        }
    }
    // The long ones first, so that none is left alone at the end.
    sticky.into_values().chain(units).collect()
}

fn carry_out(world: &World, cell: &Cell) -> CaseOutcome {
    if !world.has_family(cell.v4) {
        return CaseOutcome::Skipped("this kernel has no IPv6".to_owned());
    }
    if !world.has_transport(cell.transport) {
        let name = protocol(cell.transport).as_str();
        return CaseOutcome::Skipped(format!("this kernel has no sockets of {name}, or has not loaded their module"));
    }
    if cell.source == Source::Node && !world.knows_node() {
        let why =
            "before Linux 5.14 the socket entrance takes a node that is not the machine's first namespace for a pod";
        return CaseOutcome::Skipped(why.to_owned());
    }
    if let Some(limitation) = cell.limitation() {
        return CaseOutcome::Skipped(limitation.to_owned());
    }
    let Some(expected) = world.expected(cell) else {
        return CaseOutcome::Failed(
            "a bug of the matrix: the reference says that this is none of sheave's business".to_owned(),
        );
    };
    let timeout = if expected == Expected::Silence { SILENCE } else { TIMEOUT };
    let client = world.client(cell.place(), timeout).with_payload(cell.payload_bytes());
    let until = expected.clone();
    match client.survey(cell.target(), move |outcomes| until.is_enough(outcomes)) {
        Ok(outcomes) => match judge(cell, &expected, &outcomes) {
            Ok(()) => CaseOutcome::Passed,
            Err(why) => CaseOutcome::Failed(why),
        },
        Err(error) => CaseOutcome::Failed(error.to_string()),
    }
}
