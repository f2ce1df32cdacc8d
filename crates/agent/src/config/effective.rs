//! The values that count, each with where it comes from: what `--check-config` prints.
use super::error::Where;
use super::{Config, SocketLb, kube_proxy, own};
use jiff::SignedDuration;
use serde::Serialize;
use serde_json::{Value, json};
use sheave_core::{DetectLocal, NodePortAddresses};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where the values that are set stand; what is not in here has its default.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Origins(pub(super) BTreeMap<&'static str, Where>);

/// A setting as it counts.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Setting {
    /// The kind of its document.
    pub document: &'static str,
    /// Its path in it.
    pub field: &'static str,
    /// Its value.
    pub value: Value,
    /// `default`, `FILE:LINE` or `--OPTION`.
    pub origin: String,
}

impl Config {
    /// Every setting that has an effect.
    #[must_use]
    pub fn effective(&self) -> Vec<Setting> {
        let origin = |field| self.origins.0.get(field).map_or_else(|| "default".to_owned(), Where::to_string);
        let of = |document, rows: Vec<(&'static str, Value)>| {
            rows.into_iter().map(move |(field, value)| Setting { document, field, value, origin: origin(field) })
        };
        of(own::DOCUMENT, self.own_rows()).chain(of(kube_proxy::DOCUMENT, self.kube_proxy_rows())).collect()
    }

    fn own_rows(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("adminSocket", json!(self.admin_socket)),
            ("bpffs", json!(self.bpffs)),
            ("cgroup", json!(self.cgroup)),
            ("dataplane", json!("ebpf")),
            ("externalIPs", json!(self.external_ips)),
            ("maps.backendsMax", json!(self.maps.backends_max)),
            ("maps.flowsMax", json!(self.maps.flows_max)),
            ("maps.frontendsMax", json!(self.maps.frontends_max)),
            ("maps.servicesMax", json!(self.maps.services_max)),
            ("maps.slotsMax", json!(self.maps.slots_max)),
            ("server", json!(self.server.as_deref().map(without_secrets))),
            ("serviceMetrics.max", json!(self.service_metrics.max)),
            ("serviceMetrics.services", json!(self.service_metrics.shown())),
            ("socketLb", json!(socket_lb(self.socket_lb))),
            ("source", json!(self.source)),
        ]
    }

    fn kube_proxy_rows(&self) -> Vec<(&'static str, Value)> {
        let it = &self.kube_proxy;
        let (mode, bridge, prefix, cidrs) = detect_local(&it.detect_local);
        vec![
            ("bindAddressHardFail", json!(it.bind_hard_fail)),
            ("clientConnection.kubeconfig", json!(it.client_kubeconfig)),
            ("clusterCIDR", json!(cidrs)),
            ("conntrack.maxPerCore", json!(it.conntrack.max_per_core)),
            ("conntrack.min", json!(it.conntrack.min)),
            ("conntrack.tcpBeLiberal", json!(it.conntrack.tcp_be_liberal)),
            ("conntrack.tcpCloseWaitTimeout", time(it.conntrack.tcp_close_wait)),
            ("conntrack.tcpEstablishedTimeout", time(it.conntrack.tcp_established)),
            ("conntrack.udpStreamTimeout", time(it.conntrack.udp_stream)),
            ("conntrack.udpTimeout", time(it.conntrack.udp)),
            ("detectLocal.bridgeInterface", json!(bridge)),
            ("detectLocal.interfaceNamePrefix", json!(prefix)),
            ("detectLocalMode", json!(mode)),
            ("healthzBindAddress", json!(it.healthz_bind)),
            ("hostnameOverride", json!(self.configured_node_name())),
            ("logging.format", json!(it.logging.format.name())),
            ("logging.verbosity", json!(it.logging.level.to_string())),
            ("masqueradeAll", json!(it.masquerade_all)),
            ("metricsBindAddress", json!(it.metrics_bind)),
            ("nodePortAddresses", node_port_addresses(&it.node_port_addresses)),
            ("oomScoreAdj", json!(it.oom_score_adj)),
            ("syncPeriod", time(it.sync_period)),
        ]
    }
}

/// What stands in a section for each of kube-proxy's modes is one setting here.
pub(super) fn setting(field: &'static str) -> &'static str {
    match field.split_once('.') {
        Some(("iptables" | "nftables" | "ipvs", setting)) => setting,
        _ => field,
    }
}

fn socket_lb(socket_lb: SocketLb) -> &'static str {
    match socket_lb {
        SocketLb::All => "all",
        SocketLb::Host => "host",
        SocketLb::Off => "off",
    }
}

/// The mode, the bridge, the prefix and the CIDRs.
fn detect_local(detect: &DetectLocal) -> (&'static str, Option<&str>, Option<&str>, Option<String>) {
    match detect {
        DetectLocal::ClusterCidr(cidrs) => {
            let cidrs: Vec<_> = cidrs.iter().map(ToString::to_string).collect();
            ("ClusterCIDR", None, None, (!cidrs.is_empty()).then(|| cidrs.join(",")))
        }
        DetectLocal::NodeCidr => ("NodeCIDR", None, None, None),
        DetectLocal::BridgeInterface(name) => ("BridgeInterface", Some(name), None, None),
        DetectLocal::InterfaceNamePrefix(prefix) => ("InterfaceNamePrefix", None, Some(prefix), None),
    }
}

fn node_port_addresses(addresses: &NodePortAddresses) -> Value {
    match addresses {
        NodePortAddresses::Primary => json!(["primary"]),
        NodePortAddresses::Cidrs(cidrs) => cidrs.iter().map(ToString::to_string).collect(),
    }
}

/// As Go reads it again.
fn time(time: Duration) -> Value {
    let shown = SignedDuration::try_from(time).map(|time| format!("{time:#}").replace(' ', ""));
    json!(shown.unwrap_or_else(|_| format!("{}s", time.as_secs())))
}

/// A URL without the user and password that may stand in it.
fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://(hidden){}", &rest[at..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_field_with_an_effect_is_told_with_where_it_stands() {
        let text = "apiVersion: sheave.dev/v1alpha1\nkind: SheaveConfiguration\nsource: /srv\n---\n\
                    apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
                    conntrack:\n  udpTimeout: 90s\nmode: ipvs\nipvs: {syncPeriod: 5s}\nhealthzBindAddress: ''\n\
                    nodePortAddresses: []\n";
        let config = Config::parse(text, Path::new("c.yaml")).unwrap();
        let effective = config.effective();
        let told = |field: &str| {
            let told = effective.iter().find(|setting| setting.field == field).unwrap();
            (told.value.clone(), told.origin.clone())
        };
        for (field, value, origin) in [
            ("source", json!("/srv"), "c.yaml:3"),
            ("bpffs", json!("/sys/fs/bpf"), "default"),
            ("conntrack.udpTimeout", json!("1m30s"), "c.yaml:8"),
            ("conntrack.tcpEstablishedTimeout", json!("24h"), "default"),
            ("syncPeriod", json!("5s"), "c.yaml:10"),
            ("nodePortAddresses", json!(["primary"]), "default"),
            ("healthzBindAddress", json!("0.0.0.0:10256"), "default"),
        ] {
            assert_eq!(told(field), (value, origin.to_owned()), "{field}");
        }
        let told: BTreeSet<_> = effective.iter().map(|setting| setting.field).collect();
        let fields = own::FIELDS.into_iter().chain(crate::config::known::HEEDED).chain(["iptables.syncPeriod"]);
        let fields: BTreeSet<_> =
            fields.filter(|field| !matches!(*field, "apiVersion" | "kind")).map(setting).collect();
        assert_eq!(told, fields);
    }

    #[test]
    fn secrets_in_a_url_are_not_told() {
        for (url, want) in [
            ("https://10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("https://me:pass@10.0.0.1:6443/x@y", "https://(hidden)@10.0.0.1:6443/x@y"),
            ("https://a@b:p@host?q", "https://(hidden)@host?q"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(without_secrets(url), want);
        }
    }
}
