//! What is sampled, and in which unit.
use serde::{Deserialize, Serialize};

/// What a value is a measure of.
///
/// Read and written by its name: so a message about a field of a series names the series too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Quantity {
    /// From the first step until the kernel has acknowledged and a first lookup hits.
    Wall,
    /// CPU time of the process.
    CpuSelf,
    /// CPU time of the programs it started.
    CpuChildren,
    /// Making the rules' text, before the clock of `wall` starts.
    Generation,
    /// System calls.
    Syscalls,
    /// Bytes handed to the kernel or to a tool.
    BytesWritten,
    /// Memory that the kernel holds for the rules.
    KernelMemory,
    /// Peak resident memory, of the process or of a tool it started, whichever is more.
    PeakRss,
    /// Instructions, where the machine counts them.
    Instructions,
    /// One decision, one packet, one connect() or one round trip.
    Latency,
    /// One connect() to a backend's own address, in turns with those to its Service: the median of a round.
    LatencyOfBackend,
    /// Connections a second.
    Rate,
    /// Connections that were tried.
    Attempts,
    /// Connections that failed.
    Failures,
}

/// The unit of a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Bytes.
    #[serde(rename = "bytes")]
    Bytes,
    /// A number of things.
    #[serde(rename = "count")]
    Count,
    /// Things a second.
    #[serde(rename = "1/s")]
    PerSecond,
}

/// A name that is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no quantity that this program knows; use the sheave that wrote the file")]
pub struct QuantityError(String);

impl TryFrom<String> for Quantity {
    type Error = QuantityError;

    fn try_from(name: String) -> Result<Self, QuantityError> {
        let known = Self::ALL.into_iter().find(|quantity| quantity.name() == name);
        known.ok_or(QuantityError(name))
    }
}

impl From<Quantity> for &'static str {
    fn from(quantity: Quantity) -> Self {
        quantity.name()
    }
}

impl Quantity {
    /// Every quantity, in order.
    pub const ALL: [Self; 14] = [
        Self::Wall,
        Self::CpuSelf,
        Self::CpuChildren,
        Self::Generation,
        Self::Syscalls,
        Self::BytesWritten,
        Self::KernelMemory,
        Self::PeakRss,
        Self::Instructions,
        Self::Latency,
        Self::LatencyOfBackend,
        Self::Rate,
        Self::Attempts,
        Self::Failures,
    ];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::CpuSelf => "cpu-self",
            Self::CpuChildren => "cpu-children",
            Self::Generation => "generation",
            Self::Syscalls => "syscalls",
            Self::BytesWritten => "bytes-written",
            Self::KernelMemory => "kernel-memory",
            Self::PeakRss => "peak-rss",
            Self::Instructions => "instructions",
            Self::Latency => "latency",
            Self::LatencyOfBackend => "latency-of-backend",
            Self::Rate => "rate",
            Self::Attempts => "attempts",
            Self::Failures => "failures",
        }
    }

    /// The unit of every value of this quantity.
    pub fn unit(self) -> Unit {
        match self {
            Self::Wall | Self::CpuSelf | Self::CpuChildren | Self::Generation => Unit::Nanoseconds,
            Self::Latency | Self::LatencyOfBackend => Unit::Nanoseconds,
            Self::BytesWritten | Self::KernelMemory | Self::PeakRss => Unit::Bytes,
            Self::Syscalls | Self::Instructions | Self::Attempts | Self::Failures => Unit::Count,
            Self::Rate => Unit::PerSecond,
        }
    }
}
