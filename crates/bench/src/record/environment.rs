//! Where a run was made.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The machine, its tools and its settings, as found. The runner fills it in; whatever it cannot find out stays `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// When the run began.
    pub date: Timestamp,
    /// Version of sheave.
    pub sheave: String,
    /// Release and version of the kernel, as `uname -rv` has them.
    pub kernel: String,
    /// `x86_64`, `aarch64` …
    pub arch: String,
    /// Model of the CPU.
    pub cpu_model: String,
    /// CPUs that this process may run on.
    pub cpus: u32,
    /// Frequency governor, if there is one.
    #[serde(default)]
    pub governor: Option<String>,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Kind of virtual machine or container; `None` on bare metal.
    #[serde(default)]
    pub virtualisation: Option<String>,
    /// Versions of the tools that were found, by name.
    #[serde(default)]
    pub tools: BTreeMap<String, String>,
    /// Settings of the kernel that bear on the result, by name.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Load averages when the run began.
    pub load_before: Load,
    /// Load averages when it ended; `None` while it runs.
    #[serde(default)]
    pub load_after: Option<Load>,
}

/// Load averages over 1, 5 and 15 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load(pub f64, pub f64, pub f64);

impl Environment {
    /// What makes figures comparable: runs with the same text may stand in one chart.
    pub fn machine(&self) -> String {
        let kind = self.virtualisation.as_ref().map_or_else(|| "bare metal".to_owned(), |kind| format!("in {kind}"));
        let release = self.kernel.split_whitespace().next().unwrap_or("unknown");
        format!("Linux {release} {}, {} × {}, {kind}, sheave {}", self.arch, self.cpus, self.cpu_model, self.sheave)
    }
}
