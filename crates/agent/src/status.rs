//! What the agent tells of itself, as the documents that the admin socket answers with (version 1).
//!
//! Fields are added within a version, and none changes its meaning. Versions of objects are texts, as in Kubernetes.
mod evidence;
mod explained;
pub(crate) mod flows;
mod reporter;
mod waiters;

pub use explained::explain;
pub use flows::{BusyPort, FlowCountsStatus, FlowsStatus, PortFlowsStatus};
pub use reporter::{Entrances, Identity, Reporter, ServiceQuestion, When};

use serde::{Deserialize, Serialize};
use sheave_core::Diagnostic;
use sheave_core::index::Versions;
use sheave_dataplane::Room;
use std::collections::{BTreeMap, BTreeSet};

/// The agent: `GET /v1/status`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// Version of sheave.
    pub version: String,
    /// The node.
    pub node: String,
    /// Process id, as the agent sees it.
    pub pid: u32,
    /// When it began, in seconds since 1970.
    pub started_unix_s: u64,
    /// `kube`, or the path of manifests.
    pub source: String,
    /// What has not been listed or told yet; nothing is written before that (W12).
    pub missing: Vec<String>,
    /// Objects held, by kind.
    pub objects: BTreeMap<String, usize>,
    /// Where flows are decided.
    pub entrances: EntranceStatus,
    /// What is not programmed as it was last seen.
    pub behind: BehindStatus,
    /// What is wrong with objects, and what limits forbid.
    pub diagnostics: DiagnosticsStatus,
    /// How full the maps are.
    pub maps: Vec<MapStatus>,
    /// The kernel programs' counters, since the maps were made.
    pub counters: BTreeMap<String, u64>,
    /// The Service ports with most new flows and refusals.
    pub flows: FlowsStatus,
}

/// Where flows are decided.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EntranceStatus {
    /// `attached`, `off` by configuration, or `failing`.
    pub sockets: String,
    /// How many devices are served; null before they are followed.
    pub devices: Option<usize>,
}

/// What is not programmed as it was last seen.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BehindStatus {
    /// How many Services.
    pub services: usize,
    /// The first of them by name.
    pub names: Vec<String>,
    /// What is pending of the node as a whole.
    pub node: Vec<String>,
    /// How many writes failed in the last sync.
    pub failures: usize,
    /// The first of them: what they were about, and what the kernel said.
    pub failed: Vec<FailureStatus>,
}

/// A write that failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureStatus {
    /// The Service, as `NAMESPACE/NAME`; null for what is no Service's.
    pub service: Option<String>,
    /// The whole message.
    pub message: String,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiagnosticsStatus {
    /// How many, by kind of problem.
    pub kinds: BTreeMap<String, usize>,
    /// The first of them, by object.
    pub items: Vec<DiagnosticStatus>,
}

/// One thing that is wrong with one object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiagnosticStatus {
    /// Kind and name.
    pub object: String,
    /// Path of the field; empty for the whole object.
    pub field: String,
    /// Kind of problem.
    pub problem: String,
    /// Value, limit and next step.
    pub message: String,
    /// The file and document it was read from.
    pub origin: Option<String>,
}

/// How full a map is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MapStatus {
    /// Its name.
    pub map: String,
    /// Entries in use.
    pub used: u64,
    /// Entries it may hold.
    pub max: u64,
}

/// One Service: `GET /v1/services/NAMESPACE/NAME`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// `NAMESPACE/NAME`.
    pub service: String,
    /// Where it stands.
    pub state: State,
    /// What it waits for, a sentence each; empty when it is programmed.
    pub waiting_for: Vec<String>,
    /// The versions last seen.
    pub observed: VersionsStatus,
    /// The versions programmed; null when none was, or it is not known.
    pub programmed: Option<VersionsStatus>,
    /// What is wanted of the kernel.
    pub ports: Vec<PortStatus>,
    /// What is wrong with it and its slices.
    pub diagnostics: Vec<DiagnosticStatus>,
}

/// Where a Service stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// The kernel holds it as it was last seen.
    Programmed,
    /// Something is left to do.
    Pending,
    /// The agent was not told of such a Service.
    Unknown,
}

/// `metadata.resourceVersion` of a Service and of its slices; null where there is none.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionsStatus {
    /// Of the Service.
    pub service: Option<String>,
    /// Of each slice.
    pub slices: BTreeMap<String, Option<String>>,
}

/// One family of one port of a Service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortStatus {
    /// `NAMESPACE/NAME:PORT/PROTOCOL/FAMILY`.
    pub port: String,
    /// What clients dial: `ADDRESS:PORT/PROTOCOL KIND`.
    pub frontends: Vec<String>,
    /// How many backends new flows may pick in the whole cluster.
    pub backends: usize,
    /// How many of this node they may pick under the policy Local; null where neither policy is.
    pub local: Option<usize>,
    /// How many go on serving and are not picked any more.
    pub draining: usize,
    /// Its new flows since the kernel holds it; null if they cannot be read, or it is not held.
    pub flows: Option<PortFlowsStatus>,
}

impl From<&Diagnostic> for DiagnosticStatus {
    fn from(diagnostic: &Diagnostic) -> Self {
        let Diagnostic { object, field, problem, message, origin } = diagnostic;
        Self {
            object: object.to_string(),
            field: field.clone(),
            problem: problem.as_str().to_owned(),
            message: message.clone(),
            origin: origin.as_deref().map(str::to_owned),
        }
    }
}

impl DiagnosticsStatus {
    /// At most `max` of them one by one.
    fn of(diagnostics: &BTreeSet<Diagnostic>, max: usize) -> Self {
        let mut kinds = BTreeMap::new();
        for diagnostic in diagnostics {
            *kinds.entry(diagnostic.problem.as_str().to_owned()).or_default() += 1;
        }
        Self { kinds, items: diagnostics.iter().take(max).map(Into::into).collect() }
    }
}

impl From<&Versions> for VersionsStatus {
    fn from(versions: &Versions) -> Self {
        let told = |version: u64| (version != 0).then(|| version.to_string());
        let slices = versions.slices.iter().map(|(name, version)| (name.to_string(), told(*version)));
        Self { service: versions.service.and_then(told), slices: slices.collect() }
    }
}

impl From<Room> for MapStatus {
    fn from(Room { map, used, max }: Room) -> Self {
        Self { map: map.to_owned(), used, max }
    }
}
