//! What is measured.
use serde::{Deserialize, Serialize};
use std::fmt;

/// A bench and the operation in it that is measured. In the file: `{"bench": "sync", "operation": "cold-start"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "bench", content = "operation", rename_all = "kebab-case")]
pub enum Work {
    /// From a Desired in memory until the kernel has acknowledged and a first lookup hits the new rule.
    Sync(SyncOperation),
    /// The decision for one packet, or a whole packet, in the kernel.
    Lookup(LookupOperation),
    /// A client's sockets, between namespaces.
    Connect(ConnectOperation),
}

/// A change of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncOperation {
    /// One endpoint of one Service is replaced.
    EndpointChanged,
    /// One Service more.
    ServiceAdded,
    /// One Service less.
    ServiceRemoved,
    /// Every endpoint of a 250-endpoint Service is replaced, step by step.
    RollingUpdate,
    /// 1 % of all endpoints are replaced at once.
    Churn,
    /// Everything, into an empty kernel.
    ColdStart,
}

/// A way of asking for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LookupOperation {
    /// A frontend that exists, the same each time.
    HitHot,
    /// A frontend that exists, drawn at random.
    HitRandom,
    /// An address that is no frontend, the same each time.
    MissHot,
    /// An address that is no frontend, drawn at random.
    MissRandom,
    /// A whole packet, with its flow and its rewriting; one run for each packet.
    Packet,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectOperation {
    /// connect() to one frontend again and again.
    LatencyHot,
    /// connect() to frontends drawn at random.
    LatencyRandom,
    /// A byte and its answer on an established connection.
    RoundTrip,
    /// Connections a second.
    Rate,
    /// connect() while a 250-endpoint Service rolls and 1 % of all endpoints are replaced.
    Churn,
}

impl Work {
    /// `sync`, `lookup` or `connect`.
    pub fn bench(self) -> &'static str {
        match self {
            Self::Sync(_) => "sync",
            Self::Lookup(_) => "lookup",
            Self::Connect(_) => "connect",
        }
    }

    /// The operation's name in the file.
    pub fn operation(self) -> &'static str {
        match self {
            Self::Sync(SyncOperation::ColdStart) => "cold-start",
            Self::Sync(SyncOperation::EndpointChanged) => "endpoint-changed",
            Self::Sync(SyncOperation::ServiceAdded) => "service-added",
            Self::Sync(SyncOperation::ServiceRemoved) => "service-removed",
            Self::Sync(SyncOperation::RollingUpdate) => "rolling-update",
            Self::Sync(SyncOperation::Churn) => "churn",
            Self::Lookup(LookupOperation::HitHot) => "hit-hot",
            Self::Lookup(LookupOperation::HitRandom) => "hit-random",
            Self::Lookup(LookupOperation::MissHot) => "miss-hot",
            Self::Lookup(LookupOperation::MissRandom) => "miss-random",
            Self::Lookup(LookupOperation::Packet) => "packet",
            Self::Connect(ConnectOperation::LatencyHot) => "latency-hot",
            Self::Connect(ConnectOperation::LatencyRandom) => "latency-random",
            Self::Connect(ConnectOperation::RoundTrip) => "round-trip",
            Self::Connect(ConnectOperation::Rate) => "rate",
            Self::Connect(ConnectOperation::Churn) => "churn",
        }
    }

    /// A heading for it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Sync(SyncOperation::ColdStart) => "Cold start: every rule, into an empty kernel",
            Self::Sync(SyncOperation::EndpointChanged) => "One endpoint changed",
            Self::Sync(SyncOperation::ServiceAdded) => "One Service added",
            Self::Sync(SyncOperation::ServiceRemoved) => "One Service removed",
            Self::Sync(SyncOperation::RollingUpdate) => "Rolling update of a 250-endpoint Service",
            Self::Sync(SyncOperation::Churn) => "1 % of all endpoints changed",
            Self::Lookup(LookupOperation::HitHot) => "Decision: a known frontend, always the same",
            Self::Lookup(LookupOperation::HitRandom) => "Decision: a known frontend, drawn at random",
            Self::Lookup(LookupOperation::MissHot) => "Decision: no frontend, always the same address",
            Self::Lookup(LookupOperation::MissRandom) => "Decision: no frontend, drawn at random",
            Self::Lookup(LookupOperation::Packet) => "A whole packet",
            Self::Connect(ConnectOperation::LatencyHot) => "A new connection, always the same Service",
            Self::Connect(ConnectOperation::LatencyRandom) => "A new connection, Services drawn at random",
            Self::Connect(ConnectOperation::RoundTrip) => "A round trip on an established connection",
            Self::Connect(ConnectOperation::Rate) => "Connections a second",
            Self::Connect(ConnectOperation::Churn) => "A new connection while endpoints change",
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.bench(), self.operation())
    }
}
