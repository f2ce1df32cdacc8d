//! The fields of `KubeProxyConfiguration` v1alpha1 as kube-proxy 1.36 has them
//! (`staging/src/k8s.io/kube-proxy/config/v1alpha1/types.go`), and what is said of those that have no effect here.
use super::fields::{BadValue, Fields, is_section, named};
use super::value::{Located, Value};

/// Those with an effect whatever else is set; `syncPeriod` has one in the section of the mode.
pub(super) const HEEDED: [&str; 25] = [
    "apiVersion",
    "bindAddressHardFail",
    "clientConnection.kubeconfig",
    "clusterCIDR",
    "conntrack.maxPerCore",
    "conntrack.min",
    "conntrack.tcpBeLiberal",
    "conntrack.tcpCloseWaitTimeout",
    "conntrack.tcpEstablishedTimeout",
    "conntrack.udpStreamTimeout",
    "conntrack.udpTimeout",
    "detectLocal.bridgeInterface",
    "detectLocal.interfaceNamePrefix",
    "detectLocalMode",
    "healthzBindAddress",
    "hostnameOverride",
    "iptables.masqueradeAll",
    "ipvs.masqueradeAll", // Never in the type, but found in old files.
    "kind",
    "logging.format",
    "logging.verbosity",
    "metricsBindAddress",
    "nftables.masqueradeAll",
    "nodePortAddresses",
    "oomScoreAdj",
];

/// Those without one; a name that ends in a dot stands for everything below it. Each with the values that kube-proxy's
/// `--write-config-to` writes for what nobody has set (`pkg/proxy/apis/config/v1alpha1/defaults.go`). `conntrack.max`,
/// `resourceContainer` and `udpIdleTimeout` are gone from the type and still stand in old files.
pub(super) const WITHOUT_EFFECT: [(&str, &[&str]); 31] = [
    ("bindAddress", &["0.0.0.0", "::"]), // Its family decides where the servers listen by default.
    ("clientConnection.acceptContentTypes", &[]),
    ("clientConnection.burst", &["10"]),
    ("clientConnection.contentType", &["application/vnd.kubernetes.protobuf"]),
    ("clientConnection.qps", &["5"]),
    ("configSyncPeriod", &["15m0s", "15m"]),
    ("conntrack.max", &[]),
    ("enableProfiling", &[]),
    ("featureGates.", &[]),
    ("iptables.localhostNodePorts", &[]),
    ("iptables.masqueradeBit", &["14"]),
    ("iptables.minSyncPeriod", &["1s"]),
    ("iptables.snatNodeInternalIP", &[]),
    ("iptables.syncPeriod", &["30s"]),
    ("ipvs.", &["rr", "30s"]),
    ("logging.flushFrequency", &["5s", "5000000000"]),
    ("logging.options.", &[]),
    ("logging.vmodule", &[]),
    ("mode", &[]),
    ("nftables.masqueradeBit", &["14"]),
    ("nftables.minSyncPeriod", &["1s"]),
    ("nftables.localhostNodePorts", &[]),
    ("nftables.syncPeriod", &["30s"]),
    ("portRange", &[]),
    ("resourceContainer", &["/kube-proxy"]),
    ("showHiddenMetricsForVersion", &[]),
    ("udpIdleTimeout", &["250ms"]),
    ("featureGates", &[]),
    ("windowsRunAsService", &[]),
    ("winkernel.", &[]),
    ("logging.", &[]),
];

fn names() -> impl Iterator<Item = &'static str> {
    HEEDED.into_iter().chain(WITHOUT_EFFECT.iter().map(|(name, _)| *name))
}

/// Whether a field has this very path.
pub(super) fn is_field(path: &str) -> bool {
    names().any(|name| name == path && name != "featureGates")
}

/// Every field by its path, those of sections without a fixed set of fields by an example.
#[cfg(test)]
pub(super) fn fields() -> impl Iterator<Item = &'static str> {
    let examples = ["featureGates.A", "ipvs.strictARP", "winkernel.sourceVip", "logging.options.json.infoBufferSize"];
    names().filter(|name| !name.ends_with('.')).chain(examples)
}

/// One sentence for the fields that are set to something and have no effect, `idle` among them, one for those that kube-proxy does
/// not know.
///
/// # Errors
/// Something that is no mapping stands in the place of a section.
pub(super) fn notes(fields: &Fields, idle: Vec<String>) -> Result<Vec<String>, BadValue> {
    let (mut known, mut unknown) = (idle, Vec::new());
    for (path, located) in fields.left_over() {
        let of = |(name, _): &&(&str, &[&str])| path == *name || (name.ends_with('.') && path.starts_with(*name));
        let row = WITHOUT_EFFECT.iter().find(of);
        match row {
            Some((_, defaults)) if is_unset(located, defaults) => {}
            Some(_) => known.push(path.to_owned()),
            None if is_section(path, names()) => no_mapping(path, located)?,
            None => unknown.push(path.to_owned()),
        }
    }
    let told = |fields: Vec<String>, what: &str| (!fields.is_empty()).then(|| format!("{what}: {}", named(&fields)));
    let notes = [
        told(known, "these fields of KubeProxyConfiguration have no effect here"),
        told(unknown, "these fields of KubeProxyConfiguration are not known and were ignored"),
    ];
    Ok(notes.into_iter().flatten().collect())
}

/// `null` in the place of a section says nothing.
pub(super) fn no_mapping(path: &str, located: &Located) -> Result<(), BadValue> {
    if located.value == Value::Null {
        return Ok(());
    }
    let (place, reason) = located.refuse("a mapping");
    Err(BadValue { place, field: path.to_owned(), reason })
}

/// The values `kubeadm` and kube-proxy's own defaults write for what nobody has set.
fn is_unset(located: &Located, defaults: &[&str]) -> bool {
    match &located.value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Integer(number) => *number == 0 || defaults.contains(&number.to_string().as_str()),
        Value::Float(number) => *number == 0.0,
        Value::Text(text) | Value::Word(text) => {
            matches!(&**text, "" | "0" | "0s" | "false") || defaults.contains(&text.as_str())
        }
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use std::path::Path;

    /// H8
    #[test]
    fn a_field_is_named_when_it_is_set_to_something_and_has_no_effect() {
        let no_effect = "these fields of KubeProxyConfiguration have no effect here: ";
        let unknown = "these fields of KubeProxyConfiguration are not known and were ignored: ";
        let node_ports = "nodePortAddresses: [primary]\n";
        for (text, want) in [
            ("", vec![]),
            ("clusterCIDR: 10.0.0.0/8\niptables: {masqueradeAll: true}", vec![]),
            ("mode: ''\niptables: {syncPeriod: 0s, masqueradeBit: null}\nipvs: null", vec![]),
            ("bindAddress: 0.0.0.0\nlogging: {options: {json: {infoBufferSize: '0'}}}", vec![]),
            ("configSyncPeriod: 15m0s\nclientConnection: {qps: 5, burst: 10}\nlogging: {flushFrequency: 5s}", vec![]),
            ("bindAddress: 192.0.2.1", vec![format!("{no_effect}bindAddress")]),
            (
                "mode: ipvs\nipvs: {strictARP: true, scheduler: ''}\nfeatureGates: {A: true}",
                vec![format!("{no_effect}featureGates.A, ipvs.strictARP, mode")],
            ),
            ("mode: nftables\nnftables: {syncPeriod: 9s}\nipvs: {syncPeriod: 30s}", vec![format!("{no_effect}mode")]),
            ("nftables: {syncPeriod: 9s}", vec![format!("{no_effect}nftables.syncPeriod")]),
            ("conntrack: {max: 7, min: null}", vec![format!("{no_effect}conntrack.max")]),
            ("clientConnection: {qps: 50}", vec![format!("{no_effect}clientConnection.qps")]),
            ("clusterCidr: 10.0.0.0/8", vec![format!("{unknown}clusterCidr")]),
            ("conntrack.min: 7", vec![format!("{unknown}\"conntrack.min\"")]),
            ("iptables: {a: {b: false}}", vec![format!("{unknown}iptables.a.b")]),
            (
                "detectLocalMode: NodeCIDR\nclusterCIDR: 10.0.0.0/8\ndetectLocal: {bridgeInterface: cni0}",
                vec![format!("{no_effect}clusterCIDR, detectLocal.bridgeInterface")],
            ),
            ("detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}", vec![]),
            ("portRange: 1-2\nhello: null", vec![format!("{no_effect}portRange"), format!("{unknown}hello")]),
        ] {
            let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
            let config = Config::parse(&format!("{head}{node_ports}{text}\n"), Path::new("config.conf"));
            assert_eq!(config.unwrap().kube_proxy.notes, want, "{text}");
        }
    }

    /// H8
    #[test]
    fn a_value_that_is_taken_counts_or_is_named() {
        let values =
            ["7", "true", "cni0", "10.0.0.0/8", "[10.0.0.0/8]", "3h", "192.0.2.1:99", "NodeCIDR", "json", "nftables"];
        for field in super::fields().filter(|field| !["apiVersion", "kind"].contains(field)) {
            let (open, close) = (field.replace('.', ": {"), "}".repeat(field.matches('.').count()));
            let mut taken = 0;
            for value in values {
                let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
                let text = format!("{head}{open}: {value}{close}\n");
                let Ok(config) = Config::parse(&text, Path::new("config.conf")) else { continue };
                let counts = config.effective().iter().any(|setting| setting.origin == "config.conf:3");
                let named = |note: &String| {
                    note.strip_prefix("these fields of KubeProxyConfiguration have no effect here: ") == Some(field)
                };
                assert_ne!(counts, config.kube_proxy.notes.iter().any(named), "{text}: {:?}", config.kube_proxy.notes);
                taken += 1;
            }
            assert!(taken > 0, "{field}");
        }
    }
}
