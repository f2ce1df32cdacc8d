//! What has no figure, or one of fewer rounds than were asked for: cut off, unavailable, failed.
use super::comparison::Machine;
use super::figure;
use crate::record::{Backends, Dataplane, Outcome, Percent, Phase, Point, Shape, Work};
use std::collections::{BTreeMap, BTreeSet};

/// A dataplane that lacks figures for one reason.
#[derive(Debug)]
pub(crate) struct Absent {
    pub(crate) dataplane: Dataplane,
    /// What happened, and why.
    pub(crate) what: String,
    /// What the reader can do; empty when nothing is known.
    pub(crate) remedy: String,
    /// Which works, and at which sizes.
    pub(crate) points: String,
}

/// Everything that was to be measured and was not, or not as often as it was to be, in few lines.
pub(crate) fn absent(machine: &Machine) -> Vec<Absent> {
    let repeats = machine.runs.iter().map(|(_, scenario)| scenario.repeats).min().unwrap_or(0);
    let mut reasons: BTreeMap<_, BTreeMap<Work, BTreeSet<Shape>>> = BTreeMap::new();
    for point in machine.points() {
        if let Some((what, remedy)) = reason(point, repeats) {
            let works = reasons.entry((point.dataplane(), what, remedy)).or_default();
            works.entry(point.work()).or_default().insert(point.shape());
        }
    }
    let absent = reasons.into_iter().map(|((dataplane, what, remedy), works)| {
        let all = machine.points().filter(|point| point.dataplane() == dataplane).count();
        let here: usize = works.values().map(BTreeSet::len).sum();
        let points = if all == here { "everything".to_owned() } else { places(works) };
        Absent { dataplane, what, remedy, points }
    });
    absent.collect()
}

fn reason(point: &Point, repeats: u32) -> Option<(String, String)> {
    match point.outcome() {
        Outcome::Measured if point.rounds() >= repeats as usize => None,
        Outcome::Measured => {
            let what = format!("has fewer than {repeats} rounds: there was no time for more, or one of them failed");
            Some((what, String::new()))
        }
        Outcome::CutOff { after_s, during, .. } => {
            let during = match during {
                Phase::Setup => "while it was set up",
                Phase::Operation => "in the operation",
                Phase::Round => "in a round",
            };
            let after = figure::limit(after_s.floor().max(1.0));
            Some((format!("cut off {during}, after {after}, or at a smaller size already"), String::new()))
        }
        Outcome::Unavailable { reason, remedy } => Some((format!("not available: {reason}"), remedy.clone())),
        Outcome::Failed { error } => Some((format!("failed: {error}"), String::new())),
    }
}

/// `sync churn, cold-start at 1,000, 10,000 Services with 1 backend each; …`: works of a bench that have it at the same sizes
/// together.
fn places(works: BTreeMap<Work, BTreeSet<Shape>>) -> String {
    let mut together: BTreeMap<(&str, BTreeSet<Shape>), Vec<&str>> = BTreeMap::new();
    for (work, shapes) in works {
        together.entry((work.bench(), shapes)).or_default().push(work.operation());
    }
    let place = |((bench, shapes), operations): ((&str, BTreeSet<Shape>), Vec<&str>)| {
        format!("{bench} {} at {}", operations.join(", "), sizes(&shapes))
    };
    together.into_iter().map(place).collect::<Vec<_>>().join("; ")
}

fn sizes(shapes: &BTreeSet<Shape>) -> String {
    let mut by_kind: BTreeMap<(Backends, Percent), Vec<String>> = BTreeMap::new();
    for Shape { services, backends, node_port_percent } in shapes {
        by_kind.entry((*backends, *node_port_percent)).or_default().push(figure::size(*services));
    }
    let kind = |((backends, percent), services): ((Backends, Percent), Vec<String>)| {
        let node_ports = match u8::from(percent) {
            0 => String::new(),
            percent => format!(", {percent} % of them with a NodePort"),
        };
        format!("{} Services with {backends}{node_ports}", services.join(", "))
    };
    by_kind.into_iter().map(kind).collect::<Vec<_>>().join(", and ")
}
