//! The agent's configuration: a file of up to two YAML documents, every value with a default; flags of the command line win
//! over it.
//!
//! `SheaveConfiguration` holds sheave's own settings; `KubeProxyConfiguration` is taken as it stands in a cluster's kube-proxy
//! ConfigMap (H8).
mod conntrack;
mod document;
mod effective;
mod error;
mod fields;
pub mod flags;
mod known;
mod kube_proxy;
mod logging;
mod own;
mod service_metrics;
mod value;

pub use conntrack::Conntrack;
pub use effective::{Origins, Setting};
pub use error::{ConfigError, Where};
pub use kube_proxy::KubeProxy;
pub use logging::{LogFormat, Logging};
pub use service_metrics::{ServiceMetrics, ServicePattern};

use crate::mounts;
use document::{BadDocument, Document};
use fields::Fields;
use flags::{FlagValue, Precedence};
use sheave_bpf::limits::Limits;
use sheave_core::ProxyConfig;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Which connect() calls are translated at the socket; what is declined there is served at the device entrance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DataplaneKind {
    /// eBPF programs.
    #[default]
    Ebpf,
}

/// The document `kind: SheaveConfiguration`, and what a `KubeProxyConfiguration` beside it says.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Which dataplane serves.
    pub dataplane: DataplaneKind,
    /// `kube`, or the path of a manifest file or directory.
    pub source: String,
    /// Name of this node; empty: kube-proxy's `hostnameOverride`, else the host name in lower case, as the kubelet does.
    pub node_name: String,
    /// URL of the API server, in place of the one that the credentials name.
    pub server: Option<String>,
    /// Path of a kubeconfig; `None`: kube-proxy's `clientConnection.kubeconfig`, else `$KUBECONFIG`, `~/.kube/config`, then
    /// the Pod's service account.
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
    pub external_ips: bool,
    /// How large the maps may grow (I7).
    pub maps: MapsConfig,
    /// The Services whose flows are metrics of their own.
    pub service_metrics: ServiceMetrics,
    /// The document `kind: KubeProxyConfiguration`.
    pub kube_proxy: KubeProxy,
    /// Where the values come from.
    pub origins: Origins,
}

/// The limits of the maps: what does not fit is refused by name, the rest is served.
#[derive(Clone, PartialEq, Debug)]
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

impl Default for Config {
    fn default() -> Self {
        Self {
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
            service_metrics: ServiceMetrics::default(),
            kube_proxy: KubeProxy::default(),
            origins: Origins::default(),
        }
    }
}

impl Default for MapsConfig {
    fn default() -> Self {
        let Limits { frontends_max, services_max, slots_max, backends_max } = Limits::default();
        Self { frontends_max, services_max, slots_max, backends_max, flows_max: 1 << 20 }
    }
}

impl Config {
    /// Reads a configuration file. Missing fields have their defaults. Unknown fields of sheave's own document are refused;
    /// those of kube-proxy's are named in [`KubeProxy::notes`], as kube-proxy itself warns and goes on.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::load(Some(path), &[])
    }

    /// Reads the text of a configuration file; `path` is for what is said of it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::of(Documents::of(text, path)?, &[])
    }

    /// Reads a file, if there is one, and then what the command line says.
    pub fn load(path: Option<&Path>, options: &[FlagValue]) -> Result<Self, ConfigError> {
        let documents = match path {
            Some(path) => {
                let text = text_of(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
                Documents::of(&text, path)?
            }
            None => Documents::default(),
        };
        Self::of(documents, options)
    }

    fn of(documents: Documents<'_>, options: &[FlagValue]) -> Result<Self, ConfigError> {
        let Documents { path, ours, theirs } = documents;
        let refused = |bad| ConfigError::value(path, bad);
        let (mut ours, beside_file) = (ours.unwrap_or_default(), theirs.is_some());
        let mut theirs = theirs.unwrap_or_default();
        let mut ignored = Vec::new();
        for FlagValue { flag, value } in options {
            match flag.precedence {
                Precedence::File if beside_file => ignored.push(format!("--{}", flag.name)),
                _ if own::FIELDS.contains(&flag.field) => ours.set(flag.field, flag.name, value.clone()),
                _ => theirs.set(flag.field, flag.name, value.clone()),
            }
        }
        let mut config = own::read(&mut ours).map_err(refused)?;
        if !theirs.is_empty() {
            config.kube_proxy = KubeProxy::read(&mut theirs).map_err(refused)?;
        }
        if !ignored.is_empty() {
            let ignored = fields::named(&ignored);
            config.kube_proxy.notes.push(format!("{IGNORED_OPTIONS}: {ignored}"));
        }
        let origins = ours.origins().into_iter().chain(theirs.origins());
        let origins = origins.map(|(field, place)| (effective::setting(field), Where::of(path, place)));
        config.origins = Origins(origins.collect());
        Ok(config)
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
        self.kubeconfig = self.kubeconfig.or_else(|| self.kube_proxy.client_kubeconfig.clone());
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

const IGNORED_OPTIONS: &str = "these options do not count beside a KubeProxyConfiguration, as in kube-proxy";

/// The documents of a file, taken apart.
#[derive(Default)]
struct Documents<'a> {
    path: Option<&'a Path>,
    ours: Option<Fields>,
    theirs: Option<Fields>,
}

impl<'a> Documents<'a> {
    fn of(text: &str, path: &'a Path) -> Result<Self, ConfigError> {
        let bad = |BadDocument(reason)| ConfigError::Parse { path: path.to_owned(), reason };
        let (mut ours, mut theirs) = (None, None);
        for document in Document::of(text) {
            let document = document.map_err(bad)?;
            let twice = match &*document.what {
                own::DOCUMENT => {
                    let is_leaf = |field: &str| own::FIELDS.contains(&field);
                    ours.replace(Fields::of(document.read().map_err(bad)?, is_leaf)).is_some()
                }
                kube_proxy::DOCUMENT => {
                    theirs.replace(Fields::of(document.read().map_err(bad)?, known::is_field)).is_some()
                }
                _ => return Err(unexpected(path, &document)),
            };
            if twice {
                let (line, what) = (document.line, document.what);
                return Err(ConfigError::Twice { path: path.to_owned(), line, what });
            }
        }
        Ok(Self { path: Some(path), ours, theirs })
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
    fn the_nodes_name_is_kube_proxys_then_that_of_the_host() {
        let theirs = format!("{KUBE_PROXY}hostnameOverride: ' Worker-1 '\n");
        for (text, want) in [
            (theirs.clone(), Some("worker-1")),
            (format!("{theirs}---\n{HEAD}"), Some("worker-1")),
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
        assert_eq!(
            config.kube_proxy.client_kubeconfig.as_deref(),
            Some(Path::new("/var/lib/kube-proxy/kubeconfig.conf"))
        );
        let [node_ports] = &config.kube_proxy.notes[..] else { panic!("{:?}", config.kube_proxy.notes) };
        assert!(node_ports.starts_with("nodePortAddresses is not set"), "{node_ports}");
        let defaults = KubeProxy { notes: Vec::new(), client_kubeconfig: None, ..config.kube_proxy };
        let detect_local = DetectLocal::ClusterCidr(vec![cidr]);
        assert_eq!(defaults, KubeProxy { detect_local, ..KubeProxy::default() });
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(bytes: Vec<u8>, text: String) {
            let _ = parse(&String::from_utf8_lossy(&bytes));
            for head in [HEAD, KUBE_PROXY] {
                let _ = parse(&format!("{head}{text}"));
            }
        }

        /// Every field of both documents, each with what it may have and what it may not.
        #[test]
        fn a_value_is_taken_or_refused_with_its_field_and_its_line(
            field in prop::sample::select(own::FIELDS.into_iter().chain(known::fields()).collect::<Vec<_>>()),
            value in prop_oneof![
                prop::sample::select(ODD.to_vec()).prop_map(str::to_owned),
                "[0-9a-f:./, ]{0,30}",
                "-?[0-9]{1,25}(\\.[0-9]{1,3})?[a-z]{0,2}",
                ".{0,20}",
            ],
        ) {
            let ours = own::FIELDS.contains(&field);
            let head = if ours { HEAD } else { KUBE_PROXY };
            if !["apiVersion", "kind"].contains(&field) {
                let (open, close) = (field.replace('.', ": {"), "}".repeat(field.matches('.').count()));
                // A carriage return alone ends a line of YAML, too.
                let line = |text: &str| text.replace("\r\n", "\n").replace('\r', "\n").lines().count();
                let text = format!("{head}{open}: {value}{close}\n");
                match Config::parse(&text, Path::new("c.yaml")) {
                    Ok(_) => {}
                    Err(ConfigError::Value { place, field: named, reason }) => {
                        let Where::Line { line: at, .. } = place else { panic!("{place}") };
                        prop_assert!((3..=line(&text) as u64).contains(&at), "{text}: {place}");
                        let section = field.split('.').next().unwrap();
                        // A value may itself bring more fields along.
                        prop_assert!(named.starts_with(section) || value.contains([',', ':', '}', '\n']), "{text}: {named}: {reason}");
                    }
                    Err(ConfigError::Parse { reason, .. }) => prop_assert!(reason.contains("line"), "{text}: {reason}"),
                    Err(ConfigError::Document { .. } | ConfigError::Twice { .. }) => {}
                    Err(error) => panic!("{text}: {error}"),
                }
            }
        }
    }

    const ODD: [&str; 30] = [
        "null",
        "~",
        "''",
        "true",
        "false",
        "'true'",
        "off",
        "0",
        "-1",
        "7",
        "1e400",
        "0x7fffffff",
        ".nan",
        "[]",
        "[[]]",
        "{}",
        "{a: b}",
        "[primary]",
        "[primary, 10.0.0.0/8]",
        "10.0.0.0/8,,fd00::/8",
        "[::1]:80",
        "24h0m0s",
        "-5s",
        "*a",
        "&a [*a]",
        "!!binary x",
        "? x",
        "!!int '9'",
        "\"\\u0000\\e[2J\"",
        "99999999999999999999999999999999999999999",
    ];
}
