//! The agent's configuration: one YAML document, every value with a default; flags of the command line win over it.
use crate::mounts;
use serde::Deserialize;
use sheave_bpf::limits::Limits;
use std::path::{Path, PathBuf};

/// Which connect() calls are translated at the socket; what is declined there is served at the device entrance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketLb {
    /// Those of the node and of its pods.
    #[default]
    All,
    /// Those of the node only: sidecar meshes need to see a pod's original destination.
    Host,
    /// None.
    Off,
}

impl From<SocketLb> for sheave_bpf::load::SocketLb {
    fn from(socket_lb: SocketLb) -> Self {
        match socket_lb {
            SocketLb::All => Self::All,
            SocketLb::Host => Self::Host,
            SocketLb::Off => Self::Off,
        }
    }
}

/// Which dataplane serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataplaneKind {
    /// eBPF programs.
    #[default]
    Ebpf,
}

/// The document `kind: SheaveConfiguration`.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Always `sheave.dev/v1alpha1`.
    pub api_version: String,
    /// Always `SheaveConfiguration`.
    pub kind: String,
    /// Which dataplane serves.
    pub dataplane: DataplaneKind,
    /// `kube`, or the path of a manifest file or directory.
    pub source: String,
    /// Name of this node; default: the host name, in lower case, as the kubelet does.
    pub node_name: String,
    /// URL of the API server, without credentials; for tests and laboratories.
    pub server: Option<String>,
    /// Path of a kubeconfig; default: `$KUBECONFIG`, `~/.kube/config`, then the Pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Where a BPF file system is mounted; maps and links are pinned there in `sheave/`.
    pub bpffs: PathBuf,
    /// The cgroup whose processes the socket entrance serves; default: the root of the cgroup2 mount.
    pub cgroup: Option<PathBuf>,
    /// Which connect() calls are translated at the socket.
    pub socket_lb: SocketLb,
    /// How large the maps may grow (I7).
    pub maps: MapsConfig,
}

/// The limits of the maps: what does not fit is refused by name, the rest is served.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MapsConfig {
    /// Frontends and VIPs per family.
    pub frontends_max: u32,
    /// Service ports, both families together.
    pub services_max: u32,
    /// Slots for backends; a Service port takes the next power of two of its endpoints.
    pub slots_max: u32,
    /// Endpoints per family.
    pub backends_max: u32,
    /// Entries of established flows per family, two for each flow; the tables of half-open ones take an eighth of it.
    pub flows_max: u32,
}

const API_VERSION: &str = "sheave.dev/v1alpha1";
const KIND: &str = "SheaveConfiguration";

impl Default for Config {
    fn default() -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            dataplane: DataplaneKind::default(),
            source: "kube".to_owned(),
            node_name: String::new(),
            server: None,
            kubeconfig: None,
            bpffs: PathBuf::from("/sys/fs/bpf"),
            cgroup: None,
            socket_lb: SocketLb::default(),
            maps: MapsConfig::default(),
        }
    }
}

impl Default for MapsConfig {
    fn default() -> Self {
        let Limits { frontends_max, services_max, slots_max, backends_max } = Limits::default();
        Self { frontends_max, services_max, slots_max, backends_max, flows_max: 1 << 20 }
    }
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is no YAML, or has a field or value the configuration does not know.
    #[error("configuration {path}: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, field and what was expected.
        reason: String,
    },
    /// Another kind of document.
    #[error("configuration {path}: found {found}, expected {API_VERSION} {KIND}")]
    Document {
        /// The file.
        path: PathBuf,
        /// apiVersion and kind that stand there.
        found: String,
    },
    /// The node's name is neither configured nor to be had from the host.
    #[error("this node has no host name; set `nodeName` in the configuration or pass --node")]
    NodeName,
    /// No cgroup2 file system.
    #[error("no cgroup2 file system is mounted; mount one (mount -t cgroup2 none /sys/fs/cgroup) or set `cgroup`")]
    Cgroup,
}

impl Config {
    /// Reads a configuration file. Unknown fields are refused, missing ones have their defaults.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = serde_saphyr::from_str(text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), reason: error.to_string() })?;
        if config.api_version != API_VERSION || config.kind != KIND {
            let found = format!("{} {}", config.api_version, config.kind);
            return Err(ConfigError::Document { path: path.to_owned(), found });
        }
        Ok(config)
    }

    /// Fills in what only the running host knows: the node's name and the cgroup root.
    pub fn resolve(mut self) -> Result<Self, ConfigError> {
        if self.node_name.is_empty() {
            self.node_name = nix::unistd::gethostname()
                .ok()
                .and_then(|name| name.into_string().ok())
                .filter(|name| !name.is_empty())
                .ok_or(ConfigError::NodeName)?
                .to_lowercase();
        }
        if self.cgroup.is_none() && self.socket_lb != SocketLb::Off {
            self.cgroup = Some(mounts::cgroup2_root().ok_or(ConfigError::Cgroup)?);
        }
        Ok(self)
    }

    /// The limits of the maps as `lower` takes them.
    pub fn limits(&self) -> Limits {
        let MapsConfig { frontends_max, services_max, slots_max, backends_max, .. } = self.maps;
        Limits { frontends_max, services_max, slots_max, backends_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_bpf::limits::Knob;

    #[test]
    fn the_settings_that_messages_name_are_those_of_the_configuration() {
        let head = "apiVersion: sheave.dev/v1alpha1\nkind: SheaveConfiguration\n";
        for knob in Knob::ALL {
            let name = knob.to_string();
            let key = name.strip_prefix("maps.").unwrap();
            let config = Config::parse(&format!("{head}maps: {{{key}: 7}}\n"), Path::new("config.yaml")).unwrap();
            assert_ne!(config.maps, MapsConfig::default(), "{name}");
        }
    }

    #[test]
    fn a_configuration_is_read_with_defaults_and_refuses_what_it_does_not_know() {
        let path = Path::new("config.yaml");
        let head = "apiVersion: sheave.dev/v1alpha1\nkind: SheaveConfiguration\n";
        let config = Config::parse(&format!("{head}socketLb: host\nmaps: {{servicesMax: 7}}\n"), path).unwrap();
        assert_eq!((config.socket_lb, config.maps.services_max), (SocketLb::Host, 7));
        assert_eq!(config.bpffs, Path::new("/sys/fs/bpf"));
        for (text, want) in [
            (format!("{head}sokcetLb: off\n"), "sokcetLb"),
            (format!("{head}socketLb: sometimes\n"), "sometimes"),
            ("kind: KubeProxyConfiguration\n".to_owned(), "KubeProxyConfiguration"),
            ("{".to_owned(), "config.yaml"),
        ] {
            let error = Config::parse(&text, path).unwrap_err().to_string();
            assert!(error.contains(want), "{error:?} should name {want:?}");
        }
    }
}
