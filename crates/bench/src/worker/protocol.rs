//! What is said between the bench and its workers: a line of JSON each.
use crate::record::{
    ConnectOperation, ConnectRound, Dataplane, LookupOperation, LookupRound, Shape, SyncOperation, SyncRound,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a worker is for: its first line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) dataplane: Dataplane,
    pub(crate) shape: Shape,
    pub(crate) seed: u64,
    pub(crate) setting: Setting,
}

/// Where a worker measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Setting {
    /// In one namespace, for `bench sync` and `bench lookup`.
    Alone,
    /// Between namespaces, for `bench connect`.
    Networked,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Bring the cluster to its size.
    SetUp,
    /// One round of `bench sync`.
    Sync(SyncOperation, u32),
    /// One round of `bench lookup`.
    Lookup(LookupOperation, u32),
    /// One round of `bench connect`.
    Connect(ConnectOperation, u32),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// The cluster is up.
    Ready,
    /// The dataplane cannot serve this cluster.
    Lacks(String),
    /// A round of `bench sync`.
    Sync(#[serde(with = "SyncWire")] SyncRound),
    /// A round of `bench lookup`.
    Lookup(#[serde(with = "LookupWire")] LookupRound),
    /// A round of `bench connect`.
    Connect(#[serde(with = "ConnectWire")] ConnectRound),
    /// It went wrong; the worker is of no more use.
    Failed(String),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SyncRound")]
struct SyncWire {
    wall: Duration,
    generation: Option<Duration>,
    cpu_self: Option<Duration>,
    cpu_children: Option<Duration>,
    syscalls: Option<u64>,
    bytes_written: Option<u64>,
    kernel_memory_bytes: Option<u64>,
    peak_rss_bytes: Option<u64>,
    instructions: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "LookupRound")]
struct LookupWire {
    latency_ns: f64,
    instructions: Option<f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ConnectRound")]
struct ConnectWire {
    latencies: Vec<Duration>,
    latency_of_backend: Option<Duration>,
    attempts: u64,
    failures: u64,
    elapsed: Option<Duration>,
}
