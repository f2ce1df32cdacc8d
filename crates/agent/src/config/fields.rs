//! The fields of `KubeProxyConfiguration` v1alpha1 as kube-proxy 1.36 has them
//! (`staging/src/k8s.io/kube-proxy/config/v1alpha1/types.go`), and which of them have an effect here.
use serde_json::Value;

/// Those with an effect.
const HEEDED: [&str; 11] = [
    "apiVersion",
    "kind",
    "clusterCIDR",
    "detectLocal.bridgeInterface",
    "detectLocal.interfaceNamePrefix",
    "detectLocalMode",
    "hostnameOverride",
    "iptables.masqueradeAll",
    "ipvs.masqueradeAll", // Never in the type, but found in old files.
    "nftables.masqueradeAll",
    "nodePortAddresses",
];

/// Those without; a name that ends in a dot stands for everything below it. `conntrack.max`, `resourceContainer` and
/// `udpIdleTimeout` are gone from the type and still stand in old files.
const KNOWN: [&str; 27] = [
    "bindAddress",
    "bindAddressHardFail",
    "clientConnection.",
    "configSyncPeriod",
    "conntrack.",
    "enableProfiling",
    "featureGates.",
    "healthzBindAddress",
    "iptables.localhostNodePorts",
    "iptables.masqueradeBit",
    "iptables.minSyncPeriod",
    "iptables.snatNodeInternalIP",
    "iptables.syncPeriod",
    "ipvs.",
    "logging.",
    "metricsBindAddress",
    "mode",
    "nftables.masqueradeBit",
    "nftables.minSyncPeriod",
    "nftables.syncPeriod",
    "oomScoreAdj",
    "portRange",
    "resourceContainer",
    "showHiddenMetricsForVersion",
    "udpIdleTimeout",
    "windowsRunAsService",
    "winkernel.",
];

/// One sentence for the fields that are set to something and have no effect, one for those that kube-proxy does not know.
pub(super) fn without_effect(document: &Value) -> Vec<String> {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    walk(document, "", &mut |path, value| {
        let is = |name: &&str| path == *name || (name.ends_with('.') && path.starts_with(*name));
        match (HEEDED.contains(&path), KNOWN.iter().any(is)) {
            (true, _) => {}
            (false, true) if is_unset(path, value) => {}
            (false, true) => known.push(path.to_owned()),
            (false, false) => unknown.push(path.to_owned()),
        }
    });
    let told = |fields: Vec<String>, what: &str| (!fields.is_empty()).then(|| format!("{what}: {}", fields.join(", ")));
    let notes = [
        told(known, "these fields of KubeProxyConfiguration have no effect here"),
        told(unknown, "these fields of KubeProxyConfiguration are not known and were ignored"),
    ];
    notes.into_iter().flatten().collect()
}

/// Every field that holds no fields, with its path.
fn walk(value: &Value, path: &str, see: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(fields) if path.is_empty() || !fields.is_empty() => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(value, &path, see);
            }
        }
        // An empty section, or a `null` in its place, says nothing.
        Value::Object(_) => {}
        Value::Null if is_section(path) => {}
        value => see(path, value),
    }
}

fn is_section(path: &str) -> bool {
    HEEDED.iter().chain(&KNOWN).any(|name| name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The values `kubeadm` and kube-proxy's own defaults write for what nobody has set.
fn is_unset(path: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) if path == "bindAddress" => matches!(&**text, "" | "0.0.0.0" | "::"),
        Value::String(text) => matches!(&**text, "" | "0" | "0s"),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_is_named_when_it_is_set_to_something_and_has_no_effect() {
        let no_effect = "these fields of KubeProxyConfiguration have no effect here: ";
        let unknown = "these fields of KubeProxyConfiguration are not known and were ignored: ";
        for (document, want) in [
            (json!({}), vec![]),
            (json!({"clusterCIDR": "10.0.0.0/8", "iptables": {"masqueradeAll": true}}), vec![]),
            (json!({"mode": "", "iptables": {"syncPeriod": "0s", "masqueradeBit": null}, "ipvs": null}), vec![]),
            (json!({"bindAddress": "0.0.0.0", "logging": {"options": {"json": {"infoBufferSize": "0"}}}}), vec![]),
            (json!({"bindAddress": "192.0.2.1"}), vec![format!("{no_effect}bindAddress")]),
            (
                json!({"mode": "ipvs", "ipvs": {"strictARP": true, "scheduler": ""}, "featureGates": {"A": true}}),
                vec![format!("{no_effect}featureGates.A, ipvs.strictARP, mode")],
            ),
            (json!({"conntrack": {"max": 7, "min": null}}), vec![format!("{no_effect}conntrack.max")]),
            (json!({"clusterCidr": "10.0.0.0/8"}), vec![format!("{unknown}clusterCidr")]),
            (json!({"iptables": {"a": {"b": false}}}), vec![format!("{unknown}iptables.a.b")]),
            (
                json!({"portRange": "1-2", "hello": null}),
                vec![format!("{no_effect}portRange"), format!("{unknown}hello")],
            ),
        ] {
            assert_eq!(without_effect(&document), want, "{document}");
        }
    }
}
