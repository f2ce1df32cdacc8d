//! The document `kind: KubeProxyConfiguration`: what of it has a meaning here.
//!
//! Fields, defaults and refusals are those of kube-proxy 1.36 (`pkg/proxy/apis/config/validation`). Two things differ, since
//! sheave has none of kube-proxy's modes: `masqueradeAll` counts in whichever section it is set (kube-proxy reads that of the
//! selected mode), and unset `nodePortAddresses` are `primary` whatever `mode` says (kube-proxy: in nftables mode only).
use super::conntrack::Conntrack;
use super::document::{BadDocument, Document};
use super::fields;
use ipnet::IpNet;
use serde::Deserialize;
use serde_saphyr::Spanned;
use sheave_core::{DetectLocal, Family, NodePortAddresses};
use sheave_kube_source::address::parse_cidr;
use std::net::{Ipv4Addr, SocketAddr};
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
    /// What the administrator should know: fields that have no effect, and values that mean something else here.
    pub notes: Vec<String>,
}

/// The ports of kube-proxy's servers (`pkg/cluster/ports`).
const HEALTHZ_PORT: u16 = 10256;
const METRICS_PORT: u16 = 10249;

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
            sync_period: Duration::from_secs(30),
            conntrack: Conntrack::default(),
            client_kubeconfig: None,
            mode: String::new(),
            notes: Vec::new(),
        }
    }
}

/// A value cannot be used.
pub(super) struct BadValue {
    pub(super) line: u64,
    pub(super) field: &'static str,
    /// The value and what is allowed.
    pub(super) reason: String,
}

/// Why a document cannot be used.
pub(super) enum Refused {
    Document(BadDocument),
    Value(BadValue),
}

impl From<BadDocument> for Refused {
    fn from(bad: BadDocument) -> Self {
        Self::Document(bad)
    }
}

impl From<BadValue> for Refused {
    fn from(bad: BadValue) -> Self {
        Self::Value(bad)
    }
}

/// Text with the line it stands at. `null` is unset, as in Go.
type Text = Option<Spanned<String>>;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Fields {
    hostname_override: Text,
    mode: Text,
    #[serde(rename = "clusterCIDR")]
    cluster_cidr: Text,
    detect_local_mode: Text,
    detect_local: Option<DetectLocalFields>,
    node_port_addresses: Option<Vec<Spanned<String>>>,
    iptables: Option<Section>,
    nftables: Option<Section>,
    ipvs: Option<Section>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DetectLocalFields {
    bridge_interface: Text,
    interface_name_prefix: Text,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Section {
    masquerade_all: Option<bool>,
}

impl KubeProxy {
    pub(super) fn read(document: &Document) -> Result<Self, Refused> {
        let fields: Fields = document.read()?;
        let mut notes = fields::without_effect(&document.read()?);
        let set = |section: &Option<Section>| section.as_ref().and_then(|section| section.masquerade_all) == Some(true);
        let sections = [&fields.iptables, &fields.nftables, &fields.ipvs];
        let read = Self {
            hostname_override: value(&fields.hostname_override).map(str::to_lowercase),
            masquerade_all: sections.into_iter().any(set),
            detect_local: detect_local(&fields, &mut notes)?,
            node_port_addresses: node_port_addresses(fields.node_port_addresses.as_deref().unwrap_or(&[]))?,
            ..Self::default()
        };
        if read.node_port_addresses == NodePortAddresses::Primary
            && fields.node_port_addresses.is_none_or(|list| list.is_empty())
            && value(&fields.mode) != Some("nftables")
        {
            notes.push(UNSET_NODE_PORT_ADDRESSES.to_owned());
        }
        Ok(Self { notes, ..read })
    }
}

const UNSET_NODE_PORT_ADDRESSES: &str = "nodePortAddresses is not set: NodePorts are accepted at the node's primary \
    addresses, as in kube-proxy's nftables mode; its other modes accept every address: set [0.0.0.0/0, \"::/0\"] for that";

/// What is set to something, without the white space around it.
fn value(text: &Text) -> Option<&str> {
    text.as_ref().map(|text| text.value.trim()).filter(|text| !text.is_empty())
}

fn detect_local(fields: &Fields, notes: &mut Vec<String>) -> Result<DetectLocal, BadValue> {
    let asked = fields.detect_local.as_ref();
    let bridge = asked.and_then(|fields| value(&fields.bridge_interface));
    let prefix = asked.and_then(|fields| value(&fields.interface_name_prefix));
    let mode = fields.detect_local_mode.as_ref();
    let line = mode.map_or(0, |mode| mode.referenced.line());
    let needed = |field, of_mode: &str| BadValue {
        line,
        field,
        reason: format!("empty, but detectLocalMode {of_mode} needs it"),
    };
    match value(&fields.detect_local_mode).unwrap_or("ClusterCIDR") {
        "ClusterCIDR" => Ok(DetectLocal::ClusterCidr(cluster_cidr(&fields.cluster_cidr, notes)?)),
        "NodeCIDR" => Ok(DetectLocal::NodeCidr),
        mode @ "BridgeInterface" => bridge
            .map(|name| DetectLocal::BridgeInterface(name.into()))
            .ok_or_else(|| needed("detectLocal.bridgeInterface", mode)),
        mode @ "InterfaceNamePrefix" => prefix
            .map(|prefix| DetectLocal::InterfaceNamePrefix(prefix.into()))
            .ok_or_else(|| needed("detectLocal.interfaceNamePrefix", mode)),
        other => {
            let reason =
                format!("{other:?} is no mode; use ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix");
            Err(BadValue { line, field: "detectLocalMode", reason })
        }
    }
}

/// `10.244.0.0/16,fd00:244::/56`: the first of each family counts (R5).
fn cluster_cidr(text: &Text, notes: &mut Vec<String>) -> Result<Vec<IpNet>, BadValue> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let parts = text.value.split(',').map(str::trim).filter(|part| !part.is_empty());
    let cidrs = parts.map(|part| cidr(part, text.referenced.line(), "clusterCIDR")).collect::<Result<Vec<_>, _>>()?;
    for family in Family::ALL {
        let of_family = || cidrs.iter().filter(|cidr| Family::of(cidr.addr()) == family);
        if let Some(first) = of_family().next().filter(|_| of_family().count() > 1) {
            notes.push(format!("clusterCIDR has several {family} CIDRs; only the first, {first}, counts"));
        }
    }
    Ok(cidrs)
}

fn node_port_addresses(list: &[Spanned<String>]) -> Result<NodePortAddresses, BadValue> {
    const FIELD: &str = "nodePortAddresses";
    if list.is_empty() {
        return Ok(NodePortAddresses::Primary);
    }
    if let Some(primary) = list.iter().find(|entry| entry.value == "primary") {
        let reason = "\"primary\" stands alone; it cannot be mixed with CIDRs".to_owned();
        let mixed = BadValue { line: primary.referenced.line(), field: FIELD, reason };
        return if list.len() == 1 { Ok(NodePortAddresses::Primary) } else { Err(mixed) };
    }
    let cidrs = list.iter().map(|entry| cidr(&entry.value, entry.referenced.line(), FIELD));
    Ok(NodePortAddresses::Cidrs(cidrs.collect::<Result<_, _>>()?))
}

fn cidr(text: &str, line: u64, field: &'static str) -> Result<IpNet, BadValue> {
    let refuse = |error: sheave_kube_source::address::BadAddress| {
        let or_primary = if field == "nodePortAddresses" { ", or \"primary\" alone" } else { "" };
        BadValue { line, field, reason: format!("{error}{or_primary}") }
    };
    parse_cidr(text).map_err(refuse)
}

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
                r#"configuration config.conf:3: detectLocalMode: "Guess" is no mode; use ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix"#,
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
        let error = read("iptables:\n  masqueradeAll: maybe").unwrap_err();
        for part in ["config.conf", "line 4", "masqueradeAll: maybe"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
