//! What is to be measured, as data: `benches/scenarios/*.yaml`.
mod check;
mod need;

pub use check::ScenarioError;
pub use need::{Room, available_memory_bytes};

use crate::record::{
    ConnectOperation, Dataplane, Grid, LookupOperation, Percent, Scenario, Shape, SyncOperation, Work,
};
use serde::Deserialize;
use std::path::Path;

/// A scenario as a file has it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScenarioFile {
    /// Its name.
    pub name: String,
    /// What it is for, for people.
    pub purpose: String,
    /// Everything that is drawn follows from it.
    pub seed: u64,
    /// Rounds for each point.
    pub repeats: u32,
    /// What one point may take: its set-up, a round, all rounds together.
    pub point_limit_seconds: u32,
    /// What the whole run may take; not bounded by default. What is not begun by then is cut off.
    #[serde(default)]
    pub run_limit_seconds: Option<u32>,
    /// Numbers of Services.
    pub services: Vec<u32>,
    /// Backends of a Service: `each: N` or `load-test-mix`.
    pub backends: Vec<crate::record::Backends>,
    /// Shares of Services with a NodePort; none of them by default.
    #[serde(default = "no_node_ports")]
    pub node_port_percent: Vec<Percent>,
    /// The dataplanes; all of them by default.
    #[serde(default = "every_dataplane")]
    pub dataplanes: Vec<Dataplane>,
    /// Operations of `bench sync`.
    #[serde(default)]
    pub sync: Vec<SyncOperation>,
    /// Operations of `bench lookup`.
    #[serde(default)]
    pub lookup: Vec<LookupOperation>,
    /// Operations of `bench connect`.
    #[serde(default)]
    pub connect: Vec<ConnectOperation>,
}

/// The scenarios that come with the program, by name.
pub const BUILT_IN: [(&str, &str); 10] = [
    ("quick", include_str!("../../../../benches/scenarios/quick.yaml")),
    ("sync", include_str!("../../../../benches/scenarios/sync.yaml")),
    ("sync-backends", include_str!("../../../../benches/scenarios/sync-backends.yaml")),
    ("sync-mix", include_str!("../../../../benches/scenarios/sync-mix.yaml")),
    ("sync-large", include_str!("../../../../benches/scenarios/sync-large.yaml")),
    ("sync-node-ports", include_str!("../../../../benches/scenarios/sync-node-ports.yaml")),
    ("lookup", include_str!("../../../../benches/scenarios/lookup.yaml")),
    ("connect", include_str!("../../../../benches/scenarios/connect.yaml")),
    ("connect-large", include_str!("../../../../benches/scenarios/connect-large.yaml")),
    ("churn", include_str!("../../../../benches/scenarios/churn.yaml")),
];

fn no_node_ports() -> Vec<Percent> {
    vec![Percent::default()]
}

fn every_dataplane() -> Vec<Dataplane> {
    Dataplane::ALL.to_vec()
}

impl ScenarioFile {
    /// One that comes with the program.
    ///
    /// # Errors
    /// [`ScenarioError::Unknown`]: there is none of that name.
    pub fn built_in(name: &str) -> Result<Self, ScenarioError> {
        let known = BUILT_IN.iter().find(|(known, _)| *known == name);
        let (_, text) = known.ok_or_else(|| ScenarioError::Unknown { name: name.to_owned() })?;
        Self::parse(text, Path::new(name))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is no scenario, or asks for what cannot be.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ScenarioError::Open { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads text; the path is for messages.
    ///
    /// # Errors
    /// It is no scenario, or asks for what cannot be.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ScenarioError> {
        let read: Result<Self, _> = serde_saphyr::from_str(text);
        let file = read.map_err(|error| ScenarioError::Syntax { path: path.to_owned(), wrong: error.to_string() })?;
        check::check(&file, path)?;
        Ok(file)
    }

    /// Everything that is to be measured, in the order of the benches.
    pub fn works(&self) -> impl Iterator<Item = Work> {
        let sync = self.sync.iter().copied().map(Work::Sync);
        let lookup = self.lookup.iter().copied().map(Work::Lookup);
        sync.chain(lookup).chain(self.connect.iter().copied().map(Work::Connect))
    }

    /// All sizes, small ones first: what is cut off at one is not tried at a larger one.
    #[must_use]
    pub fn shapes(&self) -> Vec<Shape> {
        let mut shapes = Vec::new();
        for services in &self.services {
            for backends in &self.backends {
                for percent in &self.node_port_percent {
                    shapes.push(Shape::new(*services, *backends).with_node_ports(*percent));
                }
            }
        }
        shapes.sort_by_key(|shape| (crate::cluster::endpoints(*shape), shape.services, shape.node_port_percent));
        shapes.dedup();
        shapes
    }

    /// What a run's file says of it.
    #[must_use]
    pub fn record(&self) -> Scenario {
        Scenario {
            name: self.name.clone(),
            seed: self.seed,
            repeats: self.repeats,
            point_limit_s: self.point_limit_seconds,
            grid: Grid {
                services: self.services.clone(),
                backends: self.backends.clone(),
                node_port_percent: self.node_port_percent.clone(),
            },
            dataplanes: self.dataplanes.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_that_comes_with_the_program_can_be_run() {
        for (name, _) in BUILT_IN {
            let file = ScenarioFile::built_in(name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(file.name, name);
            assert!(file.works().next().is_some(), "{name} measures nothing");
        }
        let unknown = ScenarioFile::built_in("slow").unwrap_err().to_string();
        let names = BUILT_IN.map(|(name, _)| name).join(", ");
        assert_eq!(unknown, format!("there is no scenario \"slow\"; there are: {names}"));
    }

    #[test]
    fn small_shapes_come_first() {
        let file = ScenarioFile::built_in("sync").unwrap();
        let sizes: Vec<_> = file.shapes().iter().map(|shape| crate::cluster::endpoints(*shape)).collect();
        assert!(sizes.is_sorted(), "{sizes:?}");
    }

    #[test]
    fn a_scenario_that_cannot_be_run_says_why_and_what_to_do() {
        let good = BUILT_IN[0].1;
        for (case, from, to, want) in [
            ("an unknown dataplane", "purpose:", "dataplanes: [ebtables]\npurpose:", "ebtables"),
            ("an unknown field", "purpose:", "rounds: 3\npurpose:", "rounds"),
            ("no Service", "services: [10, 1000, 10000]", "services: [0]", "services: 0"),
            ("nothing to measure", "services: [10, 1000, 10000]", "services: []", "services"),
            ("more Services than addresses", "services: [10, 1000, 10000]", "services: [10000000]", "give at most"),
            ("more endpoints than addresses", "backends: [each: 1]", "backends: [each: 1000]", "endpoints"),
            ("no round", "repeats:", "repeats: 0 #", "repeats"),
        ] {
            assert!(good.contains(from), "case: {case}");
            let error = ScenarioFile::parse(&good.replacen(from, to, 1), Path::new("x.yaml")).unwrap_err().to_string();
            assert!(error.starts_with("x.yaml: ") && error.contains(want), "case: {case}: {error}");
        }
        let absent = ScenarioFile::read(Path::new("/nowhere/x.yaml")).unwrap_err().to_string();
        assert!(absent.starts_with("/nowhere/x.yaml: cannot be read: No such file"), "{absent}");
    }
}
