//! The options that commands share: where the configuration stands, and what overrides it.
use clap::Args;
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
    pub(crate) bpffs: Option<PathBuf>,
}

impl Settings {
    /// The configuration: defaults, then the file, then the options.
    pub(crate) fn load(&self) -> Result<Config, ConfigError> {
        let mut config = self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
        if let Some(bpffs) = &self.bpffs {
            config.bpffs.clone_from(bpffs);
        }
        Ok(config)
    }
}
