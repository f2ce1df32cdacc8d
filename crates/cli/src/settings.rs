//! The options that commands share: where the configuration stands, and what overrides it.
use clap::Args;
use sheave_agent::config::flags::{BPFFS, FlagValue};
use sheave_agent::config::{Config, ConfigError};
use std::path::PathBuf;

/// Where this host's sheave keeps its state.
#[derive(Args, Clone, Debug)]
pub(crate) struct Settings {
    /// Configuration file: SheaveConfiguration, KubeProxyConfiguration, or both
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where a BPF file system is mounted [default: /sys/fs/bpf]
    #[arg(long, value_name = "PATH")]
    pub(crate) bpffs: Option<String>,
}

impl Settings {
    /// The configuration: defaults, then the file, then the options.
    pub(crate) fn load(&self) -> Result<Config, ConfigError> {
        self.load_with(Vec::new())
    }

    /// The same, with more options.
    pub(crate) fn load_with(&self, mut options: Vec<FlagValue>) -> Result<Config, ConfigError> {
        options.extend(self.bpffs.iter().map(|bpffs| FlagValue { flag: &BPFFS, value: bpffs.clone() }));
        Config::load(self.config.as_deref(), &options)
    }
}
