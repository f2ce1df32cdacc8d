//! What was to be measured, and the size of the cluster at a point.
use super::Dataplane;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a run set out to measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Name of the scenario.
    pub name: String,
    /// Everything that is drawn at random follows from it.
    pub seed: u64,
    /// Rounds for each point.
    pub repeats: u32,
    /// What one point may take, in seconds. What would take longer is cut off.
    pub point_limit_s: u32,
    /// The sizes.
    pub grid: Grid,
    /// The dataplanes.
    pub dataplanes: Vec<Dataplane>,
}

/// The sizes: each Services value with each of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// Numbers of Services.
    pub services: Vec<u32>,
    /// Backends of a Service.
    pub backends: Vec<Backends>,
    /// Shares of Services that have a NodePort or a load balancer too.
    pub node_port_percent: Vec<Percent>,
}

/// The size of the cluster at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Services; at least one.
    pub services: u32,
    /// Backends of each.
    pub backends: Backends,
    /// Share of Services that have a NodePort or a load balancer too.
    #[serde(default)]
    pub node_port_percent: Percent,
}

impl Shape {
    /// ClusterIP Services only.
    pub fn new(services: u32, backends: Backends) -> Self {
        Self { services, backends, node_port_percent: Percent::default() }
    }

    /// The same with a share of NodePort and LoadBalancer Services.
    #[must_use]
    pub fn with_node_ports(self, node_port_percent: Percent) -> Self {
        Self { node_port_percent, ..self }
    }
}

/// Backends of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backends {
    /// As many in each Service.
    Each(u32),
    /// The mix of the Kubernetes load test: Services of 5, 30 and 250 endpoints
    /// (kubernetes/perf-tests, clusterloader2/testing/load).
    LoadTestMix,
}

impl Backends {
    /// The count, or `mix`: a value for labels.
    pub fn label(self) -> String {
        match self {
            Self::Each(count) => count.to_string(),
            Self::LoadTestMix => "mix".to_owned(),
        }
    }
}

impl fmt::Display for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each(1) => write!(f, "1 backend each"),
            Self::Each(count) => write!(f, "{count} backends each"),
            Self::LoadTestMix => write!(f, "5, 30 or 250 backends each"),
        }
    }
}

/// A whole number of percent, at most 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Percent(u8);

/// More than 100 percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} % is no share; give 0 to 100")]
pub struct PercentError(u8);

impl TryFrom<u8> for Percent {
    type Error = PercentError;

    fn try_from(value: u8) -> Result<Self, PercentError> {
        if value <= 100 { Ok(Self(value)) } else { Err(PercentError(value)) }
    }
}

impl From<Percent> for u8 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}
