//! What has no figure: cut off, unavailable, failed.
use super::comparison::Machine;
use super::figure;
use crate::record::{Dataplane, Outcome, Phase, Point, Work};
use std::collections::{BTreeMap, BTreeSet};

/// A dataplane that has no figures for one reason.
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

/// Everything that was to be measured and has no figure, in few lines.
pub(crate) fn absent(machine: &Machine) -> Vec<Absent> {
    let mut reasons: BTreeMap<_, BTreeMap<Work, BTreeSet<u32>>> = BTreeMap::new();
    for point in machine.points() {
        if let Some((what, remedy)) = reason(point) {
            let works = reasons.entry((point.dataplane(), what, remedy)).or_default();
            works.entry(point.work()).or_default().insert(point.shape().services);
        }
    }
    let absent = reasons.into_iter().map(|((dataplane, what, remedy), works)| {
        let points = works.iter().map(|(work, sizes)| format!("{work} at {}", list(sizes)));
        Absent { dataplane, what, remedy, points: points.collect::<Vec<_>>().join("; ") }
    });
    absent.collect()
}

fn reason(point: &Point) -> Option<(String, String)> {
    match point.outcome() {
        Outcome::Measured => None,
        Outcome::CutOff { after_s, during, reason } => {
            let during = match during {
                Phase::Setup => "while it was set up",
                Phase::Operation => "in the operation",
                Phase::Round => "in a round",
            };
            Some((format!("cut off {during}, after {}: {reason}", figure::limit(*after_s)), String::new()))
        }
        Outcome::Unavailable { reason, remedy } => Some((format!("not available: {reason}"), remedy.clone())),
        Outcome::Failed { error } => Some((format!("failed: {error}"), String::new())),
    }
}

fn list(sizes: &BTreeSet<u32>) -> String {
    let sizes: Vec<_> = sizes.iter().map(|size| figure::size(*size)).collect();
    format!("{} Services", sizes.join(", "))
}
