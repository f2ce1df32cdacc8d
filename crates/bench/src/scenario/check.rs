//! What no machine could measure is refused before anything runs.
use super::{BUILT_IN, ScenarioFile};
use crate::cluster::{ENDPOINTS_MAX, NODE_PORTS_MAX, SERVICES_MAX, endpoints, node_ports};
use crate::record::{Backends, Dataplane, Shape};
use std::path::{Path, PathBuf};

/// More rounds than anyone waits for.
const REPEATS_MAX: u32 = 1000;
/// An hour for one point.
const LIMIT_MAX_S: u32 = 3600;
/// A week for a run.
const RUN_LIMIT_MAX_S: u32 = 7 * 24 * 3600;
/// Endpoints of one Service: Kubernetes keeps no more in the old Endpoints object, and tests no more.
const BACKENDS_MAX: u32 = 1000;

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// No such scenario comes with the program.
    #[error("there is no scenario {name:?}; there are: {}", BUILT_IN.map(|(name, _)| name).join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}; `sheave bench --list` names the scenarios that come with the program", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no scenario.
    #[error("{path}: is no scenario: {wrong}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        wrong: String,
    },
    /// A value that cannot be.
    #[error("{path}: {field}: {wrong}", path = path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What is wrong, and what would be right.
        wrong: String,
    },
    /// No dataplane of this name.
    #[error("there is no dataplane {name:?}; there are: {}", Dataplane::ALL.map(Dataplane::name).join(", "))]
    UnknownDataplane {
        /// What was asked for.
        name: String,
    },
}

impl std::str::FromStr for Dataplane {
    type Err = ScenarioError;

    fn from_str(name: &str) -> Result<Self, ScenarioError> {
        let known = Self::ALL.into_iter().find(|dataplane| dataplane.name() == name);
        known.ok_or_else(|| ScenarioError::UnknownDataplane { name: name.to_owned() })
    }
}

pub(super) fn check(file: &ScenarioFile, path: &Path) -> Result<(), ScenarioError> {
    let wrong = |field, wrong: String| Err(ScenarioError::Value { path: path.to_owned(), field, wrong });
    let within = |field, value: u32, max: u32| match value {
        0 => wrong(field, format!("0; give 1 to {max}")),
        value if value > max => wrong(field, format!("{value}; give at most {max}")),
        _ => Ok(()),
    };
    within("repeats", file.repeats, REPEATS_MAX)?;
    within("pointLimitSeconds", file.point_limit_seconds, LIMIT_MAX_S)?;
    within("runLimitSeconds", file.run_limit_seconds.unwrap_or(RUN_LIMIT_MAX_S), RUN_LIMIT_MAX_S)?;
    for (field, is_empty) in [
        ("services", file.services.is_empty()),
        ("backends", file.backends.is_empty()),
        ("nodePortPercent", file.node_port_percent.is_empty()),
        ("dataplanes", file.dataplanes.is_empty()),
        ("sync, lookup, connect", file.works().next().is_none()),
    ] {
        if is_empty {
            return wrong(field, "empty, so there is nothing to measure; give at least one value".to_owned());
        }
    }
    file.services.iter().try_for_each(|services| within("services", *services, SERVICES_MAX))?;
    for backends in &file.backends {
        if let Backends::Each(count) = backends {
            within("backends", *count, BACKENDS_MAX)?;
        }
    }
    file.shapes().into_iter().try_for_each(|shape| fits(shape).or_else(|(field, text)| wrong(field, text)))
}

fn fits(shape: Shape) -> Result<(), (&'static str, String)> {
    let (services, endpoints) = (shape.services, endpoints(shape));
    if endpoints > u64::from(ENDPOINTS_MAX) {
        let text = format!(
            "{services} Services with {} are {endpoints} endpoints, and there are addresses for {ENDPOINTS_MAX}; give fewer",
            shape.backends
        );
        return Err(("backends", text));
    }
    let ports = node_ports(shape);
    if ports > NODE_PORTS_MAX {
        let percent = u8::from(shape.node_port_percent);
        let text = format!(
            "{percent} % of {services} Services are {ports}, and there are {NODE_PORTS_MAX} NodePorts; give fewer"
        );
        return Err(("nodePortPercent", text));
    }
    Ok(())
}
