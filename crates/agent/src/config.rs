//! The agent's configuration: a file of up to two YAML documents, every value with a default; flags of the command line win
//! over it.
//!
//! `SheaveConfiguration` holds sheave's own settings; `KubeProxyConfiguration` is taken as it stands in a cluster's kube-proxy
//! ConfigMap (H8).
mod conntrack;
mod document;
mod fields;
mod kube_proxy;

pub use conntrack::Conntrack;
pub use kube_proxy::KubeProxy;

use crate::mounts;
use document::{BadDocument, Document};
use kube_proxy::{BadValue, Refused};
use serde::Deserialize;
use sheave_bpf::limits::Limits;
use sheave_core::ProxyConfig;
use std::fs::File;
use std::io::{self, Read as _};
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

/// The document `kind: SheaveConfiguration`, and what a `KubeProxyConfiguration` beside it says.
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
    /// Where `sheave status` and others ask the running agent.
    pub admin_socket: PathBuf,
    /// Which connect() calls are translated at the socket.
    pub socket_lb: SocketLb,
    /// Whether external IPs of Services are served (A10).
    #[serde(rename = "externalIPs")]
    pub external_ips: bool,
    /// How large the maps may grow (I7).
    pub maps: MapsConfig,
    /// The document `kind: KubeProxyConfiguration`.
    #[serde(skip)]
    pub kube_proxy: KubeProxy,
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

/// A longer file is none (I7): both documents with every field set are a few KiB.
const BYTES_MAX: u64 = 1 << 20;

const API_VERSION: &str = "sheave.dev/v1alpha1";
const KIND: &str = "SheaveConfiguration";
const DOCUMENT: &str = "sheave.dev/v1alpha1 SheaveConfiguration";

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
            admin_socket: PathBuf::from("/run/sheave/admin.sock"),
            socket_lb: SocketLb::default(),
            external_ips: true,
            maps: MapsConfig::default(),
            kube_proxy: KubeProxy::default(),
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
        source: io::Error,
    },
    /// The text is no YAML, or has a field or value the configuration does not know.
    #[error("configuration {path}: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, field and what was expected.
        reason: String,
    },
    /// A value that its field cannot have.
    #[error("configuration {path}:{line}: {field}: {reason}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The line in it.
        line: u64,
        /// The field.
        field: &'static str,
        /// The value and what is allowed.
        reason: String,
    },
    /// Another kind of document.
    #[error("configuration {path}:{line}: found {found}, expected {DOCUMENT} or {}", kube_proxy::DOCUMENT)]
    Document {
        /// The file.
        path: PathBuf,
        /// The line the document begins at.
        line: u64,
        /// apiVersion and kind that stand there.
        found: String,
    },
    /// The same kind of document again.
    #[error("configuration {path}:{line}: a second {what}; leave one of them")]
    Twice {
        /// The file.
        path: PathBuf,
        /// The line the second one begins at.
        line: u64,
        /// apiVersion and kind.
        what: String,
    },
    /// The node's name is neither configured nor to be had from the host.
    #[error("this node has no host name; set `nodeName` in the configuration or pass --node")]
    NodeName,
    /// No cgroup2 file system.
    #[error("no cgroup2 file system is mounted; mount one (mount -t cgroup2 none /sys/fs/cgroup) or set `cgroup`")]
    Cgroup,
}

impl Config {
    /// Reads a configuration file. Missing fields have their defaults. Unknown fields of sheave's own document are refused;
    /// those of kube-proxy's are named in [`KubeProxy::notes`], as kube-proxy itself warns and goes on.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = text_of(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads the text of a configuration file; `path` is for what is said of it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let bad = |BadDocument(reason)| ConfigError::Parse { path: path.to_owned(), reason };
        let (mut ours, mut kube_proxy) = (None, None);
        for document in Document::of(text) {
            let document = document.map_err(bad)?;
            let twice = match &*document.what {
                DOCUMENT => ours.replace(document.read::<Self>().map_err(bad)?).is_some(),
                kube_proxy::DOCUMENT => {
                    let read = KubeProxy::read(&document).map_err(|refused| refusal(path, refused))?;
                    kube_proxy.replace(read).is_some()
                }
                _ => return Err(unexpected(path, &document)),
            };
            if twice {
                let (line, what) = (document.line, document.what);
                return Err(ConfigError::Twice { path: path.to_owned(), line, what });
            }
        }
        Ok(Self { kube_proxy: kube_proxy.unwrap_or_default(), ..ours.unwrap_or_default() })
    }

    /// What decides the meaning of a Service on this node.
    #[must_use]
    pub fn proxy(&self) -> ProxyConfig {
        let KubeProxy { masquerade_all, detect_local, node_port_addresses, .. } = self.kube_proxy.clone();
        ProxyConfig { masquerade_all, detect_local, node_port_addresses, external_ips: self.external_ips }
    }

    /// This node's name, if the configuration has one: `nodeName`, else kube-proxy's `hostnameOverride`.
    #[must_use]
    pub fn configured_node_name(&self) -> Option<&str> {
        let own = Some(&*self.node_name).filter(|name| !name.is_empty());
        own.or(self.kube_proxy.hostname_override.as_deref())
    }

    /// Fills in what only the running host knows: the node's name and the cgroup root.
    pub fn resolve(mut self) -> Result<Self, ConfigError> {
        self.node_name = match self.configured_node_name() {
            Some(name) => name.to_owned(),
            None => host_name().ok_or(ConfigError::NodeName)?,
        };
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

fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if length as u64 > BYTES_MAX {
        let message = format!("it has more than the {BYTES_MAX} bytes that a configuration may have");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

fn host_name() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?.to_lowercase();
    (!name.is_empty()).then_some(name)
}

fn refusal(path: &Path, refused: Refused) -> ConfigError {
    let path = path.to_owned();
    match refused {
        Refused::Document(BadDocument(reason)) => ConfigError::Parse { path, reason },
        Refused::Value(BadValue { line, field, reason }) => ConfigError::Value { path, line, field, reason },
    }
}

fn unexpected(path: &Path, document: &Document) -> ConfigError {
    let found = match &*document.what {
        "" => "a document without apiVersion and kind",
        what => what,
    };
    ConfigError::Document { path: path.to_owned(), line: document.line, found: found.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sheave_bpf::limits::Knob;
    use sheave_core::DetectLocal;

    #[test]
    fn the_settings_that_messages_name_are_those_of_the_configuration() {
        for knob in Knob::ALL {
            let name = knob.to_string();
            let key = name.strip_prefix("maps.").unwrap();
            let config = parse(&format!("{HEAD}maps: {{{key}: 7}}\n")).unwrap();
            assert_ne!(config.maps, MapsConfig::default(), "{name}");
        }
    }

    const HEAD: &str = "apiVersion: sheave.dev/v1alpha1\nkind: SheaveConfiguration\n";
    const KUBE_PROXY: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("config.yaml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_configuration_is_read_with_defaults_and_refuses_what_it_does_not_know() {
        let config = parse(&format!("{HEAD}socketLb: host\nmaps: {{servicesMax: 7}}\n")).unwrap();
        assert_eq!((config.socket_lb, config.maps.services_max), (SocketLb::Host, 7));
        assert_eq!(config.bpffs, Path::new("/sys/fs/bpf"));
        for (text, want) in [
            (format!("{HEAD}sokcetLb: off\n"), "sokcetLb"),
            (format!("{HEAD}socketLb: sometimes\n"), "sometimes"),
            (format!("{HEAD}---\n{HEAD}"), "config.yaml:3: a second sheave.dev/v1alpha1 SheaveConfiguration"),
            (format!("{KUBE_PROXY}---\n{KUBE_PROXY}"), "config.yaml:3: a second kubeproxy.config.k8s.io/v1alpha1"),
            (
                format!("{HEAD}---\napiVersion: v1\nkind: ConfigMap\n"),
                "config.yaml:3: found v1 ConfigMap, expected sheave",
            ),
            ("socketLb: off\n".to_owned(), "config.yaml:1: found a document without apiVersion and kind"),
            ("[]".to_owned(), "config.yaml"),
            ("{".to_owned(), "config.yaml"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(want), "{error:?} should name {want:?}");
        }
    }

    #[test]
    fn i7_a_file_that_is_too_long_or_has_many_documents_is_read_no_further_than_needed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.yaml");
        let size = usize::try_from(BYTES_MAX).unwrap();
        for (text, want) in [
            ("# \n---\n".repeat(size / 7), None),
            (format!("{}{HEAD}", "~\n---\n".repeat(1000)), None),
            (
                "{}\n---\n".repeat(size / 7),
                Some("config.yaml:1: found a document without apiVersion and kind".to_owned()),
            ),
            ("#".repeat(size + 1), Some(format!("more than the {size} bytes that a configuration may have"))),
        ] {
            std::fs::write(&file, &text).unwrap();
            let error = Config::read(&file).err().map(|error| error.to_string());
            let as_wanted = match (&error, &want) {
                (Some(error), Some(want)) => error.contains(want),
                (error, want) => error.is_none() == want.is_none(),
            };
            assert!(as_wanted, "{error:?} should name {want:?}");
        }
    }

    #[test]
    fn documents_come_in_any_order_and_either_may_be_missing() {
        let ours = format!("{HEAD}externalIPs: false\n");
        let theirs = format!("{KUBE_PROXY}iptables: {{masqueradeAll: true}}\n");
        for (text, want) in [
            (String::new(), (true, false)),
            ("# nothing\n---\n---\n".to_owned(), (true, false)),
            (ours.clone(), (false, false)),
            (theirs.clone(), (true, true)),
            (format!("---\n{ours}---\n{theirs}"), (false, true)),
            (format!("{theirs}--- # next\n{ours}"), (false, true)),
        ] {
            let proxy = parse(&text).unwrap().proxy();
            assert_eq!((proxy.external_ips, proxy.masquerade_all), want, "{text}");
        }
    }

    #[test]
    fn the_nodes_name_is_ours_then_kube_proxys_then_that_of_the_host() {
        let theirs = format!("{KUBE_PROXY}hostnameOverride: ' Worker-1 '\n");
        for (text, want) in [
            (theirs.clone(), Some("worker-1")),
            (format!("{theirs}---\n{HEAD}nodeName: worker-2\n"), Some("worker-2")),
            (format!("{KUBE_PROXY}hostnameOverride: ''\n"), None),
        ] {
            assert_eq!(parse(&text).unwrap().configured_node_name(), want, "{text}");
        }
    }

    /// What `kubeadm init` of 1.36 writes into the ConfigMap `kube-proxy`, as `config.conf`.
    const KUBEADM: &str = include_str!("config/kubeadm.yaml");

    #[test]
    fn h8_the_config_map_of_kubeadm_is_taken_as_it_is() {
        let config = parse(KUBEADM).unwrap();
        let cidr = "10.244.0.0/16".parse().unwrap();
        assert_eq!(
            config.proxy(),
            ProxyConfig { detect_local: DetectLocal::ClusterCidr(vec![cidr]), ..ProxyConfig::default() }
        );
        let [no_effect, node_ports] = &config.kube_proxy.notes[..] else { panic!("{:?}", config.kube_proxy.notes) };
        assert_eq!(
            no_effect,
            "these fields of KubeProxyConfiguration have no effect here: clientConnection.kubeconfig"
        );
        assert!(node_ports.starts_with("nodePortAddresses is not set"), "{node_ports}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(bytes: Vec<u8>, text: String) {
            let _ = parse(&String::from_utf8_lossy(&bytes));
            for head in [HEAD, KUBE_PROXY] {
                let _ = parse(&format!("{head}{text}"));
            }
        }

        #[test]
        fn any_value_of_a_known_field_is_read_without_panic(
            field in prop::sample::select(vec![
                "clusterCIDR", "detectLocalMode", "detectLocal", "nodePortAddresses", "iptables", "nftables", "mode",
                "hostnameOverride", "externalIPs", "maps", "conntrack", "{detectLocal: {bridgeInterface",
            ]),
            value in prop_oneof![
                prop::sample::select(vec![
                    "null", "''", "primary", "[primary]", "[10.0.0.0/8, ' ']", "{masqueradeAll: true}", "10.0.0.0/8,,",
                    "{bridgeInterface: 7}", "BridgeInterface", "[[]]", "{}", "7", "*a", "&a [*a]", "!!binary x", "? x",
                ]).prop_map(str::to_owned),
                "[0-9a-f:./, ]{0,30}",
                ".{0,20}",
            ],
        ) {
            for head in [HEAD, KUBE_PROXY] {
                let _ = parse(&format!("{head}{field}: {value}\n"));
            }
        }
    }
}
