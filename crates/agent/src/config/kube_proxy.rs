//! The document `kind: KubeProxyConfiguration`: what of it has a meaning here.
//!
//! Fields, defaults and refusals are those of kube-proxy 1.36 (`pkg/proxy/apis/config/validation`). Two things differ, since
//! sheave has none of kube-proxy's modes: `masqueradeAll` counts in whichever section it is set (kube-proxy reads that of the
//! selected mode), and unset `nodePortAddresses` are `primary` whatever `mode` says (kube-proxy: in nftables mode only).
//! `all` and `localhost` in `nodePortAddresses` are of the type's next version.
use super::conntrack::Conntrack;
use super::fields::{BadValue, Fields};
use super::known;
use super::logging::Logging;
use super::value::{Located, Place, Refusal, Value, cidr};
use ipnet::IpNet;
use sheave_core::{DetectLocal, Family, NodePortAddresses};
use sheave_kube_source::address::parse_ip;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub(super) const DOCUMENT: &str = "kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration";

/// What a `KubeProxyConfiguration` says, as far as it means something here.
#[derive(Clone, PartialEq, Debug)]
pub struct KubeProxy {
    /// `hostnameOverride`, if it is set: this node's name, in lower case.
    pub hostname_override: Option<String>,
    /// `masqueradeAll` of any section.
    pub masquerade_all: bool,
    /// `detectLocalMode`, with what it needs.
    pub detect_local: DetectLocal,
    /// `nodePortAddresses`.
    pub node_port_addresses: NodePortAddresses,
    /// `healthzBindAddress`: where `/healthz` and `/livez` are served; `None` where a flag turns them off.
    pub healthz_bind: Option<SocketAddr>,
    /// `metricsBindAddress`: where `/metrics` is served; `None` where a flag turns it off.
    pub metrics_bind: Option<SocketAddr>,
    /// `bindAddressHardFail`: whether an address that cannot be bound ends the agent, instead of being tried again.
    pub bind_hard_fail: bool,
    /// `syncPeriod` of the mode's section: an update that waits for more than twice this is unhealthy (H1).
    pub sync_period: Duration,
    /// `conntrack`: what is set in the kernel's connection tracking.
    pub conntrack: Conntrack,
    /// `clientConnection.kubeconfig`, if it is set.
    pub client_kubeconfig: Option<PathBuf>,
    /// `mode` as it stands there; it selects nothing here.
    pub mode: String,
    /// `oomScoreAdj` of the process, -1000 to 1000.
    pub oom_score_adj: i16,
    /// `logging`.
    pub logging: Logging,
    /// What the administrator should know: fields that have no effect, and values that mean something else here.
    pub notes: Vec<String>,
}

/// The ports of kube-proxy's servers (`pkg/cluster/ports`).
const HEALTHZ_PORT: u16 = 10256;
const METRICS_PORT: u16 = 10249;
/// `KubeProxyOOMScoreAdj` of `pkg/kubelet/qos`.
const OOM_SCORE_ADJ: i16 = -999;
const SYNC_PERIOD: Duration = Duration::from_secs(30);
/// `--healthz-bind-address` and `--metrics-bind-address`: an empty one turns the server off, where an empty field asks for the
/// default (`cmd/kube-proxy/app/options.go`, `addressFromDeprecatedFlags`; `v1alpha1/defaults.go`).
type Server = Option<SocketAddr>;

/// kube-proxy's defaults (`pkg/proxy/apis/config/v1alpha1/defaults.go`).
impl Default for KubeProxy {
    fn default() -> Self {
        Self {
            hostname_override: None,
            masquerade_all: false,
            detect_local: DetectLocal::default(),
            node_port_addresses: NodePortAddresses::default(),
            healthz_bind: Some((Ipv4Addr::UNSPECIFIED, HEALTHZ_PORT).into()),
            metrics_bind: Some((Ipv4Addr::LOCALHOST, METRICS_PORT).into()),
            bind_hard_fail: false,
            sync_period: SYNC_PERIOD,
            conntrack: Conntrack::default(),
            client_kubeconfig: None,
            mode: String::new(),
            oom_score_adj: OOM_SCORE_ADJ,
            logging: Logging::default(),
            notes: Vec::new(),
        }
    }
}

impl KubeProxy {
    /// Reads all of it, and leaves in `fields` only what it has not read.
    pub(super) fn read(fields: &mut Fields) -> Result<Self, BadValue> {
        let (mut notes, mut idle) = (Vec::new(), Vec::new());
        let in_file = fields.read("apiVersion", |_| Ok(()))?.is_some();
        fields.read("kind", |_| Ok(()))?;
        let hostname =
            fields.read("hostnameOverride", |located| located.filled().map(|name| name.map(str::to_lowercase)))?;
        let ipv6 = fields.peek("bindAddress").is_some_and(is_ipv6);
        let mode = mode(fields)?;
        let kubeconfig =
            fields.read("clientConnection.kubeconfig", |located| located.filled().map(|it| it.map(PathBuf::from)))?;
        let mut read = Self {
            hostname_override: hostname.flatten(),
            masquerade_all: masquerade_all(fields)?,
            detect_local: detect_local(fields, &mut notes, &mut idle)?,
            node_port_addresses: node_port_addresses(fields, &mode, &mut notes)?,
            healthz_bind: server(fields, "healthzBindAddress", healthz_default(ipv6))?,
            metrics_bind: server(fields, "metricsBindAddress", metrics_default(ipv6))?,
            bind_hard_fail: fields.read("bindAddressHardFail", Located::boolean)?.unwrap_or_default(),
            sync_period: sync_period(fields, &mode, in_file)?,
            conntrack: Conntrack::read(fields)?,
            client_kubeconfig: kubeconfig.flatten(),
            mode,
            oom_score_adj: fields
                .read("oomScoreAdj", |located| located.integer(-1000..=1000))?
                .unwrap_or(OOM_SCORE_ADJ),
            logging: Logging::read(fields)?,
            notes: known::notes(fields, idle)?,
        };
        // Who wrote no such document did not leave it out of one.
        notes.retain(|note| in_file || note != UNSET_NODE_PORT_ADDRESSES);
        read.notes.append(&mut notes);
        Ok(read)
    }
}

fn is_ipv6(bind: &Located) -> bool {
    bind.text().ok().and_then(|text| parse_ip(text).ok()).is_some_and(|addr| addr.is_ipv6())
}

fn healthz_default(ipv6: bool) -> SocketAddr {
    let any: IpAddr = if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    (any, HEALTHZ_PORT).into()
}

fn metrics_default(ipv6: bool) -> SocketAddr {
    let loopback: IpAddr = if ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    (loopback, METRICS_PORT).into()
}

fn server(fields: &mut Fields, field: &'static str, default: SocketAddr) -> Result<Server, BadValue> {
    let read = fields.read(field, |located| {
        let off = matches!(located.value, Value::Word(_));
        let socket = located.socket(default.port())?;
        Ok(if off { socket } else { socket.or(Some(default)) })
    })?;
    Ok(read.unwrap_or(Some(default)))
}

/// Looked at only: it is named among the fields that have no effect, if it is set.
fn mode(fields: &Fields) -> Result<String, BadValue> {
    let Some(located) = fields.peek("mode") else { return Ok(String::new()) };
    let modes = ["", "iptables", "ipvs", "nftables"].map(|mode| (mode, mode));
    let read = located.choice(&modes).map(str::to_owned);
    read.map_err(|(place, reason)| BadValue {
        place,
        field: "mode".to_owned(),
        reason: format!("{reason} (it selects nothing here: `dataplane` of SheaveConfiguration does)"),
    })
}

fn masquerade_all(fields: &mut Fields) -> Result<bool, BadValue> {
    let mut any = false;
    for field in ["iptables.masqueradeAll", "nftables.masqueradeAll", "ipvs.masqueradeAll"] {
        match fields.read(field, Located::boolean)? {
            Some(true) => any = true,
            _ => fields.disregard(field),
        }
    }
    Ok(any)
}

/// That of the mode's section, as kube-proxy takes it (`pkg/proxy/apis/config/v1alpha1/conversion.go`); 0 is unset. Among the options
/// there is none for nftables: that of iptables is for both (`processV1Alpha1Flags`).
fn sync_period(fields: &mut Fields, mode: &str, in_file: bool) -> Result<Duration, BadValue> {
    let field = match mode {
        "ipvs" => "ipvs.syncPeriod",
        "nftables" if in_file => "nftables.syncPeriod",
        _ => "iptables.syncPeriod",
    };
    match fields.read(field, Located::duration)? {
        Some(period) if !period.is_zero() => Ok(period),
        _ => {
            fields.disregard(field);
            Ok(SYNC_PERIOD)
        }
    }
}

const UNSET_NODE_PORT_ADDRESSES: &str = "nodePortAddresses is not set: NodePorts are accepted at the node's primary \
    addresses, as in kube-proxy's nftables mode; its other modes accept every address: set [0.0.0.0/0, \"::/0\"] for that";

fn detect_local(fields: &mut Fields, notes: &mut Vec<String>, idle: &mut Vec<String>) -> Result<DetectLocal, BadValue> {
    let name = |located: &Located| located.filled().map(|name| name.map(std::sync::Arc::from));
    let bridge = fields.read("detectLocal.bridgeInterface", name)?.flatten();
    let prefix = fields.read("detectLocal.interfaceNamePrefix", name)?.flatten();
    let place = fields.peek("detectLocalMode").map(|located| located.place);
    let cidrs = fields.read("clusterCIDR", cluster_cidr)?.unwrap_or_default();
    let mode = fields.read("detectLocalMode", |located| located.choice(&DETECTORS))?.unwrap_or(Detector::ClusterCidr);
    let set = [!cidrs.is_empty(), bridge.is_some(), prefix.is_some()];
    for ((field, detector), is_set) in OF_DETECTORS.into_iter().zip(set) {
        if is_set && detector != mode {
            fields.disregard(field);
            idle.push(field.to_owned());
        }
    }
    let needed = |field: &str, mode: &str| BadValue {
        place: place.unwrap_or(Place::Line(0)),
        field: field.to_owned(),
        reason: format!("empty, but detectLocalMode {mode} needs it"),
    };
    match mode {
        Detector::ClusterCidr => {
            notes.extend(Family::ALL.into_iter().filter_map(|family| several(family, &cidrs)));
            Ok(DetectLocal::ClusterCidr(cidrs))
        }
        Detector::NodeCidr => Ok(DetectLocal::NodeCidr),
        Detector::Bridge => bridge
            .map(DetectLocal::BridgeInterface)
            .ok_or_else(|| needed("detectLocal.bridgeInterface", "BridgeInterface")),
        Detector::Prefix => prefix
            .map(DetectLocal::InterfaceNamePrefix)
            .ok_or_else(|| needed("detectLocal.interfaceNamePrefix", "InterfaceNamePrefix")),
    }
}

/// How pods are to be told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detector {
    ClusterCidr,
    NodeCidr,
    Bridge,
    Prefix,
}

/// What only one of them needs; the others read it, and do nothing with it.
const OF_DETECTORS: [(&str, Detector); 3] = [
    ("clusterCIDR", Detector::ClusterCidr),
    ("detectLocal.bridgeInterface", Detector::Bridge),
    ("detectLocal.interfaceNamePrefix", Detector::Prefix),
];

const DETECTORS: [(&str, Detector); 5] = [
    ("ClusterCIDR", Detector::ClusterCidr),
    ("NodeCIDR", Detector::NodeCidr),
    ("BridgeInterface", Detector::Bridge),
    ("InterfaceNamePrefix", Detector::Prefix),
    ("", Detector::ClusterCidr),
];

/// `10.244.0.0/16,fd00:244::/56`.
fn cluster_cidr(located: &Located) -> Result<Vec<IpNet>, Refusal> {
    let parts = located.text()?.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| cidr(part, located.place)).collect()
}

/// The first of each family counts (R5).
fn several(family: Family, cidrs: &[IpNet]) -> Option<String> {
    let mut of_family = cidrs.iter().filter(|cidr| Family::of(cidr.addr()) == family);
    let first = of_family.next()?;
    of_family.next()?;
    Some(format!("clusterCIDR has several {family} CIDRs; only the first, {first}, counts"))
}

fn node_port_addresses(
    fields: &mut Fields,
    mode: &str,
    notes: &mut Vec<String>,
) -> Result<NodePortAddresses, BadValue> {
    let list = fields.read("nodePortAddresses", Located::list)?.unwrap_or_default();
    if list.is_empty() {
        notes.extend((mode != "nftables").then(|| UNSET_NODE_PORT_ADDRESSES.to_owned()));
        return Ok(NodePortAddresses::Primary);
    }
    let refused = |(place, reason)| BadValue { place, field: "nodePortAddresses".to_owned(), reason };
    node_port_cidrs(&list).map_err(refused)
}

fn node_port_cidrs(list: &[Located]) -> Result<NodePortAddresses, Refusal> {
    let mut cidrs = Vec::new();
    for entry in list {
        match entry.text()? {
            "primary" if list.len() == 1 => return Ok(NodePortAddresses::Primary),
            "primary" => {
                let reason = "\"primary\" stands alone; it cannot be mixed with CIDRs".to_owned();
                return Err((entry.place, reason));
            }
            "all" => cidrs.extend(EVERYWHERE),
            "localhost" => cidrs.extend(LOOPBACK),
            text => {
                let named = |(place, reason)| (place, format!("{reason}, or \"primary\" alone"));
                cidrs.push(cidr(text, entry.place).map_err(named)?);
            }
        }
    }
    Ok(NodePortAddresses::Cidrs(cidrs))
}

const EVERYWHERE: [IpNet; 2] =
    [IpNet::new_assert(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), IpNet::new_assert(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0)];
const LOOPBACK: [IpNet; 2] = [
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    fn read(text: &str) -> Result<KubeProxy, String> {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        let config = Config::parse(&format!("{head}{text}"), Path::new("config.conf"));
        config.map(|config| config.kube_proxy).map_err(|error| error.to_string())
    }

    fn cidrs(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn r5_the_detector_is_the_one_of_the_mode_and_has_what_it_needs() {
        let both = "detectLocal: {bridgeInterface: cni0, interfaceNamePrefix: veth}\nclusterCIDR: 10.0.0.0/8\n";
        for (text, want) in [
            ("", DetectLocal::ClusterCidr(vec![])),
            ("clusterCIDR: ''\ndetectLocalMode: ''", DetectLocal::ClusterCidr(vec![])),
            ("clusterCIDR: 010.244.0.0/16", DetectLocal::ClusterCidr(cidrs(&["10.244.0.0/16"]))),
            (
                "clusterCIDR: ' 10.244.0.1/16, fd00:244::/56'",
                DetectLocal::ClusterCidr(cidrs(&["10.244.0.0/16", "fd00:244::/56"])),
            ),
            (&format!("{both}detectLocalMode: NodeCIDR"), DetectLocal::NodeCidr),
            (&format!("{both}detectLocalMode: BridgeInterface"), DetectLocal::BridgeInterface("cni0".into())),
            (&format!("{both}detectLocalMode: InterfaceNamePrefix"), DetectLocal::InterfaceNamePrefix("veth".into())),
            (&format!("{both}detectLocalMode: ClusterCIDR"), DetectLocal::ClusterCidr(cidrs(&["10.0.0.0/8"]))),
        ] {
            assert_eq!(read(text).map(|read| read.detect_local), Ok(want), "{text}");
        }
        let several = read("mode: nftables\nclusterCIDR: 10.0.0.0/8,fd00::/8,11.0.0.0/8").unwrap().notes;
        assert!(several[1].contains("several IPv4 CIDRs; only the first, 10.0.0.0/8, counts"), "{several:?}");
    }

    #[test]
    fn a5_node_port_addresses_are_primary_or_a_list_of_cidrs() {
        for (text, want) in [
            ("", NodePortAddresses::Primary),
            ("nodePortAddresses: []", NodePortAddresses::Primary),
            ("nodePortAddresses: [primary]", NodePortAddresses::Primary),
            (
                "nodePortAddresses: [192.0.002.0/024, '::/0']",
                NodePortAddresses::Cidrs(cidrs(&["192.0.2.0/24", "::/0"])),
            ),
            ("nodePortAddresses: [all]", NodePortAddresses::Cidrs(cidrs(&["0.0.0.0/0", "::/0"]))),
            (
                "nodePortAddresses: [localhost, 10.0.0.0/8]",
                NodePortAddresses::Cidrs(cidrs(&["127.0.0.0/8", "::1/128", "10.0.0.0/8"])),
            ),
        ] {
            assert_eq!(read(text).map(|read| read.node_port_addresses), Ok(want), "{text}");
        }
        for (text, told) in [
            ("nodePortAddresses: null", true),
            ("mode: iptables", true),
            ("mode: nftables", false),
            ("nodePortAddresses: [primary]", false),
            ("nodePortAddresses: [0.0.0.0/0]", false),
        ] {
            let notes = read(text).unwrap().notes;
            assert_eq!(
                notes.iter().any(|note| note.contains("nodePortAddresses is not set")),
                told,
                "{text}: {notes:?}"
            );
        }
    }

    #[test]
    fn r1_masquerade_all_counts_in_every_section() {
        for (text, want) in [
            ("", false),
            ("iptables: {masqueradeAll: false}", false),
            ("iptables: {masqueradeAll: null}\nnftables: null", false),
            ("iptables: {masqueradeAll: true}", true),
            ("mode: iptables\nnftables: {masqueradeAll: true}", true),
            ("ipvs: {masqueradeAll: true}", true),
        ] {
            assert_eq!(read(text).map(|read| read.masquerade_all), Ok(want), "{text}");
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line_and_what_is_allowed() {
        for (text, want) in [
            (
                "clusterCIDR: 10.0.0.0",
                r#"configuration config.conf:3: clusterCIDR: "10.0.0.0" is not a CIDR; write ADDRESS/PREFIX, such as 10.96.0.0/16"#,
            ),
            (
                "\nnodePortAddresses:\n- 10.0.0.0/8\n- 10.20.30.40",
                r#"configuration config.conf:6: nodePortAddresses: "10.20.30.40" is not a CIDR; write ADDRESS/PREFIX, such as 10.96.0.0/16, or "primary" alone"#,
            ),
            (
                "nodePortAddresses: [127.0.0.0/8, primary]",
                r#"configuration config.conf:3: nodePortAddresses: "primary" stands alone; it cannot be mixed with CIDRs"#,
            ),
            (
                "detectLocalMode: Guess",
                r#"configuration config.conf:3: detectLocalMode: "Guess" is not one of: ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix"#,
            ),
            (
                "detectLocalMode: BridgeInterface",
                "configuration config.conf:3: detectLocal.bridgeInterface: empty, but detectLocalMode BridgeInterface needs it",
            ),
            (
                "detectLocal: {interfaceNamePrefix: ''}\ndetectLocalMode: InterfaceNamePrefix",
                "configuration config.conf:4: detectLocal.interfaceNamePrefix: empty, but detectLocalMode InterfaceNamePrefix needs it",
            ),
        ] {
            assert_eq!(read(text), Err(want.to_owned()));
        }
    }

    /// H8: as kube-proxy refuses them (`pkg/proxy/apis/config/validation`).
    #[test]
    fn what_kube_proxy_refuses_is_refused_with_its_line() {
        for (text, want) in [
            (
                "iptables:\n  masqueradeAll: maybe",
                "config.conf:4: iptables.masqueradeAll: \"maybe\" is not true or false",
            ),
            ("mode: userspace", "config.conf:3: mode: \"userspace\" is not one of: iptables, ipvs, nftables"),
            ("conntrack: {min: -1}", "conntrack.min: -1 is not a whole number from 0 to 2147483647"),
            ("conntrack: {maxPerCore: 2147483648}", "conntrack.maxPerCore: 2147483648 is not a whole number"),
            ("conntrack: {udpTimeout: -1s}", "conntrack.udpTimeout: \"-1s\" is not a time such as 30s"),
            ("conntrack: {udpTimeout: 30}", "conntrack.udpTimeout: 30 is not a time such as 30s"),
            ("conntrack: []", "config.conf:3: conntrack: a list is not a mapping"),
            ("clusterCIDR: {a: b}", "config.conf:3: clusterCIDR: a mapping is not text"),
            ("hostnameOverride: 7", "config.conf:3: hostnameOverride: 7 is not text; put it in quotes"),
            ("oomScoreAdj: -1001", "oomScoreAdj: -1001 is not a whole number from -1000 to 1000"),
            ("healthzBindAddress: 0.0.0.0:0", "healthzBindAddress: \"0.0.0.0:0\" is not ADDRESS:PORT"),
            ("metricsBindAddress: ':10249'", "metricsBindAddress: \":10249\" is not ADDRESS:PORT"),
            ("nodePortAddresses: 10.0.0.0/8", "nodePortAddresses: \"10.0.0.0/8\" is not a list"),
            ("bindAddressHardFail: 'true'", "bindAddressHardFail: \"true\" is not true or false"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(want), "{error:?} should name {want:?}");
        }
    }

    /// H8: `pkg/proxy/apis/config/v1alpha1/defaults.go`.
    #[test]
    fn the_servers_listen_where_they_are_told_to_and_else_by_the_family_of_the_bind_address() {
        let at = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        for (text, healthz, metrics) in [
            ("", at("0.0.0.0:10256"), at("127.0.0.1:10249")),
            ("healthzBindAddress: ''\nmetricsBindAddress: null", at("0.0.0.0:10256"), at("127.0.0.1:10249")),
            ("bindAddress: '::'", at("[::]:10256"), at("[::1]:10249")),
            ("bindAddress: '::'\nmetricsBindAddress: 0.0.0.0", at("[::]:10256"), at("0.0.0.0:10249")),
            ("healthzBindAddress: 127.0.0.1:7", at("127.0.0.1:7"), at("127.0.0.1:10249")),
        ] {
            let read = read(text).unwrap();
            assert_eq!((read.healthz_bind, read.metrics_bind), (healthz, metrics), "{text}");
        }
    }

    #[test]
    fn the_sync_period_is_that_of_the_modes_section() {
        let periods = "iptables: {syncPeriod: 1s}\nnftables: {syncPeriod: 2s}\nipvs: {syncPeriod: 0s}\n";
        for (mode, want) in [("''", 1), ("iptables", 1), ("nftables", 2), ("ipvs", 30)] {
            let read = read(&format!("{periods}mode: {mode}")).unwrap();
            assert_eq!(read.sync_period, Duration::from_secs(want), "{mode}");
        }
    }
}
